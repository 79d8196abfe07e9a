"""Ratios at equal loss as tables and sentences: what text, page and docs show of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.crossover.gaps.horizontal import RESOURCES, HorizontalRatio, Trend
from analysis.tables.wording import human

if TYPE_CHECKING:
    from analysis.crossover.study import Crossovers


@dataclass(frozen=True)
class RatioTable:
    """Ratios of one resource, cells down and levels across: ``title``, ``levels`` and the ratio of each cell
    at each, None where neither arm tells it."""

    title: str
    levels: tuple[float, ...]
    rows: dict[str, list[HorizontalRatio | None]]
    trends: tuple[str, ...]


def ratio_tables(crossovers: Crossovers) -> list[RatioTable]:
    """The twins' tables, then that of the fronts."""
    first, second = crossovers.names
    named = [h.resource for h in crossovers.horizontal]
    out = []
    for h in crossovers.horizontal:
        what = RESOURCES[h.resource]
        if h.resource == "tokens" and "flops" not in named:
            what = "tokens, and training FLOPs alike,"
        title = f"{what} that {second} needs, times {first}'s, at equal {crossovers.value_name}"
        out.append(_table(title, h.ratios, tuple(trend_words(t) for t in h.trends)))
    if crossovers.compute_gaps:
        title = (
            f"training FLOPs that {second} needs on its front, times {first}'s, at equal "
            f"{crossovers.value_name}"
        )
        out.append(_table(title, crossovers.compute_gaps, ()))
    return out


def _table(title: str, ratios: Sequence[HorizontalRatio], trends: tuple[str, ...]) -> RatioTable:
    levels = tuple(dict.fromkeys(r.level for r in ratios))
    at = {(r.cell, r.level): r for r in ratios}
    cells = dict.fromkeys(r.cell for r in ratios)
    return RatioTable(title, levels, {c: [at.get((c, level)) for level in levels] for c in cells}, trends)


def trend_words(trend: Trend) -> str:
    """Whether a ratio is one number, in a sentence."""
    if trend.low is None or trend.high is None or trend.value is None:
        return f"{trend.cell}: whether the ratio is one number is not decided, for it has no interval"
    change = f"by a factor {human(trend.value)} [{human(trend.low)}, {human(trend.high)}]"
    what = {
        "constant": "the ratio is constant: it changes",
        "grows": "the ratio grows",
        "shrinks": "the ratio shrinks",
        "not decided": "whether the ratio is one number is not decided: it changes",
    }[trend.verdict]
    return f"{trend.cell}: {what} {change} from {trend.start:g} to {trend.end:g}"
