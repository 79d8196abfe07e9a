"""Training noise: how far a difference of two runs strays between evaluations, whatever text it is read on.

Two runs of one law trade the lead again and again while their text error, paired, may be as small as you
like. So the difference is a smooth trend (a polynomial in log tokens) and a noise about it whose correlation
falls exponentially with the distance in log tokens. The noise's variance is estimated by restricted maximum
likelihood at each of a few correlation lengths, averaged by their likelihood (Patterson & Thompson 1971,
doi:10.1093/biomet/58.3.545). A trend that the polynomial cannot follow counts as noise, which is the cautious
side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.crossover.same_n.paired_difference import Difference

Array = NDArray[np.float64]

LEAST = 8
"""Evaluations from which on training noise is estimated."""

DEGREE = 5
"""Highest degree of the trend: with four evaluations for each, as far as they go."""

LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Correlation lengths, in distances of two evaluations."""


@dataclass(frozen=True)
class TrainingNoise:
    """``variance`` [M] of the noise at each correlation ``length`` [M] (log tokens), with its ``weight``
    [M]; ``x`` [K] log tokens of all evaluations."""

    x: Array
    variance: Array
    length: Array
    weight: Array

    @classmethod
    def of(cls, d: Difference) -> TrainingNoise | None:
        """The noise of a difference, from the evaluations past the start-up plateau; None where there are too
        few."""
        value = d.value if d.raw is None else d.raw
        every = np.log(d.x["tokens"])
        use = np.isfinite(value) & (d.counted if d.counted.sum() >= LEAST else True)
        x, y = every[use], value[use]
        if len(x) < LEAST or np.ptp(x) <= 0:
            return None
        trend = np.polynomial.legendre.legvander(2 * (x - x[0]) / np.ptp(x) - 1, min(DEGREE, len(x) // 4))
        length = float(np.median(np.diff(x))) * np.array(LENGTHS)
        fits = [_restricted(x, y, trend, one) for one in length]
        evidence, variance = (np.array(part) for part in zip(*fits, strict=True))
        weight = np.exp(evidence - evidence.max())
        return cls(every, variance, length, weight / weight.sum())

    def error_of_mean(self, first: int, last: int) -> float:
        """Standard error that it gives a mean over the evaluations from ``first`` to ``last``."""
        x = self.x[first : last + 1]
        correlation = [float(_correlation(x, one).mean()) for one in self.length]
        return math.sqrt(float(self.weight @ (self.variance * correlation)))


def _correlation(x: Array, length: float) -> Array:
    return np.asarray(np.exp(-np.abs(x[:, None] - x[None]) / length))


def _restricted(x: Array, y: Array, trend: Array, length: float) -> tuple[float, float]:
    """Log restricted likelihood at its best variance, and that variance."""
    root = np.linalg.cholesky(_correlation(x, length) + 1e-9 * np.eye(len(x)))
    q, r = np.linalg.qr(np.linalg.solve(root, trend))
    white = np.linalg.solve(root, y)
    rest = white - q @ (q.T @ white)
    df = len(x) - trend.shape[1]
    variance = max(float(rest @ rest) / df, 1e-18)
    logdet = np.log(np.diag(root)).sum() + np.log(np.abs(np.diag(r))).sum()
    return float(-logdet - 0.5 * df * math.log(variance)), variance
