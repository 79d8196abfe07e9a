"""The difference of two twins along their runs, with the error it has as a difference.

Twins are scored on the same validation sequences, and masked diffusion on the same masks at every step, so
the error of the difference is taken over sequences after subtracting, each sequence's draws averaged first.
The scatter of those per-sequence values holds the text's share and the mask draws' share both, and the
vectors of contributions (:attr:`Difference.parts`) carry their covariance over steps and between replicates
along: it is no constant offset, for it drifts as a model over-fits.

What no validation text tells of is *training noise*: how far the difference strays between evaluations. Two
runs of one law trade the lead again and again while their paired error may be as small as you like. So the
difference is also a smooth trend (a polynomial in log tokens) and a noise about it whose correlation falls
exponentially with the distance in log tokens. The noise's variance is estimated by restricted maximum
likelihood at each of a few correlation lengths, averaged by their likelihood (Patterson & Thompson 1971,
doi:10.1093/biomet/58.3.545). A trend that the polynomial cannot follow counts as noise, which is the cautious
side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.crossover.same_n.arm import UNITS, Arm, ValidationHalf, influence

Array = NDArray[np.float64]

PLATEAU = 0.15
"""Nats below the validation unigram entropy that an arm must reach before its curve counts."""

ABOVE_CHANCE = 3.0
"""Standard errors by which an arm must be better than guessing before its curve counts."""

SHARED_DRAWS = 8
"""Draws from which on the Monte-Carlo covariance over steps is estimated from the draws themselves."""


LEAST = 8
"""Evaluations from which on training noise is estimated."""

DEGREE = 5
"""Highest degree of the trend: with four evaluations for each, as far as they go."""

LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Correlation lengths, in distances of two evaluations."""


@dataclass(frozen=True)
class Difference:
    """Second less first arm on their K shared evaluations: positive where the first is ahead.

    ``x``: unit -> [K]. ``value``, ``se``, ``mc_se`` [K] (``se`` includes ``mc_se``; NaN where unknown).
    ``parts`` [K, n] contributions of each sequence: their squares sum to se². ``draws`` [K, n', m] centred
    contributions of each Monte-Carlo draw, or None where there are fewer than eight. ``counted`` [K]: past
    both arms' start-up plateau, whose lower edge is ``threshold``. ``first``, ``second``: the arms' losses.
    ``raw`` [K]: the difference of the curves themselves, where ``value`` is one of best values.
    """

    x: Mapping[str, Array]
    step: Array
    value: Array
    se: Array
    mc_se: Array
    parts: Array | None
    draws: Mapping[int, Array]
    counted: NDArray[np.bool_]
    first: Array
    second: Array
    paired: bool
    threshold: float
    raw: Array | None = None

    def __len__(self) -> int:
        return len(self.value)


def difference(
    first: Arm, second: Arm, *, axis: str = "tokens", best: bool = False, entropy: float = float("nan")
) -> Difference:
    """The twins' difference on half B, at equal ``axis`` (tokens, or FLOPs where their costs differ).

    ``best``: of the best values so far, each selected on half A. ``entropy``: the validation unigram entropy
    for the plateau rule; NaN leaves the rule out. Where an arm knows its value at chance, its plateau is
    that, left by three standard errors. The plateau is one of the start: an arm that has once been
    below the threshold has left it, also if it over-fits beyond it later.
    """
    i, j, second = _align(first, second, axis)
    grid = i
    raw = second.b.value[j] - first.b.value[i]
    counted = _left_plateau(first, entropy)[i] & _left_plateau(second, entropy)[j]
    if best:
        i, j = first.best_so_far()[i], second.best_so_far()[j]
    a, b = first.b.take(i), second.b.take(j)
    value = b.value - a.value
    mc = np.hypot(a.mc_se, b.mc_se)
    parts = _paired(a, b)
    if parts is not None:
        se = np.fmax(np.sqrt((parts**2).sum(axis=1)), np.where(np.isfinite(mc), mc, 0.0))
    else:
        mc_known = np.where(np.isfinite(mc), mc, 0.0)
        se = np.sqrt(a.se**2 + b.se**2 + mc_known**2)
    return Difference(
        x={u: first.x[u][grid] for u in UNITS},
        step=first.step[grid],
        value=value,
        se=se,
        mc_se=mc,
        parts=parts,
        draws=_draws(first, second, i, j),
        counted=counted,
        first=a.value,
        second=b.value,
        paired=parts is not None,
        threshold=first.chance if np.isfinite(first.chance) else entropy - PLATEAU,
        raw=raw,
    )


