"""The A/A control: how often ``locate`` finds a crossing between runs that differ in nothing but their
replicate."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from analysis.crossover.same_n.arm import Arm
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.crossover.same_n.outcome import DEFINITIONS, outcomes


@dataclass(frozen=True, kw_only=True)
class Control:
    """False crossings of one objective under one definition.

    Attributes:
        pairs: how many pairs of runs were compared.
        robust: how many of them cross robustly, with the Clopper-Pearson interval of the rate from ``low`` to
            ``high``.
        loose: how many cross, but not robustly.
        apart: root mean square difference of such twins, nats: a lead of this size means nothing.
    """

    objective: str
    definition: str
    pairs: int
    robust: int
    loose: int
    low: float
    high: float
    apart: float

    def json(self) -> dict[str, Any]:
        """The control as plain values."""
        return {"found" if k == "robust" else k: v for k, v in vars(self).items()}


@dataclass(frozen=True, kw_only=True)
class FalseCrossings:
    """Robust crossings in pairs of runs that differ in nothing but their replicate, of both objectives
    together: ``robust`` of ``pairs``, their ``rate`` (None without pairs) and its interval."""

    robust: int
    pairs: int
    rate: float | None
    low: float
    high: float

    def json(self) -> dict[str, Any]:
        """The rate as plain values."""
        return {"found" if k == "robust" else k: v for k, v in vars(self).items()}


def control(crossovers: SameNCrossovers, confidence: float = 0.95) -> list[Control]:
    """Every two replicates of every cell, one objective against itself.

    Where replicates differ in their data subset too, as they do by default, so do these twins: a lead that
    lasts is then the subset's, a lead that changes hands is what is counted.
    """
    out = []
    for place, objective in enumerate(crossovers.pair):
        robust = dict.fromkeys(DEFINITIONS, 0)
        loose = dict.fromkeys(DEFINITIONS, 0)
        squares: dict[str, list[float]] = {d: [] for d in DEFINITIONS}
        count = 0
        for cell in crossovers.cells:
            entropies = [t.entropy for t in cell.pair.twins]
            runs: list[tuple[Arm, float]] = [(a[place], e) for a, e in zip(cell.arms, entropies, strict=True)]
            for (one, entropy), (two, _) in itertools.combinations(runs, 2):
                count += 1
                both = outcomes(
                    one,
                    two,
                    0,
                    entropy=entropy if crossovers.metric == "nll" else np.nan,
                    minima=crossovers.minima,
                )
                for definition, outcome in both.items():
                    robust[definition] += outcome.robust
                    loose[definition] += outcome.crossing is not None and not outcome.robust
                    apart = outcome.curve.value[outcome.curve.counted]
                    if len(apart):
                        squares[definition].append(float(np.mean(apart**2)))
        for definition in DEFINITIONS:
            low, high = _clopper_pearson(robust[definition], count, confidence)
            typical = float(np.sqrt(np.mean(squares[definition]))) if squares[definition] else float("nan")
            out.append(
                Control(
                    objective=objective,
                    definition=definition,
                    pairs=count,
                    robust=robust[definition],
                    loose=loose[definition],
                    low=low,
                    high=high,
                    apart=typical,
                )
            )
    return out


def rates(controls: Sequence[Control], confidence: float = 0.95) -> dict[str, FalseCrossings]:
    """Definition -> false crossings under it. They stand beside every verdict."""
    out = {}
    for definition in DEFINITIONS:
        mine = [c for c in controls if c.definition == definition]
        robust, pairs = sum(c.robust for c in mine), sum(c.pairs for c in mine)
        low, high = _clopper_pearson(robust, pairs, confidence)
        rate = robust / pairs if pairs else None
        out[str(definition)] = FalseCrossings(robust=robust, pairs=pairs, rate=rate, low=low, high=high)
    return out


def _clopper_pearson(k: int, n: int, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, k, n - k + 1)) if k > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, k + 1, n - k)) if k < n else 1.0
    return low, high
