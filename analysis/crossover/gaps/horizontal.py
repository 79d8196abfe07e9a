"""Ratios at equal loss: how many times the compute, tokens or time one arm needs where the other is as good.

Kaplan et al. 2020 (arXiv 2001.08361) read efficiency so, and Nie et al. 2024 (arXiv 2410.18514) call C_MDM /
C_AR at equal loss the compute gap (about 16). It is a function of the level of loss, so it is given at
several, and whether it is one number is a question of its own (:class:`Trend`). Curves are read with early
stopping: the least loss so far on half A, on half B.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.crossover.gaps.level_places import arm_reach, log_ratio, round_levels, span
from analysis.crossover.gaps.replicates import ReplicateValue, over_replicates, spread_of
from analysis.crossover.place import Place, natural
from analysis.crossover.same_n.cell_places import CellOutcome
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.crossover.same_n.metrics import NLL
from analysis.crossover.same_n.paired_difference import PLATEAU
from analysis.tables.json_values import plain

Array = NDArray[np.float64]

Resource = Literal["flops", "tokens", "seconds"]
RESOURCES: dict[Resource, str] = {"flops": "training FLOPs", "tokens": "tokens", "seconds": "seconds"}
"""What is spent to reach a loss: the ratio of FLOPs is the compute gap, that of seconds that of speeds."""

WITHIN = 1.25
"""Factor within which a ratio that changes over the levels is still called one number."""

LEVELS = 3
"""Levels at which every replicate shows the ratio that a trend needs."""


@dataclass(frozen=True, kw_only=True)
class HorizontalRatio(Place):
    """The second arm's need of a resource over the first's at one level of loss.

    It is censored ``right`` where the second arm never reaches the level (the ratio is at least that),
    ``left`` where the first does not. ``kind``: ``same_n`` for twins, ``compute_optimal`` for fronts.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "kind", "cell", "axes", "metric", "resource", "level", "value", "low", "high", "censored",
        "replicates", "assumption", "confidence",
    )  # fmt: skip
    unit: ClassVar[str] = "ratio"

    kind: str
    cell: str
    axes: dict[str, Any]
    metric: str
    resource: Resource
    level: float
    replicates: int


@dataclass(frozen=True, kw_only=True)
class Trend(Place):
    """By what factor a ratio changes from the level ``start`` to the better level ``end``, along the straight
    line of its logarithm; 1 is a constant gap."""

    columns: ClassVar[tuple[str, ...]] = (
        "kind", "cell", "resource", "start", "end", "levels", "value", "low", "high", "verdict", "replicates",
        "assumption", "confidence",
    )  # fmt: skip
    unit: ClassVar[str] = "ratio"

    kind: str
    cell: str
    resource: Resource
    start: float
    end: float
    levels: int
    replicates: int

    @property
    def verdict(self) -> str:
        """``constant`` (within a factor 1.25), ``grows``, ``shrinks`` or ``not decided``."""
        if self.low is None or self.high is None:
            return "not decided"
        if max(1 / self.low, self.high) <= WITHIN:
            return "constant"
        return "grows" if self.low > 1 else "shrinks" if self.high < 1 else "not decided"


@dataclass(frozen=True)
class HorizontalRatios:
    """All ratios of one resource: ``ratios`` by level and cell, ``trends`` of those seen at three levels."""

    resource: Resource
    ratios: tuple[HorizontalRatio, ...]
    trends: tuple[Trend, ...]


def horizontal_ratios(crossovers: SameNCrossovers) -> tuple[HorizontalRatios, ...]:
    """Twins' ratios at equal loss, of every resource that the tables have; of FLOPs only where they are not
    those of tokens."""
    chosen = {r: _ratios(crossovers, r) for r in RESOURCES}
    if _alike(chosen["flops"].ratios, chosen["tokens"].ratios):
        del chosen["flops"]
    return tuple(r for r in chosen.values() if r.ratios)


def _alike(one: Sequence[HorizontalRatio], two: Sequence[HorizontalRatio]) -> bool:
    """Whether two resources have the same ratios, as tokens and FLOPs where arms cost the same a token."""
    return len(one) == len(two) and all(
        a.value == b.value or (a.value and b.value and math.isclose(a.value, b.value, rel_tol=1e-3))
        for a, b in zip(one, two, strict=True)
    )


