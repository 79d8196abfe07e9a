"""Fewer checkpoints for a run that is no longer trained: what stays is said, the rest is deleted."""

from __future__ import annotations

import os
from collections.abc import Collection

from trainers.state.folder import Commit, Kept, RunFolder


def narrowed(commit: Commit, weights: Collection[int], states: Collection[int]) -> Commit:
    """``commit`` with the checkpoints of the steps ``weights`` and ``states`` (weights too) alone.

    The newest checkpoint stays always, and so does the newest that training can go on from.
    """
    whole = [step for step, kept in commit.checkpoints.items() if kept.state is not None]
    newest = {max(whole, default=-1), max(commit.checkpoints, default=-1)}
    stay: dict[int, Kept] = {}
    for step, kept in commit.checkpoints.items():
        if step in newest or step in states:
            stay[step] = kept
        elif step in weights:
            stay[step] = Kept(weights=kept.weights)
    return commit.model_copy(update={"checkpoints": stay}).pruned()


def retain(
    folder: str | os.PathLike[str] | RunFolder,
    weights: Collection[int],
    states: Collection[int],
    *,
    dry_run: bool = False,
) -> int:
    """Keep what :func:`narrowed` says, delete the rest; the bytes freed.

    It takes the run over as an attempt does, so whoever trains it meanwhile stops with
    `trainers.state.folder.Superseded`: hold its lease.
    """
    folder = RunFolder.of(folder)
    before = folder.last_commit()
    if before is None:
        return 0
    after = narrowed(before, weights, states)
    freed = sum(o.bytes for name, o in before.objects.items() if name not in after.objects)
    if freed and not dry_run:
        folder.begin(folder.config()).commit(checkpoints=after.checkpoints)
    return freed
