"""Figures of whole pocket runs, as the quickstart ships them: where a run's time goes, and how soon a cold
process takes its first step.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figures import figure, spent
from benchmarks.train import seconds

if TYPE_CHECKING:
    from trainers.config import RunConfig

GROUP = "train"
ROOT = Path(__file__).parent.parent
SWEEP = ROOT / "sweeps" / "quickstart.yaml"
UNIQUE_BYTES = 18_000
COLD_STARTS = 3


def measure() -> dict[str, dict[str, Any]]:
    """Trains one replicate of the quickstart's least text: two sizes, both objectives. The worst run
    counts."""
    from orchestrator.language.expansion import expand
    from orchestrator.language.loading import load

    (spec,) = load([SWEEP])
    configs = [
        point.config
        for point in expand(spec)
        if point.seed == 0 and point.config.data.unique_bytes == UNIQUE_BYTES
    ]
    with tempfile.TemporaryDirectory() as store:
        first = first_step(configs[0], Path(store), "cold")
        found = [shares(config, Path(store)) for config in configs]
        again = [first_step(configs[0], Path(store), f"warm{i}") for i in range(COLD_STARTS)]
    worst = {name: max(run[name] for run in found) for name in found[0]}
    return {
        "train.evaluation_share": figure(worst["evaluation"], "of a run", at_most=0.25),
        "train.checkpoint_stall_share": figure(worst["stall"], "of training", at_most=0.02),
        "train.loader_share": figure(worst["loader"], "of a step", at_most=0.01),
        "train.first_step_s": figure(statistics.median(again), "s"),
        "train.first_step_unprepared_s": figure(first, "s"),
    }


def shares(config: RunConfig, store: Path) -> dict[str, float]:
    """Train a run to its end: evaluation's share of its time, checkpoints' of its training time as
    telemetry has them, and the loader's of a step in CPU time."""
    import torch

    from trainers.data import prepare
    from trainers.run.learner import Learner
    from trainers.run.loop import train

    result = train(config, store / "runs" / config.training_key, data_root=store / "data")
    took = spent(result.folder)
    training, evaluation = took["train_seconds"], took["evaluation_seconds"]
    dataset = prepare(config.data, store / "data")
    learner = Learner(config, dataset, torch.device("cpu"))
    step = iter(range(1_000_000))
    loader = seconds(lambda: dataset.batch(next(step), config.batch_size, config.seed), 0.2)
    return {
        "evaluation": evaluation / (training + evaluation),
        "stall": took["checkpoint_stall_seconds"] / training,
        "loader": loader / seconds(learner.update, 1.0),
    }


def first_step(config: RunConfig, store: Path, run: str) -> float:
    """Seconds from the start of ``python -m trainers`` to its first step; the process is then interrupted."""
    path = store / f"{run}.json"
    path.write_text(json.dumps(config.model_dump(mode="json")))
    command = [sys.executable, "-m", "trainers", str(path), "--json"]
    command += ["--folder", str(store / "runs" / run), "--data", str(store / "data")]
    began = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            event = json.loads(line)
            if event["event"] == "train" and event["step"] == 1:
                took = time.monotonic() - began
                process.kill()
                return took
    raise RuntimeError(f"{' '.join(command)} took no step")