def _ratios(crossovers: SameNCrossovers, resource: Resource) -> HorizontalRatios:
    twins = [(a, b) for cell in crossovers.cells for a, b in cell.arms]
    entropies = [t.entropy for cell in crossovers.cells for t in cell.pair.twins]
    known = crossovers.metric == NLL and entropies and np.isfinite(entropies).all()
    ceiling = min(entropies) - PLATEAU if known else math.inf
    levels = round_levels(*span(twins, ceiling))
    cells = [(c, by_level(c, levels, _amounts(crossovers, resource))) for c in crossovers.cells]
    ratios = []
    for k, level in enumerate(levels):
        groups = [values[k] for _, values in cells]
        spread = spread_of(groups)
        for index, ((cell, _), group) in enumerate(zip(cells, groups, strict=True)):
            if not group:
                continue
            estimate = natural(over_replicates(group, spread, crossovers.confidence, index), digits=None)
            if missing := len(cell.arms) - len(group):
                words = f"{estimate.assumption}; in {missing} replicates neither arm tells"
                estimate = replace(estimate, assumption=words)
            ratios.append(
                HorizontalRatio(
                    estimate=estimate,
                    kind=cell.agreement,
                    cell=cell.pair.name,
                    axes=plain(cell.pair.axes),
                    metric=crossovers.metric,
                    resource=resource,
                    level=crossovers.sign * level,
                    replicates=len(group),
                )
            )
    return HorizontalRatios(resource, tuple(ratios), _trends(crossovers, resource, levels, cells))


def _amounts(crossovers: SameNCrossovers, resource: Resource) -> dict[str, Array]:
    """Run -> [S] logarithms of what its evaluations had cost; runs that do not tell are left out."""
    arms = {arm.run: arm for cell in crossovers.cells for pair in cell.arms for arm in pair}
    if resource != "seconds":
        amounts = {run: arm.x[resource] for run, arm in arms.items()}
    elif "seconds" in (curves := crossovers.tables.curves):
        times = {str(run): part.set_index("step")["seconds"] for run, part in curves.groupby("run")}
        amounts = {
            run: times[run].reindex(arm.step).to_numpy(float) for run, arm in arms.items() if run in times
        }
    else:
        amounts = {}
    return {run: np.log(x) for run, x in amounts.items() if np.isfinite(x).all() and (x > 0).all()}


def by_level(
    cell: CellOutcome, levels: Sequence[float], log_x: dict[str, Array]
) -> list[dict[str, ReplicateValue]]:
    """For each level, replicate -> the logarithm of the twins' ratio; a replicate that tells nothing of it is
    left out."""
    out: list[dict[str, ReplicateValue]] = []
    for level in levels:
        group: dict[str, ReplicateValue] = {}
        for twins, pair in zip(cell.pair.twins, cell.arms, strict=True):
            if all(arm.run in log_x for arm in pair):
                value = log_ratio(*(arm_reach(arm, log_x[arm.run], level) for arm in pair))
                if value is not None:
                    group[str(twins.seed)] = value
        out.append(group)
    return out


def _trends(
    crossovers: SameNCrossovers,
    resource: Resource,
    levels: Sequence[float],
    cells: Sequence[tuple[CellOutcome, list[dict[str, ReplicateValue]]]],
) -> tuple[Trend, ...]:
    slopes = [(cell, *trend_values(levels, values, len(cell.arms))) for cell, values in cells]
    slopes = [s for s in slopes if s[2]]
    spread = spread_of([s[2] for s in slopes])
    return tuple(
        Trend(
            estimate=natural(over_replicates(group, spread, crossovers.confidence, index), digits=None),
            kind=cell.agreement,
            cell=cell.pair.name,
            resource=resource,
            start=crossovers.sign * used[0],
            end=crossovers.sign * used[-1],
            levels=len(used),
            replicates=len(group),
        )
        for index, (cell, used, group) in enumerate(slopes)
    )


def trend_values(
    levels: Sequence[float], values: Sequence[dict[str, ReplicateValue]], replicates: int
) -> tuple[list[float], dict[str, ReplicateValue]]:
    """The levels at which all replicates show the ratio, and replicate -> its change from the first of them
    to the last, by least squares; none where they are fewer than three."""
    seen = [
        (level, group)
        for level, group in zip(levels, values, strict=True)
        if len(group) == replicates and all(v.side is None for v in group.values())
    ]
    if len(seen) < LEVELS:
        return [], {}
    used = [level for level, _ in seen]
    centred = np.array(used) - np.mean(used)
    weights = centred / (centred @ centred) * (used[-1] - used[0])
    out = {}
    for seed in seen[0][1]:
        mine = [group[seed] for _, group in seen]
        parts = [v.parts for v in mine if v.parts is not None]
        whole = len(parts) == len(mine)
        out[seed] = ReplicateValue(
            float(weights @ [v.value for v in mine]), None, weights @ np.stack(parts) if whole else None
        )
    return used, out
