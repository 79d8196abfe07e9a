"""Which evaluations sharpen a crossing: those inside its bracket, close enough together."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.crossover import Crossovers

SPACING = 1.05
"""Ratio of the steps of neighbouring evaluations at a crossing, at most."""


def inside(low: int, high: int, spacing: float = SPACING) -> list[int]:
    """The fewest steps between two, even in their logarithm, that leave no gap wider than ``spacing``.

    A gap of one step cannot be narrower.
    """
    if not spacing > 1:
        raise ValueError(f"spacing must be above 1, not {spacing:g}")
    parts = max(1, math.ceil(math.log(high / low) / math.log(spacing) - 1e-9))
    while True:
        steps = sorted({round(low * (high / low) ** (i / parts)) for i in range(parts + 1)})
        if all(b <= a * spacing or b == a + 1 for a, b in itertools.pairwise(steps)):
            return steps[1:-1]
        parts += 1


def unscored(crossovers: Crossovers, spacing: float = SPACING) -> list[tuple[str, int]]:
    """(run, step) of every evaluation, of both arms, that is missing inside a crossing's bracket."""
    evaluations: set[tuple[str, int]] = set()
    for cell in crossovers.cells:
        for definition in cell.outcomes.values():
            for arms, outcome in zip(cell.arms, definition, strict=True):
                if outcome.crossing is None:
                    continue
                low, high = (int(outcome.curve.step[k]) for k in outcome.crossing.bracket)
                evaluations |= {(arm.run, step) for arm in arms for step in inside(low, high, spacing)}
    return sorted(evaluations)
