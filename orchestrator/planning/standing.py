"""How a run stands: one vocabulary, and the one function that derives it.

Plans, tables, `crossover status` and MLflow all use these words. What is on disk comes first: a run that has
reached its end is done, whoever holds it and whatever failed before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from trainers.state.folder import Commit


class Standing(StrEnum):
    """How a run stands, as far as one end point reads it."""

    NEW = "new"
    """Nothing of it is on disk."""
    PARTIAL = "partial"
    """Part of it is on disk, and nobody trains it."""
    RUNNING = "running"
    """A living driver trains it."""
    DONE = "done"
    """It has reached its end."""
    DIVERGED = "diverged"
    """Its loss became infinite or no number before the end: a result."""
    FAILED = "failed"
    """Its last attempt failed, and is not repeated by itself."""
    BLOCKED = "blocked"
    """It starts from a run that failed, or that is nowhere."""
    CACHED = "cached"
    """In a plan: it is done, and has every evaluation that the sweep reads. Nothing is left to do."""
    CHECKPOINT_GONE = "retrain: checkpoint gone"
    """In a plan: an evaluation that the sweep reads needs weights that were not kept."""


def standing_of(
    end: int | None,
    commit: Commit | None,
    *,
    leased: bool = False,
    failure: Mapping[str, Any] | None = None,
    blocked: bool = False,
) -> Standing:
    """How a run stands that is read up to step ``end`` (None: up to the end of its last training, which a run
    that somebody holds has not reached).

    ``commit`` is the newest of its folder, ``leased`` says whether a living driver holds it, ``failure`` is
    what the store recorded of its last attempt, and ``blocked`` whether the plan says that it cannot start.
    """
    if leased and end is None:
        return Standing.RUNNING
    if commit is not None:
        if commit.state == "diverged" and (end is None or commit.step <= end):
            return Standing.DIVERGED
        if commit.state == "done" if end is None else commit.step >= end:
            return Standing.DONE
    if leased:
        return Standing.RUNNING
    if failure is not None:
        return Standing.BLOCKED if failure["failure"] == "blocked" else Standing.FAILED
    if blocked:
        return Standing.BLOCKED
    return Standing.PARTIAL if commit is not None and commit.step > 0 else Standing.NEW


def planned_standing(
    trained: Standing, end: int, missing: Collection[int], gone: Collection[int]
) -> Standing:
    """How a run stands in a plan, given how its training stands: ``missing`` are the steps whose evaluation
    can be added from kept weights, ``gone`` those whose weights were not kept."""
    if trained is Standing.BLOCKED:
        return trained
    if any(step <= end for step in gone):
        return Standing.CHECKPOINT_GONE
    if trained is Standing.DONE:
        return Standing.PARTIAL if any(step <= end for step in missing) else Standing.CACHED
    return trained
