"""How an axis moves each arm's best value, which arm responds more, and what share of their gap it closes.

An axis is one of quality, noise or architecture, against its first level, all other axes equal. *More
sensitive* is a claim about a difference of differences, which two effects with overlapping intervals may
still show, for twins are paired. The share of a gap is a ratio of two means; its interval is Fieller's
(Fieller 1954): the shares that a t interval does not refute, bounded only where the gap itself is not zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize

from analysis.crossover.axes import follows, is_length, is_size
from analysis.crossover.gaps.replicates import Group, ReplicateValue, over_replicates, spread_of
from analysis.crossover.same_n.arm import Arm, influence
from analysis.crossover.same_n.cell_places import CellOutcome
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.fitting.estimate import Estimate
from analysis.tables.json_values import plain
from analysis.tables.wording import words

_FARTHEST = 1e6


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """One axis from its first level ``base`` to ``level``, at one setting ``context`` of the others.

    Attributes:
        first, second: by how much each arm's best value changes, in the metric's unit; ``difference``: the
            first's change less the second's. Best values are those within the runs' budget.
        share: what part of the gap between the arms at ``base`` the first arm's change closes; above 1 it
            passes the second's value there.
        own: whether only the first arm has the axis, so that the second cannot respond.
    """

    axis: str
    base: Any
    level: Any
    context: Mapping[str, Any]
    first: Estimate
    second: Estimate
    difference: Estimate
    share: Estimate
    own: bool
    replicates: int

    def verdict(self, names: tuple[str, str]) -> str:
        """Which arm is more sensitive, ``not decided``, or why the question does not arise."""
        if self.own:
            return f"the axis is {names[0]}'s alone"
        one, two = self.first.value, self.second.value
        ends = self.difference.low, self.difference.high
        if one is None or two is None or ends[0] is None or ends[1] is None or ends[0] <= 0 <= ends[1]:
            return "not decided"
        if one * two < 0:
            return "decided: the arms respond in opposite directions"
        return f"decided: {names[0] if abs(one) > abs(two) else names[1]} is more sensitive"

    def json(self, names: tuple[str, str]) -> dict[str, Any]:
        """Plain values."""
        parts = {k: getattr(self, k) for k in ("first", "second", "difference", "share")}
        row: dict[str, Any] = plain(
            {
                "axis": self.axis,
                "base": self.base,
                "level": self.level,
                "context": dict(self.context),
                **{
                    f"{k}_{end}": getattr(e, end)
                    for k, e in parts.items()
                    for end in ("value", "low", "high")
                },
                "verdict": self.verdict(names),
                "replicates": self.replicates,
                "assumption": self.difference.assumption,
            }
        )
        return row


@dataclass(frozen=True)
class _Contrast:
    """Two cells that differ in one axis, by the replicates that both have: values of interest by name."""

    base: Any
    level: Any
    context: Mapping[str, Any]
    own: bool
    values: dict[str, Group]


def interactions(crossovers: SameNCrossovers) -> tuple[Interaction, ...]:
    """The interactions of both arms with every axis that is neither size, unique data nor length."""
    runs = crossovers.tables.runs
    axes = [a for a in dict.fromkeys(a for c in crossovers.cells for a in c.pair.axes) if _apart(runs, a)]
    out: list[Interaction] = []
    for axis in axes:
        contrasts = _contrasts(crossovers, axis)
        for index, contrast in enumerate(contrasts):
            means = {
                name: over_replicates(
                    contrast.values[name],
                    spread_of([c.values[name] for c in contrasts]),
                    crossovers.confidence,
                    index,
                )
                for name in ("first", "second", "difference")
            }
            closed, gap = ([c.values[name] for c in contrasts] for name in ("closed", "gap"))
            out.append(
                Interaction(
                    axis=axis,
                    base=contrast.base,
                    level=contrast.level,
                    context=contrast.context,
                    **means,
                    share=ratio_of_means(closed, gap, index, crossovers.confidence),
                    own=contrast.own,
                    replicates=len(contrast.values["first"]),
                )
            )
    return tuple(out)


def _apart(runs: pd.DataFrame, axis: str) -> bool:
    """Whether an axis is neither size, unique data nor length."""
    if is_length(axis) or axis.startswith("data.unique"):
        return False
    known = runs.dropna(subset=[axis])
    return not is_size(known, axis) and not follows(known, axis, "U")


def _contrasts(crossovers: SameNCrossovers, axis: str) -> list[_Contrast]:
    cells = [c for c in crossovers.cells if axis in c.pair.axes]
    levels = list(dict.fromkeys(str(v) for v in crossovers.tables.runs[axis].dropna()))
    cells.sort(key=lambda c: levels.index(str(c.pair.axes[axis])) if str(c.pair.axes[axis]) in levels else -1)
    contexts: dict[str, list[CellOutcome]] = {}
    for cell in cells:
        contexts.setdefault(words({k: v for k, v in cell.pair.axes.items() if k != axis}), []).append(cell)
    out = []
    for base, *others in contexts.values():
        for other in others:
            context = {k: v for k, v in base.pair.axes.items() if k != axis}
            here, there = _by_seed(base), _by_seed(other)
            seeds = [s for s in here if s in there]
            if not seeds:
                continue
            values = [_values(here[s], there[s], crossovers.sign) for s in seeds]
            own = all(here[s][1].run == there[s][1].run for s in seeds)
            groups: dict[str, Group] = {
                name: {s: v[name] for s, v in zip(seeds, values, strict=True)} for name in values[0]
            }
            out.append(_Contrast(base.pair.axes[axis], other.pair.axes[axis], context, own, groups))
    return out


def _by_seed(cell: CellOutcome) -> dict[str, tuple[Arm, Arm]]:
    return {str(t.seed): arms for t, arms in zip(cell.pair.twins, cell.arms, strict=True)}


def _best(arm: Arm, sign: float) -> ReplicateValue:
    """An arm's best value, selected on half A and read on half B, in the metric's own direction."""
    k = int(arm.best_so_far()[-1])
    parts = None
    if arm.b.sequences is not None and arm.b.weights is not None and np.isfinite(arm.b.sequences[k]).all():
        parts = sign * influence(arm.b.sequences[k], arm.b.weights)
    return ReplicateValue(sign * float(arm.b.value[k]), None, parts)


def _values(here: tuple[Arm, Arm], there: tuple[Arm, Arm], sign: float) -> dict[str, ReplicateValue]:
    (a, b), (c, d) = ([_best(arm, sign) for arm in arms] for arms in (here, there))
    first, second = _sum((1, c), (-1, a)), _sum((1, d), (-1, b))
    return {
        "first": first,
        "second": second,
        "difference": _sum((1, first), (-1, second)),
        "closed": _sum((-1, first)),
        "gap": _sum((1, a), (-1, b)),
    }


def _sum(*terms: tuple[float, ReplicateValue]) -> ReplicateValue:
    """A weighted sum; its parts are known where all terms' are, on the same sequences."""
    parts = [w * v.parts for w, v in terms if v.parts is not None]
    whole = len(parts) == len(terms) and len({p.shape for p in parts}) == 1
    return ReplicateValue(
        float(sum(w * v.value for w, v in terms)), None, np.sum(parts, axis=0) if whole else None
    )


