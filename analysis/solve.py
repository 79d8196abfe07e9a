"""Minimisation: many starts in one batched pass, pruned, then batched damped IRLS-Gauss-Newton, then Newton.

Nothing here stops on an absolute tolerance: SciPy's defaults on objectives of 1e-3 to 1e-5 do, and stop early
(``fitting.md``, finding 2). Progress is measured relative to the objective, and the end is proved by the Newton
decrement: the share of the objective that a Newton step would still remove.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import eigh
from scipy.stats import qmc

from analysis.estimands import Estimand
from analysis.laws.base import Array
from analysis.problem import Problem

KEEP = 64
SCREEN_ROWS = 2048
_CHUNK = 100_000
CONVERGED = 1e-8
STRETCH = 1.7


@dataclass(frozen=True)
class Solution:
    """Batched result: points (S, F), objectives (S,), iterations used (S,), and whether each settled (S,)."""

    phi: Array
    objective: Array
    iterations: Array
    settled: Array


@dataclass(frozen=True)
class Basin:
    """One local optimum: where, how good, how many starts ended there, what a Newton step would still gain."""

    phi: Array
    objective: float
    starts: int
    decrement: float
    at_bound: tuple[str, ...] = ()
    hessian: Array = field(default_factory=lambda: np.zeros((0, 0)), repr=False)

    @property
    def converged(self) -> bool:
        return bool(np.isfinite(self.objective) and self.decrement <= CONVERGED)


@dataclass(frozen=True)
class Search:
    """All local optima found, best first, from ``starts`` starts of which ``refined`` were followed to the end."""

    basins: tuple[Basin, ...]
    starts: int
    refined: int
    unsettled: int

    @property
    def best(self) -> Basin:
        return self.basins[0]


def draw_starts(ranges: Array, count: int, seed: int = 0) -> Array:
    """(count, F) Sobol points, rotated by the seed, in the box ``ranges`` (F, 2)."""
    if len(ranges) == 0:
        return np.zeros((1, 0))
    power = max(1, int(np.ceil(np.log2(max(count, 2)))))
    unit = qmc.Sobol(len(ranges), scramble=False).random_base2(power)[:count]
    unit = (unit + np.random.default_rng(seed).random(len(ranges))) % 1.0
    return ranges[:, 0] + unit * (ranges[:, 1] - ranges[:, 0])


def _chunks(total: int, n: int) -> list[slice]:
    size = max(1, _CHUNK // max(n, 1))
    return [slice(i, min(i + size, total)) for i in range(0, total, size)]


def screen(problem: Problem, starts: Array, keep: int = KEEP) -> Array:
    """The most promising starts: the best, and a spread over the better half so that other basins are seen."""
    n = len(problem.y)
    if n > SCREEN_ROWS:
        problem = problem.subset(np.linspace(0, n - 1, SCREEN_ROWS).astype(int))
    inside = np.clip(starts, problem.lower, problem.upper)
    coarse = problem.estimand if problem.estimand.smooth else problem.estimand.smoothed(1e-3)
    values = np.concatenate([problem.objective(inside[s], estimand=coarse) for s in _chunks(len(inside), len(problem.y))])
    order = np.argsort(values, kind="stable")
    order = order[np.isfinite(values[order])]
    if len(order) <= keep:
        return inside[order]
    head = order[: keep * 3 // 4]
    tail = order[np.unique(np.linspace(len(head), max(len(order) // 2, keep), keep - len(head)).astype(int))]
    return inside[np.concatenate((head, tail))]


@dataclass(frozen=True)
class Batch:
    """What differs between the rows of a batched descent.

    ``weights`` (1, n) or (S, n): one set a row makes a case bootstrap a batch; ``targets`` (S, n): other data in each
    row, as in a wild bootstrap; ``hold`` (S, F): coordinates kept where they start, as along a profile; ``pull``: a
    quantity drawn to given values, as along the profile of a derived quantity.
    """

    weights: Array
    targets: Array | None = None
    hold: Array | None = None
    pull: Pull | None = None

    def rows(self, index: Array | slice) -> Batch:
        return Batch(
            self.weights if len(self.weights) == 1 else self.weights[index],
            None if self.targets is None else self.targets[index],
            None if self.hold is None else self.hold[index],
            None if self.pull is None else self.pull.rows(index),
        )


@dataclass(frozen=True)
class Pull:
    """Adds strength/2 (goal - quantity)**2 to each row: ``quantities(phi)`` gives K values (S, K) and their derivatives
    (S, K, F), of which row s is drawn by number ``which[s]`` to ``goal[s]``."""

    quantities: Callable[[Array], tuple[Array, Array]]
    which: Array
    goal: Array
    strength: Array

    def rows(self, index: Array | slice) -> Pull:
        return Pull(self.quantities, self.which[index], self.goal[index], self.strength[index])

    def at(self, phi: Array) -> tuple[Array, Array]:
        """Each row's quantity (S,) and its derivative (S, F)."""
        values, slopes = self.quantities(phi)
        row = np.arange(len(phi))
        return values[row, self.which], slopes[row, self.which]


