"""The headline, its scope and the table's entries in words: each situation has one clause for each, and every
clause counts its cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from analysis.crossover.same_n.location import SameNCrossovers
from analysis.crossover.situations import CROSSES, CellSituation, Situation, cell_situations
from analysis.tables.wording import human

WITHIN = "within this budget"
OPEN = f"which is not settled: a minimum is not bracketed {WITHIN}"


@dataclass(frozen=True)
class Clauses:
    """What one situation is called: ``raw`` and ``best`` in the headline, ``entry`` in the table.

    ``{first}`` and ``{second}`` are the arms, ``{cells}`` is empty or `` in 2 of 3 cells``, ``{place}`` is a
    range with its unit, and ``{open}`` says why a lead on best values is no verdict.
    """

    raw: str
    best: str
    entry: str


CLAUSES: dict[Situation, Clauses] = {
    Situation.PASSES: Clauses(
        "{second} passes {first}{cells} while {first} still improves",
        "{second} passes even an early-stopped {first}{cells} within this budget",
        "crosses at {place}",
    ),
    Situation.PASSES_OVERFITTED: Clauses(
        "{second} passes an over-fitted {first}{cells}", "", "crosses at {place}"
    ),
    Situation.PASSES_AT_BEST: Clauses(
        "{second} passes {first}{cells} about where {first} is at its best", "", "crosses at {place}"
    ),
    Situation.PASSES_EITHER: Clauses(
        "{second} passes {first}{cells}, over-fitted in some replicates and not in others",
        "",
        "crosses at {place}",
    ),
    Situation.SEVERAL_LEADS: Clauses(
        "{second} and {first} pass each other in turn{cells}, {second} last",
        "{second} and {first} pass each other in turn on best values{cells}, {second} last",
        "cross in both directions, {second} ahead last: {second} first passes at {place}",
    ),
    Situation.SEVERAL_TRAILS: Clauses(
        "{second} and {first} pass each other in turn{cells}, {first} last",
        "{second} and {first} pass each other in turn on best values{cells}, {first} last",
        "cross in both directions, {first} ahead last: {second} first passes at {place}",
    ),
    Situation.IS_PASSED: Clauses(
        "{first} passes {second}{cells} while {second} still improves",
        "{first} passes even an early-stopped {second}{cells} within this budget",
        "{first} passes {second} at {place}",
    ),
    Situation.IS_PASSED_OVERFITTED: Clauses(
        "{first} passes an over-fitted {second}{cells}", "", "{first} passes {second} at {place}"
    ),
    Situation.IS_PASSED_AT_BEST: Clauses(
        "{first} passes {second}{cells} about where {second} is at its best",
        "",
        "{first} passes {second} at {place}",
    ),
    Situation.AHEAD: Clauses(
        "{second} is ahead of {first} from the first counted evaluation on{cells}",
        "{second} leads throughout on best values{cells}",
        "{second} ahead throughout, by {place} at the latest",
    ),
    Situation.LEADS_OPEN: Clauses(
        "",
        "{second} leads on best values{cells}, {open}",
        "{second} ahead from {place}, not settled",
    ),
    Situation.AHEAD_OPEN: Clauses(
        "",
        "{second} leads throughout on best values{cells}, {open}",
        "{second} ahead throughout, by {place} at the latest, not settled",
    ),
    Situation.IS_PASSED_OPEN: Clauses(
        "",
        "{first} takes the lead on best values{cells}, {open}",
        "{first} ahead from {place}, not settled",
    ),
    Situation.PASSES_SOME: Clauses(
        "{second} passes {first} in some replicates only{cells}",
        "{second} passes an early-stopped {first} in some replicates only{cells}",
        "crosses in {crossed} of {replicates} replicates, there at {place}",
    ),
    Situation.MEETS: Clauses(
        "{second}'s curve meets {first}'s{cells}, but no crossing is robust in every replicate",
        "{second}'s best values meet {first}'s{cells}, but no crossing is robust in every replicate",
        "meets at {place}, not robustly",
    ),
    Situation.PLATEAU: Clauses(
        "{second}'s and {first}'s curves cross only on the start-up plateau{cells}, which does not count",
        "best values cross only on the start-up plateau{cells}, which does not count",
        "crossed on the start-up plateau, before {place}",
    ),
    Situation.BEHIND: Clauses(
        "{second} has not passed {first}{cells} within this budget",
        "{second} has not passed an early-stopped {first}{cells} within this budget",
        "has not crossed by {place}",
    ),
    Situation.UNDECIDED: Clauses(
        "neither {second} nor {first} leads beyond error at the end{cells}",
        "neither {second} nor {first} leads beyond error on best values at the end{cells}",
        "no lead beyond error after {place}",
    ),
    Situation.DISAGREE: Clauses(
        "the replicates disagree{cells}",
        "the replicates disagree on best values{cells}",
        "the replicates disagree",
    ),
}


def headline(crossovers: SameNCrossovers) -> str:
    """One sentence: a clause for each situation of raw curves, then for each of best values."""
    first, second = crossovers.names
    raw, best = (cell_situations(crossovers, d) for d in ("raw", "best_so_far"))
    if not raw:
        return f"No pair of {first} and {second} runs could be compared"
    kinds, kinds_best = ({c.situation for c in cells} for cells in (raw, best))
    if kinds == kinds_best == {Situation.BEHIND}:
        return f"{second} has not passed {first} {WITHIN}, on raw curves or on best values"
    if kinds == kinds_best == {Situation.AHEAD}:
        return (
            f"{second} is ahead of {first} from the first counted evaluation on, on raw curves and on best "
            f"values{', in every cell' if len(raw) > 1 else ''}"
        )
    if kinds <= CROSSES and kinds_best == {Situation.PASSES}:
        return f"{second} passes even an early-stopped {first} {WITHIN}"
    clauses, clauses_best = _clauses(raw, crossovers.names), _clauses(best, crossovers.names)
    if all(_acts(c, second) for c in (*clauses, clauses_best[0])):
        clauses_best[0] = "it" + clauses_best[0].removeprefix(second)
    *parts, last = f"{_joined(clauses, second)}; {_joined(clauses_best, second)}".split(f" {WITHIN}")
    return f"{''.join(parts)} {WITHIN}{last}" if parts else last


def _clauses(cells: Sequence[CellSituation], names: tuple[str, str]) -> list[str]:
    """One clause a situation, in the order in which they are listed."""
    counts = Counter(c.situation for c in cells)
    definition = cells[0].crossing.definition
    out: list[str] = []
    for situation in (s for s in Situation if counts[s]):
        clauses = CLAUSES[situation]
        where = "" if len(counts) == 1 else f" in {counts[situation]}"
        out.append(
            (clauses.raw if definition == "raw" else clauses.best).format(
                first=names[0],
                second=names[1],
                cells=where if not where or out else f"{where} of {len(cells)} cells",
                open=OPEN,
            )
        )
    return out


def _acts(clause: str, second: str) -> bool:
    """Whether the second arm alone is what a clause speaks of."""
    return clause.startswith(f"{second} ") and not clause.startswith(f"{second} and ")


def _joined(clauses: Sequence[str], second: str) -> str:
    """The clauses as one, with a pronoun where the second arm goes on."""
    out = [clauses[0]]
    for one, two in pairwise(clauses):
        goes_on = (one.startswith("it ") or _acts(one, second)) and _acts(two, second)
        out.append("it" + two.removeprefix(second) if goes_on else two)
    return out[0] if len(out) == 1 else f"{', '.join(out[:-1])}, and {out[-1]}"


def entry(cells: Sequence[CellSituation], names: tuple[str, str], unit: str) -> str:
    """What happened in the cells under one definition, with the range of places in ``unit``: an entry of the
    table."""
    counts = Counter(c.situation for c in cells)
    parts: list[str] = []
    for situation in (s for s in Situation if counts[s]):
        mine = [c for c in cells if c.situation is situation]
        text = CLAUSES[situation].entry.format(
            first=names[0],
            second=names[1],
            place=_range([p for c in mine if (p := c.place) is not None], unit),
            crossed=sum(r in CROSSES for c in mine for r in c.replicates),
            replicates=sum(len(c.replicates) for c in mine),
        )
        where = f" of {len(cells)} cells" if not parts else ""
        parts.append(text if len(counts) == 1 else f"{text} in {len(mine)}{where}")
    return "; ".join(parts) or "nothing to compare"


def _range(values: list[float], unit: str) -> str:
    if not values:
        return f"an unknown number of {unit}"
    low, high = min(values), max(values)
    return f"{human(low) if high < 1.02 * low else f'{human(low)}–{human(high)}'} {unit}"


def scope(crossovers: SameNCrossovers) -> str:
    """What the headline stands on, cell by cell counted; why it stands on nothing, where no pair could be
    compared."""
    first, second = crossovers.names
    raw, best = (cell_situations(crossovers, d) for d in ("raw", "best_so_far"))
    if not raw:
        reasons = sorted({e["reason"] for e in crossovers.excluded})
        return "".join(f"{reason[:1].upper()}{reason[1:]}. " for reason in reasons).strip()
    n = len(raw)
    passes, stopped = (sum(c.situation in CROSSES for c in cells) for cells in (raw, best))
    words = (
        f"In {passes} of {n} {'cell' if n == 1 else 'cells'} {second} passes {first} robustly in every "
        f"replicate, on best values in {stopped}"
    )
    if open_ := sum(not c.crossing.settled for c in best if c.situation is not Situation.PASSES):
        words += (
            f"; in {open_} best values leave it open, for a minimum is not bracketed and a longer run could "
            "tell"
        )
    if stalled := sum(not o.curve.counted.any() for c in raw for o in c.crossing.outcomes):
        pairs = sum(len(c.replicates) for c in raw)
        words += f"; in {stalled} of {pairs} pairs of runs an arm does not leave its start-up plateau"
    replicates = sorted({len(c.replicates) for c in raw})
    many = " to ".join(dict.fromkeys(map(str, (replicates[0], replicates[-1]))))
    words += f". Replicates a cell: {many}."
    if crossovers.excluded:
        words += f" Left out: {len({e['run'] for e in crossovers.excluded})} runs, listed with reasons."
    return words
