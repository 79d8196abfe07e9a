"""Which evaluations a verdict rests on, and are not yet scored precisely enough."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.crossover.same_n.arm import Arm
from analysis.crossover.same_n.location import SameNCrossovers, locate_same_n

PRECISE = 0.005
"""Largest Monte-Carlo standard error, nats per token, of a value that a verdict rests on."""


def wanted_precision(
    runs: Any, curves: Any = None, scores: Any = None, *, precise: float = PRECISE, **options: Any
) -> list[tuple[str, int]]:
    """(run, step) of every bracket end, and of every best value, whose Monte-Carlo error exceeds ``precise``.

    ``runs`` may be a finished :class:`Crossovers`; otherwise the arguments are those of :func:`locate`.
    Scoring these again can move a bracket by an evaluation, so call it until it returns nothing.
    """
    crossovers = runs if isinstance(runs, SameNCrossovers) else locate_same_n(runs, curves, scores, **options)
    coarse: set[tuple[str, int]] = set()
    for cell in crossovers.cells:
        for (first, second), raw, best in zip(
            cell.arms, cell.outcomes["raw"], cell.outcomes["best_so_far"], strict=True
        ):
            for arm in (first, second):
                steps = {float(arm.step[arm.best_so_far()[-1]])}
                if raw.crossing is not None:
                    steps |= {float(raw.curve.step[k]) for k in raw.crossing.bracket}
                if best.crossing is not None:
                    steps |= {_selected(arm, float(best.curve.step[k])) for k in best.crossing.bracket}
                coarse |= {(arm.run, int(s)) for s in steps if _coarse(arm, s, precise)}
    return sorted(coarse)


def _selected(arm: Arm, step: float) -> float:
    """The step that early stopping would have kept at ``step``."""
    upto = max(int(np.searchsorted(arm.step, step, side="right")) - 1, 0)
    return float(arm.step[arm.best_so_far()[upto]])


def _coarse(arm: Arm, step: float, precise: float) -> bool:
    """Whether the evaluation is a Monte-Carlo value with too large an error, or one that is not known."""
    if arm.likelihood == "exact":
        return False
    k = int(np.searchsorted(arm.step, step))
    if k >= len(arm) or arm.step[k] != step:
        return False
    return not arm.b.mc_se[k] <= precise
