"""One worker's share of training: the loop, and the two small files by which the driver stops it and sees
it live.

They work in one process, on one machine and on a shared file system alike.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.config import RunConfig
    from trainers.machine.workers import Workers
    from trainers.run.loop import Result

PROGRESS_EVERY = 0.5
STOP_EVERY = 0.1


def train_share(payload: dict[str, Any], workers: Workers) -> Result:
    """Train a task's run as one of ``workers``."""
    from trainers.run.loop import train

    contact = Contact(Path(payload["progress"]), payload["flags"])
    return train(
        run_config(payload),
        payload["folder"],
        data_root=payload["data_root"],
        report=contact.report,
        stop=contact.stop,
        branch_steps=payload.get("branch_steps", ()),
        workers=workers,
    )


def run_config(payload: dict[str, Any]) -> RunConfig:
    """The run that a task trains, with the micro-batch of this attempt."""
    from trainers.config import RunConfig

    config = RunConfig.model_validate(payload["config"])
    if not payload.get("micro_batch"):
        return config
    resources = config.resources.model_copy(update={"micro_batch": payload["micro_batch"]})
    return config.model_copy(update={"resources": resources})


class Contact:
    """What the training loop is given: ``report`` and ``stop``, and with them the signs of life.

    The progress file is replaced at most every ``PROGRESS_EVERY`` seconds, from either; losing one is
    harmless. The stop flags are looked for at most every ``STOP_EVERY`` seconds.
    """

    def __init__(self, progress: Path, flags: list[str]) -> None:
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
            self._progress.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._progress.with_suffix(f".{os.getpid()}")
            temporary.write_text(text)  # not synced: it is worth nothing after a crash
            os.replace(temporary, self._progress)
