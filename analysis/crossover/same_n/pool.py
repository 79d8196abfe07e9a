"""From replicates to a cell: the geometric mean of the places, with an interval over replicates.

A replicate is a data subset and a seed. With two or three of them a cell's own variance says little, so the
variance of log(place) is pooled over the cells of a study, with Student's t. Cells of one replicate are
correlated (their subsets are nested), so the pooled variance has fewer degrees of freedom than contrasts: nu
= C (n-1) / (1 + (C-1) rho^2), rho being the correlation of two cells' contrasts (Satterthwaite 1946). What
the replicates share, the validation text and its mask draws, does not average out and is added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.crossover.same_n.outcome import Outcome

Array = NDArray[np.float64]

OWN_VARIANCE = 8
"""Replicates from which on a cell's interval uses its own variance, not the pooled one."""


@dataclass(frozen=True)
class Spread:
    """Variance of log(place) between replicates of a cell, pooled: ``variance``, ``df`` (effective),
    ``cells`` used, ``rho`` the correlation of cells within a replicate."""

    variance: float
    df: float
    cells: int
    rho: float


@dataclass(frozen=True)
class Interval:
    """A cell's place in logarithms: ``value`` with ``low`` and ``high`` (infinite where nothing bounds
    it)."""

    value: float
    low: float
    high: float
    df: float
    assumption: str


def places(outcomes: Sequence[Outcome], unit: str) -> dict[str, float]:
    """Replicate -> log(place) of those that crossed."""
    return {str(o.seed): math.log(o.x[unit]) for o in outcomes if o.censored is None and o.x[unit] > 0}


def pooled(cells: Sequence[dict[str, float]]) -> Spread | None:
    """Variance within cells, over the cells that have two places or more; None where there is none."""
    cells = [c for c in cells if len(c) >= 2]
    if not cells:
        return None
    seeds = sorted({s for c in cells for s in c})
    table = np.full((len(cells), len(seeds)), np.nan)
    for i, cell in enumerate(cells):
        for seed, value in cell.items():
            table[i, seeds.index(seed)] = value
    deviation = table - np.nanmean(table, axis=1, keepdims=True)
    count = np.isfinite(table).sum(axis=1)
    contrasts = float((count - 1).sum())
    variance = float(np.nansum(deviation**2) / contrasts)
    rho = _correlation(deviation, count) if len(cells) > 1 and variance > 0 else 0.0
    df = contrasts / (1.0 + (len(cells) - 1) * rho**2)
    return Spread(variance, max(df, 1.0), len(cells), rho)


def _correlation(deviation: Array, count: NDArray[np.int64]) -> float:
    """Mean product of two cells' deviations at one replicate, over their mean square; in [0, 1]."""
    filled = np.where(np.isfinite(deviation), deviation, 0.0)
    total = filled.sum(axis=0)
    products = float((total**2).sum() - (filled**2).sum())
    squares = float((filled**2).sum()) * (len(filled) - 1)
    return float(np.clip(products / squares, 0.0, 1.0)) if squares > 0 else 0.0


def interval(
    outcomes: Sequence[Outcome], unit: str, spread: Spread | None, confidence: float = 0.95
) -> Interval:
    """The cell's place: geometric mean over replicates. A censored replicate enters as its bound, so that the
    value is a bound too, and the side it leaves open has no limit."""
    logs = np.array([math.log(o.x[unit]) for o in outcomes if o.x[unit] > 0])
    if not len(logs):
        return Interval(math.nan, -math.inf, math.inf, math.nan, "no evaluation to bound it by")
    sides = {o.censored for o in outcomes}
    if sides == {"right"} or sides == {"left"}:
        # All replicates give a bound: the one that holds for each of them.
        value = float(logs.min() if sides == {"right"} else logs.max())
        low, high = (value, math.inf) if sides == {"right"} else (-math.inf, value)
        return Interval(value, low, high, math.nan, "a bound, kept by every replicate of this study")
    if {"left", "right"} <= sides:
        words = "no place: some replicates had crossed before the first counted evaluation, others never"
        return Interval(math.nan, -math.inf, math.inf, math.nan, words)
    value = float(logs.mean())
    shared, shared_df = _evaluation_variance([o for o in outcomes if o.crossing is not None], len(outcomes))
    n = len(logs)
    own = np.array(list(places(outcomes, unit).values()))
    if len(own) >= OWN_VARIANCE:
        between, df = float(own.var(ddof=1)) / n, float(len(own) - 1)
        words = f"log-normal places, this cell's own variance (df {len(own) - 1})"
    elif spread is not None:
        between, df = spread.variance / n, spread.df
        words = (
            f"log-normal places with one variance for all cells, pooled over {spread.cells} "
            f"(df {spread.df:.1f}, correlation of cells within a replicate {spread.rho:.2f})"
        )
    elif shared == 0:
        return Interval(
            value, -math.inf, math.inf, math.nan, "no interval: one replicate, and no errors of its losses"
        )
    else:
        between, df = 0.0, math.inf
        words = "one replicate: evaluation error alone, conditional on this data subset and seed"
    variance = between + shared
    if variance > 0:
        df = variance**2 / (between**2 / df + shared**2 / shared_df) if math.isfinite(df) or shared else df
    half = float(stats.t.ppf(0.5 + confidence / 2, df)) * math.sqrt(variance)
    low, high = value - half, value + half
    if "right" in sides:
        high = math.inf
    if "left" in sides:
        low = -math.inf
    words += f"; Student's t; validation text and mask draws included ({math.sqrt(shared):.1%} of the place)"
    if len(sides) > 1:
        words += (
            f"; {sum(o.censored is not None for o in outcomes)} of {n} replicates censored, entered as bounds"
        )
    if any(o.curve.parts is None for o in outcomes):
        words += "; unpaired errors, for the scores were missing"
    return Interval(value, low, high, df, words)


def _evaluation_variance(outcomes: Sequence[Outcome], n: int) -> tuple[float, float]:
    """Variance of the mean log(place) that the shared validation text and mask draws cause, and its df."""
    found = [o.crossing for o in outcomes if o.crossing is not None]
    if not found:
        return 0.0, math.inf
    parts = [c.parts for c in found]
    floor = (sum(c.mc_se_log for c in found) / n) ** 2
    if (
        all(p is not None and p.shape == parts[0].shape for p in parts if parts[0] is not None)
        and parts[0] is not None
    ):
        mean = np.sum([p for p in parts if p is not None], axis=0) / n
        return max(float((mean**2).sum()), floor), float(len(mean) - 1)
    errors = [c.se_log for c in found if math.isfinite(c.se_log)]
    return max((sum(errors) / n) ** 2, floor), 30.0
