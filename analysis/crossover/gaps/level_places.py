"""How much of a resource a curve needs to come down to a level of loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.crossover.gaps.replicates import ReplicateValue
from analysis.crossover.place import Side
from analysis.crossover.same_n.arm import Arm, influence

Array = NDArray[np.float64]

MOST_LEVELS = 8
_STEPS = (1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Reach:
    """The logarithm of the amount at which a curve first is at a level.

    ``side``: ``right``, the curve ends above the level, and ``log`` is where; ``left``, it begins below;
    ``open``, nothing is known. ``between``: the points on either side; ``weight`` of the second. ``parts``
    [n]: what each validation sequence adds to the error of ``log``.
    """

    log: float
    side: Side | Literal["open"] | None = None
    between: tuple[int, int] = (-1, -1)
    weight: float = 0.0
    parts: Array | None = None


def reach(log_x: Array, loss: Array, level: float) -> Reach:
    """Where a curve ``loss`` [K] over ``log_x`` [K] first comes down to a level: linear in between."""
    below = np.flatnonzero(loss <= level)
    if not len(loss):
        return Reach(math.nan, "open")
    if not len(below):
        return Reach(float(log_x[-1]), "right")
    k = int(below[0])
    if k == 0:
        return Reach(float(log_x[0]), "left")
    weight = float((loss[k - 1] - level) / (loss[k - 1] - loss[k]))
    return Reach(float((1 - weight) * log_x[k - 1] + weight * log_x[k]), between=(k - 1, k), weight=weight)


def arm_reach(arm: Arm, log_x: Array, level: float) -> Reach:
    """The same of an arm's best values so far, selected on half A and read on half B, with its error."""
    best = arm.best_so_far()
    loss = arm.b.value[best]
    place = reach(log_x, loss, level)
    if place.side is not None or arm.b.sequences is None or arm.b.weights is None:
        return place
    low, high = place.between
    values = (1 - place.weight) * arm.b.sequences[best[low]] + place.weight * arm.b.sequences[best[high]]
    if not np.isfinite(values).all():
        return place
    near = slice(max(low - 2, 0), high + 3)
    slope = float(np.polyfit(log_x[near], loss[near], 1)[0])
    slope = slope if slope < 0 else float((loss[high] - loss[low]) / (log_x[high] - log_x[low]))
    return replace(place, parts=influence(values, arm.b.weights) / -slope)


def log_ratio(first: Reach, second: Reach) -> ReplicateValue | None:
    """Second over first: a bound where one of them is, None where nothing follows."""
    at_least = second.side == "right" or first.side == "left"
    at_most = second.side == "left" or first.side == "right"
    if "open" in (first.side, second.side) or (at_least and at_most):
        return None
    parts = None
    if first.parts is not None and second.parts is not None and first.parts.shape == second.parts.shape:
        parts = second.parts - first.parts
    side: Side | None = "right" if at_least else "left" if at_most else None
    return ReplicateValue(second.log - first.log, side, parts)


def round_levels(low: float, high: float, most: int = MOST_LEVELS) -> list[float]:
    """The multiples of 1, 2 or 5 times a power of ten inside a range, as fine as ``most`` allows, highest
    first."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return []
    power = math.floor(math.log10(high - low)) - 2
    for exponent in range(power, power + 5):
        for step in _STEPS:
            width = step * 10.0**exponent
            first, last = math.ceil(low / width - 1e-9), math.floor(high / width + 1e-9)
            if last - first < most:
                return [round(k * width, 10) for k in range(last, first - 1, -1)]
    return []


def span(twins: Sequence[tuple[Arm, Arm]], ceiling: float) -> tuple[float, float]:
    """The levels that pairs of runs speak of, below a ceiling: from the least best value of any run up to the
    highest that lies below the beginning of both runs of a pair."""
    both = [pair for pair in twins if len(pair[0]) and len(pair[1])]
    if not both:
        return math.nan, math.nan
    ends = min(float(a.b.value[a.best_so_far()[-1]]) for pair in both for a in pair)
    begins = max(min(float(a.b.value[0]) for a in pair) for pair in both)
    return ends, min(begins, ceiling)
