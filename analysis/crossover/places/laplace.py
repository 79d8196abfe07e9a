"""Places and bounds under random effects: the coefficients' posterior at each size of the scatter.

A row is a place (normal about the linear predictor) or a bound (the probability of lying beyond it: Tobin
1958). Effects of cells and replicates and the coefficients are integrated out by Laplace's approximation,
exact where nothing is censored (with few cells and bounds it takes a skewed posterior for a symmetric
one); the standard deviations are given, a row of ``grid`` each. With a *cure fraction* pi, a cell of which
nothing but upper bounds is known either never crosses (probability pi: its bounds are then certain) or has
not crossed yet (Boag 1949; Farewell 1982 for regression).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

KEEP = 14.0
"""Nats of evidence below the best at which a row of the grid is no longer followed (weight under 1e-6)."""


@dataclass(frozen=True)
class Rows:
    """``y`` [n] log(place or bound) and ``side`` [n]: 0 seen, +1 it lies above, -1 below."""

    y: Array
    side: NDArray[np.int64]


@dataclass(frozen=True)
class Effects:
    """Indicator matrix [n, C + R] of cells and replicates, how many are cells, which of the two are in use,
    and ``open`` [K, n]: the rows of each cell that was seen on no replicate, all of them upper bounds.
    ``closed``: how many cells are not so."""

    matrix: Array
    cells: int
    used: tuple[bool, bool]
    open: Array
    closed: int


@dataclass(frozen=True)
class Posterior:
    """For each row of the grid that is left: ``mean`` [G, p], ``covariance`` [G, p, p] of the coefficients,
    log ``evidence`` [G]; ``kept`` [G] indices into the grid."""

    mean: Array
    covariance: Array
    evidence: Array
    kept: NDArray[np.int64]


def effects(data: pd.DataFrame) -> Effects:
    """The blocks of a table with columns ``cell``, ``seed``, ``side``."""
    cell = pd.Categorical(data["cell"]).codes
    seed = pd.Categorical(data["seed"].astype(str)).codes
    side = data["side"].to_numpy()
    # Cells with one replicate each cannot tell cell scatter from residuals: the residual takes both.
    use_cells = bool(np.bincount(cell).max() > 1)
    use_seeds = bool(seed.max() > 0)
    member = np.eye(cell.max() + 1)[cell]
    c = member if use_cells else np.zeros((len(data), 0))
    r = np.eye(seed.max() + 1)[seed] if use_seeds else np.zeros((len(data), 0))
    unseen = np.array([bool((side[cell == k] > 0).all()) for k in range(cell.max() + 1)])
    closed = int((~unseen).sum())
    return Effects(np.hstack([c, r]), c.shape[1], (use_cells, use_seeds), member.T[unseen], closed)


def posterior(design: Array, blocks: Effects, rows: Rows, grid: Array, cure: float = 0.0) -> Posterior:
    """The coefficients under each row of ``grid`` (standard deviations of cells, replicates, residuals).

    Newton's method on all rows of the grid at once; those that after a few steps are far below the best are
    dropped. With ``cure`` 0 the objective is concave; else each step uses its concave part, and the line is
    searched.
    """
    p = design.shape[1]
    z = np.hstack([design, blocks.matrix])
    seeds = z.shape[1] - p - blocks.cells
    kept = np.arange(len(grid))
    x = np.zeros((len(grid), z.shape[1]))
    x[:, :p] = np.linalg.lstsq(design, rows.y, rcond=None)[0]
    point = _Point.at(x, z, rows, grid, blocks, cure, p)
    for round_ in range(80):
        step = np.linalg.solve(point.hessian, point.gradient[..., None])[..., 0]
        size = np.ones(len(kept))
        for _ in range(30):
            trial = _Point.at(point.x + size[:, None] * step, z, rows, grid[kept], blocks, cure, p)
            worse = trial.value < point.value - 1e-9 * (1 + np.abs(point.value))
            if not worse.any():
                break
            size = np.where(worse, size / 2, size)
        point = trial
        if np.max(np.abs(step)) < 1e-7:
            break
        if round_ in (2, 5):
            evidence = _evidence(point, grid[kept], blocks, seeds)
            near = evidence > evidence.max() - KEEP - 10.0 / (1 + round_)
            kept, point = kept[near], point.take(near)
    curvature = point.full
    values = np.linalg.eigvalsh(curvature)
    curvature = np.where((values[:, 0] > 0)[:, None, None], curvature, point.hessian)
    point = _Point(point.x, point.value, point.gradient, curvature, curvature)
    covariance = np.asarray(np.linalg.inv(curvature), dtype=np.float64)
    return Posterior(point.x[:, :p], covariance[:, :p, :p], _evidence(point, grid[kept], blocks, seeds), kept)


def _evidence(point: _Point, grid: Array, blocks: Effects, seeds: int) -> Array:
    _, logdet = np.linalg.slogdet(point.hessian)
    out: Array = point.value - 0.5 * logdet
    out -= blocks.cells * np.log(grid[:, 0]) if blocks.used[0] else 0.0
    out -= seeds * np.log(grid[:, 1]) if blocks.used[1] else 0.0
    return out


@dataclass(frozen=True)
class _Point:
    """Log density of places, bounds and effects at x [G, q]: value [G], gradient [G, q], minus Hessian [G, q,
    q]: ``hessian`` its positive part, ``full`` all of it."""

    x: Array
    value: Array
    gradient: Array
    hessian: Array
    full: Array

    def take(self, keep: NDArray[np.bool_]) -> _Point:
        return _Point(
            self.x[keep], self.value[keep], self.gradient[keep], self.hessian[keep], self.full[keep]
        )

    @classmethod
    def at(cls, x: Array, z: Array, rows: Rows, grid: Array, blocks: Effects, cure: float, p: int) -> _Point:
        precision = np.zeros(x.shape)
        precision[:, p : p + blocks.cells] = grid[:, :1] ** -2
        precision[:, p + blocks.cells :] = grid[:, 1:2] ** -2
        sigma = grid[:, 2:]
        seen = rows.side == 0
        r = (rows.y - x @ z.T) / sigma  # [G, n]
        sign = np.where(seen, 1, rows.side)
        t = -sign * r
        log_tail = special.log_ndtr(t)
        ratio = np.exp(-0.5 * t**2 - 0.5 * math.log(2 * math.pi) - log_tail)
        terms = np.where(seen, -0.5 * r**2 - np.log(sigma), log_tail)
        slope = np.where(seen, r, sign * ratio) / sigma
        curvature = np.where(seen, 1.0, ratio * (t + ratio)) / sigma**2
        value = -0.5 * (precision * x**2).sum(axis=1)
        dent = None
        if cure > 0:
            # log(pi + (1 - pi) e^S) for each cell without a place, S its bounds' log probability.
            late = math.log1p(-cure) + terms @ blocks.open.T  # [G, K]
            both = np.logaddexp(math.log(cure), late)
            weight = np.exp(late - both)
            value = value + both.sum(axis=1) + blocks.closed * math.log1p(-cure)
            inside = blocks.open.any(axis=0) if len(blocks.open) else np.zeros(len(rows.y), dtype=bool)
            value = value + np.where(inside, 0.0, terms).sum(axis=1)
            cells = (slope[:, None, :] * blocks.open) @ z  # [G, K, q]
            dent = np.einsum("gk,gkq,gkr->gqr", weight * (1 - weight), cells, cells, optimize=True)
            share = np.where(inside, weight @ blocks.open, 1.0)
            slope, curvature = slope * share, curvature * share
        else:
            value = value + terms.sum(axis=1)
        gradient = slope @ z - precision * x
        hessian = np.matmul(curvature[:, None, :] * z.T, z)
        diagonal = np.arange(x.shape[1])
        hessian[:, diagonal, diagonal] += precision + 1e-10
        return cls(x, value, gradient, hessian, hessian if dent is None else hessian - dent)
