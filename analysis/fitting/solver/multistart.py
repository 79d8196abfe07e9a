"""Minimisation: many starts in one batched pass, pruned, then batched damped IRLS-Gauss-Newton, then Newton.

Nothing here stops on an absolute tolerance (`analysis.fitting.solver.descent` says why). Progress is measured
relative to the objective, and the end is proved by the Newton decrement: the share of the objective that a
Newton step would still remove.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.stats import qmc

from analysis.fitting.estimands import Estimand
from analysis.fitting.problem import FitProblem
from analysis.fitting.solver.descent import Solution, chunks, descend
from analysis.fitting.solver.kinks import solve_kinked
from analysis.fitting.solver.newton import majoriser_at, polish
from analysis.fitting.solver.valley import follow
from analysis.laws.base import Array

KEEP = 64
"""Starts followed to the end, of laws up to ``FEW`` free parameters; four times as many of larger ones, whose
best basin is seldom among the first (measured on broken laws of 9 and 12 parameters: 64 miss it in half of
the data sets)."""
FEW = 7
VANISHED = -45.0
"""Logarithm of a term at the centre of the data, below which there is no such term."""
SCREEN_ROWS = 2048
CONVERGED = 1e-8


@dataclass(frozen=True)
class Basin:
    """One local optimum.

    Attributes:
        phi: (F,) the free coordinates there.
        objective: the objective there.
        starts: followed starts that ended there.
        decrement: the share of the objective that a Newton step would still remove.
        at_bound: free parameters at a bound.
        hessian: (F, F) second derivative of the objective.
    """

    phi: Array
    objective: float
    starts: int
    decrement: float
    at_bound: tuple[str, ...] = ()
    hessian: Array = field(default_factory=lambda: np.zeros((0, 0)), repr=False)

    @property
    def converged(self) -> bool:
        """Whether a Newton step would remove less than 1e-8 of the objective."""
        return bool(np.isfinite(self.objective) and self.decrement <= CONVERGED)


@dataclass(frozen=True)
class Optima:
    """All local optima of a search, best first.

    Attributes:
        basins: the optima.
        starts: starts that were tried.
        refined: starts that were followed to the end.
        unsettled: those of them that had not settled when the iterations ran out.
    """

    basins: tuple[Basin, ...]
    starts: int
    refined: int
    unsettled: int

    @property
    def best(self) -> Basin:
        """The lowest optimum."""
        return self.basins[0]


def draw_starts(ranges: Array, count: int, seed: int = 0) -> Array:
    """(count, F) Sobol points, rotated by the seed, in the box ``ranges`` (F, 2)."""
    if len(ranges) == 0:
        return np.zeros((1, 0))
    power = max(1, int(np.ceil(np.log2(max(count, 2)))))
    unit = qmc.Sobol(len(ranges), scramble=False).random_base2(power)[:count]
    unit = (unit + np.random.default_rng(seed).random(len(ranges))) % 1.0
    return ranges[:, 0] + unit * (ranges[:, 1] - ranges[:, 0])


def screen(problem: FitProblem, starts: Array, keep: int = KEEP) -> Array:
    """The most promising starts, at most ``keep``: three quarters are the best ones, the others spread over
    the better half, so that other basins are seen.
    """
    n = len(problem.y)
    if n > SCREEN_ROWS:
        problem = problem.subset(np.linspace(0, n - 1, SCREEN_ROWS).astype(int))
    inside = np.clip(starts, problem.lower, problem.upper)
    coarse = problem.estimand if problem.estimand.smooth else problem.estimand.smoothed(1e-3)
    values = np.concatenate(
        [problem.objective(inside[s], estimand=coarse) for s in chunks(len(inside), len(problem.y))]
    )
    order = np.argsort(values, kind="stable")
    order = order[np.isfinite(values[order])]
    if len(order) <= keep:
        return inside[order]
    head = order[: keep * 3 // 4]
    tail = order[np.unique(np.linspace(len(head), max(len(order) // 2, keep), keep - len(head)).astype(int))]
    return inside[np.concatenate((head, tail))]


def bounds_reached(problem: FitProblem, phi: Array) -> tuple[str, ...]:
    """Names of free parameters at a bound, and of terms that have vanished on the way to theirs."""
    terms = np.array([problem.law.parameters[j].role == "term" for j in problem.free], dtype=bool)
    lower = np.where(terms, np.maximum(problem.lower, VANISHED), problem.lower)
    near = (phi <= lower + 1e-9) | (phi >= problem.upper - 1e-9)
    return tuple(n for n, hit in zip(problem.free_names, near, strict=True) if hit)


def search(problem: FitProblem, starts: Array, iterations: int = 300) -> Optima:
    """Screen ``starts`` (S, F), follow the kept ones to their optima, and gather these into basins."""
    keep = KEEP if len(problem.free) <= FEW else 4 * KEEP
    refined = (
        screen(problem, starts, keep) if len(starts) > keep else np.clip(starts, problem.lower, problem.upper)
    )
    n = len(problem.y)
    if n > 4 * SCREEN_ROWS and len(refined) > 8:
        rows = np.unique(np.linspace(0, n - 1, 2 * SCREEN_ROWS).astype(int))
        small = problem.subset(rows)
        rough = descend(small, refined, estimand=_first(problem.estimand), iterations=100, tolerance=1e-9)
        refined = np.array([p for p, _ in _gather(small, rough, 1e-4)][:8]).reshape(-1, refined.shape[1])
    if problem.estimand.smooth:
        solution = descend(problem, refined, iterations=iterations)
        finish = polish
    else:
        solution, finish = solve_kinked(problem, refined)
    solution = replace(solution, phi=problem.canonical(solution.phi))
    groups = _gather(problem, solution, 1e-6)
    basins: list[Basin] = []
    for phi, count in groups[:12]:
        point, decrement, matrix = finish(problem, phi)
        if decrement > CONVERGED:
            point, decrement, matrix = finish(problem, follow(problem, point, _last(problem.estimand)))
        value = float(problem.objective(point[None])[0])
        if np.isfinite(value):
            basins.append(Basin(point, value, count, decrement, bounds_reached(problem, point), matrix))
    basins = _merge(problem, sorted(basins, key=lambda b: b.objective))
    return Optima(tuple(basins), len(starts), len(refined), int(np.sum(~solution.settled)))


def _first(estimand: Estimand) -> Estimand:
    return estimand if estimand.smooth else estimand.smoothed(1e-3)


def _last(estimand: Estimand) -> Estimand:
    return estimand if estimand.smooth else estimand.smoothed(1e-6)


def _same(problem: FitProblem, a: Array, b: Array, value: float, metric: Array, tolerance: float) -> bool:
    """Whether b lies in a's basin as far as the objective can tell: the rise between them is negligible."""
    gap = b - a
    near = 0.5 * gap @ metric @ gap <= 10 * tolerance * value
    if near or (problem.estimand.squares and value <= 0):
        return True
    middle = problem.objective((a + 0.5 * gap)[None])[0]
    return bool(middle <= value * (1 + tolerance))


