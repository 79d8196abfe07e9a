"""Profiles as curves, for plots: the rise of the objective as one parameter moves and the others follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import f as f_distribution

from analysis.fitting.result import Fit
from analysis.fitting.solver.descent import DescentBatch, Pull, descend
from analysis.fitting.starts import problem_of
from analysis.fitting.uncertainty.intervals import Target, parameter_targets
from analysis.fitting.uncertainty.profiles import profile, with_slopes
from analysis.fitting.uncertainty.resampling import covariance, dispersion
from analysis.laws.base import Array
from analysis.tables.keywords import unknown
from analysis.tables.shown import Block, Grid, Shown


@dataclass(frozen=True, repr=False)
class ProfileCurve(Shown):
    """One parameter's profile. ``points``: value, and ``rise`` = 2 (Q - Q_min) / dispersion, to be read
    against ``threshold``; ``low`` and ``high`` where it is crossed (None: never, the interval is
    unbounded)."""

    name: str
    points: pd.DataFrame
    threshold: float
    low: float | None
    high: float | None

    def blocks(self) -> Sequence[Block]:
        low = "-inf" if self.low is None else f"{self.low:.5g}"
        high = "inf" if self.high is None else f"{self.high:.5g}"
        words = f"profile likelihood of {self.name}: its rise is below {self.threshold:.4g}"
        return [f"{words} in [{low}, {high}]", Grid(self.points.iloc[:: max(1, len(self.points) // 8)])]


def profile_curves(
    result: Fit, names: Sequence[str] | None = None, level: float = 0.95, points: int = 25
) -> dict[str, ProfileCurve]:
    """Profile curves of free parameters, all of them or those of ``names``.

    A curve has ``points`` points, from a third beyond one end of the interval to a third beyond the other; an
    open side is followed to ten times the value. Raises ValueError if there is no such free parameter.
    """
    problem, phi = problem_of(result)
    requested = list(problem.free_names) if names is None else list(names)
    absent = [n for n in requested if n not in problem.free_names]
    if absent:
        raise ValueError(unknown("free parameter", absent[0], problem.free_names))
    targets = dict(zip(problem.free_names, parameter_targets(problem), strict=True))
    chosen = [targets[n] for n in requested]
    kappa, df = dispersion(problem, phi), max(len(problem.y) - len(phi), 1)
    evaluate = with_slopes(problem, [t.quantity for t in chosen])
    centre, slopes = (part[0] for part in evaluate(phi[None]))
    spread = np.sqrt(np.einsum("kf,fg,kg->k", slopes, covariance(problem, phi), slopes))
    basins = None if result.sampler is None else result.sampler.basins
    ends = profile(problem, phi, [t.quantity for t in chosen], kappa, df, spread, level, basins)
    estimand = problem.estimand if problem.estimand.smooth else problem.estimand.smoothed(1e-4)
    base = float(problem.objective(phi[None], estimand=estimand)[0])
    threshold = float(f_distribution.ppf(level, 1, df))
    out = {}
    for k, (name, target) in enumerate(zip(requested, chosen, strict=True)):
        grid = _grid(float(centre[k]), ends.low[k], ends.high[k], points)
        strength = np.full(points, 1e4 * kappa / max(np.ptp(grid) / 6, 1e-12) ** 2)
        pull = Pull(evaluate, np.full(points, k), grid, strength)
        batch = DescentBatch(np.repeat(problem.weights[None], points, axis=0), pull=pull)
        solution = descend(
            problem, np.repeat(phi[None], points, axis=0), estimand=estimand, tolerance=1e-10, batch=batch
        )
        rise = 2 * (problem.objective(solution.phi, estimand=estimand) - base) / kappa
        value = [_back(target, v) for v in pull.at(solution.phi)[0]]
        frame = pd.DataFrame({"value": value, "rise": np.maximum(rise, 0.0)}).sort_values(
            "value", ignore_index=True
        )
        low, high = (None if e is None else _back(target, e) for e in (ends.low[k], ends.high[k]))
        out[name] = ProfileCurve(name, frame, threshold, low, high)
    return out


def _grid(centre: float, low: float | None, high: float | None, points: int) -> Array:
    below = math.log(10) if low is None else 1.33 * (centre - low)
    above = math.log(10) if high is None else 1.33 * (high - centre)
    return np.linspace(centre - below, centre + above, points)


def _back(target: Target, value: float) -> float:
    return float(target.invert(min(value, 700.0) if target.floor is not None else value))