def descend(problem: Problem, phi: Array, weights: Array | None = None, estimand: Estimand | None = None,
            iterations: int = 300, tolerance: float = 1e-12, batch: Batch | None = None) -> Solution:
    """Batched Levenberg-Marquardt on the reweighted least-squares majoriser, with box bounds.

    ``weights`` (1, n) or (S, n), or a whole ``batch``. A row ends when three accepted or rejected steps in a row change
    its objective by less than ``tolerance`` of it.
    """
    estimand = estimand or problem.estimand
    if batch is None:
        batch = Batch(problem.weights[None] if weights is None else np.atleast_2d(weights))
    parts = [
        _descend(problem, phi[s], batch.rows(s), estimand, iterations, tolerance)
        for s in _chunks(len(phi), len(problem.y))
    ]
    if not parts:
        empty = np.zeros(0)
        return Solution(phi, empty, empty.astype(int), empty.astype(bool))
    return Solution(*(np.concatenate([getattr(p, k) for p in parts]) for k in ("phi", "objective", "iterations", "settled")))


@dataclass
class _State:
    """Residuals (S, n), derivatives (S, F, n), pulled quantity and its derivative, and objective of some rows."""

    r: Array
    jac: Array
    pulled: tuple[Array, Array] | None
    value: Array

    def replace_rows(self, mask: Array, other: _State) -> _State:
        """This state where ``mask`` is false, the other where it is true."""
        if mask.all():
            return other
        if not mask.any():
            return self
        self.r[mask], self.jac[mask], self.value[mask] = other.r[mask], other.jac[mask], other.value[mask]
        if self.pulled is not None and other.pulled is not None:
            self.pulled[0][mask], self.pulled[1][mask] = other.pulled[0][mask], other.pulled[1][mask]
        return self

    def rows(self, keep: Array) -> _State:
        if keep.all():
            return self
        pulled = None if self.pulled is None else (self.pulled[0][keep], self.pulled[1][keep])
        return _State(self.r[keep], self.jac[keep], pulled, self.value[keep])


def _evaluate(problem: Problem, phi: Array, batch: Batch, estimand: Estimand) -> _State:
    r, jac = problem.linearised(phi, batch.targets)
    pulled = None if batch.pull is None else batch.pull.at(phi)
    with np.errstate(all="ignore"):
        value = np.einsum("sn,sn->s", np.broadcast_to(batch.weights, r.shape), estimand.rho(r))
        if batch.pull is not None and pulled is not None:
            value = value + 0.5 * batch.pull.strength * (batch.pull.goal - pulled[0]) ** 2
    return _State(r, jac, pulled, np.where(np.isfinite(value), value, np.inf))


def _normal_equations(state: _State, batch: Batch, estimand: Estimand) -> tuple[Array, Array]:
    """(S, F, F) majoriser and (S, F) downhill slope."""
    with np.errstate(all="ignore"):
        weighted = state.jac * (batch.weights * estimand.weight(state.r))[:, None, :]
        hessian = weighted @ state.jac.transpose(0, 2, 1)
        slope = (weighted @ state.r[:, :, None])[:, :, 0]
        if batch.pull is not None and state.pulled is not None:
            quantity, by_phi = state.pulled
            hessian = hessian + batch.pull.strength[:, None, None] * by_phi[:, :, None] * by_phi[:, None, :]
            slope = slope + (batch.pull.strength * (batch.pull.goal - quantity))[:, None] * by_phi
    return hessian, slope


