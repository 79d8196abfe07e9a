"""A run of two workers, as the driver has it trained: Ray Train within a Ray task."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.execution.backends import LocalBackend
from orchestrator.execution.backends.ray_core import RayBackend
from orchestrator.execution.capacity import Capacity
from orchestrator.execution.jobs import Dispatch, Train
from orchestrator.execution.scheduler import ScheduledTask
from orchestrator.execution.tasks import of_plan
from orchestrator.failures import Failure, Outcome
from orchestrator.language.loading import load
from orchestrator.planning.drafting import make_plan
from orchestrator.planning.estimate import Estimator
from orchestrator.store.store import Store
from trainers.config import RunConfig


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayBackend]:
    made = RayBackend(Store(tmp_path_factory.mktemp("ray")), cpus=2, warm=None)
    made.start()
    made.capacity()
    yield made
    made.close()


def train(backend: RayBackend, store: Store, steps: int, **fields: Any) -> Outcome:
    config = RunConfig.model_validate(
        {
            "model": {"name": "transformer", "width": 16, "layers": 1, "ffn": 32},
            "data": {
                "corpus": {"name": "markov", "documents_held": 500},
                "unique_bytes": 3000,
                "context": 16,
            },
            "evaluation": {"sequences": 4, "draws": 2, "spacing": 1.3, "first": 4},
            "batch_size": 4,
            "steps": steps,
            "resources": {"workers": 2},
            **fields,
        }
    )
    key = config.training_key
    dispatch = Dispatch(
        task=key,
        job=Train(store=str(store.root), config=config),
        flags=("stop",),
        progress="progress.json",
    )
    backend.submit(ScheduledTask(key, "train", resources=Capacity(2), workers=2), dispatch.to_json())
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if ended := backend.wait(0.5):
            return ended[0].outcome
    raise AssertionError("no end")


@pytest.mark.slow
def test_two_workers_train_a_run(backend: RayBackend, tmp_path: Path) -> None:
    store = Store(tmp_path)
    outcome = train(backend, store, 12)
    assert (outcome.state, outcome.progress) == ("done", 12), outcome.traceback
    (key,) = store.run_keys()
    folder = store.run(key)
    (attempt,) = (e for e in folder.telemetry() if e["event"] == "attempt")
    assert attempt["numerics"]["workers"] == 2
    assert json.loads((store.root / "control" / "progress.json").read_text())["step"] >= 1, (
        "it shows signs of life"
    )


@pytest.mark.slow
def test_a_workers_error_keeps_its_class(backend: RayBackend, tmp_path: Path) -> None:
    outcome = train(backend, Store(tmp_path), 12, init={"run": "0" * 16, "step": 3})
    assert (outcome.state, outcome.failure) == ("failed", Failure.USER_ERROR)
    assert outcome.message.startswith("run 0000000000000000 has no checkpoint at step 3")


def workers() -> list[psutil.Process]:
    """Ray Train's worker processes that are alive."""
    alive = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                alive.append(process)
    return alive


@pytest.mark.slow
@pytest.mark.parametrize("who", ["a worker", "the task"])
def test_a_death_ends_all_workers(who: str, backend: RayBackend, tmp_path: Path) -> None:
    def kill() -> None:
        while not (tmp_path / "control" / "progress.json").exists():
            time.sleep(0.1)
        if who == "a worker":
            workers()[0].kill()
        else:
            backend.kill(next(iter(backend._refs.values())))

    killer = threading.Thread(target=kill)
    killer.start()
    outcome = train(backend, Store(tmp_path), 100_000)
    killer.join()
    assert outcome.failure is (Failure.PREEMPTED if who == "a worker" else Failure.HANG), outcome
    psutil.wait_procs(workers(), timeout=30)
    assert not workers()


def test_one_process_cannot_be_two_workers() -> None:
    reason = LocalBackend().infeasible(ScheduledTask("t", "train", workers=2))
    assert reason is not None and "resources.workers" in reason


def test_a_task_holds_what_all_its_workers_hold(tmp_path: Path) -> None:
    path = tmp_path / "shared.yaml"
    path.write_text("base: {batch_size: 12}\nresources: {workers: 3, threads: 2}\n")
    made = make_plan(load([path]), tmp_path, estimator=Estimator(gemm=1e11))
    (task,) = (t for t in of_plan(made, Store(tmp_path)) if t.kind == "train")
    assert (task.resources, task.workers, task.batch) == (Capacity(6), 3, 4)


def test_a_run_of_several_workers_is_priced_as_such() -> None:
    estimator = Estimator(gemm=1e11)
    seconds = [
        estimator.kind(RunConfig(batch_size=12, resources={"workers": workers})).training_seconds(10)
        for workers in (1, 3)
    ]
    assert seconds[0] == pytest.approx(3 * seconds[1])


def test_workers_are_counted_where_they_fit() -> None:
    worker = Capacity(6, 3).each(3)
    assert worker == Capacity(2, 1)
    assert [Capacity(*node).holds(worker) for node in ((1, 8), (5, 8), (8, 1), (2, 0))] == [0, 2, 1, 0]
