"""A study's crossovers in short: as a page of text, and as a notebook shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from analysis.crossover.place import Place
from analysis.crossover.same_n.cell_places import CellCrossover
from analysis.tables.shown import Block, Grid
from analysis.tables.wording import human

if TYPE_CHECKING:
    from analysis.crossover.study import Crossovers

DEFINITIONS = {"raw": "raw", "best_so_far": "best so far"}


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
        ratios = [[r.cell, place_text(r), "" if r.settled else "a lower bound"] for r in crossovers.ratios]
        out.append(f"\nunique data that {first} needs for {best}, times its own")
        out.append(_words(["cell", "ratio", ""], ratios))
    out += [f"\n{verdict.evidence}", verdict.control, f"assumes: {crossovers.crossings[0].assumption}"]
    return [*out, *_notes(crossovers)]


def nothing(crossovers: Crossovers) -> str:
    """Why no two runs could be compared."""
    reasons = sorted({e["reason"] for e in crossovers.excluded})
    return "; ".join(reasons) or "the pair shares no cell and replicate"


def _rows(crossovers: Crossovers, unit: str) -> list[list[str]]:
    return [
        [c.cell, words, place_text(c), f"{c.crossed}/{c.replicates}", _remark(c)]
        for definition, words in DEFINITIONS.items()
        for c in crossovers.select(definition, unit)
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


def _remark(crossing: CellCrossover) -> str:
    if crossing.censored is not None:
        return "on the start-up plateau only" if crossing.on_plateau else "a bound"
    again = max(sum(c.robust for c in o.others) for o in crossing.outcomes)
    remarks = (
        ("not robust", not crossing.robust),
        ("past the minimum", crossing.past_minimum),
        (f"{again} more", again > 0),
    )
    return ", ".join(remark for remark, applies in remarks if applies)


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


def _notes(crossovers: Crossovers) -> list[str]:
    counts: dict[str, int] = {}
    for e in crossovers.excluded:
        counts[e["reason"]] = counts.get(e["reason"], 0) + 1
    left_out = [f"! {n} left out: {reason}" for reason, n in counts.items()]
    return left_out + [f"! {n}" for n in dict.fromkeys(crossovers.notes)]


def _words(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Words:
    return Words(pd.DataFrame(rows, columns=list(header)))
