"""The driver: it owns the queue, feeds a backend, holds leases, and keeps the mirror and the view up to date.

The effects of one `run`, around the pure scheduler. Nothing here is needed to go on after the driver has
died: what counts is in run folders.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from orchestrator.execution import tasks, worker
from orchestrator.execution.backends import Backend, Finished
from orchestrator.execution.capacity import UNLIMITED, Capacity, ClusterCapacity
from orchestrator.execution.jobs import Decode, Dispatch, Evaluate
from orchestrator.execution.live import NullView, RunProgress, SweepProgress, View
from orchestrator.execution.scheduler import Launch, ScheduledTask, Scheduler, State
from orchestrator.failures import Failure, Outcome
from orchestrator.planning.standing import Standing
from orchestrator.planning.trainings import Training
from orchestrator.store.leases import Session
from orchestrator.store.store import Store, cancel_flag
from orchestrator.tracking.mirror import Mirror

LOOK_AGAIN = 2.0
CAPACITY_EVERY = 2.0
"""Seconds between two looks at how much the backend has."""
HANG_AFTER = 1800.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class RoundResult:
    """How the training part of a `run` ended."""

    states: dict[str, State] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    interrupted: bool = False
    halted: str | None = None

    @property
    def failed(self) -> dict[str, Outcome]:
        """Outcomes of the runs that failed or are blocked, by training key; diverged runs are results, not
        failures."""
        return {
            key: self.outcomes[key]
            for key, state in self.states.items()
            if state in (State.FAILED, State.BLOCKED) and self.outcomes[key].failure is not Failure.DIVERGED
        }


class Driver:
    """Does tasks on a backend, one round (:meth:`run`) after another; leave the context to give the backend
    back."""

    def __init__(
        self,
        store: Store,
        runs: Mapping[str, Training],
        backend: Backend,
        session: Session,
        *,
        title: str = "",
        mirror: Mirror | None = None,
        view: View | None = None,
        clock: Callable[[], float] = time.monotonic,
        hang_after: float = HANG_AFTER,
        serial: bool = False,
    ) -> None:
        self.store, self.runs, self.backend = store, runs, backend
        self.mirror, self.view = mirror, view or NullView()
        self.interrupted = False
        self._title, self._clock, self._hang_after, self._serial = title, clock, hang_after, serial
        self.session = session
        self._started = False
        self._reports: dict[str, dict[str, Any]] = {}
        self._speeds: dict[str, tuple[float, float, float]] = {}
        self._notes: dict[str, str] = {}
        self._capacity: ClusterCapacity | None = None
        self._next_look = 0.0
        self._waiting_said: set[str] = set()
        self._sweeps = sorted({sweep for run in runs.values() for sweep in run.sweeps})

    # ------------------------------------------------------------------ one round

    def run(self, todo: Iterable[ScheduledTask]) -> RoundResult:
        """Do these tasks, as far as they go; returns once nothing more can be started. Ctrl-C stops it
        cleanly."""
        todo = [self._fitted(task) for task in todo]
        self._capacity = None
        scheduler = Scheduler(todo, UNLIMITED, hang_after=self._hang_after)
        if not todo:
            return RoundResult()
        with self._listening(scheduler):
            self._loop(scheduler)
        outcomes = {
            key: outcome for key in scheduler.states() if (outcome := scheduler.outcome(key)) is not None
        }
        return RoundResult(scheduler.states(), outcomes, self.interrupted, scheduler.halted)

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.view.close()
        if self._started:
            self.backend.close()
        self.store.control.delete(self._stop_flag)

    def _fitted(self, task: ScheduledTask) -> ScheduledTask:
        """In process a task has the machine to itself, whatever it asks for."""
        return replace(task, resources=Capacity()) if self._serial else task

    def _loop(self, scheduler: Scheduler) -> None:
        if not self._started:
            self._started = True
            self.backend.start()
        ready = False
        while not scheduler.finished:
            now = self._clock()
            if not ready and self.backend.ready():
                ready = True
                self._arm(scheduler)
                self._next_look = now
            if ready:
                self._measure_capacity(scheduler, now)
                for launch in scheduler.start(now):
                    self._launch(scheduler, launch)
                for finished in self.backend.wait(0.2):
                    self._finish(scheduler, finished)
            elif not self._prepare_here(scheduler, now):
                time.sleep(0.02)
            self._look_after(scheduler)
            self.view.show(self._standing(scheduler))

    def _measure_capacity(self, scheduler: Scheduler, now: float) -> None:
        """Let the scheduler know how much there is, where a cluster has grown or shrunk."""
        if now < self._next_look:
            return
        self._next_look = now + CAPACITY_EVERY
        capacity = self.backend.capacity()
        if capacity != self._capacity:
            self._capacity = capacity
            scheduler.resize(capacity.now, capacity.limit)
            self._note_blocked(scheduler)

    def _prepare_here(self, scheduler: Scheduler, now: float) -> bool:
        """Prepare one data set in this process, while the backend starts; False where there is none to
        prepare."""
        for launch in scheduler.start(now, kinds=frozenset({"prepare"}), most=1):
            outcome = worker.outcome(worker.execute(self._payload(launch)))
            self._finish(scheduler, Finished(launch.task.key, outcome))
            return True
        return False

    # ------------------------------------------------------------------ starting and ending

    def _launch(self, scheduler: Scheduler, launch: Launch) -> None:
        task = launch.task
        reason = self.backend.infeasible(task)
        if reason is not None and self._capacity is not None and self._capacity.may_grow:
            self._notes[task.key] = f"{task.title or task.key} waits for a larger cluster: {reason}"
            scheduler.defer(task.key, self._clock() + LOOK_AGAIN)
            return
        if reason is not None:
            outcome = Outcome(task.key, "failed", Failure.USER_ERROR, reason)
            self._finish(scheduler, Finished(task.key, outcome))
            return
        if task.kind == "train":
            lease = f"run-{task.key}"
            if not self.session.acquire(lease):
                self._notes[task.key] = (
                    f"{task.title}: waiting for {self.session.who(lease)}, which trains it"
                )
                scheduler.defer(task.key, self._clock() + LOOK_AGAIN)
                return
            self._notes.pop(task.key, None)
            if tasks.finished(self.store, self.runs[task.key].config):  # by another driver, while we waited
                self._finish(scheduler, Finished(task.key, Outcome(task.key, "done")))
                return
            self.store.control.delete(_progress_name(task.key))
            if self.mirror is not None:
                for sweep in self.runs[task.key].sweeps:
                    self.mirror.follow(task.key, sweep, Standing.RUNNING)
        self.backend.submit(task, self._payload(launch))

    def _payload(self, launch: Launch) -> dict[str, Any]:
        task = launch.task
        if task.job is None:
            raise ValueError(f"task {task.key} has no job to send to a worker")
        dispatch = Dispatch(
            task=task.key,
            job=task.job,
            micro_batch=launch.micro_batch,
            flags=(self._stop_flag, cancel_flag(task.key)),
            progress=_progress_name(task.key),
        )
        return dispatch.to_json()

    def _finish(self, scheduler: Scheduler, finished: Finished) -> None:
        outcome, key = finished.outcome, finished.task
        task = scheduler.task(key)
        scheduler.finish(outcome, self._clock())
        state = scheduler.state(key)
        if outcome.state == "done" and outcome.message:
            self.view.line(f"{scheduler.task(key).title or key}: {outcome.message}")
        if outcome.state == "failed":
            again = " (tried again)" if state is State.WAITING else ""
            self.view.line(f"{task.title or key}: {outcome.failure}{again}: {_first_line(outcome.message)}")
            self._log(task, outcome)
        self._notes.pop(key, None)
        self._note_blocked(scheduler)
        if task.kind != "train":
            if self.mirror is not None and isinstance(task.job, Evaluate | Decode):
                self.mirror.touch(task.job.key)
            return
        self.session.release(f"run-{key}")
        self.store.control.delete(_progress_name(key))
        if state is State.FAILED and outcome.failure is not Failure.DIVERGED:
            self._record(key, outcome, scheduler.attempts(key))
        elif outcome.state != "failed":
            self.store.record_failure(key, None)
        if self.mirror is not None:
            reason = f"{outcome.failure}: {_first_line(outcome.message)}" if outcome.failure else ""
            self.mirror.follow(key, None, _standing(outcome, state), reason)

    def _note_blocked(self, scheduler: Scheduler) -> None:
        """Record the runs that can no longer start, because what they need has failed."""
        for key in scheduler.newly_blocked():
            outcome = scheduler.outcome(key)
            if outcome is not None and key in self.runs and self.store.failure(key) is None:
                self._record(key, outcome, 0)
                self._log(scheduler.task(key), outcome)

    def _record(self, key: str, outcome: Outcome, attempts: int) -> None:
        record = {k: v for k, v in asdict(outcome).items() if k != "task"}
        self.store.record_failure(key, {**record, "attempts": attempts, "time": time.time()})

    def _log(self, task: ScheduledTask, outcome: Outcome) -> None:
        """Every failed attempt leaves its traceback in the store, for `crossover logs`."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with contextlib.suppress(OSError):
            self.store.log(
                task.key, f"--- {stamp} {outcome.failure}: {outcome.message}\n{outcome.traceback}\n"
            )

    # ------------------------------------------------------------------ signs of life

    def _look_after(self, scheduler: Scheduler) -> None:
        now = self._clock()
        for task in scheduler.running():
            if task.kind != "train":
                continue
            content = self._read_progress(task.key)
            if content is None or content == self._reports.get(task.key):
                continue
            self._measure(task.key, content, now)
            self._reports[task.key] = content
            scheduler.beat(task.key, now)
        for key in scheduler.hung(now):
            scheduler.beat(key, now)
            self.view.line(f"{scheduler.task(key).title}: no sign of life for {self._hang_after:g} s; killed")
            self.backend.kill(key)
        for sweep in self._sweeps:
            if not scheduler.stopping and self.store.cancelled(sweep):
                self.view.line(f"sweep {sweep} was cancelled; stopping")
                self._stop(scheduler)

    def _measure(self, key: str, content: dict[str, Any], now: float) -> None:
        """Tokens a second of a running task, from its last two signs of life with different token counts."""
        tokens = content.get("tokens")
        if tokens is None:
            return
        before = self._speeds.get(key)
        if before is None or tokens < before[0]:
            self._speeds[key] = (tokens, now, 0.0)
        elif tokens > before[0]:
            self._speeds[key] = (tokens, now, (tokens - before[0]) / max(now - before[1], 1e-6))

    def _standing(self, scheduler: Scheduler) -> SweepProgress:
        counts = scheduler.counts
        rows, share = [], {}
        for task in scheduler.running():
            seen = self._reports.get(task.key, {})
            steps = self.runs[task.key].config.steps if task.key in self.runs else 0
            step = int(seen.get("step", 0))
            share[task.key] = step / steps if steps else 0.0
            speed = self._speeds.get(task.key, (0, 0, 0.0))[2]
            rows.append(RunProgress(task.title, step, steps, speed or None, seen.get("loss")))
        slots = min(scheduler.available.cpus, max(len(rows), 1))
        left = scheduler.remaining_seconds(share) / max(slots, 1)
        order = ("running", "done", "failed", "diverged", "blocked", "stopped", "waiting")
        note = scheduler.halted or "; ".join([*self._notes.values(), *self._too_large(scheduler)])
        return SweepProgress(self._title, {name: counts.get(name, 0) for name in order}, rows, left, note)

    def _too_large(self, scheduler: Scheduler) -> list[str]:
        """What waits for more than the backend has in all, in words; each is also said once, as a line."""
        largest = self._capacity.largest if self._capacity is not None else scheduler.available
        texts = []
        for task in scheduler.too_large():
            has = f"there are {scheduler.available} now, {largest} at most so far"
            texts.append(
                f"{task.title or task.key} waits for a larger cluster: it needs {task.resources}; {has}"
            )
            if task.key not in self._waiting_said:
                self._waiting_said.add(task.key)
                self.view.line(texts[-1])
        return texts

    # ------------------------------------------------------------------ stopping

    @property
    def _stop_flag(self) -> str:
        return f"stop-{self.session.id}"

    def _read_progress(self, key: str) -> dict[str, Any] | None:
        try:
            content = self.store.control.read_json(_progress_name(key))
        except (json.JSONDecodeError, OSError):
            return None
        return content if isinstance(content, dict) else None

    def _stop(self, scheduler: Scheduler) -> None:
        scheduler.stop()
        self.store.control.write(self._stop_flag, "")

    @contextlib.contextmanager
    def _listening(self, scheduler: Scheduler) -> Iterator[None]:
        """Hear Ctrl-C and SIGTERM while open; afterwards they do what they did before."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {s: signal.getsignal(s) for s in SIGNALS}
        self._arm(scheduler)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _arm(self, scheduler: Scheduler) -> None:
        """The first signal asks runs to commit and return, a second ends everything at once. (Ray takes
        SIGTERM for itself when it starts, so this is done again afterwards.)"""

        def on_signal(number: int, frame: Any) -> None:
            if self.interrupted:
                os._exit(130)  # what Ray has started dies with this process
            self.interrupted = True
            self._stop(scheduler)
            self.view.line("stopping: runs write a checkpoint and return (again to end them at once)")

        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, on_signal)


def _standing(outcome: Outcome, state: State) -> Standing:
    """How a run stands after an attempt that ended so; one that is tried again is still running."""
    if state is State.WAITING:
        return Standing.RUNNING
    if outcome.failure is not None:
        return Standing.DIVERGED if outcome.failure is Failure.DIVERGED else Standing.FAILED
    return Standing.DONE if outcome.state == "done" else Standing.PARTIAL


def _progress_name(key: str) -> str:
    return f"progress-{key}.json"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:300] if text.strip() else ""
