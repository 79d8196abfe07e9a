"""The interface of a backend."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.failures import Outcome
from orchestrator.scheduler import Resources, Task


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

    def available(self) -> Resources:
        """All it has, idle or not. Blocks until it is started."""

    def infeasible(self, task: Task) -> str | None:
        """Why ``task`` could never start here (no one node holds what it asks for), or None. Blocks until
        started."""

    def submit(self, task: Task, payload: dict[str, Any]) -> None:
        """Run ``payload`` (see `orchestrator.worker.execute`) with the task's resources."""

    def wait(self, seconds: float) -> list[Finished]:
        """What has ended since the last call; waits up to ``seconds`` for the first."""

    def kill(self, key: str) -> None:
        """End a task by force, as far as the backend can; its end is reported by :meth:`wait` like any
        other."""

    def close(self) -> None:
        """Give everything back. What still runs is ended."""


def usable_cores() -> int:
    """Cores this process may use: its affinity, and the limit of its container."""
    try:
        cores: float = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, int(quota) / int(period))
    except (OSError, ValueError):
        pass
    return max(1, round(cores))
