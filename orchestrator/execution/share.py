"""One worker's share of training: the loop, and the two small objects of the store by which the driver stops
it and sees it live.

They work in one process, on one machine, and wherever the store is reached alike.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.store.store import Store
from trainers.components.component import Frozen
from trainers.config import RunConfig
from trainers.state.storage import Storage

if TYPE_CHECKING:
    from trainers.machine.workers import Workers
    from trainers.run.result import Result

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
        contact = Contact(store.control.storage, self.progress, self.flags)
        return train(
            self.config,
            store.run(self.config.training_key),
            data_root=store.fetch(self.config.data),
            report=contact.report,
            stop=contact.stop,
            branch_steps=self.branch_steps,
            workers=workers,
        )


class Contact:
    """What the training loop is given: ``report`` and ``stop``, and with them the signs of life.

    The progress object is replaced at most every ``PROGRESS_EVERY`` seconds, from either; losing one is
    harmless. The stop flags are looked for at most every ``STOP_EVERY`` seconds.
    """

    def __init__(self, control: Storage, progress: str, flags: Sequence[str]) -> None:
        self._control, self._progress = control, progress
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
            self._stop = any(self._is_set(flag) for flag in self._flags)
            self._write()
        return self._stop

    def _write(self) -> None:
        now = time.monotonic()
        if now >= self._next_write:
            self._next_write = now + PROGRESS_EVERY
            self._beats += 1
            text = json.dumps({**self._seen, "beat": self._beats})
            self._control.put(self._progress, text.encode(), durable=False)  # worth nothing after a crash

    def _is_set(self, flag: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            self._control.get(flag)
            return True
        return False
