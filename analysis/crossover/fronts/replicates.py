"""The bootstrap over replicates, for places that are no mean over them: crossings of fronts.

Replicates are few, so each draw weighs them by a uniform Dirichlet (the Bayesian bootstrap, Rubin 1981, which
does not run out of distinct draws at two), one weight for all runs of a replicate, twins included. The spread
of the draws, enlarged by sqrt((n+1)/(n-1)) to that of a mean of n, is pooled over the groups of a study as
log-variances, and Student's t has the degrees of freedom that the groups' correlation leaves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ends:
    """An interval of a logarithm; None is an open end."""

    low: float | None
    high: float | None
    df: float | None
    assumption: str


@dataclass(frozen=True)
class Pooled:
    """``variance`` of log(place) between replicates, over ``groups`` groups, with ``df``."""

    variance: float
    df: float
    groups: int

    def interval(
        self,
        value: float,
        sampled: Array,
        replicates: int,
        shared: float,
        shared_df: float,
        confidence: float,
    ) -> Ends:
        """The interval of one group: ``sampled`` [B] its draws (infinite where there was no crossing),
        ``shared`` the variance that evaluation adds."""
        tail = (1 - confidence) / 2
        if replicates < 2 or not self.groups:
            if shared <= 0:
                return Ends(None, None, None, "no interval: one replicate, and no errors of its losses")
            half = float(stats.t.ppf(1 - tail, shared_df)) * math.sqrt(shared)
            words = "one replicate: evaluation error alone, conditional on this data subset and seed"
            return Ends(value - half, value + half, shared_df, words)
        between = self.variance / replicates
        variance = between + shared
        df = variance**2 / (between**2 / self.df + shared**2 / shared_df) if variance > 0 else self.df
        half = float(stats.t.ppf(1 - tail, df)) * math.sqrt(variance)
        low: float | None = value - half
        high: float | None = value + half
        words = (
            f"bootstrap over {replicates} replicates, twins together, one variance for {self.groups} "
            f"group{'s' if self.groups > 1 else ''} (df {df:.1f}), Student's t; validation text and mask "
            f"draws included ({math.sqrt(shared):.1%} of the place)"
        )
        if np.mean(sampled == math.inf) > tail:
            high, words = None, words + "; unbounded above: draws without a crossing"
        if np.mean(sampled == -math.inf) > tail:
            low, words = None, words + "; unbounded below: draws that had crossed before the range"
        return Ends(low, high, df, words)


def dirichlet(replicates: int, draws: int, seed: int = 0) -> Array:
    """[B, R] weights of replicates, each row summing to one."""
    if replicates == 0:
        return np.zeros((0, 0))
    return np.random.default_rng(seed).dirichlet(np.ones(replicates), draws)


def pool(sampled: Array, replicates: Sequence[int]) -> Pooled:
    """The variance of log(place) between replicates from draws [G, B] of groups; draws without a crossing
    are left out of it (the interval counts them)."""
    variances, contrasts, rows = [], [], []
    for draws, n in zip(sampled, replicates, strict=True):
        fine = np.isfinite(draws)
        if n < 2 or fine.sum() < len(draws) / 2:
            continue
        variances.append(float(np.var(draws[fine])) * n * (n + 1) / (n - 1))
        contrasts.append(n - 1)
        rows.append(np.where(fine, draws - draws[fine].mean(), 0.0))
    if not variances:
        return Pooled(0.0, 1.0, 0)
    variance = float(np.average(variances, weights=contrasts))
    g = len(rows)
    table = np.stack(rows)
    squares = float((table**2).sum()) * (g - 1)
    products = float((table.sum(axis=0) ** 2).sum() - (table**2).sum())
    rho = float(np.clip(products / squares, 0.0, 1.0)) if squares > 0 else 0.0
    df = sum(contrasts) / (1.0 + (g - 1) * rho**2)
    return Pooled(variance, max(df, 1.0), g)
