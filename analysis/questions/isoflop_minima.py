"""The minimum of one budget: a curve in log N through the runs near the lowest one.

Over two or three decades of N a parabola misses the minimum, so a curve goes through a window of sizes about
the lowest. The window is the widest, of all budgets alike, over which the next power of log N explains no
more than noise does (`choose_window`). Where the lowest size is an interior one there is always a minimum: at
worst that of the parabola through it and its two neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import polynomial
from scipy.stats import f as f_distribution

from analysis.fitting.estimands import Estimand
from analysis.laws.base import Array

DEGREES = {"parabola": 2, "cubic": 3}
FACTORS = (math.inf, 100.0, 50.0, 30.0, 20.0, 15.0, 10.0, 8.0, 6.0, 5.0, 4.0, 3.0)
"""Windows that are tried: sizes within such a factor of the lowest run's."""
REJECT = 0.05
"""p-value below which the next power of log N is needed."""


@dataclass(frozen=True)
class Budget:
    """The runs of one budget: ``log_n``, ``y`` (loss on the estimand's scale) and ``log_d``, (n,) each."""

    log_n: Array
    y: Array
    log_d: Array

    @property
    def sizes(self) -> Array:
        """(m,) logarithms of the distinct sizes, ascending."""
        return np.unique(self.log_n)

    @property
    def means(self) -> Array:
        """(m,) mean of ``y`` at each size."""
        return np.array([self.y[self.log_n == s].mean() for s in self.sizes])

    @property
    def lowest(self) -> int:
        """Which size has the lowest mean."""
        return int(np.argmin(self.means))

    @property
    def interior(self) -> bool:
        """Whether both smaller and larger sizes than the lowest were tried."""
        return 0 < self.lowest < len(self.sizes) - 1

    def window(self, factor: float, least: int) -> Array:
        """(n,) the runs within a factor of the lowest size, or at its ``least`` nearest sizes, of which there
        is one on each side."""
        away = np.abs(self.sizes - self.sizes[self.lowest])
        near = np.argsort(away, kind="stable")[: max(least, 1)]
        kept = away <= math.log(factor) * (1 + 1e-9)
        kept[near] = True
        kept[max(self.lowest - 1, 0) : self.lowest + 2] = True
        return np.isin(self.log_n, self.sizes[kept])


@dataclass(frozen=True)
class Minimum:
    """A budget's minimum. ``log_n``, ``log_d``, ``y``: there; ``error``: standard error of ``log_n``, NaN
    where there is none; ``kept``: (n,) the runs that the curve goes through; ``curve``: its coefficients in
    powers of log N - ``centre``, ascending."""

    log_n: float
    log_d: float
    y: float
    error: float
    kept: Array
    curve: Array
    centre: float


def choose_window(budgets: Sequence[Budget], method: str, estimand: Estimand) -> float:
    """The largest factor at which the next power of log N is not needed: an F test pooled over budgets.

    It is infinite where all sizes pass, and the smallest of `FACTORS` where none does.
    """
    degree = DEGREES[method]
    usable = [b for b in budgets if b.interior and len(b.sizes) > degree + 1]
    for factor in FACTORS:
        explained, left, extra, df = 0.0, 0.0, 0, 0
        for budget in usable:
            kept = budget.window(factor, degree + 2)
            if len(np.unique(budget.log_n[kept])) < degree + 2 or kept.sum() < degree + 3:
                continue
            x, y = budget.log_n[kept] - budget.log_n[kept].mean(), budget.y[kept]
            plain, more = (_weighted_squares(x, y, d, estimand) for d in (degree, degree + 1))
            explained, left = explained + max(plain - more, 0.0), left + more
            extra, df = extra + 1, df + int(kept.sum()) - degree - 2
        if not extra:
            return factor
        f = explained / extra / max(left / df, 1e-300)
        if f_distribution.sf(f, extra, df) >= REJECT:
            return factor
    return FACTORS[-1]


