"""Profile likelihood of parameters and of anything computed from them.

The profile of a quantity q is the least objective at each of its values. Its interval is where twice the rise
over the optimum, divided by the dispersion, stays below the F quantile with 1 and n - F degrees of freedom.
It follows curved and one-sided valleys where Wald intervals do not, and says "unbounded" where the objective
never rises enough: the honest interval of R_D* on the published data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import f as f_distribution

from analysis.fitting.problem import FitProblem
from analysis.fitting.solver.descent import DescentBatch, Pull, descend
from analysis.laws.base import Array

#: q: natural parameters (S, P) -> (S,) values, on the scale on which steps are natural (logs of positive
#: quantities)
Quantity = Callable[[Array], Array]
_STEPS = 26
_REACH = 60.0
FAR = 6.0
"""How far beyond an end a parameter is tried, in e-folds if it is positive, before the end is believed."""
_TRIES, _SCOUTED = 24, 2048


@dataclass(frozen=True)
class Profile:
    """Profiles of K quantities.

    Attributes:
        low, high: ends of each quantity's interval; None where the objective never rises enough.
        points: of each quantity, the pairs of its value and of the rise there.
        best, best_phi: the lowest objective met on the way, and where; below the optimum's if that was none.
    """

    low: list[float | None]
    high: list[float | None]
    points: list[list[tuple[float, float]]]
    best: float
    best_phi: Array


def parameter_quantities(problem: FitProblem) -> list[Quantity]:
    """log of each free positive parameter, or the parameter itself, in original units."""

    def make(j: int, positive: bool) -> Quantity:
        return lambda natural: np.log(np.maximum(natural[:, j], 1e-300)) if positive else natural[:, j]

    return [make(int(j), problem.law.parameters[j].positive) for j in problem.free]


def with_slopes(
    problem: FitProblem, quantities: Sequence[Quantity]
) -> Callable[[Array], tuple[Array, Array]]:
    """phi (S, F) -> K quantities (S, K) and their derivatives by phi (S, K, F), by differences."""

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


@dataclass
class _Side:
    """The search for depth 1 along one side: expand until passed, then interpolate in the bracket.

    Depth is the square root of the rise over the rise sought, nearly proportional to the distance. ``goal``
    is the distance aimed at, ``at`` the one reached: a pull of finite strength stops a little short, at a
    point that is on the profile all the same.
    """

    goal: float
    inner: tuple[float, float, float] = (0.0, 0.0, 0.0)
    outer: tuple[float, float, float] | None = None
    done: bool = False
    distance: float | None = None

    def advance(self, at: float, depth: float) -> None:
        """Record the depth at one distance, and choose the next distance."""
        if abs(depth - 1.0) < 5e-3 and at > 0:
            self.done, self.distance = True, at / depth
            return
        stuck = at < 0.5 * self.goal and depth < 1.0
        if depth < 1.0:
            if self.goal > self.inner[0]:
                self.inner = (self.goal, max(at, self.inner[1]), depth)
        elif self.outer is None or self.goal < self.outer[0]:
            self.outer = (self.goal, at, depth)
        if self.outer is None:
            self.done = stuck or self.goal > _REACH
            self.goal *= min(max(1.02 / max(depth, 1e-3), 1.2), 4.0)
            return
        gap = self.outer[0] - self.inner[0]
        if gap < 1e-4 * self.outer[0]:
            self.done, self.distance = True, self._between()
            return
        # far from proportional (a plateau, then a wall: a level near zero): halve instead
        steep = self.inner[2] < 0.3 or self.outer[2] > 3.0
        share = 0.5 if steep else (1.0 - self.inner[2]) / max(self.outer[2] - self.inner[2], 1e-9)
        self.goal = self.inner[0] + min(max(share, 0.05), 0.95) * gap

    def _between(self) -> float | None:
        if self.outer is None:
            return None
        share = (1.0 - self.inner[2]) / max(self.outer[2] - self.inner[2], 1e-9)
        return self.inner[1] + min(max(share, 0.0), 1.0) * (self.outer[1] - self.inner[1])

    def answer(self) -> float | None:
        """The distance at which the depth is 1; None if it is never reached: unbounded."""
        return self.distance if self.done else self._between()


def profile(
    problem: FitProblem,
    phi: Array,
    quantities: Sequence[Quantity],
    dispersion: float,
    df: int,
    spread: Array,
    level: float = 0.95,
    basins: Array | None = None,
) -> Profile:
    """Profile intervals of several quantities at once, in batches of constrained fits.

    ``phi`` (F,) the optimum, ``dispersion`` kappa, ``df`` residual degrees of freedom, ``spread`` (K,) rough
    standard errors of the quantities, for the first step. ``basins`` (B, F): other optima that the data do
    not rule out, from which profiles are followed too; an interval reaches as far as the farthest of them.
    """
    rise = dispersion * float(f_distribution.ppf(level, 1, max(df, 1))) / 2.0
    origins = phi[None] if basins is None else np.concatenate((phi[None], basins))
    profiles = [_follow(problem, phi, o, quantities, rise, dispersion, spread) for o in origins]
    best = min(profiles, key=lambda p: p.best)

    def farthest(ends: list[list[float | None]], choose: Callable[..., float]) -> list[float | None]:
        sides = zip(*ends, strict=True)
        return [None if None in s else choose(e for e in s if e is not None) for s in sides]

    return Profile(
        farthest([p.low for p in profiles], min),
        farthest([p.high for p in profiles], max),
        [sorted(set().union(*parts)) for parts in zip(*(p.points for p in profiles), strict=True)],
        best.best,
        best.best_phi,
    )


def open_sides(
    problem: FitProblem,
    phi: Array,
    starts: Array,
    low: Sequence[float | None],
    high: Sequence[float | None],
    rise: float,
) -> list[tuple[bool, bool]]:
    """Whether the data fail to rule out values ``FAR`` beyond the ends of the free parameters' profiles.

    A profile that is followed from an optimum stops at the first rise, and where a design leaves a parameter
    open there may be fits as good behind it. So each parameter is drawn that far, from the best of ``starts``
    (S, F) moved there, and all others are refitted.
    """
    estimand = problem.estimand if problem.estimand.smooth else problem.estimand.smoothed(1e-4)
    quantities = parameter_quantities(problem)
    n = len(problem.y)
    tries = max(4, min(_TRIES, 200_000 // n))
    scout = problem if n <= _SCOUTED else problem.subset(np.linspace(0, n - 1, _SCOUTED).astype(int))
    which: list[int] = []
    goal: list[float] = []
    sign: list[float] = []
    points: list[Array] = []
    for k, ends in enumerate(zip(low, high, strict=True)):
        bound = problem.law.parameters[problem.free[k]].units == {}
        for side, end in zip((-1.0, 1.0), ends, strict=True):
            aim = np.nan if end is None else end + side * FAR
            if bound:
                aim = float(np.clip(aim, problem.lower[k] + 0.01, problem.upper[k] - 0.01))
            if end is None or not side * (aim - end) > 0:
                continue
            moved = starts.copy()
            with np.errstate(all="ignore"):
                moved[:, k] += np.nan_to_num(aim - quantities[k](problem.natural(moved)))
            moved = np.clip(moved, problem.lower, problem.upper)
            best = moved[np.argsort(scout.objective(moved, estimand=estimand), kind="stable")[:tries]]
            points.append(best)
            which += [k] * len(best)
            goal += [aim] * len(best)
            sign += [side] * len(best)
    out = np.zeros((len(low), 2), dtype=bool)
    if points:
        aims, row, sides = np.array(goal), np.array(which), np.array(sign)
        pull = Pull(with_slopes(problem, quantities), row, aims, np.full(len(row), 600.0 * rise))
        batch = DescentBatch(np.repeat(problem.weights[None], len(row), axis=0), pull=pull)
        solution = descend(
            problem, np.concatenate(points), estimand=estimand, iterations=150, tolerance=1e-9, batch=batch
        )
        base = float(problem.objective(phi[None], estimand=estimand)[0])
        near = sides * (pull.at(solution.phi)[0] - aims) > -0.5 * FAR
        good = near & (problem.objective(solution.phi, estimand=estimand) <= base + rise)
        for k, s in zip(row[good], sides[good], strict=True):
            out[k, int(s > 0)] = True
    return [(bool(a), bool(b)) for a, b in out]


def _follow(
    problem: FitProblem,
    phi: Array,
    origin: Array,
    quantities: Sequence[Quantity],
    rise: float,
    dispersion: float,
    spread: Array,
) -> Profile:
    """Profiles as they are followed from one optimum; the rise counts from ``phi``, the best."""
    estimand = problem.estimand if problem.estimand.smooth else problem.estimand.smoothed(1e-4)
    count = len(quantities)
    evaluate = with_slopes(problem, quantities)
    centre = evaluate(origin[None])[0][0]
    base = float(problem.objective(phi[None], estimand=estimand)[0])
    here = max(float(problem.objective(origin[None], estimand=estimand)[0]) - base, 0.0)
    quantile = np.sqrt(2 * rise / max(dispersion, 1e-300))
    which = np.repeat(np.arange(count), 2)
    sign = np.tile([-1.0, 1.0], count)
    first = np.clip(quantile * np.nan_to_num(spread[which], nan=1.0, posinf=1.0), 1e-9, 3.0)
    depth_here = float(np.sqrt(here / max(rise, 1e-300)))
    sides = [_Side(float(step), inner=(0.0, 0.0, depth_here)) for step in first]
    warm = np.repeat(origin[None], 2 * count, axis=0)
    points: list[list[tuple[float, float]]] = [[(float(c), here)] for c in centre]
    best, best_phi = base, phi
    weights = problem.weights[None]
    for _ in range(_STEPS):
        rows = np.array([k for k, side in enumerate(sides) if not side.done], dtype=int)
        if not len(rows):
            break
        goal = centre[which[rows]] + sign[rows] * np.array([sides[k].goal for k in rows])
        strength = 300.0 * 2.0 * rise / first[rows] ** 2
        pull = Pull(evaluate, which[rows], goal, strength)
        batch = DescentBatch(np.repeat(weights, len(rows), axis=0), pull=pull)
        solution = descend(
            problem, warm[rows], estimand=estimand, iterations=150, tolerance=1e-9, batch=batch
        )
        value = problem.objective(solution.phi, estimand=estimand)
        actual = sign[rows] * (pull.at(solution.phi)[0] - centre[which[rows]])
        if value.min() < best:
            best, best_phi = float(value.min()), solution.phi[int(np.argmin(value))]
        depth = np.sqrt(np.maximum(value - base, 0.0) / max(rise, 1e-300))
        for i, row in enumerate(rows):
            points[which[row]].append(
                (float(centre[which[row]] + sign[row] * actual[i]), float(value[i] - base))
            )
            sides[row].advance(float(actual[i]), float(depth[i]))
            if depth[i] < 1.5:
                warm[row] = solution.phi[i]
    ends = [
        None if side.answer() is None else float(centre[w] + s * side.answer())
        for side, w, s in zip(sides, which, sign, strict=True)
    ]
    return Profile(ends[0::2], ends[1::2], [sorted(p) for p in points], best, best_phi)
