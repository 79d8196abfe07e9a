"""The driver with a backend that trains nothing: leases, stopping, failures, hangs and the order of
events."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.execution.backends import Finished
from orchestrator.execution.capacity import Capacity, ClusterCapacity
from orchestrator.execution.driver import Driver, RoundResult
from orchestrator.execution.jobs import Prepare, Train
from orchestrator.execution.live import SweepProgress
from orchestrator.execution.scheduler import ScheduledTask, State
from orchestrator.failures import Failure, Outcome
from orchestrator.planning.trainings import Training
from orchestrator.store.leases import Session
from orchestrator.store.store import Store
from trainers.components.files import read_json, write_file
from trainers.config import DataConfig, RunConfig

Answer = Callable[[dict[str, Any]], Outcome | None]


class Fake:
    """Runs nothing: ``answer`` says how each task ended, None for still running."""

    def __init__(self, answer: Answer, starts_in: int = 0) -> None:
        self.answer, self.starting = answer, starts_in
        self.submitted: list[str] = []
        self.killed: list[str] = []
        self.closed = False
        self._open: dict[str, dict[str, Any]] = {}

    def start(self) -> None:
        pass

    def ready(self) -> bool:
        self.starting -= 1
        return self.starting < 0

    def capacity(self) -> ClusterCapacity:
        return ClusterCapacity.fixed(Capacity(2))

    def infeasible(self, task: ScheduledTask) -> str | None:
        return "no node can run it" if task.resources.gpus else None

    def submit(self, task: ScheduledTask, payload: dict[str, Any]) -> None:
        self.submitted.append(task.key)
        self._open[task.key] = payload

    def wait(self, seconds: float) -> list[Finished]:
        ended = []
        for key, payload in list(self._open.items()):
            if key in self.killed:
                outcome: Outcome | None = Outcome(key, "failed", Failure.HANG, "killed")
            else:
                outcome = self.answer(payload)
            if outcome is not None:
                del self._open[key]
                ended.append(Finished(key, outcome))
        return ended

    def kill(self, key: str) -> None:
        self.killed.append(key)

    def close(self) -> None:
        self.closed = True


class Recorder:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shown: list[SweepProgress] = []

    def show(self, progress: SweepProgress) -> None:
        self.shown.append(progress)

    def line(self, text: str) -> None:
        self.lines.append(text)

    def close(self) -> None:
        pass


class Clock:
    """Goes on by itself, a second a look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def done(payload: dict[str, Any]) -> Outcome:
    return Outcome(payload["task"], "done")


def study(count: int) -> tuple[dict[str, Training], list[ScheduledTask]]:
    configs = [RunConfig(seed=seed, steps=10) for seed in range(count)]
    runs = {c.training_key: Training(c, frozenset({"s"})) for c in configs}
    return runs, [train(key, runs[key].config, title=f"run {i}") for i, key in enumerate(runs)]


def train(key: str, config: RunConfig, *needs: str, **fields: Any) -> ScheduledTask:
    return ScheduledTask(key, "train", needs, job=Train(store="nowhere", config=config), **fields)


def prepare(key: str) -> ScheduledTask:
    return ScheduledTask(key, "prepare", job=Prepare(store="nowhere", data=DataConfig()))


def complete(ending: RoundResult) -> bool:
    return not (ending.failed or ending.interrupted or ending.halted)


def drive(
    store: Store, backend: Fake, runs: dict[str, Training], tasks: list[ScheduledTask], **options: Any
) -> tuple[Any, Recorder]:
    view = Recorder()
    with (
        Session(store.leases) as session,
        Driver(store, runs, backend, session, view=view, clock=Clock(), **options) as driver,
    ):
        return driver.run(tasks), view


def test_everything_is_done_once_and_the_backend_given_back(tmp_path: Path) -> None:
    runs, tasks = study(5)
    backend = Fake(done)
    ending, view = drive(Store(tmp_path), backend, runs, tasks)
    assert complete(ending) and set(ending.states.values()) == {State.DONE}
    assert sorted(backend.submitted) == sorted(runs)
    assert backend.closed
    assert view.shown[-1].states["done"] == 5


def test_no_task_no_backend(tmp_path: Path) -> None:
    backend = Fake(done)
    ending, _ = drive(Store(tmp_path), backend, {}, [])
    assert complete(ending) and not backend.closed, "a backend that was not needed is not even started"


