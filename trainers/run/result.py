"""How training ended: what a run's folder holds of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from trainers.config import RunConfig
from trainers.state.folder import Event, RunFolder


@dataclass(frozen=True)
class Result:
    """How a call of `trainers.train` ended. ``stopped``: by ``stop``, at a checkpoint; the same call goes on
    from there.
    """

    folder: RunFolder
    key: str
    state: Literal["done", "stopped", "diverged"]
    step: int
    history: list[Event]

    @classmethod
    def of(cls, config: RunConfig, folder: str | os.PathLike[str] | RunFolder) -> Result:
        """What a folder holds of a run, up to ``config.steps``; ``FileNotFoundError`` if nothing."""
        folder = RunFolder.of(folder)
        commit = folder.last_commit()
        if commit is None:
            raise FileNotFoundError(f"run {folder.name} has no commit")
        state: Literal["done", "stopped", "diverged"] = "done" if commit.step >= config.steps else "stopped"
        if commit.state == "diverged" and commit.step <= config.steps:
            state = "diverged"
        step = min(commit.step, config.steps)
        return cls(folder, config.training_key, state, step, folder.history(until=step))

    @property
    def evaluations(self) -> list[Event]:
        """Evaluation events in order."""
        return [e for e in self.history if e["event"] == "evaluation"]

    @property
    def final(self) -> Event | None:
        """The last evaluation."""
        return self.evaluations[-1] if self.evaluations else None
