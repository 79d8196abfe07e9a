"""Least absolute deviations and quantiles: smoothing continued towards the kink, then sequential linear
programs.

Such an objective is piecewise smooth, and its optimum usually interpolates as many points as there are
parameters, where no gradient vanishes: optimality is proved by a linear program that finds no descent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_matrix, hstack, identity

from analysis.fitting.estimands import Estimand
from analysis.fitting.problem import FitProblem
from analysis.fitting.solver.descent import Solution, descend
from analysis.fitting.solver.newton import majoriser_at, polish
from analysis.laws.base import Array

Finisher = Callable[..., tuple[Array, float, Array]]
_LP_ROWS = 5000


def solve_kinked(problem: FitProblem, starts: Array) -> tuple[Solution, Finisher]:
    """Follow starts (S, F) to their optima with the kink smoothed over 1e-2, then 1e-4, then 1e-6.

    The widths are in units of the residuals' own size. Returns the solution, and the function that polishes a
    point of it: `vertex`.
    """
    phi, solution = starts, None
    for width in (1e-2, 1e-4, 1e-6):
        solution = descend(
            problem, phi, estimand=problem.estimand.smoothed(width), iterations=200, tolerance=1e-11
        )
        phi = solution.phi
    settled = solution.settled  # type: ignore[union-attr]
    return Solution(phi, problem.objective(phi), solution.iterations, settled), vertex  # type: ignore[union-attr]


def _program(
    residual: Array, jac: Array, cost: tuple[Array, Array], radius: float, low: Array, high: Array
) -> tuple[Array, float]:
    """Minimise sum cost+ t+ + cost- t- over steps d in a box, with residual - J'd = t+ - t-."""
    n, free = len(residual), jac.shape[0]
    eye = identity(n, format="csr")
    result = linprog(
        np.concatenate((np.zeros(free), *cost)),
        A_eq=hstack((csr_matrix(jac.T), eye, -eye), format="csr"),
        b_eq=residual,
        bounds=[
            *zip(np.maximum(low, -radius), np.minimum(high, radius), strict=True),
            *[(0, None)] * (2 * n),
        ],
        method="highs",
    )
    return (result.x[:free], float(result.fun)) if result.status == 0 else (np.zeros(free), np.inf)


def vertex(problem: FitProblem, phi: Array, steps: int = 25) -> tuple[Array, float, Array]:
    """Sequential linear programming from one point, in a shrinking box.

    Returns the point, the share of the objective that the last program could still remove, and the Hessian of
    the smoothed objective (for metrics, not for standard errors).
    """
    estimand: Estimand = problem.estimand
    metric = majoriser_at(problem, phi, estimand.smoothed(1e-4))
    if len(problem.y) > _LP_ROWS or phi.size == 0:
        point, decrement, _ = polish(problem, phi, estimand.smoothed(1e-5))
        return point, decrement, metric
    side = (estimand.tau, 1 - estimand.tau) if estimand.name == "quantile" else (1.0, 1.0)
    cost = (problem.weights * side[0], problem.weights * side[1])
    value, radius, gain = float(problem.objective(phi[None])[0]), 1e-2, np.inf
    for _ in range(steps):
        r, jac = problem.linearised(phi[None])
        step, predicted = _program(r[0], jac[0], cost, radius, problem.lower - phi, problem.upper - phi)
        gain = max(value - predicted, 0.0) / max(value, 1e-300)
        if value <= problem.exact():
            gain = 0.0
        if gain < 1e-12:
            break
        actual = float(problem.objective((phi + step)[None])[0])
        if actual < value:
            ratio = (value - actual) / max(value - predicted, 1e-300)
            phi, value = phi + step, actual
            radius *= 2.0 if ratio > 0.75 else 0.5 if ratio < 0.25 else 1.0
        else:
            radius = 0.25 * min(radius, float(np.abs(step).max()))
        if radius < 1e-13:
            break
    return phi, gain, majoriser_at(problem, phi, estimand.smoothed(1e-4))