def _damped_step(hessian: Array, slope: Array, damping: Array, blocked: Array) -> Array:
    """(S, F) Levenberg-Marquardt step; coordinates that are blocked or have no curvature stay."""
    free = slope.shape[1]
    diagonal = np.arange(free)
    scale = hessian[:, diagonal, diagonal]
    with np.errstate(all="ignore"):
        floor = 1e-14 * scale.max(axis=1, keepdims=True) + 1e-300
        broken = blocked | (scale <= floor) | ~np.isfinite(scale)
    if broken.any():
        slope = np.where(broken, 0.0, slope)
        hessian = np.where(broken[:, :, None] | broken[:, None, :], 0.0, hessian)
        scale = np.where(broken, 1.0, scale)
        hessian[:, diagonal, diagonal] = scale
    hessian[:, diagonal, diagonal] += damping[:, None] * scale + np.where(np.isfinite(floor), floor, 0.0)
    bad = ~np.isfinite(hessian).all(axis=(1, 2)) | ~np.isfinite(slope).all(axis=1)
    if bad.any():
        hessian[bad], slope[bad] = np.eye(free), 0.0
    return np.linalg.solve(hessian, slope[:, :, None])[:, :, 0]


def _descend(problem: Problem, start: Array, batch: Batch, estimand: Estimand, iterations: int,
             tolerance: float) -> Solution:
    phi = np.clip(start, problem.lower, problem.upper)
    size, free = phi.shape
    used = np.zeros(size, dtype=int)
    if free == 0:
        return Solution(phi, problem.objective(phi, batch.weights, estimand, batch.targets), used, np.ones(size, dtype=bool))
    state = _evaluate(problem, phi, batch, estimand)
    objective = state.value.copy()
    settled = np.zeros(size, dtype=bool)
    quiet = np.zeros(size, dtype=int)
    damping = np.full(size, 1e-3)
    # the majoriser of a robust loss over-states its curvature: steps may be stretched, up to twice
    stretch = np.ones(size)
    longest = 1.0 if estimand.squares else STRETCH
    active = np.flatnonzero(np.isfinite(objective))
    state = state.rows(np.isfinite(objective))
    for _ in range(iterations):
        if not len(active):
            break
        here, now = phi[active], batch.rows(active)
        hessian, slope = _normal_equations(state, now, estimand)
        blocked = ((here <= problem.lower) & (slope < 0)) | ((here >= problem.upper) & (slope > 0))
        if now.hold is not None:
            blocked |= now.hold
        step = _damped_step(hessian, slope, damping[active], blocked)
        trial = np.clip(here + stretch[active, None] * step, problem.lower, problem.upper)
        tried = _evaluate(problem, trial, now, estimand)
        with np.errstate(invalid="ignore"):
            gain = objective[active] - tried.value
        better = gain >= 0
        small = np.abs(gain) <= tolerance * objective[active]
        moved = active[better]
        phi[moved], objective[moved] = trial[better], tried.value[better]
        state = state.replace_rows(better, tried)
        damping[active] = np.clip(np.where(better, 0.3, 5.0) * damping[active], 1e-12, 1e12)
        stretch[active] = np.where(better, np.minimum(stretch[active] * 1.3, longest), 1.0)
        quiet[active] = np.where(small, quiet[active] + 1, 0)
        used[active] += 1
        done = (quiet[active] >= 3) | (damping[active] >= 1e12) | (objective[active] <= 0)
        settled[active[done]] = True
        active = active[~done]
        state = state.rows(~done)
    return Solution(phi, objective, used, settled)


def hessian_at(problem: Problem, phi: Array, estimand: Estimand | None = None) -> Array:
    """(F, F) second derivative of the objective at one point, by differences of the analytic gradient."""
    step = 1e-5 * np.maximum(1.0, np.abs(phi))
    points = np.concatenate((phi + np.diag(step), phi - np.diag(step)))
    slopes = problem.gradient(points, estimand=estimand)
    half = len(phi)
    out = (slopes[:half] - slopes[half:]) / (2 * step[:, None])
    return 0.5 * (out + out.T)


def majoriser_at(problem: Problem, phi: Array, estimand: Estimand | None = None) -> Array:
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


def polish(problem: Problem, phi: Array, estimand: Estimand | None = None, steps: int = 30) -> tuple[Array, float, Array]:
    """Damped Newton from one point. Returns the point, the relative Newton decrement there, and the Hessian."""
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
        if not free.any() or value <= 0:
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