def minimum(budget: Budget, method: str, estimand: Estimand, factor: float) -> Minimum:
    """The minimum of a budget whose lowest size is interior, from the curve within the window.

    A curve without a minimum among its sizes gives way to one through fewer, down to three sizes.
    """
    degree = DEGREES[method]
    kept = budget.window(factor, degree + 2)
    while True:
        sizes = np.unique(budget.log_n[kept])
        centre = float(budget.log_n[kept].mean())
        vertex = _vertex(budget.log_n[kept] - centre, budget.y[kept], degree, estimand)
        if vertex is not None and sizes[0] < vertex[0] + centre < sizes[-1]:
            at, y, error, curve = vertex
            return Minimum(at + centre, _tokens(budget, kept, at + centre), y, error, kept, curve, centre)
        if len(sizes) <= degree + 2:
            return _of_three(budget)
        away = np.abs(sizes - budget.sizes[budget.lowest])
        kept = kept & (budget.log_n != sizes[int(np.argmax(away))])
        kept = kept | budget.window(1.0, degree + 2)


def _of_three(budget: Budget) -> Minimum:
    """The parabola through the mean losses of the lowest size and its neighbours."""
    near = slice(budget.lowest - 1, budget.lowest + 2)
    centre = float(budget.sizes[budget.lowest])
    curve = polynomial.polyfit(budget.sizes[near] - centre, budget.means[near], 2)
    at = float(-0.5 * curve[1] / curve[2]) if curve[2] > 0 else 0.0
    kept = np.isin(budget.log_n, budget.sizes[near])
    y = float(polynomial.polyval(at, curve))
    return Minimum(at + centre, _tokens(budget, kept, at + centre), y, math.nan, kept, curve, centre)


def _tokens(budget: Budget, kept: Array, at: float) -> float:
    """log D at a size, by a line through those of the runs about it."""
    x = budget.log_n[kept]
    return float(np.polyfit(x - at, budget.log_d[kept], 1)[1])


def is_concave(budget: Budget) -> bool:
    """Whether the parabola through all sizes has a maximum among them."""
    if len(budget.sizes) < 3:
        return False
    centre = float(budget.log_n.mean())
    _, slope, bend = polynomial.polyfit(budget.log_n - centre, budget.y, 2)
    return bool(bend < 0 and budget.sizes[0] < centre - 0.5 * slope / bend < budget.sizes[-1])


def _curve(x: Array, y: Array, degree: int, estimand: Estimand) -> tuple[Array, Array]:
    """Coefficients (degree + 1,) of the curve that minimises the estimand's loss, and the weights (n,) of the
    least squares that it ends with."""
    design = np.vander(x, degree + 1, increasing=True)
    aim, weights = estimand.smoothed(1e-6), np.ones_like(y)
    curve = np.linalg.lstsq(design, y, rcond=None)[0]
    for _ in range(1 if aim.squares else 200):
        weights = aim.weight(y - design @ curve)
        root = np.sqrt(weights)
        before, curve = curve, np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
        if np.allclose(before, curve, rtol=1e-12, atol=1e-14):
            break
    return curve, weights / weights.mean()


def _weighted_squares(x: Array, y: Array, degree: int, estimand: Estimand) -> float:
    curve, weights = _curve(x, y, degree, estimand)
    return float(np.sum(weights * (y - polynomial.polyval(x, curve)) ** 2))


def _vertex(x: Array, y: Array, degree: int, estimand: Estimand) -> tuple[float, float, float, Array] | None:
    """Where the curve through (x, y) has its minimum, y there, the standard error of the place, and the
    curve; None where it has none."""
    curve, weights = _curve(x, y, degree, estimand)
    slope = polynomial.polyder(curve)
    bend = polynomial.polyder(slope)
    stationary = [float(r.real) for r in np.atleast_1d(polynomial.polyroots(slope)) if abs(r.imag) < 1e-9]
    wells = [r for r in stationary if float(polynomial.polyval(r, bend)) > 0]
    if not wells:
        return None
    at = min(wells, key=lambda r: abs(r - x[np.argmin(y)]))
    design, dof = np.vander(x, degree + 1, increasing=True), len(x) - degree - 1
    residual = y - design @ curve
    error = math.nan
    if dof > 0:
        variance = float(np.sum(weights * residual**2)) / dof
        cov = variance * np.linalg.pinv((design * weights[:, None]).T @ design)
        gradient = np.array([k * at ** (k - 1) if k else 0.0 for k in range(degree + 1)])
        gradient /= -float(polynomial.polyval(at, bend))
        error = math.sqrt(max(float(gradient @ cov @ gradient), 0.0))
    return at, float(polynomial.polyval(at, curve)), error, curve
