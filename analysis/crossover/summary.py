"""A study's crossovers in short: as a page of text, and as a notebook shows them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from analysis.crossover.place import Place
from analysis.crossover.same_n.cell_places import CellCrossover
from analysis.tables.wording import human

if TYPE_CHECKING:
    from analysis.crossover.study import Crossovers

DEFINITIONS = {"raw": "raw", "best_so_far": "best so far"}


def text(crossovers: Crossovers, unit: str) -> str:
    """Headline, places in one unit, how they move, the other kinds, and what was assumed and left out."""
    if not crossovers.cells:
        return "\n".join([f"{crossovers.verdict.headline}: {nothing(crossovers)}", *_notes(crossovers)])
    verdict = crossovers.verdict
    lines = [verdict.headline, verdict.scope, ""]
    lines.append(f"places in {unit}, {crossovers.confidence:.0%} intervals")
    lines.append(_aligned(["cell", "curve", "place", "crossed", ""], _rows(crossovers, unit)))
    for law in crossovers.laws.values():
        if law is not None and law.unit == unit and law.coefficients():
            slopes = ", ".join(
                f"{c.name} {c.value:+.2f} [{c.low:+.2f}, {c.high:+.2f}]" for c in law.coefficients()
            )
            lines.append(
                f"law of the {DEFINITIONS[law.definition]} crossing, slopes of its logarithm: {slopes}"
            )
    lines += _other_kinds(crossovers)
    if crossovers.ratios:
        first, second = crossovers.names
        ratios = [[r.cell, place_text(r), "" if r.settled else "a lower bound"] for r in crossovers.ratios]
        lines += [
            "",
            f"unique data that {first} needs for {second}'s best {crossovers.value_name}, times its own",
        ]
        lines.append(_aligned(["cell", "ratio", ""], ratios))
    lines += ["", verdict.evidence, verdict.control, f"assumes: {crossovers.crossings[0].assumption}"]
    return "\n".join([*lines, *_notes(crossovers)])


def html(crossovers: Crossovers) -> str:
    """The headline and the table of places in tokens."""
    verdict = crossovers.verdict
    if not crossovers.cells:
        return f"<p><b>{escape(verdict.headline)}</b>: {escape(nothing(crossovers))}</p>"
    head = "".join(f"<th>{name}</th>" for name in ("cell", "curve", "tokens", "crossed", ""))
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _rows(crossovers, "tokens")
    )
    return (
        f"<p><b>{escape(verdict.headline)}.</b><br>{escape(verdict.scope)}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"<p>{escape(verdict.evidence)}. {escape(verdict.control)}</p>"
    )


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


def _other_kinds(crossovers: Crossovers) -> list[str]:
    """Compute-optimal crossings and those of fitted laws: other quantities, so in tables of their own."""
    lines = []
    for title, crossings, refused in (
        (
            "compute-optimal (between fronts), in FLOPs",
            crossovers.fronts.crossings,
            crossovers.fronts.refused,
        ),
        ("law against law, in FLOPs", crossovers.arm_laws.meetings, ()),
    ):
        if crossings:
            lines += ["", title, _aligned(["cell", "place"], [[c.cell, place_text(c)] for c in crossings])]
        if refused:
            reasons = sorted({r["reason"] for r in refused})
            lines += ["", f"{title}: none in {len(refused)} cells: {'; '.join(reasons)}"]
    return lines


def _notes(crossovers: Crossovers) -> list[str]:
    counts: dict[str, int] = {}
    for e in crossovers.excluded:
        counts[e["reason"]] = counts.get(e["reason"], 0) + 1
    left_out = [f"! {n} left out: {reason}" for reason, n in counts.items()]
    return left_out + [f"! {n}" for n in dict.fromkeys(crossovers.notes)]


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns of text."""
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    lines = (
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in [header, *rows]
    )
    return "\n".join(lines)