def bounds_reached(problem: Problem, phi: Array) -> tuple[str, ...]:
    """Names of free parameters at a bound."""
    near = (phi <= problem.lower + 1e-9) | (phi >= problem.upper - 1e-9)
    return tuple(n for n, hit in zip(problem.free_names, near, strict=True) if hit)


def search(problem: Problem, starts: Array, keep: int = KEEP, iterations: int = 300) -> Search:
    """Screen ``starts`` (S, F), follow the kept ones to their optima, and gather these into basins."""
    from analysis.kinks import solve_kinked

    refined = screen(problem, starts, keep) if len(starts) > keep else np.clip(starts, problem.lower, problem.upper)
    n = len(problem.y)
    if n > 4 * SCREEN_ROWS and len(refined) > 8:
        rows = np.unique(np.linspace(0, n - 1, 2 * SCREEN_ROWS).astype(int))
        small = problem.subset(rows)
        rough = descend(small, refined, estimand=_first(problem.estimand), iterations=100, tolerance=1e-9)
        refined = np.array([p for p, _ in _gather(small, rough, 1e-4)][:8]).reshape(-1, refined.shape[1])
    if problem.estimand.smooth:
        found = descend(problem, refined, iterations=iterations)
        finish = polish
    else:
        found, finish = solve_kinked(problem, refined)
    groups = _gather(problem, found, 1e-6)
    basins: list[Basin] = []
    for phi, count in groups[:12]:
        point, decrement, matrix = finish(problem, phi)
        if decrement > CONVERGED:
            longer = descend(problem, point[None], estimand=_last(problem.estimand), iterations=2000, tolerance=1e-14)
            point, decrement, matrix = finish(problem, longer.phi[0])
        value = float(problem.objective(point[None])[0])
        if np.isfinite(value):
            basins.append(Basin(point, value, count, decrement, bounds_reached(problem, point), matrix))
    basins = _merge(problem, sorted(basins, key=lambda b: b.objective))
    return Search(tuple(basins), len(starts), len(refined), int(np.sum(~found.settled)))


def _first(estimand: Estimand) -> Estimand:
    return estimand if estimand.smooth else estimand.smoothed(1e-3)


def _last(estimand: Estimand) -> Estimand:
    return estimand if estimand.smooth else estimand.smoothed(1e-6)


def _same(problem: Problem, a: Array, b: Array, value: float, metric: Array, tolerance: float) -> bool:
    """Whether b lies in a's basin as far as the objective can tell: the rise between them is negligible."""
    gap = b - a
    near = 0.5 * gap @ metric @ gap <= 10 * tolerance * value
    if near or problem.estimand.squares and value <= 0:
        return True
    middle = problem.objective((a + 0.5 * gap)[None])[0]
    return bool(middle <= value * (1 + tolerance))


def _gather(problem: Problem, found: Solution, tolerance: float) -> list[tuple[Array, int]]:
    order = [i for i in np.argsort(found.objective, kind="stable") if np.isfinite(found.objective[i])]
    groups: list[list] = []
    smooth = _first(problem.estimand)
    for i in order:
        for group in groups:
            if abs(found.objective[i] - group[2]) <= tolerance * max(abs(group[2]), 1e-300) and _same(
                problem, group[0], found.phi[i], group[2], group[3], tolerance
            ):
                group[1] += 1
                break
        else:
            if len(groups) < 24:
                metric = majoriser_at(problem, found.phi[i], smooth)
                groups.append([found.phi[i], 1, float(found.objective[i]), metric])
    return [(g[0], g[1]) for g in groups]


def _merge(problem: Problem, basins: list[Basin]) -> list[Basin]:
    """After polishing, points that turn out to be one optimum are one basin."""
    out: list[Basin] = []
    for basin in basins:
        for k, kept in enumerate(out):
            if abs(basin.objective - kept.objective) <= 1e-6 * max(kept.objective, 1e-300) and _same(
                problem, kept.phi, basin.phi, kept.objective, majoriser_at(problem, kept.phi, _first(problem.estimand)), 1e-6
            ):
                out[k] = Basin(kept.phi, kept.objective, kept.starts + basin.starts, kept.decrement, kept.at_bound, kept.hessian)
                break
        else:
            out.append(basin)
    return out
