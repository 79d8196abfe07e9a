"""The interface of a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.execution.capacity import ClusterCapacity
from orchestrator.execution.scheduler import ScheduledTask
from orchestrator.failures import Outcome


@dataclass(frozen=True)
class Finished:
    """A task that is no longer running, however it ended."""

    task: str
    outcome: Outcome


class Backend(Protocol):
    """Runs tasks that the scheduler has chosen. It keeps no queue: what is submitted is meant to start at
    once."""

    def start(self) -> None:
        """Begin to start up; returns at once."""

    def ready(self) -> bool:
        """Started? Raises what went wrong in starting."""

    def capacity(self) -> ClusterCapacity:
        """All it has, idle or not, and whether that may grow: the driver asks every few seconds. Blocks until
        it is started."""

    def infeasible(self, task: ScheduledTask) -> str | None:
        """Why ``task`` cannot start here as things are (no one node holds what it needs), or None. Where the
        capacity may grow, the driver asks again later. Blocks until started."""

    def submit(self, task: ScheduledTask, payload: dict[str, Any]) -> None:
        """Run ``payload`` (see `orchestrator.execution.worker.execute`) with the task's resources."""

    def wait(self, seconds: float) -> list[Finished]:
        """What has ended since the last call; waits up to ``seconds`` for the first."""

    def kill(self, key: str) -> None:
        """End a task by force, as far as the backend can; its end is reported by :meth:`wait` like any
        other."""

    def close(self) -> None:
        """Give everything back. What still runs is ended."""
