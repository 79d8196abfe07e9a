"""The Pareto front of one objective at one U: the least loss that any size tried reaches for so many FLOPs.

A front is read with early stopping: at a budget C it takes, of every size and evaluation that cost at most C,
the one with the least loss on validation half A, and reports its loss on half B. Between its points it is
linear in log C. It is *bracketed* at C where its best size is neither the smallest nor the largest of those
tried there: otherwise a size that was not tried may be better, and the front is no optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.crossover.same_n.arm import Arm

Array = NDArray[np.float64]

NEAR = 1.12
"""Factor of C within which a size counts as tried there: the widest spacing of evaluations."""


@dataclass(frozen=True)
class Curve:
    """One size (and setting) of an objective: ``arms`` its replicates, ``seeds`` their names, ``index`` [R,
    P] the evaluations of each that may enter a front, at shared costs ``flops`` [P]. ``final``: more compute
    would not lower its loss, for its minimum is bracketed in every replicate."""

    N: float
    name: str
    seeds: tuple[str, ...]
    arms: tuple[Arm, ...]
    index: NDArray[np.int64]
    flops: Array
    final: bool

    def values(self, half: str) -> Array:
        """[R, P] losses on a half."""
        halves = [arm.a if half == "a" else arm.b for arm in self.arms]
        return np.stack([h.value[i] for h, i in zip(halves, self.index, strict=True)])


@dataclass(frozen=True)
class Front:
    """The points of all curves in order of cost: ``flops`` [P]; ``select`` and ``report`` [R, P] losses on
    halves A and B by replicate (NaN where a curve lacks one); ``curve`` and ``column`` [P] where each comes
    from. ``seeds`` [R]."""

    curves: tuple[Curve, ...]
    seeds: tuple[str, ...]
    flops: Array
    select: Array
    report: Array
    curve: NDArray[np.int64]
    column: NDArray[np.int64]

    @property
    def reach(self) -> tuple[float, float]:
        """The least and the largest budget tried."""
        return float(self.flops[0]), float(self.flops[-1])

    @property
    def sizes(self) -> list[float]:
        """The distinct sizes tried, in order."""
        return sorted({c.N for c in self.curves})

    def points(self, weights: Array) -> NDArray[np.int64]:
        """[F] indices of the points on the front, by the weighted mean [R] over replicates of half A."""
        value = _mean(self.select, weights)
        best = np.minimum.accumulate(value)
        return np.flatnonzero(np.concatenate([[True], value[1:] < best[:-1]]))

    def loss(self, weights: Array, log_c: Array) -> Array:
        """The front on half B at log budgets: linear in log C between points, flat after the last, NaN before
        the first."""
        on = self.points(weights)
        x, y = np.log(self.flops[on]), _mean(self.report[:, on], weights)
        last = np.append(x[1:] != x[:-1], True)  # of points of one cost, the best
        return np.interp(log_c, x[last], y[last], left=np.nan)

    def best(self, weights: Array, log_c: Array) -> NDArray[np.int64]:
        """Indices of the front's points at budgets [K]: of each, the last that costs no more."""
        on = self.points(weights)
        upto = np.searchsorted(np.log(self.flops[on]), np.asarray(log_c) + 1e-9, side="right") - 1
        return on[np.maximum(upto, 0)]

    def bracketed(self, weights: Array, log_c: Array) -> NDArray[np.bool_]:
        """[K] whether both a smaller and a larger size than the best were tried at budgets, and the best
        itself.

        A size is tried where its evaluations reach the budget within :data:`NEAR`, and beyond them if its
        minimum is known.
        """
        owner = self.curve[self.best(weights, log_c)]
        budget = np.exp(np.asarray(log_c))[:, None]
        first, last = (np.array([c.flops[i] for c in self.curves]) for i in (0, -1))
        final = np.array([c.final for c in self.curves])
        tried = (first <= budget * NEAR) & (final | (last >= budget / NEAR))  # [K, curves]
        sizes = np.array([c.N for c in self.curves])
        best = sizes[owner][:, None]
        smaller, larger = (tried & (sizes < best * 0.99)), (tried & (sizes > best * 1.01))
        own = tried[np.arange(len(owner)), owner]
        return np.asarray(smaller.any(axis=1) & larger.any(axis=1) & own)


def _mean(values: Array, weights: Array) -> Array:
    """[P] weighted mean over replicates that a point has."""
    there = np.isfinite(values)
    total = weights @ np.where(there, values, 0.0)
    share = weights @ there
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(share > 0, total / share, np.inf)


def build(curves: Sequence[Curve]) -> Front | None:
    """The front of these curves; None if there is no point."""
    curves = [c for c in curves if len(c.flops)]
    if not curves:
        return None
    seeds = tuple(sorted({s for c in curves for s in c.seeds}))
    rows = np.concatenate([c.flops for c in curves])
    owner = np.concatenate([np.full(len(c.flops), k) for k, c in enumerate(curves)])
    column = np.concatenate([np.arange(len(c.flops)) for c in curves])
    halves = []
    for half in ("a", "b"):
        table = np.full((len(seeds), len(rows)), np.nan)
        for k, c in enumerate(curves):
            where = np.flatnonzero(owner == k)
            for seed, values in zip(c.seeds, c.values(half), strict=True):
                table[seeds.index(seed), where] = values
        halves.append(table)
    order = np.argsort(rows, kind="stable")
    return Front(
        tuple(curves),
        seeds,
        rows[order],
        halves[0][:, order],
        halves[1][:, order],
        owner[order],
        column[order],
    )


def shared(arms: Sequence[Arm], last_only: bool) -> tuple[NDArray[np.int64], Array]:
    """[R, P] evaluations that all replicates of a curve have (by step), and their mean cost [P];
    ``last_only``: each one's last, whatever its step."""
    if last_only:
        index = np.array([[len(a) - 1] for a in arms])
    else:
        steps = arms[0].step
        for a in arms[1:]:
            steps = np.intersect1d(steps, a.step)
        index = np.stack([np.searchsorted(a.step, steps) for a in arms])
    cost = np.exp(np.mean([np.log(a.x["flops"][i]) for a, i in zip(arms, index, strict=True)], axis=0))
    return index, cost
