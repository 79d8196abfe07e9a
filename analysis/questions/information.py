"""What the runs of a fit, and runs not done yet, tell about a quantity.

At the optimum of a fit, the expected variance of a quantity with gradient c is c' H^-1 c, with H the
information of the runs there are. A run with derivative j (per residual standard deviation) adds j j' to H,
whatever its outcome, so that plans can be valued before they are run (c-optimal design). Where several basins
fit about equally well, each has its own H and c, and runs on whose outcome the basins disagree are worth the
more (after active-sl, arXiv 2604.22753).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.fitting.problem import FitProblem
from analysis.fitting.result import Fit
from analysis.fitting.starts import problem_of
from analysis.fitting.uncertainty.resampling import dispersion, mean_slope, residuals_and_slopes
from analysis.laws.base import Array

#: natural parameters (S, P) -> (S,) the quantity, as a logarithm where it is positive
LogQuantity = Callable[[Array], Array]


@dataclass(frozen=True)
class WeightedOptimum:
    """An optimum ``phi`` (F,) of a problem: its share of ``weight`` among those that fit about as well,
    ``inverse`` (F, F) of the information there, ``unit``: 1 / residual standard deviation."""

    problem: FitProblem
    phi: Array
    weight: float
    inverse: Array
    unit: float


@dataclass
class Mode:
    """One basin's view of a quantity: its weight, inverse information (F, F), gradient of the quantity
    (F,), value, and for each candidate, per residual standard deviation, its derivative (m, F) and its
    prediction (m,)."""

    weight: float
    inverse: Array
    gradient: Array
    value: float
    rows: Array
    predicted: Array


def weighted_optima(result: Fit) -> list[WeightedOptimum]:
    """The best basin of a fit and those that fit about as well, their weights summing to one."""
    problem, phi = problem_of(result)
    kappa = dispersion(problem, phi)
    names = result.law.parameter_names
    points, weights = [phi], [1.0]
    for basin in result.convergence.basins[1:]:
        gain = (basin.objective - result.objective) * 2 / kappa
        if basin.converged and gain < 8.0 and not basin.at_bounds:
            points.append(problem.phi(np.array([[basin.parameters[n] for n in names]]))[0])
            weights.append(math.exp(-0.5 * gain))
    out = []
    for point, weight in zip(points, weights, strict=True):
        r, jac = residuals_and_slopes(problem, point)
        unit = math.sqrt(mean_slope(problem.estimand, r) / dispersion(problem, point))
        information = (jac * problem.weights) @ jac.T * unit**2
        # a weak prior of three e-folds keeps unidentified directions finite, and worth learning
        inverse = np.linalg.inv(information + np.eye(len(point)) / 9.0)
        out.append(WeightedOptimum(problem, point, weight / sum(weights), inverse, unit))
    return out


def slope(basin: WeightedOptimum, value: LogQuantity) -> tuple[float, Array]:
    """A quantity at a basin, and its gradient (F,) there; not finite where it cannot be computed."""
    step, half = 1e-4, len(basin.phi)
    shifts = step * np.eye(half)
    points = np.concatenate((basin.phi + shifts, basin.phi - shifts, basin.phi[None]))
    with np.errstate(all="ignore"):
        values = value(basin.problem.natural(points))
        return float(values[-1]), (values[:half] - values[half : 2 * half]) / (2 * step)


def sensitivities(basin: WeightedOptimum, candidates: Mapping[str, Array]) -> tuple[Array, Array]:
    """(m, F) derivatives and (m,) predictions of candidate runs, per residual standard deviation."""
    problem, law = basin.problem, basin.problem.law
    x = law.inputs(candidates, problem.log_units)
    size = len(next(iter(x.values())))
    ones = np.ones(size)
    trial = FitProblem(law, x, ones, ones, problem.estimand, problem.log_units, problem.fixed)
    _, rows = trial.linearised(basin.phi[None])
    return rows[0].T * basin.unit, trial.fitted(basin.phi[None])[0] * basin.unit


def modes(
    optima: Sequence[WeightedOptimum], value: LogQuantity, candidates: Mapping[str, Array]
) -> list[Mode]:
    """Every basin's view of a quantity. Raises ValueError where none has one."""
    out = []
    for basin in optima:
        at, gradient = slope(basin, value)
        if np.isfinite(gradient).all():
            rows, predicted = sensitivities(basin, candidates)
            out.append(Mode(basin.weight, basin.inverse, gradient, at, rows, predicted))
    return normalised(out)


def normalised(views: list[Mode]) -> list[Mode]:
    """The modes with weights that sum to one. Raises ValueError if there are none."""
    if not views:
        raise ValueError("the quantity cannot be computed at the fitted parameters (no interior optimum?)")
    total = sum(m.weight for m in views)
    for m in views:
        m.weight /= total
    return views


def variance(views: Sequence[Mode]) -> float:
    """Variance of the quantity: the mean over modes of the variance within each, and the variance between
    them."""
    within = sum(m.weight * float(m.gradient @ m.inverse @ m.gradient) for m in views)
    return within + _between(views)


def _between(views: Sequence[Mode]) -> float:
    mean = sum(m.weight * m.value for m in views)
    return sum(m.weight * (m.value - mean) ** 2 for m in views)


def greedy(
    views: Sequence[Mode], cost: Array, budget: float, count: int, power: float, repeats: bool = True
) -> tuple[list[int], list[float]]:
    """Choose runs one after another, each the best by gain / cost**power of those that the budget still
    allows.

    Returns the runs, and the standard error expected after each.
    """
    inverses = [m.inverse.copy() for m in views]
    total, between = variance(views), _between(views)
    left = budget
    chosen: list[int] = []
    errors: list[float] = []
    for _ in range(count):
        gain = np.zeros(len(cost))
        noise = np.zeros((len(views), len(cost)))
        for k, (m, inverse) in enumerate(zip(views, inverses, strict=True)):
            noise[k] = 1.0 + np.einsum("mf,fg,mg->m", m.rows, inverse, m.rows)
            gain += m.weight * (m.rows @ (inverse @ m.gradient)) ** 2 / noise[k]
        tell = np.zeros(len(cost))
        if len(views) > 1:
            centre = sum(m.weight * m.predicted for m in views)
            apart = sum(m.weight * (m.predicted - centre) ** 2 for m in views)
            tell = between * -np.expm1(-0.5 * apart / noise.mean(axis=0))
        worth = np.where(cost <= left, (gain + tell) / cost**power, -np.inf)
        if not repeats:
            worth[chosen] = -np.inf
        best = int(np.argmax(worth))
        if not np.isfinite(worth[best]) or worth[best] <= 0:
            break
        for k, m in enumerate(views):
            direction = inverses[k] @ m.rows[best]
            inverses[k] -= np.outer(direction, direction) / noise[k, best]
        total -= float(gain[best] + tell[best])
        between -= float(tell[best])
        left -= float(cost[best])
        chosen.append(best)
        errors.append(math.sqrt(max(total, 0.0)))
    return chosen, errors
