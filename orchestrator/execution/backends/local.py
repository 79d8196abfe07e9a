"""The in-process backend: one task after another, in a thread, so that the driver keeps hearing Ctrl-C."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from orchestrator.execution import worker
from orchestrator.execution.backends.base import Finished
from orchestrator.execution.capacity import Capacity, ClusterCapacity
from orchestrator.execution.scheduler import ScheduledTask


class LocalBackend:
    """Runs one task at a time in this process. A task cannot be killed, only asked to stop; so a hang is not
    ended here."""

    def __init__(
        self,
        execute: Callable[[dict[str, Any]], dict[str, Any]] = worker.execute,
        resources: Capacity | None = None,
    ) -> None:
        self._execute = execute
        self._resources = resources or Capacity(cpus=1, gpus=1)
        self._todo: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[Finished] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="local-backend", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ready(self) -> bool:
        return True

    def capacity(self) -> ClusterCapacity:
        return ClusterCapacity.fixed(self._resources)

    def infeasible(self, task: ScheduledTask) -> str | None:
        """Resources are not counted here, a task simply has the machine to itself; but it is one process."""
        if task.workers > 1:
            return f"resources.workers: {task.workers} workers need Ray; leave out --local, or set it to 1"
        return None

    def submit(self, task: ScheduledTask, payload: dict[str, Any]) -> None:
        self._todo.put((task.key, payload))

    def wait(self, seconds: float) -> list[Finished]:
        try:
            ended = [self._ended.get(timeout=seconds)]
        except queue.Empty:
            return []
        while not self._ended.empty():
            ended.append(self._ended.get())
        return ended

    def kill(self, key: str) -> None:
        """Not possible within a process."""

    def close(self) -> None:
        self._todo.put(None)

    def _work(self) -> None:
        while (item := self._todo.get()) is not None:
            key, payload = item
            self._ended.put(Finished(key, worker.outcome(self._execute(payload))))
