"""Ratios at equal loss as tables and sentences: what text, page and docs show of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.crossover.gaps.horizontal import RESOURCES, HorizontalRatio, Trend
from analysis.fitting.estimate import Estimate
from analysis.tables.wording import human, words

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


@dataclass(frozen=True)
class InteractionRow:
    """An interaction in words: what changes and where, both arms' changes and their difference, the verdict,
    and the share of the gap that the first arm's change closes."""

    change: str
    context: str
    first: str
    second: str
    difference: str
    verdict: str
    share: str


def interaction_rows(crossovers: Crossovers) -> list[InteractionRow]:
    """All interactions of a study in words."""
    return [
        InteractionRow(
            change=f"{i.axis} {i.base} to {i.level}",
            context=words(i.context),
            first=_signed(i.first),
            second=_signed(i.second),
            difference=_signed(i.difference),
            verdict=i.verdict(crossovers.names),
            share=_signed(i.share, percent=True),
        )
        for i in crossovers.interactions
    ]


def _signed(estimate: Estimate, percent: bool = False) -> str:
    """``+0.3 [+0.2, +0.4]``, or percentages; the value alone where there is no interval."""

    def end(value: float | None) -> str:
        return "-" if value is None else f"{value:.0%}" if percent else f"{value:+.3g}"

    if estimate.low is None and estimate.high is None:
        return f"{end(estimate.value)}, no interval"
    return f"{end(estimate.value)} [{end(estimate.low)}, {end(estimate.high)}]"


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
