"""The scatter of replicates, pooled over the groups of a study, and the interval that it gives a mean.

A replicate is a data subset and a seed. With two or three of them a group's own variance says little, and one
variance for all groups says too little of the loudest where they differ. So both are weighed: *equal*, one
variance with Student's t over all contrasts, and *unequal*, each group its own, drawn from a scaled inverse
chi-squared of :data:`OWN` degrees of freedom about a common scale (Smyth 2004, doi:10.2202/1544-6115.1027).
An interval is that of the mixture, by the posterior probability of either (:attr:`Spread.unequal`), which is
the test of equal variances. Groups of one replicate are correlated (their subsets are nested), so the pooled
variance has fewer degrees of freedom than contrasts, nu = contrasts / (1 + (G-1) rho^2), rho being the
correlation of two groups' deviations (Satterthwaite 1946), and the evidence counts as much less. What the
replicates share, the validation text and its mask draws, does not average out and is added.

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
from scipy import optimize, stats

from analysis.fitting.estimate import Estimate

Array = NDArray[np.float64]

OWN = 0.25
"""Degrees of freedom that a group's own variance borrows from the others where variances are unequal."""

ODDS = 1.5
"""Odds of unequal variances beforehand, times the squared contrasts of a group: groups with the replicates to
speak for themselves may. Chosen with :data:`OWN` by simulated coverage: more of it widens the intervals of
equal groups, less lets those of the loudest of unequal ones miss (``benchmarks.coverage_crossover``)."""

_SCALES = np.linspace(-8.0, 8.0, 97)
_LEAST = 1e-6


@dataclass(frozen=True)
class Variance:
    """A variance of log(place) with its degrees of freedom."""

    value: float
    df: float


@dataclass(frozen=True)
class Mixture:
    """Variances ``value`` [K] with ``df`` [K], each with a probability ``weight`` [K]."""

    value: Array
    df: Array
    weight: Array

    @classmethod
    def of(cls, variance: Variance) -> Mixture:
        """One variance, for certain."""
        return cls(np.array([variance.value]), np.array([variance.df]), np.ones(1))

    def plus(self, shared: Variance) -> Mixture:
        """With an independent part added to each, by Satterthwaite's degrees of freedom."""
        value = self.value + shared.value
        with np.errstate(divide="ignore", invalid="ignore"):
            df = value**2 / (self.value**2 / self.df + shared.value**2 / shared.df)
        df = np.where(self.value == 0, shared.df, np.where(shared.value == 0, self.df, df))
        return Mixture(value, df, self.weight)

    def half_width(self, confidence: float) -> float:
        """Half the central interval of a value with such an error: of a mixture of Student's t."""
        level = 0.5 + confidence / 2
        ends = stats.t.ppf(level, self.df) * np.sqrt(self.value)
        low, high = float(ends.min()), float(ends.max())
        if high <= low * (1 + 1e-9):
            return high

        def excess(log_half: float) -> float:
            inside = stats.t.cdf(math.exp(log_half) / np.sqrt(self.value), self.df)
            return float(self.weight @ inside) - level

        least = max(low, high * 1e-12)
        return math.exp(optimize.brentq(excess, math.log(least), math.log(high), xtol=1e-8))


@dataclass(frozen=True)
class Spread:
    """``variance`` of log(place) between replicates of a group, with effective ``df``, pooled over
    ``groups`` as if equal; ``rho``: the correlation of two groups within a replicate; ``unequal``: the
    probability that variances differ; ``own``: group -> its variance then."""

    variance: float
    df: float
    groups: int
    rho: float
    unequal: float
    own: Mapping[int, Mixture]

    def __str__(self) -> str:
        """What an interval from it assumes."""
        if self.groups < 2:
            return f"variance of one group (df {self.df:.1f})"
        return (
            f"variance pooled over {self.groups} groups where equal (df {self.df:.1f}, correlation within a "
            f"replicate {self.rho:.2f}), each its own where not (probability {self.unequal:.0%})"
        )

    def of_mean(self, replicates: int, group: int | None = None) -> Mixture:
        """The variance of a group's mean over so many replicates; that of equal variances for a group that
        had none of its own."""
        pooled = Mixture.of(Variance(self.variance, self.df))
        own = None if group is None else self.own.get(group)
        if own is None:
            return Mixture(pooled.value / replicates, pooled.df, pooled.weight)
        return Mixture(
            np.append(pooled.value, own.value) / replicates,
            np.append(pooled.df, own.df),
            np.append(1 - self.unequal, self.unequal * own.weight),
        )