def test_data_is_prepared_here_while_the_backend_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.execution import worker

    here: list[str] = []

    def execute(payload: dict[str, Any]) -> dict[str, Any]:
        here.append(payload["task"])
        return {**vars(Outcome(payload["task"], "done"))}

    monkeypatch.setattr(worker, "execute", execute)
    runs, (task,) = study(1)
    tasks = [
        prepare("data1"),
        prepare("data2"),
        replace(task, needs=("data1", "data2")),
    ]
    backend = Fake(done, starts_in=5)
    ending, _ = drive(Store(tmp_path), backend, runs, tasks)
    assert here == ["data1", "data2"] and backend.submitted == [task.key]
    assert complete(ending)


def test_failures_are_said_recorded_and_forgotten_once_past(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs, tasks = study(1)
    (key,) = runs
    broken = Outcome(
        key, "failed", Failure.CODE_ERROR, "ValueError: no\nmore", traceback="the place", fingerprint="f"
    )
    ending, view = drive(store, Fake(lambda payload: broken), runs, tasks)
    assert list(ending.failed) == [key] and not complete(ending)
    assert view.lines == ["run 0: code error: ValueError: no"]
    record = store.failure(key)
    assert record is not None and record["failure"] == "code error" and record["attempts"] == 1
    assert "the place" in (store.logs.read(f"{key}.log") or b"").decode()
    ending, _ = drive(store, Fake(done), runs, tasks)
    assert complete(ending) and store.failure(key) is None


def test_divergence_is_no_failure(tmp_path: Path) -> None:
    runs, tasks = study(1)
    diverged = Fake(lambda payload: Outcome(payload["task"], "failed", Failure.DIVERGED, "at step 3"))
    ending, _ = drive(Store(tmp_path), diverged, runs, tasks)
    assert complete(ending) and not ending.failed


def test_out_of_memory_comes_back_with_a_smaller_micro_batch(tmp_path: Path) -> None:
    seen = []

    def answer(payload: dict[str, Any]) -> Outcome:
        seen.append(payload["micro_batch"])
        fits = payload["micro_batch"] is not None and payload["micro_batch"] <= 4
        return done(payload) if fits else Outcome(payload["task"], "failed", Failure.OUT_OF_MEMORY, "no")

    runs, (task,) = study(1)
    ending, _ = drive(Store(tmp_path), Fake(answer), runs, [replace(task, batch=16)])
    assert seen == [None, 8, 4] and complete(ending)


def test_what_no_node_can_run_is_said_and_not_submitted(tmp_path: Path) -> None:
    runs, (task,) = study(1)
    backend = Fake(done)
    backend.capacity = lambda: ClusterCapacity.fixed(Capacity(2, 2))  # type: ignore[method-assign]
    ending, _ = drive(Store(tmp_path), backend, runs, [replace(task, resources=Capacity(1, 1))])
    assert "no node can run it" in ending.failed[task.key].message and backend.submitted == []


def test_a_run_that_another_driver_trains_is_waited_for_and_its_result_taken(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs, tasks = study(2)
    shared = tasks[0].key
    with Session(store.leases) as other:
        assert other.acquire(f"run-{shared}")
        looks = []

        def answer(payload: dict[str, Any]) -> Outcome | None:
            looks.append(payload["task"])
            if len(looks) == 5:  # the other driver finishes
                write_file(
                    tmp_path / "runs" / shared / "commits" / "00000001.json",
                    '{"n": 1, "step": 10, "state": "done"}',
                )
                other.release(f"run-{shared}")
            return done(payload) if len(looks) > 8 else None

        backend = Fake(answer)
        ending, view = drive(store, backend, runs, tasks)
    assert backend.submitted == [tasks[1].key]
    assert complete(ending)
    assert any("waiting for process" in progress.note for progress in view.shown)


def test_a_silent_run_is_killed_and_tried_once_more(tmp_path: Path) -> None:
    runs, tasks = study(1)
    ending, view = drive(Store(tmp_path), backend := Fake(lambda payload: None), runs, tasks, hang_after=20.0)
    assert len(backend.submitted) == 2
    assert next(iter(ending.failed.values())).failure is Failure.HANG
    assert any("no sign of life" in line for line in view.lines)


def test_signs_of_life_are_read(tmp_path: Path) -> None:
    looks: list[int] = []

    def answer(payload: dict[str, Any]) -> Outcome | None:
        looks.append(len(looks))
        write_file(
            tmp_path / "control" / payload["progress"],
            f'{{"step": 3, "tokens": {100 * len(looks)}, "beat": {len(looks)}}}',
        )
        return done(payload) if len(looks) > 50 else None

    runs, tasks = study(1)
    ending, view = drive(Store(tmp_path), Fake(answer), runs, tasks, hang_after=20.0)
    assert complete(ending)
    row = next(p.rows[0] for p in reversed(view.shown) if p.rows)
    assert (row.step, row.steps) == (3, 10) and row.tokens_per_second


def test_cancelling_a_sweep_stops_it_at_a_checkpoint(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs, tasks = study(3)

    def answer(payload: dict[str, Any]) -> Outcome | None:
        store.cancel("s")
        stopped = any((tmp_path / "control" / flag).exists() for flag in payload["flags"])
        return Outcome(payload["task"], "stopped") if stopped else None

    ending, view = drive(store, Fake(answer), runs, tasks)
    assert sorted(ending.states.values()) == [State.STOPPED, State.STOPPED, State.WAITING]
    assert not ending.interrupted and "sweep s was cancelled; stopping" in view.lines
    assert not any(name.startswith("stop-") for name in store.control.names()), (
        "no flag is left that would stop the next driver"
    )


def test_ctrl_c_stops_runs_at_a_checkpoint(tmp_path: Path) -> None:
    import os
    import signal

    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread only")
    runs, tasks = study(3)

    def answer(payload: dict[str, Any]) -> Outcome | None:
        if not any((tmp_path / "control" / flag).exists() for flag in payload["flags"]):
            os.kill(os.getpid(), signal.SIGINT)
            return None
        return Outcome(payload["task"], "stopped")

    before = signal.getsignal(signal.SIGINT)
    ending, _ = drive(Store(tmp_path), Fake(answer), runs, tasks)
    assert ending.interrupted and not complete(ending)
    assert State.DONE not in ending.states.values()
    assert signal.getsignal(signal.SIGINT) is before


def test_blocked_runs_are_recorded(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs, (parent, child) = study(2)
    tasks = [parent, replace(child, needs=(parent.key,))]
    broken = Fake(lambda p: Outcome(p["task"], "failed", Failure.USER_ERROR, "wrong"))
    ending, _ = drive(store, broken, runs, tasks)
    assert ending.failed[child.key].failure is Failure.BLOCKED
    assert read_json(tmp_path / "failures" / f"{child.key}.json")["failure"] == "blocked"


class Growing(Fake):
    """A cluster that grows by a core whenever it is looked at, up to eight."""

    def __init__(self, answer: Answer, may_grow: bool = True) -> None:
        super().__init__(answer)
        self.may_grow, self.cores = may_grow, 1

    def capacity(self) -> ClusterCapacity:
        self.cores = min(self.cores + 1, 8)
        now = Capacity(self.cores)
        return ClusterCapacity(now, now, self.may_grow)

    def infeasible(self, task: ScheduledTask) -> str | None:
        too_large = task.resources.cpus > self.cores
        return f"the largest node has {self.cores} CPUs" if too_large else None


def test_a_run_that_is_too_large_waits_for_a_cluster_that_grows(tmp_path: Path) -> None:
    runs, (large, small) = study(2)
    tasks = [replace(large, resources=Capacity(6)), small]
    backend = Growing(done)
    ending, view = drive(Store(tmp_path), backend, runs, tasks)
    assert complete(ending) and backend.submitted == [small.key, large.key], "the small one did not wait"
    (line,) = view.lines
    assert line == (
        "run 0 waits for a larger cluster: it needs 6 CPUs and 0 GPUs; "
        "there are 2 CPUs and 0 GPUs now, 2 CPUs and 0 GPUs at most so far"
    )
    assert any("run 0 waits for a larger cluster" in progress.note for progress in view.shown)


def test_a_run_that_no_node_holds_yet_waits_where_nodes_may_come(tmp_path: Path) -> None:
    runs, (task,) = study(1)
    backend = Growing(done)
    backend.capacity = lambda: ClusterCapacity(Capacity(8), Capacity(8), True)  # type: ignore[method-assign]
    looks = 0

    def infeasible(task: ScheduledTask) -> str | None:
        nonlocal looks
        looks += 1
        return "the largest node has 4 CPUs" if looks < 3 else None

    backend.infeasible = infeasible  # type: ignore[method-assign]
    ending, view = drive(Store(tmp_path), backend, runs, [replace(task, resources=Capacity(6))])
    assert complete(ending) and backend.submitted == [task.key]
    assert any("the largest node has 4 CPUs" in progress.note for progress in view.shown)


def test_a_run_that_is_too_large_fails_at_once_where_nothing_can_grow(tmp_path: Path) -> None:
    runs, (large, small) = study(2)
    tasks = [replace(large, resources=Capacity(6)), small]
    ending, _ = drive(Store(tmp_path), Fake(done), runs, tasks)
    assert "needs 6 CPUs and 0 GPUs; there are at most 2 and 0" in ending.failed[large.key].message
    assert ending.states[small.key] is State.DONE
