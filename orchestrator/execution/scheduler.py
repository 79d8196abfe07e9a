"""Which task starts next, and what follows from how one ended. Pure: no clock, no I/O; the driver passes the
time in.

Ray has no task priorities and an infeasible task waits there for ever, so the queue is ours. Order is by the
longest path to the end of the plan (a task's own estimate and that of the longest chain that needs it), so
that no long run is left for last and parents come before their children.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from orchestrator.failures import POLICIES, Failure, Outcome, Policy

if TYPE_CHECKING:
    from orchestrator.execution.jobs import Job


@dataclass(frozen=True)
class Capacity:
    """What a task holds while it runs, or what a backend has: CPU cores and GPUs (fractions allowed)."""

    cpus: float = 1.0
    gpus: float = 0.0

    def fits(self, free: Capacity) -> bool:
        return self.cpus <= free.cpus + 1e-9 and self.gpus <= free.gpus + 1e-9

    def each(self, workers: int) -> Capacity:
        """What one of ``workers`` holds that share these evenly."""
        return Capacity(self.cpus / workers, self.gpus / workers)

    def holds(self, worker: Capacity) -> int:
        """How many such workers fit at once."""
        shares = [(self.cpus, worker.cpus), (self.gpus, worker.gpus)]
        return min((int(has / wants + 1e-9) for has, wants in shares if wants), default=1)

    def __add__(self, other: Capacity) -> Capacity:
        return Capacity(self.cpus + other.cpus, self.gpus + other.gpus)

    def __sub__(self, other: Capacity) -> Capacity:
        return Capacity(self.cpus - other.cpus, self.gpus - other.gpus)


@dataclass(frozen=True)
class ScheduledTask:
    """One node of the plan: data to prepare, a run to train, an evaluation to do again more precisely.

    ``key`` is unique; ``needs`` are the keys that must be done before; ``seconds`` is the estimate that
    orders the queue; ``batch`` is the largest micro-batch (a worker's share of the global batch), for
    halving; ``workers`` share ``resources`` evenly; ``job`` is what a worker is told to do, of which the
    scheduler knows nothing.
    """

    key: str
    kind: Literal["prepare", "train", "evaluate", "decode"]
    needs: tuple[str, ...] = ()
    seconds: float = 1.0
    resources: Capacity = Capacity()
    batch: int = 1
    workers: int = 1
    title: str = ""
    job: Job | None = None


class State(StrEnum):
    """Where a task stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"
    STOPPED = "stopped"


BLOCKED_BY = "what it needs failed: "

FINAL = frozenset({State.DONE, State.FAILED, State.BLOCKED})


@dataclass(frozen=True)
class Launch:
    """One try at a task. ``micro_batch`` is None unless an earlier one ran out of memory."""

    task: ScheduledTask
    number: int = 1
    micro_batch: int | None = None


@dataclass
class _Entry:
    task: ScheduledTask
    state: State = State.WAITING
    attempt: int = 0
    micro_batch: int | None = None
    not_before: float = -math.inf
    beat: float = -math.inf
    progress: int = 0
    in_a_row: int = 0
    outcome: Outcome | None = None
    priority: float | None = None


class Scheduler:
    """The queue of one `run`. Times are seconds of any clock that does not go back; the caller passes
    ``now``."""

    def __init__(
        self,
        tasks: Iterable[ScheduledTask],
        available: Capacity,
        *,
        hang_after: float = 900.0,
        policies: Mapping[Failure, Policy] = POLICIES,
    ) -> None:
        self.available = available
        self.hang_after = hang_after
        self.halted: str | None = None
        self.stopping = False
        self._policies = policies
        self._entries: dict[str, _Entry] = {}
        self._fingerprints: dict[tuple[Failure, str], int] = {}
        self.add(tasks)

    # ------------------------------------------------------------------ the plan

    def add(self, tasks: Iterable[ScheduledTask]) -> None:
        """Take more tasks; one that is known already is ignored. What they need must be known or among
        them."""
        new = {t.key: t for t in tasks if t.key not in self._entries}
        for task in new.values():
            missing = [key for key in task.needs if key not in self._entries and key not in new]
            if missing:
                raise ValueError(f"task {task.key} needs {', '.join(missing)}, which the plan does not hold")
        self._entries |= {key: _Entry(task) for key, task in new.items()}
        self._rank()
        for entry in self._entries.values():
            if entry.state is State.WAITING and any(self._dead(need) for need in entry.task.needs):
                self._block(entry)
        self.resize(self.available)

    def resize(self, available: Capacity) -> None:
        """The backend has this much in all. What can never fit fails here, for Ray would let it wait for
        ever."""
        self.available = available
        for entry in self._entries.values():
            if entry.state is State.WAITING and not entry.task.resources.fits(self.available):
                has, wants = self.available, entry.task.resources
                reason = (
                    f"needs {wants.cpus:g} CPUs and {wants.gpus:g} GPUs; "
                    f"there are at most {has.cpus:g} and {has.gpus:g}"
                )
                self._fail(
                    entry, Outcome(entry.task.key, "failed", Failure.USER_ERROR, f"infeasible: {reason}")
                )

    def _rank(self) -> None:
        children: dict[str, list[_Entry]] = {key: [] for key in self._entries}
        for entry in self._entries.values():
            entry.priority = None
            for need in entry.task.needs:
                children[need].append(entry)
        visiting: set[str] = set()
        stack = list(self._entries)
        while stack:
            key = stack[-1]
            entry = self._entries[key]
            if entry.priority is not None:
                stack.pop()
                continue
            below = [c for c in children[key] if c.priority is None]
            if below and key in visiting:
                raise ValueError(f"the plan has a cycle through task {key}")
            if below:
                visiting.add(key)
                stack += [c.task.key for c in below]
                continue
            visiting.discard(key)
            entry.priority = entry.task.seconds + max((c.priority or 0.0 for c in children[key]), default=0.0)
            stack.pop()

    # ------------------------------------------------------------------ starting

    def start(self, now: float, kinds: frozenset[str] | None = None, most: int | None = None) -> list[Launch]:
        """Tasks to start now, longest path first, as many as fit (and at most ``most``); they count as
        running from here on.

        A task that does not fit claims what it lacks, so that smaller ones cannot starve it.
        """
        started: list[Launch] = []
        if self.stopping or self.halted:
            return started
        free, claimed = self.free, set()
        for entry in sorted(self._ready(now), key=lambda e: (-(e.priority or 0.0), e.task.key)):
            if kinds is not None and entry.task.kind not in kinds:
                continue
            if most is not None and len(started) >= most:
                break
            wants = entry.task.resources
            if (wants.cpus and "cpus" in claimed) or (wants.gpus and "gpus" in claimed):
                continue
            if not wants.fits(free):
                claimed |= {"cpus"} if wants.cpus > free.cpus + 1e-9 else set()
                claimed |= {"gpus"} if wants.gpus > free.gpus + 1e-9 else set()
                continue
            free -= wants
            entry.state, entry.attempt, entry.beat = State.RUNNING, entry.attempt + 1, now
            started.append(Launch(entry.task, entry.attempt, entry.micro_batch))
        return started

    def _ready(self, now: float) -> list[_Entry]:
        return [
            e
            for e in self._entries.values()
            if e.state is State.WAITING
            and e.not_before <= now
            and all(self._entries[need].state is State.DONE for need in e.task.needs)
        ]

    @property
    def free(self) -> Capacity:
        """What no running task holds."""
        free = self.available
        for entry in self._entries.values():
            if entry.state is State.RUNNING:
                free -= entry.task.resources
        return free

    def defer(self, key: str, until: float) -> None:
        """Take a started task back: another driver holds its run. The attempt does not count."""
        entry = self._running(key)
        entry.state, entry.attempt, entry.not_before = State.WAITING, entry.attempt - 1, until

    def beat(self, key: str, now: float) -> None:
        """A running task showed a sign of life."""
        self._running(key).beat = now

    def hung(self, now: float) -> list[str]:
        """Training tasks without a sign of life for longer than ``hang_after``; the driver kills them.
        (Others give none.)"""
        running = [
            (k, e) for k, e in self._entries.items() if e.state is State.RUNNING and e.task.kind == "train"
        ]
        return [k for k, e in running if now - e.beat > self.hang_after]

    def stop(self) -> None:
        """Start nothing more; what runs is asked to stop by the driver."""
        self.stopping = True

    # ------------------------------------------------------------------ ending

    def finish(self, outcome: Outcome, now: float) -> None:
        """Record how a running task ended and apply the policy of its failure class."""
        entry = self._running(outcome.task)
        entry.outcome = outcome
        if outcome.state == "done":
            entry.state = State.DONE
            return
        if outcome.state == "stopped":
            entry.state = State.STOPPED
            return
        if outcome.failure is None:
            raise ValueError(f"a failed outcome must name its class: {outcome}")
        policy = self._policies[outcome.failure]
        entry.in_a_row = 1 if outcome.progress > entry.progress else entry.in_a_row + 1
        entry.progress = max(entry.progress, outcome.progress)
        if policy.halts is not None:
            same = (outcome.failure, outcome.fingerprint)
            self._fingerprints[same] = self._fingerprints.get(same, 0) + 1
            if self._fingerprints[same] >= policy.halts and self.halted is None:
                self.halted = f"{outcome.failure}: {outcome.message}" + (
                    f" ({policy.halts} times the same)" if policy.halts > 1 else ""
                )
        if policy.halve_micro_batch:
            current = entry.micro_batch or outcome.details.get("micro_batch") or entry.task.batch
            if current <= 1:
                self._fail(
                    entry,
                    replace(outcome, message=f"out of memory with one sequence at a time: {outcome.message}"),
                )
                return
            entry.micro_batch = math.ceil(current / 2)
        elif policy.attempts is not None and entry.in_a_row >= policy.attempts:
            self._fail(entry, outcome)
            return
        entry.state, entry.not_before = State.WAITING, now + policy.wait(entry.in_a_row)

    def _fail(self, entry: _Entry, outcome: Outcome) -> None:
        entry.outcome = outcome
        entry.state = State.FAILED
        for other in self._entries.values():
            if other.state is State.WAITING and entry.task.key in other.task.needs:
                self._block(other)

    def _block(self, entry: _Entry) -> None:
        dead = self._entries[next(need for need in entry.task.needs if self._dead(need))]
        cause = dead.outcome.message.removeprefix(BLOCKED_BY) if dead.outcome is not None else ""
        message = (
            f"{BLOCKED_BY}{cause}"
            if dead.state is State.BLOCKED
            else f"{BLOCKED_BY}{dead.task.title or dead.task.key}: {cause}"
        )
        entry.state = State.BLOCKED
        entry.outcome = Outcome(entry.task.key, "failed", Failure.BLOCKED, message)
        for other in self._entries.values():
            if other.state is State.WAITING and entry.task.key in other.task.needs:
                self._block(other)

    def _dead(self, key: str) -> bool:
        return self._entries[key].state in (State.FAILED, State.BLOCKED)

    def _running(self, key: str) -> _Entry:
        entry = self._entries[key]
        if entry.state is not State.RUNNING:
            raise ValueError(f"task {key} is {entry.state}, not running")
        return entry

    # ------------------------------------------------------------------ reading

    @property
    def finished(self) -> bool:
        """Nothing runs, and nothing more will be started."""
        states = {e.state for e in self._entries.values()}
        if State.RUNNING in states:
            return False
        return self.stopping or self.halted is not None or State.WAITING not in states

    def state(self, key: str) -> State:
        return self._entries[key].state

    def states(self) -> dict[str, State]:
        return {key: e.state for key, e in self._entries.items()}

    def task(self, key: str) -> ScheduledTask:
        return self._entries[key].task

    def outcome(self, key: str) -> Outcome | None:
        """How the last attempt ended; None before one has."""
        return self._entries[key].outcome

    def attempts(self, key: str) -> int:
        return self._entries[key].attempt

    def running(self) -> list[ScheduledTask]:
        return [e.task for e in self._entries.values() if e.state is State.RUNNING]

    def remaining_seconds(self, done: Mapping[str, float] | None = None) -> float:
        """Estimated work left, seconds of one slot each; ``done`` is the share finished of running tasks
        (0..1)."""
        done = done or {}
        open_states = (State.WAITING, State.RUNNING)
        return sum(
            e.task.seconds * (1 - done.get(k, 0.0))
            for k, e in self._entries.items()
            if e.state in open_states
        )