def _left_plateau(arm: Arm, entropy: float) -> NDArray[np.bool_]:
    if np.isfinite(arm.chance):
        error = np.where(np.isfinite(arm.b.se), arm.b.se, 0.0)
        return np.maximum.accumulate(arm.b.value < arm.chance - ABOVE_CHANCE * error)
    if not np.isfinite(entropy):
        return np.ones(len(arm), dtype=bool)
    return np.maximum.accumulate(arm.b.value <= entropy - PLATEAU)


def _align(first: Arm, second: Arm, axis: str) -> tuple[NDArray[np.int64], NDArray[np.int64], Arm]:
    """Indices of the evaluations that both arms have; the second is interpolated where grids differ."""
    x, y = first.x[axis], second.x[axis]
    near = np.clip(np.searchsorted(y, x), 0, len(y) - 1)
    near = np.where((near > 0) & (np.abs(y[near - 1] - x) < np.abs(y[near] - x)), near - 1, near)
    same = np.abs(y[near] - x) <= 1e-6 * x
    if same.sum() >= max(2, min(len(x), len(y)) // 2):
        return np.flatnonzero(same), near[same], second
    inside = np.flatnonzero((x >= y[0] * (1 - 1e-9)) & (x <= y[-1] * (1 + 1e-9)))
    return inside, np.arange(len(inside)), _resampled(second, axis, x[inside])


def _resampled(arm: Arm, axis: str, x: Array) -> Arm:
    """The arm at other places, linear in the logarithm of ``axis``."""
    grid = np.log(arm.x[axis])
    position = np.interp(np.log(x), grid, np.arange(len(grid)))
    low = np.minimum(position.astype(np.int64), len(grid) - 2)
    part = position - low

    def mix(values: Array) -> Array:
        weight = part.reshape(-1, *([1] * (values.ndim - 1)))
        return (1 - weight) * values[low] + weight * values[low + 1]

    def half(h: ValidationHalf) -> ValidationHalf:
        sequences = None if h.sequences is None else mix(h.sequences)
        return ValidationHalf(mix(h.value), mix(h.se), mix(h.mc_se), sequences, h.names, h.weights)

    return Arm(
        arm.run,
        arm.likelihood,
        mix(arm.step),
        {u: mix(v) for u, v in arm.x.items()},
        half(arm.a),
        half(arm.b),
        arm.chance,
    )


def _paired(a: ValidationHalf, b: ValidationHalf) -> Array | None:
    """[K, n] contributions of the shared sequences to the error of the difference."""
    if a.sequences is None or b.sequences is None or a.names is None or b.names is None or a.weights is None:
        return None
    shared, i, j = np.intersect1d(a.names, b.names, return_indices=True)
    if len(shared) < 2:
        return None
    apart = b.sequences[:, j] - a.sequences[:, i]
    if not np.isfinite(apart).all():
        return None
    weights = a.weights[i] / a.weights[i].sum()
    return influence(apart, weights)


def _draws(first: Arm, second: Arm, i: NDArray[np.int64], j: NDArray[np.int64]) -> dict[int, Array]:
    """Evaluation -> [m] centred contributions of each draw, where an arm has at least eight."""
    out: dict[int, Array] = {}
    for arm, index, sign in ((first, i, -1.0), (second, j, 1.0)):
        half = arm.b
        if not half.draws or half.weights is None:
            continue
        for k, place in enumerate(index):
            step = arm.step[place]
            grid = half.draws.get(int(step)) if step == int(step) else None
            if grid is None or grid.shape[1] < SHARED_DRAWS or not np.isfinite(grid).all():
                continue
            means = half.weights @ grid
            m = len(means)
            part = sign * (means - means.mean()) / np.sqrt(m * (m - 1))
            if k in out and len(out[k]) == m:
                out[k] = out[k] + part
            elif k not in out:
                out[k] = part
    return out


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