def ratio_of_means(over: Sequence[Group], under: Sequence[Group], index: int, confidence: float) -> Estimate:
    """The mean of ``over`` by that of ``under`` in the group ``index``, paired by replicate, with Fieller's
    interval; open ends where the denominator's own interval holds zero."""

    def excess(share: float) -> float:
        """How far beyond its interval zero lies of over - share * under; negative where it lies inside."""
        groups = [
            {s: _sum((1, a[s]), (-share, b[s])) for s in a if s in b}
            for a, b in zip(over, under, strict=True)
        ]
        mean = over_replicates(groups[index], spread_of(groups), confidence, index)
        if mean.value is None or mean.low is None or mean.high is None:
            return math.nan
        return abs(mean.value) - (mean.high - mean.value)

    top, bottom = (float(np.mean([v.value for v in g[index].values()])) for g in (over, under))
    if bottom == 0:
        return Estimate(level=confidence, assumption="no share: there is no gap")
    share = top / bottom
    none = Estimate(share, level=confidence)
    gap = over_replicates(under[index], spread_of(under), confidence, index)
    if gap.low is None or gap.high is None:
        return replace(none, assumption="no interval: one replicate, no scores")
    if gap.low <= 0 <= gap.high:
        return replace(none, assumption="Fieller's interval is unbounded: the gap itself is not decided")
    ends = []
    for way in (-1.0, 1.0):
        step = 0.01
        while excess(share + way * step) <= 0 and step < _FARTHEST:
            step *= 2
        ends.append(
            optimize.brentq(excess, *sorted((share, share + way * step)), xtol=1e-6)
            if excess(share) < 0
            else share
        )
    reason = f"Fieller's interval of a ratio of means; {gap.assumption}"
    return replace(none, low=ends[0], high=ends[1], method="Fieller", assumption=reason)
