"""What an event costs the scheduler and the driver at the start and at the end of a sweep of 10,000 tasks.

An event is a task that ends and one that starts. Its cost must not grow with the tasks that are done. CPU
seconds, so that other programs of the machine count little; the backend is a fake one that runs nothing.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.figures import figure
from orchestrator.execution.backends import Finished
from orchestrator.execution.capacity import Capacity, ClusterCapacity
from orchestrator.execution.driver import Driver
from orchestrator.execution.jobs import Train
from orchestrator.execution.scheduler import ScheduledTask, Scheduler
from orchestrator.failures import Outcome
from orchestrator.planning.trainings import Training
from orchestrator.store.leases import Session
from orchestrator.store.store import Store
from trainers.config import RunConfig

GROUP = "scheduler"
TASKS = 10_000
SLOTS = 4
WINDOW = 1_000
"""Events that are compared: those of the first thousand, and of the last but for the very last."""
RATIO = 1.5


def measure() -> dict[str, dict[str, Any]]:
    """Cost an event, and the ratio of the end to the start."""
    figures: dict[str, dict[str, Any]] = {}
    for name, times in (("scheduler", scheduler_times(TASKS)), ("driver", driver_times(TASKS))):
        start, end = cost(times[:WINDOW]), cost(times[-WINDOW - SLOTS : -SLOTS])
        figures[f"{name}.event_ms"] = figure(1e3 * end, "ms CPU")
        figures[f"{name}.event_end_over_start"] = figure(end / start, "x", at_most=RATIO)
    return figures


def cost(times: list[float]) -> float:
    """CPU seconds an event: the median over tenths of the window, for a pause of the collector is none."""
    tenth = len(times) // 10
    parts = [(times[i + tenth] - times[i]) / tenth for i in range(0, len(times) - tenth, tenth)]
    return statistics.median(parts)


def scheduler_times(count: int) -> list[float]:
    """CPU time at each event of a scheduler alone, its progress read as the driver reads it."""
    scheduler = Scheduler(
        [ScheduledTask(f"t{i:05}", "train", seconds=1 + i % 7) for i in range(count)], Capacity(SLOTS)
    )
    running, times, now = [a.task.key for a in scheduler.start(0.0)], list[float](), 0.0
    while running:
        now += 1.0
        scheduler.finish(Outcome(running.pop(0), "done"), now)
        running += [launch.task.key for launch in scheduler.start(now)]
        read(scheduler, now)
        times.append(time.process_time())
    return times


def read(scheduler: Scheduler, now: float) -> tuple[Any, ...]:
    """What the driver asks after each event."""
    return scheduler.counts, scheduler.remaining_seconds(), scheduler.hung(now), scheduler.finished


class Instant:
    """A backend that ends every task at once, and notes when."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._submitted: list[str] = []

    def start(self) -> None: ...

    def ready(self) -> bool:
        return True

    def capacity(self) -> ClusterCapacity:
        return ClusterCapacity.fixed(Capacity(SLOTS))

    def infeasible(self, task: ScheduledTask) -> str | None:
        return None

    def submit(self, task: ScheduledTask, payload: dict[str, Any]) -> None:
        self._submitted.append(task.key)

    def wait(self, seconds: float) -> list[Finished]:
        key = self._submitted.pop(0)
        self._tick()
        return [Finished(key, Outcome(key, "done"))]

    def kill(self, key: str) -> None: ...

    def close(self) -> None: ...


def driver_times(count: int) -> list[float]:
    """CPU time at each event of a driver, with leases, flags and progress in a store of files."""
    config = RunConfig()
    keys = [f"{i:016x}" for i in range(count)]
    runs = {key: Training(config, frozenset({"sweep"})) for key in keys}
    times: list[float] = []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        store = Store(Path(folder))
        job = Train(store=store.address, config=config)
        tasks = [ScheduledTask(key, "train", job=job) for key in keys]
        backend = Instant(lambda: times.append(time.process_time()))
        with Session(store.leases) as session, Driver(store, runs, backend, session) as driver:
            driver.run(tasks)
    return times
