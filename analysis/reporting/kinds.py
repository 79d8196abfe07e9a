"""The report's sections on the two other kinds of crossover: between Pareto fronts, and law against law."""

from __future__ import annotations

from typing import Any

from analysis.crossover.study import Study
from analysis.crossover.verdict import number
from analysis.reporting.html import Markup, details, join, table, tag


def compute_optimal(study: Study) -> Markup:
    """Crossings between the arms' Pareto fronts at each U; where there are no fronts, why."""
    first, second = study.found.names
    fronts = study.fronts
    head = tag("h2", "Compute-optimal crossovers")
    if not fronts.groups:
        why = fronts.refused[0]["reason"] if fronts.refused else "no pair could be compared"
        return join([head, tag("p", f"None can be given: {why}.")])
    rows = [
        [
            r["cell"],
            _flops(r),
            "; ".join(w for w in (_bound(r), r["refused"]) if w),
            *(_at(r["best"][o]) for o in study.found.pair),
            "–" if r["no_crossing"] is None else f"{r['no_crossing']:.0%}",
            r["replicates"],
        ]
        for r in fronts.records
    ]
    assumptions = sorted({r["assumption"] for r in fronts.records})
    return join(
        [
            head,
            tag(
                "p",
                f"Training FLOPs from which {second} at its best size and stop is ahead of {first} at its "
                "own. These are another quantity than the same-N crossovers above, and later; they are never "
                "mixed. A place counts only where both best sizes lie inside the sizes tried.",
            ),
            table(
                [
                    "U",
                    f"FLOPs, {study.found.confidence:.0%} interval",
                    "",
                    f"best {first} there",
                    f"best {second} there",
                    "bootstrap frequency of no crossing",
                    "replicates",
                ],
                rows,
                numeric=(1, 5, 6),
            ),
            *(tag("p", f"{r['cell']}: {r['reason']}.", cls="note") for r in fronts.refused),
            details("What the fronts and intervals assume", tag("ul", *(tag("li", a) for a in assumptions))),
        ]
    )


def law_against_law(study: Study) -> Markup:
    """Where the arms' fitted laws meet at each U; where there are no laws, why."""
    first, second = study.found.names
    laws = study.arm_laws
    head = tag("h2", "Law against law")
    if not laws.meetings:
        return join([head, tag("p", f"None can be given: {laws.why}.")])
    records = [m.json() for m in laws.meetings]
    rows = [
        [
            r["cell"],
            _flops(r),
            r["refused"] or _bound(r),
            "–" if r["no_crossing"] is None else f"{r['no_crossing']:.0%} of {r['draws']}",
            "–" if r["extrapolates"] is None else f"{r['extrapolates']:.2g}",
            "; ".join(r["notes"]) or "–",
        ]
        for r in records
    ]
    fits = laws.fits or ()
    return join(
        [
            head,
            tag(
                "p",
                f"Training FLOPs (6ND) at which the law fitted to {second} passes below that fitted to "
                f"{first}, each at its best N for the budget. It is a statement about the laws "
                f"({laws.meetings[0].laws[0]}), fitted up to each run's minimum, and may lie beyond every "
                "run.",
            ),
            table(
                [
                    "held",
                    f"FLOPs, {study.found.confidence:.0%} interval",
                    "",
                    "bootstrap frequency of no crossing in range",
                    "place over the largest budget",
                    "notes",
                ],
                rows,
                numeric=(1, 3, 4),
            ),
            details(
                "The fits",
                *(tag("pre", f"{n}\n{f}") for n, f in zip((first, second), fits, strict=False)),
            ),
            tag("p", "Assumes: ", "; ".join(sorted({r["assumption"] for r in records})), ".", cls="note"),
        ]
    )


def _flops(record: dict[str, Any]) -> str:
    if record["value"] is None:
        return "–"
    value = f"{record['value']:.2e}".replace("e+", "e")
    if record["censored"]:
        return f"{'>' if record['censored'] == 'right' else '<'} {value}"
    ends = [f"{e:.2e}".replace("e+", "e") if e else "–" for e in (record["low"], record["high"])]
    return f"{value} [{ends[0]}, {ends[1]}]" if record["low"] or record["high"] else value


def _bound(record: dict[str, Any]) -> str:
    words = {"right": "has not crossed by there", "left": "had crossed before"}
    return words.get(record["censored"], "")


def _at(best: dict[str, Any] | None) -> str:
    if best is None:
        return "–"
    epochs = "" if best["epochs"] is None else f", {best['epochs']:.3g} epochs"
    return f"N = {number(best['N'])}{epochs}" + ("" if best["bracketed"] else " (not bracketed)")
