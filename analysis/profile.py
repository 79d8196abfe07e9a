"""Profile likelihood of parameters and of anything computed from them.

The profile of a quantity q is the least objective at each of its values. Its interval is where twice the rise over the
optimum, divided by the dispersion, stays below the F quantile with 1 and n - F degrees of freedom. It follows curved
and one-sided valleys where Wald intervals do not, and says "unbounded" where the objective never rises enough: the
honest interval of R_D* on the published data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import f as f_distribution

from analysis.descend import Batch, Pull, Solution, descend
from analysis.laws.base import Array
from analysis.problem import Problem

#: q: natural parameters (S, P) -> (S,) values, on the scale on which steps are natural (logs of positive quantities)
Quantity = Callable[[Array], Array]
_STEPS = 18
_REACH = 60.0


@dataclass(frozen=True)
class Profile:
    """Ends of each quantity's interval, the points on the way, and the best objective met on the way."""

    low: list[float | None]
    high: list[float | None]
    points: list[list[tuple[float, float]]]
    best: float
    best_phi: Array


def parameter_quantities(problem: Problem) -> list[Quantity]:
    """log of each free positive parameter, or the parameter itself, in original units."""

    def make(j: int, positive: bool) -> Quantity:
        return lambda natural: np.log(np.maximum(natural[:, j], 1e-300)) if positive else natural[:, j]

    return [make(int(j), problem.law.parameters[j].positive) for j in problem.free]


def _with_slopes(problem: Problem, quantities: Sequence[Quantity]) -> Callable[[Array], tuple[Array, Array]]:
    def evaluate(phi: Array) -> tuple[Array, Array]:
        size, free = phi.shape
        step = 1e-6 * np.maximum(1.0, np.abs(phi))
        shifted = np.repeat(phi[None], 2 * free + 1, axis=0)
        for j in range(free):
            shifted[1 + j, :, j] += step[:, j]
            shifted[1 + free + j, :, j] -= step[:, j]
        with np.errstate(all="ignore"):
            natural = problem.natural(shifted.reshape(-1, free))
            values = np.stack([q(natural) for q in quantities], axis=1).reshape(
                2 * free + 1, size, len(quantities)
            )
            slopes = (values[1 : 1 + free] - values[1 + free :]) / (2 * step.T[:, :, None])
        return np.nan_to_num(values[0], nan=0.0), np.nan_to_num(
            slopes.transpose(1, 2, 0), nan=0.0, posinf=0.0, neginf=0.0
        )

    return evaluate


def profile(
    problem: Problem,
    phi: Array,
    quantities: Sequence[Quantity],
    dispersion: float,
    df: int,
    spread: Array,
    level: float = 0.95,
) -> Profile:
    """Profile intervals of several quantities at once, in one batch of constrained fits.

    ``phi`` (F,) the optimum, ``dispersion`` kappa, ``df`` residual degrees of freedom, ``spread`` (K,) rough standard
    errors of the quantities, for the first step.
    """
    estimand = problem.estimand if problem.estimand.smooth else problem.estimand.smoothed(1e-4)
    count = len(quantities)
    evaluate = _with_slopes(problem, quantities)
    centre = evaluate(phi[None])[0][0]
    base = float(problem.objective(phi[None], estimand=estimand)[0])
    rise = dispersion * float(f_distribution.ppf(level, 1, max(df, 1))) / 2.0
    quantile = np.sqrt(2 * rise / max(dispersion, 1e-300))
    which = np.repeat(np.arange(count), 2)
    sign = np.tile([-1.0, 1.0], count)
    first = np.clip(quantile * np.nan_to_num(spread[which], nan=1.0, posinf=1.0), 1e-9, 3.0)
    reach = first.copy()
    inner, inner_d = np.zeros(2 * count), np.zeros(2 * count)
    outer, outer_d = np.full(2 * count, np.inf), np.full(2 * count, np.inf)
    done, open_end = np.zeros(2 * count, dtype=bool), np.zeros(2 * count, dtype=bool)
    answer = np.full(2 * count, np.nan)
    warm = np.repeat(phi[None], 2 * count, axis=0)
    points: list[list[tuple[float, float]]] = [[(float(c), 0.0)] for c in centre]
    best, best_phi = base, phi
    weights = problem.weights[None]
    for _ in range(_STEPS):
        rows = np.flatnonzero(~done)
        if not len(rows):
            break
        goal = centre[which[rows]] + sign[rows] * reach[rows]
        strength = 300.0 * 2.0 * rise / first[rows] ** 2
        pull = Pull(evaluate, which[rows], goal, strength)
        found: Solution = descend(
            problem,
            warm[rows],
            estimand=estimand,
            iterations=150,
            tolerance=1e-9,
            batch=Batch(np.repeat(weights, len(rows), axis=0) if len(rows) else weights, pull=pull),
        )
        value = problem.objective(found.phi, estimand=estimand)
        actual = sign[rows] * (pull.at(found.phi)[0] - centre[which[rows]])
        if value.min() < best:
            best, best_phi = float(value.min()), found.phi[int(np.argmin(value))]
        depth = np.sqrt(np.maximum(value - base, 0.0) / max(rise, 1e-300))
        for i, row in enumerate(rows):
            points[which[row]].append(
                (float(centre[which[row]] + sign[row] * actual[i]), float(value[i] - base))
            )
            _advance(
                i, int(row), actual, depth, reach, inner, inner_d, outer, outer_d, done, open_end, answer
            )
            if depth[i] < 1.5:
                warm[row] = found.phi[i]
    unresolved = ~done
    answer[unresolved] = np.where(np.isfinite(outer[unresolved]), outer[unresolved], np.nan)
    ends = [
        None if np.isnan(a) else float(centre[w] + s * a) for a, w, s in zip(answer, which, sign, strict=True)
    ]
    return Profile(ends[0::2], ends[1::2], [sorted(p) for p in points], best, best_phi)


def _advance(
    i: int,
    row: int,
    actual: Array,
    depth: Array,
    reach: Array,
    inner: Array,
    inner_d: Array,
    outer: Array,
    outer_d: Array,
    done: Array,
    open_end: Array,
    answer: Array,
) -> None:
    """One step of the search for depth 1 along one side: expand until passed, then interpolate in the bracket."""
    at, d = float(actual[i]), float(depth[i])
    stuck = at < 0.5 * reach[row] and d < 1.0
    if d < 1.0:
        if at > inner[row]:
            inner[row], inner_d[row] = at, d
    elif at < outer[row]:
        outer[row], outer_d[row] = max(at, inner[row]), d
    if abs(d - 1.0) < 2e-3:
        answer[row], done[row] = at, True
        return
    if not np.isfinite(outer[row]):
        if stuck or reach[row] > _REACH:
            done[row] = open_end[row] = True
            return
        reach[row] = reach[row] * float(np.clip(1.05 / max(d, 1e-3), 1.3, 4.0))
        return
    gap = outer[row] - inner[row]
    if gap < 1e-4 * max(outer[row], 1e-9):
        answer[row], done[row] = outer[row], True
        return
    share = (1.0 - inner_d[row]) / max(outer_d[row] - inner_d[row], 1e-9)
    reach[row] = inner[row] + float(np.clip(share, 0.05, 0.95)) * gap
