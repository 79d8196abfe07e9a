"""What happened in a cell: the situations that headline and table are made of, each with its predicate.

A replicate's situation follows from its outcome and its arms alone, and a cell's from its replicates'. Every
sentence on the front page counts cells by them, so that none can say more than the places do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from analysis.crossover.same_n.arm import Arm
from analysis.crossover.same_n.cell_places import CellCrossover, CellOutcome
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.crossover.same_n.outcome import CrossingOutcome, Definition
from analysis.crossover.same_n.paired_difference import Difference
from analysis.crossover.same_n.zeros import Crossing, blocks


class Situation(Enum):
    """What a cell's replicates agree on. "Passes" is said of robust crossings only.

    In the order in which sentences name them. The first arm is the one expected to be passed. A verdict on
    best values needs both minima bracketed (or a long run); without it a lead is ``OPEN``.
    """

    PASSES = "the second arm passes the first: on best values, or a first arm that still improves"
    PASSES_OVERFITTED = "the second passes the first, whose loss had risen beyond error when the run ends"
    PASSES_AT_BEST = "the second passes the first past its best value, of which no rise beyond error is seen"
    PASSES_EITHER = "the second passes the first in every replicate, in different ones of these three ways"
    SEVERAL_LEADS = "the curves cross robustly in both directions, and the second takes the lead last"
    SEVERAL_TRAILS = "the curves cross robustly in both directions, and the first takes the lead last"
    IS_PASSED = "the first arm passes the second, which led: on best values, or while the second improves"
    IS_PASSED_OVERFITTED = "the first passes the second, whose loss had risen beyond error when the run ends"
    IS_PASSED_AT_BEST = (
        "the first passes the second past its best value, of which no rise beyond error is seen"
    )
    AHEAD = "the second leads from the first counted evaluation on"
    LEADS_OPEN = "the second takes the lead on best values, and a minimum is not bracketed"
    AHEAD_OPEN = "the second leads on best values throughout, and a minimum is not bracketed"
    IS_PASSED_OPEN = "the first takes the lead on best values, and a minimum is not bracketed"
    PASSES_SOME = "the second passes the first in some replicates, and in others it does not"
    MEETS = "the curves meet in every replicate, but no crossing is robust in all of them"
    PLATEAU = "the curves cross on the start-up plateau only, which does not count"
    BEHIND = "no crossing counts; the first arm leads at the end, or one is still on its start-up plateau"
    UNDECIDED = "no crossing is seen, and neither arm leads at the end beyond error, in any replicate"
    DISAGREE = "the replicates are in different situations, and the second passes in none"


CROSSES = frozenset(
    {Situation.PASSES, Situation.PASSES_OVERFITTED, Situation.PASSES_AT_BEST, Situation.PASSES_EITHER}
)
"""The second arm passes the first, once and robustly, in every replicate."""

IS_PASSED = frozenset(
    {
        Situation.IS_PASSED,
        Situation.IS_PASSED_OVERFITTED,
        Situation.IS_PASSED_AT_BEST,
        Situation.IS_PASSED_OPEN,
    }
)
"""The first arm passes the second, once and robustly, in every replicate."""


@dataclass(frozen=True)
class CellSituation:
    """One cell under one definition: its ``situation``, those of its ``replicates``, and its ``crossing`` in
    one unit."""

    situation: Situation
    replicates: tuple[Situation, ...]
    cell: CellOutcome
    crossing: CellCrossover

    @property
    def place(self) -> float | None:
        """Where what the situation names happened, geometric mean of the replicates in which it did; the
        bound for one that names none; None where the table does not tell."""
        outcomes = self.cell.outcomes[self.crossing.definition]
        places = [place(o, s, self.crossing.unit) for o, s in zip(outcomes, self.replicates, strict=True)]
        if self.situation is Situation.PASSES_SOME:
            places = [p for p, s in zip(places, self.replicates, strict=True) if s in CROSSES]
        seen = [math.log(p) for p in places if p > 0 and math.isfinite(p)]
        if not seen or self.situation is Situation.DISAGREE:
            return None
        if self.situation in (Situation.BEHIND, Situation.UNDECIDED):
            return math.exp(min(seen))
        if self.situation in (Situation.AHEAD, Situation.AHEAD_OPEN, Situation.PLATEAU):
            return math.exp(max(seen))
        return math.exp(sum(seen) / len(seen))


def cell_situations(
    crossovers: SameNCrossovers, definition: Definition, unit: str = "tokens"
) -> tuple[CellSituation, ...]:
    """The situation of every cell, in the order of ``crossovers.cells``, with its crossing in ``unit``."""
    return tuple(_cells(crossovers, definition, unit))


def _cells(crossovers: SameNCrossovers, definition: Definition, unit: str) -> Iterator[CellSituation]:
    crossings = crossovers.select(definition, unit)
    for cell, crossing in zip(crossovers.cells, crossings, strict=True):
        replicates = tuple(
            of_replicate(outcome, *arms)
            for outcome, arms in zip(cell.outcomes[definition], cell.arms, strict=True)
        )
        yield CellSituation(of_cell(replicates), replicates, cell, crossing)


def of_cell(replicates: tuple[Situation, ...]) -> Situation:
    """What the replicates agree on."""
    kinds = set(replicates)
    if len(kinds) == 1:
        return replicates[0]
    if kinds <= CROSSES:
        return Situation.PASSES_EITHER
    if kinds <= CROSSES | {Situation.MEETS}:
        return Situation.MEETS
    if kinds <= {Situation.BEHIND, Situation.UNDECIDED}:
        return Situation.BEHIND
    return Situation.PASSES_SOME if kinds & CROSSES else Situation.DISAGREE


def of_replicate(outcome: CrossingOutcome, first: Arm, second: Arm) -> Situation:
    """The situation of one replicate."""
    robust = [c.direction for c in _ordered(outcome) if c.robust]
    raw = outcome.definition == "raw"
    if len(set(robust)) == 2:
        return Situation.SEVERAL_LEADS if robust[-1] == "up" else Situation.SEVERAL_TRAILS
    if outcome.ahead:
        return Situation.LEADS_OPEN if robust else Situation.MEETS
    if robust and robust[0] == "up":
        return _passes(first, outcome.past_minimum) if raw else Situation.PASSES
    if robust:
        return _is_passed(outcome, second)
    if outcome.crossing is not None or outcome.others:
        return Situation.MEETS
    if outcome.on_plateau:
        return Situation.PLATEAU
    if outcome.censored == "left":
        return Situation.AHEAD if outcome.settled else Situation.AHEAD_OPEN
    counted = outcome.curve.counted.any()
    return Situation.UNDECIDED if counted and not _first_leads_last(outcome.curve) else Situation.BEHIND


def place(outcome: CrossingOutcome, situation: Situation, unit: str) -> float:
    """Where what a replicate's situation names happened: the crossing it speaks of, else the outcome's
    bound."""
    if situation in IS_PASSED:
        return next(c for c in _ordered(outcome) if c.robust and c.direction == "down").x[unit]
    if situation is Situation.MEETS and outcome.crossing is None:
        return outcome.others[-1].x[unit]
    return outcome.x[unit]


def _ordered(outcome: CrossingOutcome) -> list[Crossing]:
    crossings = [*outcome.others, *([outcome.crossing] if outcome.crossing is not None else [])]
    return sorted(crossings, key=lambda c: c.bracket)


def _passes(first: Arm, past_minimum: bool) -> Situation:
    if not past_minimum:
        return Situation.PASSES
    return Situation.PASSES_OVERFITTED if first.bracketed() else Situation.PASSES_AT_BEST


def _is_passed(outcome: CrossingOutcome, second: Arm) -> Situation:
    """``past_minimum`` of an outcome is of the first arm; here the second's best must lie behind it."""
    if outcome.definition != "raw":
        return Situation.IS_PASSED if outcome.settled else Situation.IS_PASSED_OPEN
    down = next(c for c in _ordered(outcome) if c.robust)
    best = second.x["tokens"][second.best_so_far()[-1]]
    if down.x["tokens"] <= best:
        return Situation.IS_PASSED
    return Situation.IS_PASSED_OVERFITTED if second.bracketed() else Situation.IS_PASSED_AT_BEST


def _first_leads_last(d: Difference) -> bool:
    """Whether the first arm leads beyond error at the last counted evaluation that speaks, and from there
    on."""
    start = int(np.flatnonzero(d.counted)[0])
    spoken = [b for b in blocks(d, 1) if b.members[-1] >= start]
    return bool(spoken) and spoken[-1].sign > 0 and bool((d.value[spoken[-1].members[-1] :] > 0).all())
