"""A study's crossovers in short: as a page of text, and as a notebook shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import pandas as pd

from analysis.crossover.gaps.wording import interaction_rows, ratio_tables
from analysis.crossover.place import Place
from analysis.crossover.same_n.efficiency import EfficiencyRatio
from analysis.crossover.same_n.outcome import DEFINITIONS as OUTCOME_DEFINITIONS
from analysis.crossover.sentences import entry
from analysis.crossover.situations import CROSSES, CellSituation, Situation, cell_situations
from analysis.fitting.estimate import Estimate
from analysis.tables.shown import Block, Grid
from analysis.tables.wording import human

if TYPE_CHECKING:
    from analysis.crossover.study import Crossovers

DEFINITIONS: dict[str, str] = {"raw": "raw", "best_so_far": "best so far"}


@dataclass(frozen=True)
class Words(Grid):
    """A table of words: its columns are set to the left."""

    def text(self) -> str:
        lines = [list(self.frame.columns), *self.frame.to_numpy().tolist()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )


def blocks(crossovers: Crossovers, unit: str) -> list[Block]:
    """Headline, places in one unit, how they move, the other kinds, and what was assumed and left out."""
    verdict = crossovers.verdict
    if not crossovers.cells:
        return [f"{verdict.headline}: {nothing(crossovers)}", *_notes(crossovers)]
    out: list[Block] = [f"{verdict.headline}\n{verdict.scope}"]
    out.append(f"\nplaces in {unit}, {crossovers.confidence:.0%} intervals")
    out.append(_words(["cell", "curve", "place", "crossed", ""], _rows(crossovers, unit)))
    for law in crossovers.laws.values():
        if law is not None and law.unit == unit and law.coefficients():
            slopes = ", ".join(
                f"{c.name} {c.value:+.2f} [{c.low:+.2f}, {c.high:+.2f}]" for c in law.coefficients()
            )
            out.append(
                f"law of the {DEFINITIONS[law.definition]} crossing, slopes of its logarithm: {slopes}"
            )
            out += [f"  {remark}" for remark in law.remarks()]
    out += _other_kinds(crossovers)
    if crossovers.ratios:
        first, second = crossovers.names
        best = f"{second}'s best {crossovers.value_name}"
        ratios = [[r.cell, place_text(r), _ratio_remark(r)] for r in crossovers.ratios]
        out.append(f"\nunique data that {first} needs for {best}, times its own")
        out.append(_words(["cell", "ratio", ""], ratios))
    out += _horizontal(crossovers)
    if moved := interaction_rows(crossovers):
        first, second = crossovers.names
        out.append(
            f"\nhow axes move each arm's best {crossovers.value_name}, and the share of the gap closed"
        )
        out.append(
            _words(
                ["axis", "cell", first, second, "difference", "more sensitive?", f"{first} closes"],
                [list(astuple(row)) for row in moved],
            )
        )
    if shown := crossovers.benchmarks.crossings:
        over = ["-" if b.over_loss.value is None else number(b.over_loss) for b in shown]
        out.append(f"\nbenchmarks, places in tokens. {crossovers.benchmarks.sentence}")
        out.append(
            _words(
                ["benchmark", "cell", "place", "over the loss's", "p, adjusted"],
                [
                    [b.benchmark, b.cell, place_text(b), o, f"{b.adjusted:.2g}"]
                    for b, o in zip(shown, over, strict=True)
                ],
            )
        )
    out += [f"\n{verdict.evidence}", verdict.control, *_assumptions(crossovers, unit)]
    return [*out, *_notes(crossovers)]


def _assumptions(crossovers: Crossovers, unit: str) -> list[str]:
    """What the intervals and bounds that are shown assume, each once."""
    shown = [c for d in DEFINITIONS for c in crossovers.select(d, unit)]
    return [f"assumes: {text}" for text in dict.fromkeys(c.assumption for c in shown)]


def _ratio_remark(ratio: EfficiencyRatio) -> str:
    if ratio.value is None:
        return ratio.assumption
    return "" if ratio.settled else "a lower bound"


def nothing(crossovers: Crossovers) -> str:
    """Why no two runs could be compared."""
    reasons = sorted({e["reason"] for e in crossovers.excluded})
    return "; ".join(reasons) or "the pair shares no cell and replicate"


def _rows(crossovers: Crossovers, unit: str) -> list[list[str]]:
    return [
        [
            c.crossing.cell,
            DEFINITIONS[definition],
            place_text(c.crossing),
            f"{c.crossing.crossed}/{len(c.replicates)}",
            _remark(c, crossovers.names),
        ]
        for definition in OUTCOME_DEFINITIONS
        for c in cell_situations(crossovers, definition, unit)
    ]


def place_text(place: Place) -> str:
    """The place and its interval, ``523k [480k, 571k]``, or its bound, ``> 1.2M``."""
    if place.value is None:
        return "-"
    if place.censored:
        return f"{'>' if place.censored == 'right' else '<'} {human(place.value)}"
    if "no interval" in place.assumption:
        return f"{human(place.value)}, no interval"
    low, high = ("unbounded" if end is None else human(end) for end in (place.low, place.high))
    return f"{human(place.value)} [{low}, {high}]"


def _remark(cell: CellSituation, names: tuple[str, str]) -> str:
    """What the situation says beyond the place; empty for a bound of an arm that is not passed."""
    crossing, situation = cell.crossing, cell.situation
    again = max(sum(c.robust for c in o.others) for o in crossing.outcomes)
    if situation in CROSSES:
        past = {
            Situation.PASSES_OVERFITTED: f"{names[0]} over-fitted",
            Situation.PASSES_AT_BEST: "past its best",
        }
        return past.get(situation, "")
    if situation is Situation.BEHIND:
        return "a bound"
    if situation is Situation.PASSES_SOME:
        return "a bound of the mean: in some replicates only"
    if crossing.censored is None and again:
        return f"{again} more"
    return entry([cell], names, crossing.unit)


def _other_kinds(crossovers: Crossovers) -> list[Block]:
    """Compute-optimal crossings and those of fitted laws: other quantities, so in tables of their own."""
    out: list[Block] = []
    for title, crossings, refused in (
        (
            "compute-optimal (between fronts), in FLOPs",
            crossovers.fronts.crossings,
            crossovers.fronts.refused,
        ),
        ("law against law, in FLOPs", crossovers.arm_laws.meetings, ()),
    ):
        if crossings:
            out += [f"\n{title}", _words(["cell", "place"], [[c.cell, place_text(c)] for c in crossings])]
        if refused:
            reasons = sorted({r["reason"] for r in refused})
            out.append(f"\n{title}: none in {len(refused)} cells: {'; '.join(reasons)}")
    return out


def number(estimate: Estimate) -> str:
    """An estimate as a place is written: ``1.3 [1.1, 1.6]``, or its bound."""
    return place_text(Place(estimate=estimate))


def _horizontal(crossovers: Crossovers) -> list[Block]:
    """Ratios at equal loss: a table a resource, levels across, and whether each ratio is one number."""
    out: list[Block] = []
    for table in ratio_tables(crossovers):
        header = ["cell", *(f"{level:g}" for level in table.levels)]
        rows = [
            [cell, *("-" if r is None else place_text(r) for r in row)] for cell, row in table.rows.items()
        ]
        out += [f"\n{table.title}", _words(header, rows), *(f"  {trend}" for trend in table.trends)]
    return out


def _notes(crossovers: Crossovers) -> list[str]:
    counts: dict[str, int] = {}
    for e in crossovers.excluded:
        counts[e["reason"]] = counts.get(e["reason"], 0) + 1
    left_out = [f"! {n} left out: {reason}" for reason, n in counts.items()]
    return left_out + [f"! {n}" for n in dict.fromkeys(crossovers.notes)]


def _words(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Words:
    return Words(pd.DataFrame(rows, columns=list(header)))
