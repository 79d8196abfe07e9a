"""The end of a descent: damped Newton steps, and the decrement that proves it.

The Newton decrement is the share of the objective that a Newton step would still remove: it does not depend
on units or coordinates, as gradients and step sizes do.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from analysis.fitting.estimands import Estimand
from analysis.fitting.problem import FitProblem
from analysis.laws.base import Array


def hessian_at(problem: FitProblem, phi: Array, estimand: Estimand | None = None) -> Array:
    """(F, F) second derivative of the objective at one point, by differences of the analytic gradient."""
    step = 1e-5 * np.maximum(1.0, np.abs(phi))
    points = np.concatenate((phi + np.diag(step), phi - np.diag(step)))
    slopes = problem.gradient(points, estimand=estimand)
    half = len(phi)
    out = (slopes[:half] - slopes[half:]) / (2 * step[:, None])
    return 0.5 * (out + out.T)


def majoriser_at(problem: FitProblem, phi: Array, estimand: Estimand | None = None) -> Array:
    """(F, F) reweighted Gauss-Newton matrix J'WJ at one point: positive semi-definite."""
    estimand = estimand or problem.estimand
    r, jac = problem.linearised(phi[None])
    w = problem.weights * estimand.weight(r[0])
    return (jac[0] * w) @ jac[0].T


def _modes(matrix: Array, floor: float = 1e-13) -> tuple[Array, Array, Array]:
    """Scale, eigenvalues and eigenvectors of a matrix scaled to unit diagonal (its |entries| made finite)."""
    scale = np.sqrt(np.maximum(np.abs(np.diag(matrix)), floor * max(float(np.abs(matrix).max()), 1e-300)))
    values, vectors = eigh(matrix / np.outer(scale, scale))
    return scale, values, vectors


def polish(
    problem: FitProblem, phi: Array, estimand: Estimand | None = None, steps: int = 30
) -> tuple[Array, float, Array]:
    """Damped Newton steps from one point. Returns the point reached, the relative Newton decrement there,
    and the Hessian.
    """
    estimand = estimand or problem.estimand
    phi = phi.copy()
    if phi.size == 0:
        return phi, 0.0, np.zeros((0, 0))
    value = float(problem.objective(phi[None], estimand=estimand)[0])
    decrement, matrix = np.inf, np.eye(len(phi))
    for _ in range(steps):
        slope = problem.gradient(phi[None], estimand=estimand)[0]
        matrix = hessian_at(problem, phi, estimand)
        if not (np.isfinite(slope).all() and np.isfinite(matrix).all()):
            return phi, np.inf, np.eye(len(phi))
        free = ~(((phi <= problem.lower) & (slope > 0)) | ((phi >= problem.upper) & (slope < 0)))
        if not free.any() or value <= problem.exact():
            return phi, 0.0, matrix
        scale, values, vectors = _modes(matrix[np.ix_(free, free)])
        slope_modes = vectors.T @ (slope[free] / scale)
        solid = np.abs(values) > 1e-9 * np.abs(values).max()
        curvature = np.where(solid, np.abs(values), np.inf)
        decrement = float(0.5 * np.sum(slope_modes**2 / curvature) / value)
        if decrement < 1e-15:
            break
        step = np.zeros_like(phi)
        step[free] = -(vectors @ (slope_modes / curvature)) / scale
        lengths = 0.5 ** np.arange(12)
        trials = np.clip(phi + lengths[:, None] * step, problem.lower, problem.upper)
        values_at = problem.objective(trials, estimand=estimand)
        best = int(np.argmin(values_at))
        if not values_at[best] < value:
            break
        phi, value = trials[best], float(values_at[best])
    return phi, decrement, matrix
