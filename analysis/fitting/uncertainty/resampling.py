"""Sampling error of a fit: sandwich covariance, and case, cluster and wild bootstraps.

Every draw of a bootstrap is refitted to its optimum (relative change 1e-8: a ten-thousandth of a standard
error), all in one batch, from every basin that is nearly as good as the best: a bootstrap that starts only at
the optimum hides the other basins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.fitting.estimands import Estimand, get_estimand
from analysis.fitting.problem import FitProblem
from analysis.fitting.solver.descent import DescentBatch, descend
from analysis.laws.base import Array

#: Webb's six-point weights (2014): wild draws that do not run out of distinct values with few clusters
WEBB = np.array([-np.sqrt(1.5), -1.0, -np.sqrt(0.5), np.sqrt(0.5), 1.0, np.sqrt(1.5)])
MIN_UNITS = 6
PERCENTILE_UNITS = 40


@dataclass(frozen=True)
class Draws:
    """Refitted bootstrap draws: ``phi`` (B, F) internal coordinates, ``kind`` case, cluster or wild,
    ``units`` what was resampled, ``lost`` draws that gave no finite fit, ``excess`` mean of 2 (Q*(optimum) -
    Q*(refit))."""

    phi: Array
    kind: str
    units: int
    seed: int | None
    lost: int = 0
    excess: float = float("nan")

    def __len__(self) -> int:
        return len(self.phi)


def bandwidth(r: Array) -> float:
    """Width over which the density of residuals at zero is estimated (Silverman's rule on a robust scale)."""
    spread = 1.4826 * np.median(np.abs(r - np.median(r)))
    spread = spread if spread > 0 else float(np.std(r))
    return float(max(0.9 * spread * len(r) ** -0.2, 1e-300))


def mean_slope(estimand: Estimand, r: Array, free: int = 0) -> float:
    """E[psi'(r)], by a difference over a bandwidth: exact for squares, a density estimate for Huber, LAD,
    quantiles.

    A robust fit with ``free`` parameters passes through about as many points: those residuals are no sample
    of the noise, and are left out.
    """
    if estimand.squares:
        return 2.0
    kept = np.sort(np.abs(r))[free:] if 0 < free < len(r) - 4 else np.abs(r)
    h = max(bandwidth(r), estimand.width or 0.0)
    one = estimand if estimand.name != "quantile" else get_estimand("lad")
    scale = 1.0 if estimand.name != "quantile" else 0.5
    jumps = one.psi(kept + h) - one.psi(kept - h)
    # at least one residual is near zero: a density of nothing would make any interval infinite
    return scale * float(max(np.mean(jumps), np.max(one.psi(np.array([h]))) / len(r)) / (2 * h))


def local_slope(estimand: Estimand, r: Array) -> Array:
    """(n,) psi' at each residual over a bandwidth (Powell's kernel): their weighted sum of J J' is the
    Hessian under noise of unequal size."""
    if estimand.squares:
        return np.full(len(r), 2.0)
    h = max(2.0 * bandwidth(r), estimand.width or 0.0)
    return (estimand.psi(r + h) - estimand.psi(r - h)) / (2 * h)


def residuals_and_slopes(problem: FitProblem, phi: Array) -> tuple[Array, Array]:
    """Residuals (n,) and derivatives of the fitted values (F, n) at one point."""
    r, jac = problem.linearised(phi[None])
    return r[0], jac[0]


def dispersion(problem: FitProblem, phi: Array) -> float:
    """kappa: under independent errors of one size, 2 (Q(true) - Q(optimum)) / kappa is chi-squared with F
    degrees.

    E[psi^2] / E[psi'], with n - F in place of n where rho is smooth (measured: 93 to 97 % coverage from n =
    12 on); for least squares twice the residual variance.
    """
    r, _ = residuals_and_slopes(problem, phi)
    n, free = len(r), len(phi)
    if problem.estimand.squares:
        return float(2.0 * np.sum(problem.weights * r * r) / max(n - free, 1))
    psi = problem.estimand.psi(r)
    slope = mean_slope(problem.estimand, r, free)
    enlarge = n / max(n - free, 1) if problem.estimand.smooth else 1.0
    return float(np.mean(problem.weights * psi * psi) / slope * enlarge)


def leverage(problem: FitProblem, phi: Array) -> Array:
    """(n,) diagonal of the hat matrix of the linearised, weighted fit."""
    _, jac = residuals_and_slopes(problem, phi)
    scaled = jac * np.sqrt(problem.weights)
    basis, singular, _ = np.linalg.svd(scaled.T, full_matrices=False)
    solid = singular > 1e-10 * max(float(singular.max(initial=0.0)), 1e-300)
    return np.clip(np.sum(basis[:, solid] ** 2, axis=1), 0.0, 1.0 - 1e-9)


def covariance(problem: FitProblem, phi: Array, clusters: Array | None = None) -> Array:
    """(F, F) sandwich covariance in internal coordinates, robust to unequal noise and, with ``clusters``, to
    dependence within them; residuals are enlarged for leverage (HC3; CR1 for clusters).

    Directions that the data do not determine come out with huge variance, not as an error.
    """
    r, jac = residuals_and_slopes(problem, phi)
    n, free = len(r), len(phi)
    if free == 0:
        return np.zeros((0, 0))
    bread = (jac * (problem.weights * local_slope(problem.estimand, r))) @ jac.T
    score = jac * (problem.weights * problem.estimand.psi(r))
    if clusters is None:
        meat_rows = score / (1.0 - leverage(problem, phi))
        factor = 1.0
    else:
        codes = np.unique(clusters, return_inverse=True)[1]
        groups = int(codes.max()) + 1
        meat_rows = np.zeros((free, groups))
        np.add.at(meat_rows.T, codes, score.T)
        factor = groups / max(groups - 1, 1) * (n - 1) / max(n - free, 1)
    inverse = safe_inverse(bread)
    return inverse @ (meat_rows @ meat_rows.T) @ inverse * factor


def unequal_noise(problem: FitProblem, phi: Array) -> float:
    """Largest ratio of a robust standard error to one that assumes errors of one size: well above 1 where
    noise depends on the design, which makes profiles and pooled errors too short (Chinchilla's points:
    2.2)."""
    r, jac = residuals_and_slopes(problem, phi)
    if len(phi) == 0 or len(r) < 2 * len(phi):
        return 1.0
    pooled = dispersion(problem, phi) * safe_inverse(
        (jac * problem.weights) @ jac.T * mean_slope(problem.estimand, r)
    )
    with np.errstate(all="ignore"):
        ratio = np.sqrt(np.diag(covariance(problem, phi)) / np.diag(pooled))
    return float(np.nanmax(np.where(np.isfinite(ratio), ratio, np.nan), initial=1.0))


def safe_inverse(matrix: Array, floor: float = 1e-13) -> Array:
    """Inverse of a positive semi-definite matrix. A direction that it does not determine keeps a small
    curvature, and so a huge variance.
    """
    diagonal = np.diag(matrix)
    scale = np.sqrt(np.maximum(diagonal, max(1e-26 * float(diagonal.max(initial=0.0)), 1e-150)))
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    inverse = (vectors / np.maximum(values, floor)) @ vectors.T
    return inverse / np.outer(scale, scale)


#: eigenvalue of the correlation of slopes below which parameters make up for one another to rounding
REDUNDANT = 1e-12


def flat_directions(problem: FitProblem, phi: Array, limit: float = 3.0) -> list[dict[str, object]]:
    """Directions that the design does not identify: the fit may move ``limit`` e-folds along them within one
    standard error, or the slopes along them cancel to rounding, however small the noise. Each names the
    parameters that make it up, and its standard error.
    """
    if phi.size == 0:
        return []
    r, jac = residuals_and_slopes(problem, phi)
    curvature = (jac * problem.weights) @ jac.T * mean_slope(problem.estimand, r)
    size = np.array(
        [
            1.0 if problem.law.parameters[j].positive else max(1.0, abs(v))
            for j, v in zip(problem.free, phi, strict=True)
        ]
    )
    scaled = curvature * np.outer(size, size)
    values, vectors = np.linalg.eigh(scaled)
    top = max(float(values.max()), 1e-300)
    spread = np.sqrt(dispersion(problem, phi) / np.maximum(values, 1e-15 * top))
    flat = [
        (vectors[:, k], vectors[:, k], float(min(spread[k], 1e12))) for k in np.flatnonzero(spread > limit)
    ]
    flat = flat or [(direction, effect, 1e12) for direction, effect in _redundant(curvature)]
    return [{"parameters": _parts(problem, *pair), "se_log": error} for *pair, error in flat]


def _redundant(curvature: Array) -> list[tuple[Array, Array]]:
    """Directions (F,) along which the slopes cancel to rounding, and how much each parameter contributes."""
    scale = np.sqrt(np.diag(curvature))
    scale = np.where(scale > 1e-8 * max(float(scale.max()), 1e-300), scale, np.inf)  # without slope: vanished
    shape = curvature / np.outer(scale, scale) + np.diag(np.where(np.isfinite(scale), 0.0, 1.0))
    values, vectors = np.linalg.eigh(shape)
    return [(vectors[:, k] / scale, vectors[:, k]) for k in np.flatnonzero(values < REDUNDANT)]


def _parts(problem: FitProblem, direction: Array, effect: Array) -> dict[str, float]:
    """The parameters that make up a direction, the largest step being 1, less those that hardly count."""
    steps = direction / np.abs(direction).max()
    large = np.abs(effect) > 0.1 * np.abs(effect).max()
    return {
        n: round(float(v), 3) for n, v, kept in zip(problem.free_names, steps, large, strict=True) if kept
    }


def _case_weights(
    problem: FitProblem, draws: int, rng: np.random.Generator | np.random.RandomState, clusters: Array | None
) -> tuple[Array, int]:
    n = len(problem.y)
    if clusters is None:
        if isinstance(rng, np.random.RandomState):
            index = np.stack([rng.choice(n, size=n, replace=True) for _ in range(draws)])
            counts = np.stack([np.bincount(row, minlength=n) for row in index])
        else:
            counts = rng.multinomial(n, np.full(n, 1.0 / n), size=draws)
        return counts * problem.weights, n
    codes = np.unique(clusters, return_inverse=True)[1]
    groups = int(codes.max()) + 1
    counts = rng.multinomial(groups, np.full(groups, 1.0 / groups), size=draws)
    return counts[:, codes] * problem.weights, groups


def bootstrap(
    problem: FitProblem,
    starts: Array,
    draws: int,
    seed: int | np.random.RandomState = 0,
    kind: str = "case",
    clusters: Array | None = None,
    tolerance: float = 1e-8,
) -> Draws:
    """Refit ``draws`` resamples from each of ``starts`` (K, F), best first; the best refit of each draw
    counts.

    ``kind``: ``case`` resamples rows, ``cluster`` the groups in ``clusters``, ``wild`` flips and scales
    residuals with Webb weights (by cluster if there are any), keeping the design. ``seed`` may be a
    ``numpy.random.RandomState``, which then draws rows with ``choice``, as published notebooks do. ValueError
    under 6 units.
    """
    rng = seed if isinstance(seed, np.random.RandomState) else np.random.default_rng(seed)
    if kind not in ("case", "cluster", "wild"):
        raise ValueError(f"no bootstrap {kind!r}; there are case, cluster, wild")
    if kind == "cluster" and clusters is None:
        raise ValueError("a cluster bootstrap needs `cluster`, the column whose equal values belong together")
    if kind == "case":
        clusters = None
    estimand = problem.estimand if problem.estimand.smooth else problem.estimand.smoothed(1e-4)
    codes = np.arange(len(problem.y)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    units = int(codes.max()) + 1
    if units < MIN_UNITS:
        raise ValueError(
            f"{units} units are too few for a bootstrap interval; at least {MIN_UNITS} are needed"
        )
    targets = None
    if kind == "wild":
        best = starts[0]
        r, _ = residuals_and_slopes(problem, best)
        enlarged = r / np.sqrt(1.0 - leverage(problem, best))
        signs = rng.choice(WEBB, size=(draws, units))
        targets = problem.fitted(best[None]) + signs[:, codes] * enlarged
        weights = problem.weights[None]
    else:
        weights, units = _case_weights(problem, draws, rng, clusters)
    batch = DescentBatch(weights, targets)
    best_phi: Array | None = None
    best_value = np.full(draws, np.inf)
    for start in starts:
        solution = descend(
            problem,
            np.repeat(start[None], draws, axis=0),
            estimand=estimand,
            tolerance=tolerance,
            iterations=200,
            batch=batch,
        )
        if best_phi is None:
            best_phi, best_value = solution.phi, solution.objective.copy()
        else:
            better = solution.objective < best_value
            best_phi = np.where(better[:, None], solution.phi, best_phi)
            best_value = np.minimum(best_value, solution.objective)
    if best_phi is None:
        raise ValueError("a bootstrap needs at least one start")
    fine = np.isfinite(best_value)
    origin = problem.objective(starts[:1], weights, estimand, targets)
    excess = float(np.mean(2.0 * (origin - best_value)[fine])) if fine.any() else float("nan")
    number = None if isinstance(seed, np.random.RandomState) else int(seed)
    return Draws(problem.canonical(best_phi[fine]), kind, units, number, int(np.sum(~fine)), excess)
