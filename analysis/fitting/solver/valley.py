"""Along a narrow, curved valley: Levenberg-Marquardt with geodesic acceleration.

Where parameters nearly make up for one another (an amplitude that grows while a level falls), straight steps
leave the valley's floor and have to be short, and a search creeps for thousands of them. The second-order
correction of Transtrum and Sethna (2012, arXiv 1201.5885, section 4) bends each step along the floor, at the
cost of one more evaluation.
"""

from __future__ import annotations

import numpy as np

from analysis.fitting.estimands import Estimand
from analysis.fitting.problem import FitProblem
from analysis.laws.base import Array

#: length of the bend over that of the step beyond which the step is too long to be bent
BENT = 0.75
#: share of a step over which the second derivative along it is taken
PROBE = 0.1


def follow(problem: FitProblem, phi: Array, estimand: Estimand, iterations: int = 500) -> Array:
    """The point (F,) that the valley through ``phi`` leads down to. It is never worse than ``phi``."""
    value = float(problem.objective(phi[None], estimand=estimand)[0])
    damping, quiet = 1e-3, 0
    for _ in range(iterations):
        residual, slopes = (part[0] for part in problem.linearised(phi[None]))
        if not (np.isfinite(residual).all() and np.isfinite(slopes).all()):
            break
        weights = problem.weights * estimand.weight(residual)
        majoriser, downhill = (slopes * weights) @ slopes.T, (slopes * weights) @ residual
        stuck = ((phi <= problem.lower) & (downhill < 0)) | ((phi >= problem.upper) & (downhill > 0))
        free = np.flatnonzero(~stuck & (np.diag(majoriser) > 0))
        if not len(free):
            break
        matrix = majoriser[np.ix_(free, free)] + damping * np.diag(np.diag(majoriser)[free])
        step, bend = np.zeros_like(phi), np.zeros_like(phi)
        step[free] = np.linalg.lstsq(matrix, downhill[free], rcond=None)[0]
        ahead = problem.residuals((phi + PROBE * step)[None])[0]
        with np.errstate(all="ignore"):
            curving = 2 / PROBE * ((ahead - residual) / PROBE + step @ slopes)
            bend[free] = 0.5 * np.linalg.lstsq(matrix, (slopes[free] * weights) @ curving, rcond=None)[0]
        scale = np.sqrt(np.diag(majoriser))
        tight = np.isfinite(bend).all() and np.linalg.norm(scale * bend) <= BENT * np.linalg.norm(
            scale * step
        )
        trial = np.clip(phi + step + bend, problem.lower, problem.upper)
        reached = float(problem.objective(trial[None], estimand=estimand)[0]) if tight else np.inf
        if reached < value:
            quiet = quiet + 1 if value - reached <= 1e-13 * value else 0
            phi, value, damping = trial, reached, max(0.2 * damping, 1e-14)
        else:
            damping *= 3.0
        if quiet >= 3 or damping > 1e12:
            break
    return phi