def pool_places(groups: Sequence[Mapping[str, float]]) -> Spread | None:
    """The spread from log(place) by replicate, over the groups that have two places or more; None where there
    is none."""
    use = {i: g for i, g in enumerate(groups) if len(g) >= 2}
    if not use:
        return None
    seeds = sorted({s for g in use.values() for s in g})
    table = np.full((len(use), len(seeds)), np.nan)
    for row, group in zip(table, use.values(), strict=True):
        for seed, value in group.items():
            row[seeds.index(seed)] = value
    deviation = table - np.nanmean(table, axis=1, keepdims=True)
    contrasts = np.isfinite(table).sum(axis=1) - 1.0
    return _spread(
        list(use), np.nansum(deviation**2, axis=1) / contrasts, contrasts, np.nan_to_num(deviation)
    )


def pool_draws(sampled: Array, replicates: Sequence[int]) -> Spread | None:
    """The spread from bootstrap draws [G, B] of log(place); None where no group has two replicates.

    The spread of Dirichlet draws is enlarged by (n+1)/(n-1) to that of a mean of n. Draws without a crossing
    (infinite) are left out; the interval counts them.
    """
    use, variances, contrasts, deviations = [], [], [], []
    for group, (draws, n) in enumerate(zip(sampled, replicates, strict=True)):
        fine = np.isfinite(draws)
        if n < 2 or fine.sum() < len(draws) / 2:
            continue
        use.append(group)
        variances.append(float(np.var(draws[fine])) * n * (n + 1) / (n - 1))
        contrasts.append(n - 1.0)
        deviations.append(np.where(fine, draws - draws[fine].mean(), 0.0))
    if not use:
        return None
    return _spread(use, np.array(variances), np.array(contrasts), np.stack(deviations))


def _spread(use: Sequence[int], variances: Array, contrasts: Array, deviation: Array) -> Spread:
    """``variances`` [G] with ``contrasts`` [G] degrees of freedom; ``deviation`` [G, replicates or
    draws] from each group's mean, zero where it has none."""
    groups = len(deviation)
    total = deviation.sum(axis=0)
    products = float((total**2).sum() - (deviation**2).sum())
    squares = float((deviation**2).sum()) * (groups - 1)
    rho = float(np.clip(products / squares, 0.0, 1.0)) if squares > 0 else 0.0
    deflation = 1.0 + (groups - 1) * rho**2
    variance = float(np.average(variances, weights=contrasts))
    df = max(float(contrasts.sum()) / deflation, 1.0)
    if groups < 2 or variance <= 0:
        return Spread(variance, df, groups, rho, 0.0, {})
    unequal, own = _own(np.maximum(variances, _LEAST * variance), contrasts, 1 / deflation)
    return Spread(variance, df, groups, rho, unequal, dict(zip(use, own, strict=True)))


def _own(variances: Array, contrasts: Array, power: float) -> tuple[float, list[Mixture]]:
    """The probability that variances differ, and each group's own if so; evidence counts to ``power``."""
    centre = float(np.average(np.log(variances), weights=contrasts))
    scale = np.exp(centre + _SCALES)  # of the common variance, uniform in its logarithm
    ratio = variances / scale[:, None]
    unit = -np.log(scale)[:, None]  # densities are those of the variances
    equal = (stats.chi2.logpdf(contrasts * ratio, contrasts) + np.log(contrasts) + unit).sum(axis=1)
    apart = (stats.f.logpdf(ratio, contrasts, OWN) + unit).sum(axis=1)
    top = max(equal.max(), apart.max())
    weights = [np.exp(power * (evidence - top)) for evidence in (equal, apart)]
    odds = ODDS * float(contrasts.mean()) ** 2 * weights[1].sum() / weights[0].sum()
    weight = weights[1] / weights[1].sum()
    keep = weight > _LEAST
    weight, scale = weight[keep] / weight[keep].sum(), scale[keep]
    own = [
        Mixture((OWN * scale + d * v) / (OWN + d), np.full(len(scale), OWN + d), weight)
        for v, d in zip(variances, contrasts, strict=True)
    ]
    return float(odds / (1 + odds)), own


def dirichlet(replicates: int, draws: int, seed: int = 0) -> Array:
    """[B, R] weights of replicates, each row summing to one."""
    if replicates == 0:
        return np.zeros((0, 0))
    return np.random.default_rng(seed).dirichlet(np.ones(replicates), draws)


def t_interval(value: float, between: Variance | Mixture, shared: Variance, confidence: float) -> Estimate:
    """The interval of a mean log(place) whose variance has two independent parts: Student's t with
    Satterthwaite's degrees of freedom, or a mixture of such. The caller says what it assumes."""
    mixture = (Mixture.of(between) if isinstance(between, Variance) else between).plus(shared)
    half = mixture.half_width(confidence)
    se = math.sqrt(float(mixture.weight @ mixture.value))
    df = float(mixture.weight @ mixture.df)
    return Estimate(value, se, value - half, value + half, method="t", level=confidence, df=df)
