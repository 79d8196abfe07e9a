"""Which task starts next, and what follows from how one ended. Pure: no clock, no I/O; the driver passes the
time in.

Ray has no task priorities and an infeasible task waits there for ever, so the queue is ours. Order is by the
longest path to the end of the plan (a task's own estimate and that of the longest chain that needs it), so
that no long run is left for last and parents come before their children.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from orchestrator.execution.capacity import NOTHING, ONE_CORE, Capacity
from orchestrator.execution.ready_queue import ReadyQueue, longest_paths
from orchestrator.failures import POLICIES, Failure, Outcome, Policy

if TYPE_CHECKING:
    from orchestrator.execution.jobs import Job


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
    resources: Capacity = ONE_CORE
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
OPEN = frozenset({State.WAITING, State.RUNNING})


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
    priority: float = 0.0
    lacking: int = 0
    """How many of the tasks that it needs are not done."""

    @property
    def label(self) -> str:
        """Its state as people count it: a run that diverged has ended, and has not failed."""
        diverged = self.outcome is not None and self.outcome.failure is Failure.DIVERGED
        return "diverged" if diverged and self.state is State.FAILED else self.state.value


class Scheduler:
    """The queue of one `run`. Times are seconds of any clock that does not go back; the caller passes
    ``now``.

    The work of each call depends on what runs and what changes, not on how many tasks there are.
    """

    def __init__(
        self,
        tasks: Iterable[ScheduledTask],
        available: Capacity,
        *,
        limit: Capacity | None = None,
        hang_after: float = 900.0,
        policies: Mapping[Failure, Policy] = POLICIES,
    ) -> None:
        self.available, self._limit = available, limit or available
        self.hang_after = hang_after
        self.halted: str | None = None
        self.stopping = False
        self._policies = policies
        self._entries: dict[str, _Entry] = {}
        self._children: dict[str, list[str]] = {}
        self._ready = ReadyQueue(lambda key: self._entries[key].state is State.WAITING)
        self._delayed: list[tuple[float, str]] = []
        self._running: dict[str, _Entry] = {}
        self._counts: Counter[tuple[bool, str]] = Counter()
        self._waiting = 0
        self._seconds = 0.0
        self._busy = NOTHING
        self._blocked: list[str] = []
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
        for key, task in new.items():
            entry = self._entries[key] = _Entry(task)
            self._children.setdefault(key, [])
            for need in task.needs:
                self._children.setdefault(need, []).append(key)
            self._waiting += 1
            self._seconds += task.seconds
            self._counts[self._group(entry)] += 1
        for key, task in new.items():
            self._entries[key].lacking = sum(self._entries[n].state is not State.DONE for n in task.needs)
        longest = longest_paths({k: e.task.seconds for k, e in self._entries.items()}, self._children)
        for key, entry in self._entries.items():
            entry.priority = longest[key]
        self._ready.clear()
        self._delayed.clear()
        for entry in self._entries.values():
            self._queue(entry)
        for key in new:
            if any(self._dead(need) for need in self._entries[key].task.needs):
                self._block(key)
        self.resize(self.available, self._limit)

    def resize(self, available: Capacity, limit: Capacity | None = None) -> None:
        """The backend has this much in all, and ``limit`` (default: the same) at most in future.

        What can never fit fails here, for Ray would let it wait for ever.
        """
        self.available, self._limit = available, limit or available
        for entry in list(self._entries.values()):
            wants = entry.task.resources
            if entry.state is State.WAITING and not wants.fits(self._limit):
                most = f"there are at most {self._limit.cpus:g} and {self._limit.gpus:g}"
                reason = f"infeasible: needs {wants}; {most}"
                self._fail(entry, Outcome(entry.task.key, "failed", Failure.USER_ERROR, reason))

    def too_large(self) -> list[ScheduledTask]:
        """Of the tasks that are ready, those that wait for more than there is in all: one of each size."""
        heads = [key for resources, key in self._ready.heads() if not resources.fits(self.available)]
        return [self._entries[key].task for key in sorted(heads)]

    @property
    def free(self) -> Capacity:
        """What no running task holds."""
        return self.available - self._busy

    # ------------------------------------------------------------------ starting

    def start(self, now: float, kinds: frozenset[str] | None = None, most: int | None = None) -> list[Launch]:
        """Tasks to start now, longest path first, as many as fit (and at most ``most``); they count as
        running from here on.

        A task that does not fit claims what it lacks, so that smaller ones cannot starve it.
        """
        if self.stopping or self.halted:
            return []
        while self._delayed and self._delayed[0][0] <= now:
            entry = self._entries[heapq.heappop(self._delayed)[1]]
            if entry.not_before <= now:
                entry.not_before = -math.inf
                self._queue(entry)
        started: list[Launch] = []
        count = len(self._entries) if most is None else most
        for key in self._ready.take(self.free, self.available, kinds, count):
            entry = self._entries[key]
            self._set(entry, State.RUNNING)
            entry.attempt, entry.beat = entry.attempt + 1, now
            started.append(Launch(entry.task, entry.attempt, entry.micro_batch))
        return started

    def _queue(self, entry: _Entry) -> None:
        """Put a task that lacks nothing where :meth:`start` finds it, at its time."""
        if entry.state is not State.WAITING or entry.lacking:
            return
        task = entry.task
        if entry.not_before > -math.inf:
            heapq.heappush(self._delayed, (entry.not_before, task.key))
        else:
            self._ready.push(task.key, task.kind, task.resources, entry.priority)

    def _wait(self, entry: _Entry, until: float) -> None:
        self._set(entry, State.WAITING)
        entry.not_before = until
        self._queue(entry)

    def defer(self, key: str, until: float) -> None:
        """Take a started task back: another driver holds its run. The attempt does not count."""
        entry = self._running_entry(key)
        entry.attempt -= 1
        self._wait(entry, until)

    def beat(self, key: str, now: float) -> None:
        """A running task showed a sign of life."""
        self._running_entry(key).beat = now

    def hung(self, now: float) -> list[str]:
        """Training tasks without a sign of life for longer than ``hang_after``; the driver kills them.
        (Others give none.)"""
        silent = (k for k, e in self._running.items() if now - e.beat > self.hang_after)
        return [key for key in silent if self._entries[key].task.kind == "train"]

    def stop(self) -> None:
        """Start nothing more; what runs is asked to stop by the driver."""
        self.stopping = True

    # ------------------------------------------------------------------ ending

    def finish(self, outcome: Outcome, now: float) -> None:
        """Record how a running task ended and apply the policy of its failure class."""
        entry = self._running_entry(outcome.task)
        if outcome.state != "failed":
            self._set(entry, State.DONE if outcome.state == "done" else State.STOPPED, outcome)
            if outcome.state == "done":
                for child in self._children[outcome.task]:
                    self._entries[child].lacking -= 1
                    self._queue(self._entries[child])
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
                message = f"out of memory with one sequence at a time: {outcome.message}"
                self._fail(entry, replace(outcome, message=message))
                return
            entry.micro_batch = math.ceil(current / 2)
        elif policy.attempts is not None and entry.in_a_row >= policy.attempts:
            self._fail(entry, outcome)
            return
        entry.outcome = outcome
        self._wait(entry, now + policy.wait(entry.in_a_row))

    def _fail(self, entry: _Entry, outcome: Outcome) -> None:
        self._set(entry, State.FAILED, outcome)
        self._block_children(entry.task.key)

    def _block_children(self, key: str) -> None:
        """Block everything that waits for a task, however far down; no recursion, for chains are long."""
        stack = [key]
        while stack:
            for child in self._children[stack.pop()]:
                if self._entries[child].state is State.WAITING:
                    self._mark_blocked(child)
                    stack.append(child)

    def _block(self, key: str) -> None:
        if self._entries[key].state is State.WAITING:
            self._mark_blocked(key)
            self._block_children(key)

    def _mark_blocked(self, key: str) -> None:
        entry = self._entries[key]
        dead = self._entries[next(need for need in entry.task.needs if self._dead(need))]
        cause = dead.outcome.message.removeprefix(BLOCKED_BY) if dead.outcome is not None else ""
        named = cause if dead.state is State.BLOCKED else f"{dead.task.title or dead.task.key}: {cause}"
        outcome = Outcome(key, "failed", Failure.BLOCKED, f"{BLOCKED_BY}{named}")
        self._set(entry, State.BLOCKED, outcome)
        self._blocked.append(key)

    def newly_blocked(self) -> list[str]:
        """The tasks that were blocked since the last call."""
        blocked, self._blocked = self._blocked, []
        return blocked

    def _dead(self, key: str) -> bool:
        return self._entries[key].state in (State.FAILED, State.BLOCKED)

    def _running_entry(self, key: str) -> _Entry:
        entry = self._entries[key]
        if entry.state is not State.RUNNING:
            raise ValueError(f"task {key} is {entry.state}, not running")
        return entry

    # ------------------------------------------------------------------ states

    def _set(self, entry: _Entry, state: State, outcome: Outcome | None = None) -> None:
        """Change a task's state, and with it everything that is counted."""
        before, key = entry.state, entry.task.key
        self._counts[self._group(entry)] -= 1
        entry.state, entry.outcome = state, outcome or entry.outcome
        self._counts[self._group(entry)] += 1
        self._waiting += (state is State.WAITING) - (before is State.WAITING)
        self._seconds += entry.task.seconds * ((state in OPEN) - (before in OPEN))
        if before is State.RUNNING:
            del self._running[key]
            self._busy -= entry.task.resources
        if state is State.RUNNING:
            self._running[key] = entry
            self._busy += entry.task.resources
        if not self._running:
            self._busy = NOTHING  # no rounding is carried on

    def _group(self, entry: _Entry) -> tuple[bool, str]:
        return entry.task.kind == "prepare", entry.label

    @property
    def finished(self) -> bool:
        """Nothing runs, and nothing more will be started."""
        if self._running:
            return False
        return self.stopping or self.halted is not None or not self._waiting

    @property
    def counts(self) -> dict[str, int]:
        """How many tasks are in each state, data preparations left out, diverged runs told from failed."""
        return {label: count for (prepares, label), count in self._counts.items() if not prepares}

    def state(self, key: str) -> State:
        return self._entries[key].state

    def states(self) -> dict[str, State]:
        """The state of every task."""
        return {key: e.state for key, e in self._entries.items()}

    def task(self, key: str) -> ScheduledTask:
        return self._entries[key].task

    def outcome(self, key: str) -> Outcome | None:
        """How the last attempt ended; None before one has."""
        return self._entries[key].outcome

    def attempts(self, key: str) -> int:
        return self._entries[key].attempt

    def running(self) -> list[ScheduledTask]:
        return [e.task for e in self._running.values()]

    def remaining_seconds(self, done: Mapping[str, float] | None = None) -> float:
        """Estimated work left, seconds of one slot each; ``done`` is the share finished of running tasks
        (0..1)."""
        shares = (done or {}).items()
        finished = sum(self._entries[k].task.seconds * share for k, share in shares if k in self._running)
        return max(0.0, self._seconds - finished)
