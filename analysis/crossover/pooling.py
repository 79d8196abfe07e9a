"""The scatter of replicates, pooled over the groups of a study, and the interval that it gives a mean.

A replicate is a data subset and a seed. With two or three of them a group's own variance says little, so the
variance of log(place) is pooled over the groups (cells, or fronts at one U), with Student's t. Groups of one
replicate are correlated (their subsets are nested), so the pooled variance has fewer degrees of freedom than
contrasts: nu = contrasts / (1 + (G-1) rho^2), rho being the correlation of two groups' deviations
(Satterthwaite 1946). What the replicates share, the validation text and its mask draws, does not average out
and is added.

Two estimators of the variance share all else. Where a place is known for each replicate it is the sample
variance (:func:`pool_places`). A crossing of fronts is no mean over replicates: its variance comes from
bootstrap draws (:func:`pool_draws`), of which each weighs the few replicates by a uniform Dirichlet (the
Bayesian bootstrap, Rubin 1981, which does not run out of distinct draws at two), one weight for all runs of a
replicate, twins included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.fitting.estimate import Estimate

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Variance:
    """A variance of log(place) with its degrees of freedom."""

    value: float
    df: float


@dataclass(frozen=True)
class Spread:
    """``variance`` of log(place) between replicates of a group, with effective ``df``, pooled over
    ``groups``; ``rho``: the correlation of two groups within a replicate."""

    variance: float
    df: float
    groups: int
    rho: float

    def of_mean(self, replicates: int) -> Variance:
        """The variance of a mean over so many replicates."""
        return Variance(self.variance / replicates, self.df)


def pool_places(groups: Sequence[Mapping[str, float]]) -> Spread | None:
    """The spread from log(place) by replicate, over the groups that have two places or more; None where there
    is none."""
    groups = [g for g in groups if len(g) >= 2]
    if not groups:
        return None
    seeds = sorted({s for g in groups for s in g})
    table = np.full((len(groups), len(seeds)), np.nan)
    for i, group in enumerate(groups):
        for seed, value in group.items():
            table[i, seeds.index(seed)] = value
    deviation = table - np.nanmean(table, axis=1, keepdims=True)
    contrasts = float((np.isfinite(table).sum(axis=1) - 1).sum())
    return _spread(float(np.nansum(deviation**2) / contrasts), contrasts, np.nan_to_num(deviation))


def pool_draws(sampled: Array, replicates: Sequence[int]) -> Spread | None:
    """The spread from bootstrap draws [G, B] of log(place); None where no group has two replicates.

    The spread of Dirichlet draws is enlarged by (n+1)/(n-1) to that of a mean of n. Draws without a crossing
    (infinite) are left out; the interval counts them.
    """
    variances, contrasts, deviations = [], [], []
    for draws, n in zip(sampled, replicates, strict=True):
        fine = np.isfinite(draws)
        if n < 2 or fine.sum() < len(draws) / 2:
            continue
        variances.append(float(np.var(draws[fine])) * n * (n + 1) / (n - 1))
        contrasts.append(n - 1)
        deviations.append(np.where(fine, draws - draws[fine].mean(), 0.0))
    if not variances:
        return None
    variance = float(np.average(variances, weights=contrasts))
    return _spread(variance, float(sum(contrasts)), np.stack(deviations))


def _spread(variance: float, contrasts: float, deviation: Array) -> Spread:
    """``deviation`` [G, replicates or draws] of each group from its mean, zero where it has none."""
    groups = len(deviation)
    total = deviation.sum(axis=0)
    products = float((total**2).sum() - (deviation**2).sum())
    squares = float((deviation**2).sum()) * (groups - 1)
    rho = float(np.clip(products / squares, 0.0, 1.0)) if squares > 0 else 0.0
    return Spread(variance, max(contrasts / (1.0 + (groups - 1) * rho**2), 1.0), groups, rho)


def dirichlet(replicates: int, draws: int, seed: int = 0) -> Array:
    """[B, R] weights of replicates, each row summing to one."""
    if replicates == 0:
        return np.zeros((0, 0))
    return np.random.default_rng(seed).dirichlet(np.ones(replicates), draws)


def t_interval(value: float, between: Variance, shared: Variance, confidence: float) -> Estimate:
    """The interval of a mean log(place) whose variance has two independent parts: Student's t with
    Satterthwaite's degrees of freedom. The caller says what it assumes."""
    variance = between.value + shared.value
    if between.value > 0 and shared.value > 0:
        df = variance**2 / (between.value**2 / between.df + shared.value**2 / shared.df)
    else:
        df = shared.df if shared.value > 0 else between.df
    half = float(stats.t.ppf(0.5 + confidence / 2, df)) * math.sqrt(variance)
    return Estimate(
        value, math.sqrt(variance), value - half, value + half, method="t", level=confidence, df=df
    )
