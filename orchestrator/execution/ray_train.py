"""A run of several workers: Ray Train starts them, places them, and ends them all when one fails; each calls
the same training loop.

The run folder, not Ray Train, is where its checkpoints and its result are, so that another number of workers,
or ``torchrun``, can go on with it. Ray Train restarts nothing: the driver does (see `orchestrator.failures`).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.execution.share import train_share
from orchestrator.failures import Failure, classify

if TYPE_CHECKING:
    from trainers.config import RunConfig
    from trainers.run.loop import Result


def train(config: RunConfig, payload: dict[str, Any]) -> Result:
    """Train the run of a task (see `orchestrator.execution.worker`) on ``config.resources.n_workers``
    workers, within a Ray task that holds none of their resources. Raises what the worker that failed raised.
    """
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    from trainers.machine.workers import PATIENCE, backend
    from trainers.run.loop import result

    resources = config.resources
    workers = resources.n_workers
    each = {"CPU": resources.threads, **({"GPU": resources.gpus / workers} if resources.gpus else {})}
    scratch = Path(payload["progress"]).absolute().with_suffix(".ray")  # where all nodes see it
    device = "cuda" if resources.gpus else resources.device  # cards are the workers' to see, not this task's
    shutil.rmtree(scratch, ignore_errors=True)
    trainer = TorchTrainer(
        _worker,
        train_loop_config=payload,
        torch_config=TorchConfig(backend=backend(device), timeout_s=int(PATIENCE.total_seconds())),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=bool(resources.gpus), resources_per_worker=each
        ),
        run_config=ray.train.RunConfig(name=payload["task"], storage_path=str(scratch)),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise _cause(error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return result(config, payload["folder"])


def _worker(payload: dict[str, Any]) -> None:
    from trainers.machine.workers import joined

    train_share(payload, joined())


def _cause(error: Any) -> Exception:
    """What went wrong behind Ray Train's error: of what several workers raised, that which has a class, for
    the others only lost touch with that worker.
    """
    raised = getattr(error, "worker_failures", {0: getattr(error, "controller_failure", error)})
    found = [getattr(e, "health_check_failure", e) for e in raised.values()]
    return next((e for e in found if classify(e) is not Failure.CODE_ERROR), found[0])
