"""Both fronts of a group on the range of budgets that they share, and where they change places there."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.crossover.fronts.entries import FrontEntries
from analysis.crossover.same_n.paired_difference import PLATEAU
from analysis.fitting.estimate import Bound

Array = NDArray[np.float64]

_SPACING = math.log(1.02)
_MOST = 1500


@dataclass(frozen=True)
class SharedRange:
    """Both fronts on a grid of their shared range: ``log_c`` [K], ``losses`` [2, K], ``counted`` [K] past the
    start-up plateau, ``ok`` [2, K] bracketed. ``place`` log C of the crossing or an infinity, ``k`` its grid
    interval, ``others`` earlier changes of the lead."""

    log_c: Array
    losses: Array
    counted: NDArray[np.bool_]
    ok: NDArray[np.bool_]
    place: float
    k: int
    others: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, p: FrontEntries, metric: str) -> SharedRange:
        first, second = p.fronts
        low = math.log(max(first.reach[0], second.reach[0]))
        high = math.log(min(first.reach[1], second.reach[1]))
        count = int(np.clip((high - low) / _SPACING, 2, _MOST)) if high > low else 0
        log_c = np.linspace(low, high, count)
        equal = [np.full(len(f.seeds), 1.0 / len(f.seeds)) for f in p.fronts]
        losses = np.stack([f.loss(w, log_c) for f, w in zip(p.fronts, equal, strict=True)])
        counted = np.ones(len(log_c), dtype=bool)
        if metric == "nll" and math.isfinite(p.entropy):
            below = losses <= p.entropy - PLATEAU
            counted = np.logical_and.reduce(np.maximum.accumulate(below, axis=1), axis=0)
        ok = np.stack([f.bracketed(w, log_c) for f, w in zip(p.fronts, equal, strict=True)])
        place, k, others = _cross(losses[1] - losses[0], log_c, counted)
        return cls(log_c, losses, counted, ok, place, k, others)


def _cross(
    d: Array, log_c: Array, counted: NDArray[np.bool_]
) -> tuple[float, int, tuple[tuple[str, float], ...]]:
    """The crossing after which the second stays ahead to the end of the range: log C, its grid interval, and
    earlier changes of the lead. +inf where the first is ahead at the end, -inf where the second is
    throughout."""
    use = np.flatnonzero(counted & np.isfinite(d))
    if not len(use):
        return math.inf, -1, ()
    changes = []
    for i, j in itertools.pairwise(use):
        if (d[i] > 0) != (d[j] > 0):
            at = float(log_c[i] + (log_c[j] - log_c[i]) * d[i] / (d[i] - d[j]))
            changes.append(("up" if d[j] <= 0 else "down", at, int(i)))
    if d[use[-1]] > 0:
        return math.inf, -1, tuple((w, c) for w, c, _ in changes)
    if not changes:
        return -math.inf, -1, ()
    *earlier, (_, place, k) = changes
    return place, k, tuple((w, c) for w, c, _ in earlier)


def place_under(p: FrontEntries, c: SharedRange, seeds: list[str], weights: Array) -> float:
    """log C of the crossing under weights [R] of the study's replicates."""
    if len(c.log_c) == 0:
        return math.inf
    sides = []
    for front in p.fronts:
        mine = weights[[seeds.index(s) for s in front.seeds]]
        sides.append(front.loss(mine / mine.sum(), c.log_c))
    return _cross(sides[1] - sides[0], c.log_c, c.counted)[0]


def place_or_bound(c: SharedRange, names: tuple[str, str]) -> tuple[float | None, Bound | None, str | None]:
    """(log C or its bound, which bound, why a place is refused).

    A place that is refused leaves the bound that budgets
    with both fronts bracketed give."""
    if len(c.log_c) == 0:
        return None, None, "the two fronts share no budget"
    if not c.counted.any():
        return None, None, "a front never leaves the start-up plateau"
    both = c.ok.all(axis=0) & c.counted
    before = np.flatnonzero(both & (c.losses[1] > c.losses[0]) & (c.log_c < c.place))
    after = np.flatnonzero(both & (c.losses[1] <= c.losses[0]) & (c.log_c > c.place))
    reason = None
    if math.isfinite(c.place):
        if both[[c.k, min(c.k + 1, len(both) - 1)]].all():
            return c.place, None, None
        loose = [n for n, ok in zip(names, c.ok, strict=True) if not ok[c.k]] or list(names)
        reason = (
            f"not bracketed: where the envelopes cross, the best size of {' and '.join(loose)} is an extreme "
            "of those tried, or one that still improves; add sizes or train on"
        )
    if len(before):
        return float(c.log_c[before[-1]]), "lower", reason
    if len(after):
        return float(c.log_c[after[0]]), "upper", reason
    never = "not bracketed: at no budget were sizes on both sides of both arms' best ones tried"
    return None, None, reason or never
