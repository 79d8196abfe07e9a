"""One worker's share of training: the loop, and the two small files by which the driver stops it and sees
it live.

They work in one process, on one machine and on a shared file system alike.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.store.store import Store
from trainers.components.component import Frozen
from trainers.components.files import write_file
from trainers.config import RunConfig

if TYPE_CHECKING:
    from trainers.machine.workers import Workers
    from trainers.run.loop import Result

PROGRESS_EVERY = 0.5
STOP_EVERY = 0.1


class Share(Frozen):
    """What each of a run's workers is given; ``config`` has the micro-batch of this attempt."""

    store: str
    config: RunConfig
    branch_steps: tuple[int, ...] = ()
    flags: tuple[str, ...] = ()
    progress: str

    def train(self, workers: Workers) -> Result:
        """Train the run as one of ``workers``."""
        from trainers.run.loop import train

        store = Store.at(self.store)
        contact = Contact(Path(self.progress), self.flags)
        return train(
            self.config,
            store.run(self.config.training_key),
            data_root=store.data,
            report=contact.report,
            stop=contact.stop,
            branch_steps=self.branch_steps,
            workers=workers,
        )


class Contact:
    """What the training loop is given: ``report`` and ``stop``, and with them the signs of life.

    The progress file is replaced at most every ``PROGRESS_EVERY`` seconds, from either; losing one is
    harmless. The stop flags are looked for at most every ``STOP_EVERY`` seconds.
    """

    def __init__(self, progress: Path, flags: Sequence[str]) -> None:
        self._progress = progress
        self._flags = flags
        self._next_look = self._next_write = 0.0
        self._stop, self._beats = False, 0
        self._seen: dict[str, Any] = {}

    def report(self, event: dict[str, Any]) -> None:
        first_step = not self._seen.get("step") and event.get("step")
        self._seen |= {k: v for k, v in event.items() if isinstance(v, int | float | str) and k != "event"}
        if first_step:
            self._next_write = 0.0
        self._write()

    def stop(self) -> bool:
        now = time.monotonic()
        if not self._stop and now >= self._next_look:
            self._next_look = now + STOP_EVERY
            self._stop = any(os.path.exists(path) for path in self._flags)
            self._write()
        return self._stop

    def _write(self) -> None:
        now = time.monotonic()
        if now >= self._next_write:
            self._next_write = now + PROGRESS_EVERY
            self._beats += 1
            text = json.dumps({**self._seen, "beat": self._beats})
            write_file(self._progress, text, sync=False)  # it is worth nothing after a crash
