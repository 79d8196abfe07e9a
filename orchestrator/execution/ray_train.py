"""A run of several workers: Ray Train starts them, places them, and ends them all when one fails; each calls
the same training loop.

The run folder, not Ray Train, is where its checkpoints and its result are, so that another number of workers,
or ``torchrun``, can go on with it. Ray Train restarts nothing: the driver does (see `orchestrator.failures`).
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from orchestrator.execution.share import Share
from orchestrator.failures import Failure, classify
from orchestrator.store.store import Store

if TYPE_CHECKING:
    from trainers.run.result import Result


def train(share: Share, task: str) -> Result:
    """Train a run on as many workers as its config says, within a Ray task that holds none of their
    resources. Raises what the worker that failed raised.
    """
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    from trainers.machine.workers import PATIENCE, backend
    from trainers.run.result import Result

    resources = share.config.resources
    workers = resources.n_workers
    each = {"CPU": resources.threads, **({"GPU": resources.gpus / workers} if resources.gpus else {})}
    scratch = (Store.at(share.store).root / "control" / share.progress).with_suffix(
        ".ray"
    )  # all nodes see it
    device = "cuda" if resources.gpus else resources.device  # cards are the workers' to see, not this task's
    shutil.rmtree(scratch, ignore_errors=True)
    trainer = TorchTrainer(
        _worker,
        train_loop_config=share.model_dump(mode="json"),
        torch_config=TorchConfig(backend=backend(device), timeout_s=int(PATIENCE.total_seconds())),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=bool(resources.gpus), resources_per_worker=each
        ),
        run_config=ray.train.RunConfig(name=task, storage_path=str(scratch)),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise _cause(error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Result.of(share.config, Store.at(share.store).run(share.config.training_key))


def _worker(share: dict[str, Any]) -> None:
    from trainers.machine.workers import joined

    Share.model_validate(share).train(joined())


def _cause(error: Any) -> Exception:
    """What went wrong behind Ray Train's error: of what several workers raised, that which has a class, for
    the others only lost touch with that worker.
    """
    raised = getattr(error, "worker_failures", {0: getattr(error, "controller_failure", error)})
    errors = [getattr(e, "health_check_failure", e) for e in raised.values()]
    return next((e for e in errors if classify(e) is not Failure.CODE_ERROR), errors[0])
