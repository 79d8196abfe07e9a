"""Batched damped descent: many starts, resamples or constrained fits at once.

Levenberg-Marquardt on the reweighted least-squares majoriser of the estimand's loss. Nothing here stops on an
absolute tolerance. SciPy's ``ftol`` does below 1, being relative to max(|f|, 1), and on objectives of 1e-3 to
1e-5 its default ends the search early.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.fitting.estimands import Estimand
from analysis.fitting.problem import FitProblem
from analysis.laws.base import Array

_CHUNK = 100_000
#: how far a step on the majoriser of a robust loss may be stretched
STRETCH = 1.7


@dataclass(frozen=True)
class Solution:
    """Batched result: points (S, F), objectives (S,), iterations used (S,), and whether each settled (S,)."""

    phi: Array
    objective: Array
    iterations: Array
    settled: Array


def chunks(total: int, n: int) -> list[slice]:
    """Slices of ``total`` rows of ``n`` values each that fit a cache."""
    size = max(1, _CHUNK // max(n, 1))
    return [slice(i, min(i + size, total)) for i in range(0, total, size)]


@dataclass(frozen=True)
class DescentBatch:
    """What differs between the rows of a batched descent.

    ``weights`` (1, n) or (S, n): one set a row makes a case bootstrap a batch; ``targets`` (S, n): other data
    in each row, as in a wild bootstrap; ``hold`` (S, F): coordinates kept where they start, as along a
    profile; ``pull``: a quantity drawn to given values, as along the profile of a derived quantity.
    """

    weights: Array
    targets: Array | None = None
    hold: Array | None = None
    pull: Pull | None = None

    def rows(self, index: Array | slice) -> DescentBatch:
        return DescentBatch(
            self.weights if len(self.weights) == 1 else self.weights[index],
            None if self.targets is None else self.targets[index],
            None if self.hold is None else self.hold[index],
            None if self.pull is None else self.pull.rows(index),
        )


@dataclass(frozen=True)
class Pull:
    """Adds strength/2 (goal - quantity)**2 to each row: ``quantities(phi)`` gives K values (S, K) and their
    derivatives (S, K, F), of which row s is drawn by number ``which[s]`` to ``goal[s]``."""

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


def descend(
    problem: FitProblem,
    phi: Array,
    weights: Array | None = None,
    estimand: Estimand | None = None,
    iterations: int = 300,
    tolerance: float = 1e-12,
    batch: DescentBatch | None = None,
) -> Solution:
    """Batched Levenberg-Marquardt on the reweighted least-squares majoriser, with box bounds.

    ``weights`` (1, n) or (S, n), or a whole ``batch``. A row ends when three accepted or rejected steps in a
    row change its objective by less than ``tolerance`` of it.
    """
    estimand = estimand or problem.estimand
    if batch is None:
        batch = DescentBatch(problem.weights[None] if weights is None else np.atleast_2d(weights))
    parts = [
        _descend(problem, phi[s], batch.rows(s), estimand, iterations, tolerance)
        for s in chunks(len(phi), len(problem.y))
    ]
    if not parts:
        empty = np.zeros(0)
        return Solution(phi, empty, empty.astype(int), empty.astype(bool))
    return Solution(
        *(
            np.concatenate([getattr(p, k) for p in parts])
            for k in ("phi", "objective", "iterations", "settled")
        )
    )


@dataclass
class _State:
    """Residuals (S, n), derivatives (S, F, n), pulled quantity and its derivative, and objective of some
    rows."""

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


def _evaluate(problem: FitProblem, phi: Array, batch: DescentBatch, estimand: Estimand) -> _State:
    r, jac = problem.linearised(phi, batch.targets)
    pulled = None if batch.pull is None else batch.pull.at(phi)
    with np.errstate(all="ignore"):
        value = np.einsum("sn,sn->s", np.broadcast_to(batch.weights, r.shape), estimand.rho(r))
        if batch.pull is not None and pulled is not None:
            value = value + 0.5 * batch.pull.strength * (batch.pull.goal - pulled[0]) ** 2
    return _State(r, jac, pulled, np.where(np.isfinite(value), value, np.inf))


def _normal_equations(state: _State, batch: DescentBatch, estimand: Estimand) -> tuple[Array, Array]:
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
    return solved(hessian, slope)


def solved(matrix: Array, right: Array) -> Array:
    """(S, F) solutions of a batch of equations. A singular member gets its shortest least-squares one;
    the others stay as they are, so that redundant parameters of one start end no search."""
    try:
        return np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:  # of the whole batch, for one member
        pass
    out = np.empty_like(right)
    for i, (member, side) in enumerate(zip(matrix, right, strict=True)):
        try:
            out[i] = np.linalg.solve(member, side)
        except np.linalg.LinAlgError:
            out[i] = np.linalg.lstsq(member, side, rcond=None)[0]
    return out


def _descend(
    problem: FitProblem,
    start: Array,
    batch: DescentBatch,
    estimand: Estimand,
    iterations: int,
    tolerance: float,
) -> Solution:
    phi = np.clip(start, problem.lower, problem.upper)
    size, free = phi.shape
    used = np.zeros(size, dtype=int)
    if free == 0:
        return Solution(
            phi,
            problem.objective(phi, batch.weights, estimand, batch.targets),
            used,
            np.ones(size, dtype=bool),
        )
    state = _evaluate(problem, phi, batch, estimand)
    objective = state.value.copy()
    settled = np.zeros(size, dtype=bool)
    quiet = np.zeros(size, dtype=int)
    damping = np.full(size, 1e-3)
    # the majoriser of a robust loss over-states its curvature: steps may be stretched, up to twice
    stretch = np.ones(size)
    exact = problem.exact() if batch.pull is None else 0.0
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
        done = (quiet[active] >= 3) | (damping[active] >= 1e12) | (objective[active] <= exact)
        settled[active[done]] = True
        active = active[~done]
        state = state.rows(~done)
    return Solution(phi, objective, used, settled)
