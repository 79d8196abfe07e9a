"""Which checkpoints of a run stay: the one rule, for training, for plans that price it, and for `gc`."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from trainers.state.folder import Checkpoint, Commit, RunFolder

Keep = Literal["last", "evals", "branches"]


@dataclass(frozen=True)
class RetentionPolicy:
    """The steps whose checkpoints stay for good.

    ``weights``: steps whose weights stay, to evaluate, sample and export. ``states``: steps whose weights and
    optimizer state stay, to go on training from. Whatever they name, a run keeps its newest checkpoint, and
    the newest that training can go on from.
    """

    weights: frozenset[int] = frozenset()
    states: frozenset[int] = frozenset()

    @classmethod
    def of(
        cls,
        keep: Keep,
        evaluations: Collection[int] = (),
        resume: Collection[int] = (),
        branches: Collection[int] = (),
    ) -> RetentionPolicy:
        """What a run's ``keep`` means.

        ``last`` keeps no step for good. ``branches`` keeps the states of ``branches``, the steps where other
        runs start. ``evals`` also keeps the weights of all ``evaluations``, and the states of those among
        them that are in ``resume``. With ``keep="evals"``, evaluations at 4 and 8, resume points (4,) and a
        branch at 7, the weights of 4, 7 and 8 stay, and the states of 4 and 7.
        """
        whole = frozenset(() if keep == "last" else branches)
        if keep != "evals":
            return cls(whole, whole)
        whole |= frozenset(resume)
        return cls(frozenset(evaluations) | whole, whole)

    def __or__(self, other: RetentionPolicy) -> RetentionPolicy:
        """What either keeps."""
        return RetentionPolicy(self.weights | other.weights, self.states | other.states)

    def up_to(self, step: int) -> tuple[frozenset[int], frozenset[int]]:
        """Steps whose weights, and steps whose states, a run holds when it has been trained to ``step``."""
        states = frozenset(s for s in self.states if s <= step) | {step}
        return states | {s for s in self.weights if s <= step}, states

    def prune(self, checkpoints: Mapping[int, Checkpoint]) -> dict[int, Checkpoint]:
        """The part of ``checkpoints`` (by step) that stays."""
        newest = {
            max((s for s, checkpoint in checkpoints.items() if checkpoint.state is not None), default=None),
            max(checkpoints, default=None),
        }
        stay: dict[int, Checkpoint] = {}
        for step, checkpoint in sorted(checkpoints.items()):
            if step in newest or step in self.states:
                stay[step] = checkpoint
            elif step in self.weights:
                stay[step] = Checkpoint(weights=checkpoint.weights)
        return stay


def retain(
    folder: str | os.PathLike[str] | RunFolder, policy: RetentionPolicy, *, dry_run: bool = False
) -> int:
    """Delete the checkpoints of a run that ``policy`` does not keep; returns the bytes freed.

    It takes the run over as an attempt does, so that whoever trains it meanwhile stops with
    `trainers.components.errors.Superseded`: hold its lease.
    """
    folder = RunFolder.of(folder)
    before = folder.last_commit()
    if before is None:
        return 0
    stay = policy.prune(before.checkpoints)
    after: Commit = before.model_copy(update={"checkpoints": stay}).pruned()
    freed = sum(o.bytes for name, o in before.objects.items() if name not in after.objects)
    if freed and not dry_run:
        folder.begin(folder.config()).commit(checkpoints=stay)
    return freed