def _gather(problem: FitProblem, solution: Solution, tolerance: float) -> list[tuple[Array, int]]:
    order = [i for i in np.argsort(solution.objective, kind="stable") if np.isfinite(solution.objective[i])]
    groups: list[list[Any]] = []
    smooth = _first(problem.estimand)
    for i in order:
        for group in groups:
            if abs(solution.objective[i] - group[2]) <= tolerance * max(abs(group[2]), 1e-300) and _same(
                problem, group[0], solution.phi[i], group[2], group[3], tolerance
            ):
                group[1] += 1
                break
        else:
            if len(groups) < 24:
                metric = majoriser_at(problem, solution.phi[i], smooth)
                groups.append([solution.phi[i], 1, float(solution.objective[i]), metric])
    return [(g[0], g[1]) for g in groups]


def _merge(problem: FitProblem, basins: list[Basin]) -> list[Basin]:
    """After polishing, points that turn out to be one optimum are one basin."""
    out: list[Basin] = []
    for basin in basins:
        for k, kept in enumerate(out):
            if abs(basin.objective - kept.objective) <= 1e-6 * max(kept.objective, 1e-300) and _same(
                problem,
                kept.phi,
                basin.phi,
                kept.objective,
                majoriser_at(problem, kept.phi, _first(problem.estimand)),
                1e-6,
            ):
                out[k] = Basin(
                    kept.phi,
                    kept.objective,
                    kept.starts + basin.starts,
                    kept.decrement,
                    kept.at_bound,
                    kept.hessian,
                )
                break
        else:
            out.append(basin)
    return out
