"""Crossings on several benchmarks: each with its own errors and chance level, and what many of them allow.

The more benchmarks, the surer that one crosses by luck. So each crossing has a p-value, over items paired,
and a claim about several rests on those adjusted by Holm's step-down (Holm 1979), which holds however they
depend on each other. Training noise is no part of it: a claim is of every replicate, the largest p of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import stats

from analysis.crossover.gaps.replicates import ReplicateValue, over_replicates, spread_of
from analysis.crossover.place import Place, Side, natural
from analysis.crossover.same_n.cell_places import CellCrossover
from analysis.crossover.same_n.location import SameNCrossovers, locate_same_n
from analysis.crossover.same_n.metrics import NLL, chance_level, known_metrics
from analysis.crossover.same_n.paired_difference import Difference
from analysis.crossover.same_n.zeros import EVALUATIONS
from analysis.fitting.estimate import Estimate
from analysis.tables.json_values import plain


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number by Holm's step-down, in their order."""
    count, running = len(p_values), 0.0
    adjusted = [1.0] * count
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def crossing_p(d: Difference) -> float:
    """p-value of the claim that each arm leads at three counted evaluations or more; 1 without errors.

    The third smallest p of each side, times the number of evaluations over three, holds however evaluations
    depend on each other (Ruger 1978); the claim needs both sides, so the larger of them is taken.
    """
    use = d.counted & np.isfinite(d.se) & (d.se > 0)
    if int(use.sum()) < 2 * EVALUATIONS:
        return 1.0
    z = d.value[use] / d.se[use]
    df = d.parts.shape[1] - 1 if d.parts is not None else math.inf
    sides = [np.sort(stats.t.sf(sign * z, df))[EVALUATIONS - 1] for sign in (1.0, -1.0)]
    return float(min(1.0, max(sides) * len(z) / EVALUATIONS))


@dataclass(frozen=True, kw_only=True)
class BenchmarkCrossover(Place):
    """Where the second arm passes the first on one benchmark in one cell, in tokens, on curves as they are.

    Attributes:
        chance: the score of guessing, below which nothing counts; None where it is not known.
        p: of the crossing, in every replicate; ``adjusted`` for all crossings of the study.
        over_loss: the place over that of the loss's crossing, paired by replicate.
        passes: whether the adjusted p-value is below one less the confidence.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "benchmark", "cell", "axes", "chance", "value", "low", "high", "censored", "robust", "p", "adjusted",
        "passes", "over_loss_value", "over_loss_low", "over_loss_high", "replicates", "assumption",
        "confidence",
    )  # fmt: skip
    unit: ClassVar[str] = "tokens"

    benchmark: str
    cell: str
    axes: dict[str, Any]
    chance: float | None
    robust: bool
    p: float
    adjusted: float
    over_loss: Estimate
    replicates: int

    @property
    def passes(self) -> bool:
        return self.adjusted < 1 - self.confidence

    @property
    def over_loss_value(self) -> float | None:
        return self.over_loss.value

    @property
    def over_loss_low(self) -> float | None:
        return self.over_loss.low

    @property
    def over_loss_high(self) -> float | None:
        return self.over_loss.high


@dataclass(frozen=True)
class Benchmarks:
    """The crossings on all benchmarks of a study, by benchmark and cell."""

    crossings: tuple[BenchmarkCrossover, ...]
    names: tuple[str, str]

    @property
    def sentence(self) -> str:
        """What the benchmarks show together, and by which rule."""
        rows = self.crossings
        if not rows:
            return "No benchmark whose better direction is declared has scores by item."
        names = list(dict.fromkeys(r.benchmark for r in rows))
        passed = [r for r in rows if r.passes]
        alone = sum(r.p < 1 - r.confidence for r in rows)
        of = f"{len(rows)} comparisons ({len(names)} benchmarks, {len(rows) // len(names)} cells)"
        return (
            f"{self.names[1]} passes {self.names[0]} in {len(passed)} of {of}, adjusted for their number "
            f"(Holm, {1 - rows[0].confidence:.0%} for all together); {alone} would pass one by one."
        )


def benchmarks(crossovers: SameNCrossovers) -> Benchmarks:
    """The crossings of every metric of items whose better direction the tables declare."""
    tables = crossovers.tables
    tasks = tuple(str(t) for t in tables.items["task"].unique() if t)
    declared = [m for m in known_metrics(tables) if m in tables.better and m != NLL]
    metrics = [m for m in declared if tasks and m.startswith(tasks)]
    over = sorted({f for c in crossovers.cells for s in c.pair.tuned.values() for f in s})
    places = {c.cell: c for c in crossovers.select("raw", "tokens")} if crossovers.metric == NLL else {}
    rows: list[tuple[str, CellCrossover, float, dict[str, ReplicateValue]]] = []
    for metric in metrics:
        located = locate_same_n(
            tables,
            pair=crossovers.pair,
            pair_over=over,
            metric=metric,
            minima=crossovers.minima,
            confidence=crossovers.confidence,
        )
        for c in located.select("raw", "tokens"):
            p = max(crossing_p(o.curve) if o.censored is None else 1.0 for o in c.outcomes)
            rows.append((metric, c, p, _against(c, places.get(c.cell))))
    adjusted = holm([p for _, _, p, _ in rows])
    spread = spread_of([group for *_, group in rows])
    return Benchmarks(
        tuple(
            BenchmarkCrossover(
                estimate=c.estimate,
                benchmark=metric,
                cell=c.cell,
                axes=plain(c.axes),
                chance=chance if math.isfinite(chance := chance_level(tables, metric)) else None,
                robust=c.robust,
                p=p,
                adjusted=q,
                over_loss=natural(over_replicates(group, spread, crossovers.confidence, index), digits=None)
                if group
                else Estimate(level=crossovers.confidence),
                replicates=c.replicates,
            )
            for index, ((metric, c, p, group), q) in enumerate(zip(rows, adjusted, strict=True))
        ),
        crossovers.names,
    )


def _against(one: CellCrossover, loss: CellCrossover | None) -> dict[str, ReplicateValue]:
    """Replicate -> the logarithm of a place over the loss's, of those in which the loss's was seen."""
    if loss is None:
        return {}
    seen = {str(o.seed): o.x["tokens"] for o in loss.outcomes if o.censored is None}
    out: dict[str, ReplicateValue] = {}
    for o in one.outcomes:
        if str(o.seed) in seen and o.x["tokens"] > 0:
            side: Side | None = o.censored
            out[str(o.seed)] = ReplicateValue(math.log(o.x["tokens"] / seen[str(o.seed)]), side)
    return out
