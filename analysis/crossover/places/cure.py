"""Cells that never cross: the cure fraction of the law of the crossing, and whether the data call for one.

A cell of which only bounds are known may cross later than its runs lasted, or never. The first is what
censored regression assumes; the second adds a fraction pi of cells, the same at every N and U, for which no
run would be long enough (cure models: Boag 1949; Farewell 1982; Maller & Zhou 1996). What tells them apart is
a cell that has not crossed long after the law of the others says it should have. With few such cells the
likelihood is flat in pi, and the interval says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.crossover.places.laplace import Effects, Posterior, Rows, posterior

Array = NDArray[np.float64]

FRACTIONS = (0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.27, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.93)
"""Fractions of cells that never cross at which the likelihood is computed."""


@dataclass(frozen=True)
class Cure:
    """``fraction`` of cells that never cross, by maximum likelihood, with its profile interval (``low`` 0:
    none is compatible). ``ratio``: twice the gain in log likelihood over no such fraction; ``p_value`` of it
    (half a chi-squared, for 0 is a boundary); ``aicc``: AICc with the fraction less AICc without, below zero
    where it is called for. ``open_cells`` of ``cells`` had crossed in no replicate."""

    fraction: float
    low: float
    high: float
    ratio: float
    p_value: float
    aicc: float
    open_cells: int
    cells: int

    @property
    def called_for(self) -> bool:
        """Whether both criteria prefer a law with cells that never cross."""
        return self.aicc < 0 and self.p_value < 0.05

    def __str__(self) -> str:
        words = "called for" if self.called_for else "not called for"
        return (
            f"cells that never cross: {self.fraction:.0%} [{self.low:.0%}, {self.high:.0%}], {words} "
            f"(likelihood ratio {self.ratio:.1f}, p = {self.p_value:.2g}, AICc {self.aicc:+.1f}; "
            f"{self.open_cells} of {self.cells} cells had not crossed)"
        )

    def json(self) -> dict[str, Any]:
        """The comparison as plain values."""
        return {**self.__dict__, "called_for": self.called_for}


def posteriors(design: Array, blocks: Effects, rows: Rows, grid: Array) -> list[Posterior]:
    """The coefficients' posterior at each of :data:`FRACTIONS`."""
    return [posterior(design, blocks, rows, grid, cure=f) for f in FRACTIONS]


def compare(
    by_fraction: Sequence[Posterior], blocks: Effects, parameters: int, n: int, confidence: float
) -> Cure:
    """The comparison, from the posteriors at each fraction. ``parameters`` of the law without one; ``n``
    rows. Likelihoods are those of the scatter and the fraction, the coefficients integrated out."""
    log_likelihood = np.array([p.evidence.max() for p in by_fraction])
    fine = np.linspace(0.0, FRACTIONS[-1], 1861)
    curve = np.interp(fine, FRACTIONS, log_likelihood)
    at = int(np.argmax(curve))
    inside = fine[curve >= curve[at] - 0.5 * float(stats.chi2.ppf(confidence, 1))]
    ratio = 2 * float(curve[at] - curve[0])
    return Cure(
        fraction=float(fine[at]),
        low=float(inside[0]),
        high=1.0 if inside[-1] == fine[-1] else float(inside[-1]),
        ratio=ratio,
        p_value=0.5 * float(stats.chi2.sf(ratio, 1)) if ratio > 0 else 1.0,
        aicc=_aicc(parameters + 1, n) - _aicc(parameters, n) - ratio,
        open_cells=len(blocks.open),
        cells=len(blocks.open) + blocks.closed,
    )


def _aicc(parameters: int, n: int) -> float:
    """AICc less -2 log likelihood; infinite where there are too few rows for it."""
    left = n - parameters - 1
    return 2.0 * parameters * n / left if left > 0 else math.inf


def merged(by_fraction: Sequence[Posterior]) -> Posterior:
    """One posterior, over a uniform weight on the fraction."""
    width = np.gradient(np.array(FRACTIONS))
    parts = [p.evidence + math.log(w) for p, w in zip(by_fraction, width, strict=True)]
    return Posterior(
        np.concatenate([p.mean for p in by_fraction]),
        np.concatenate([p.covariance for p in by_fraction]),
        np.concatenate(parts),
        np.concatenate([p.kept for p in by_fraction]),
    )
