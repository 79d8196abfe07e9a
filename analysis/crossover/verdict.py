"""The verdict in words: a headline that no table can overrule, and the two-by-two table under it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from analysis.crossover.places.censored_law import CensoredLaw, Coefficient
from analysis.crossover.same_n.aa_control import Control, FalseCrossings, rates
from analysis.crossover.same_n.cell_places import CellCrossover
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.tables.wording import human

DEFINITION_WORDS = {"raw": "raw", "best_so_far": "best so far"}


@dataclass(frozen=True)
class Quadrant:
    """One entry of the two-by-two table. ``status``: what happened; ``less_data``, ``larger_model``: how the
    place moves, in words; ``crossed`` of ``cells`` cells; ``false_crossings``: the A/A control's rate under
    this definition (:func:`analysis.crossover.same_n.aa_control.rates`)."""

    definition: str
    unit: str
    status: str
    less_data: str
    larger_model: str
    crossed: int
    cells: int
    false_crossings: FalseCrossings | None = None

    def json(self) -> dict[str, Any]:
        """The quadrant as plain values."""
        false = self.false_crossings
        return {**vars(self), "false_crossings": None if false is None else false.json()}


@dataclass(frozen=True)
class Verdict:
    """``headline``: one sentence; ``scope``: how much of the study it stands on; ``table``: raw and best so
    far by tokens and epochs; ``evidence``: what the kinds of likelihood permit; ``control``: the A/A control
    in a sentence."""

    headline: str
    scope: str
    table: tuple[Quadrant, ...]
    evidence: str
    control: str

    def json(self) -> dict[str, Any]:
        """The verdict as plain values."""
        return {
            "headline": self.headline,
            "scope": self.scope,
            "evidence": self.evidence,
            "control": self.control,
            "table": [q.json() for q in self.table],
        }

    @classmethod
    def of(
        cls,
        crossovers: SameNCrossovers,
        laws: Mapping[tuple[str, str], CensoredLaw | None],
        controls: Sequence[Control] = (),
    ) -> Verdict:
        """The verdict of a study; ``laws`` by (definition, unit)."""
        false = rates(controls, crossovers.confidence)
        quadrants = [
            _quadrant(crossovers, definition, unit, laws.get((definition, unit)))
            for definition in ("raw", "best_so_far")
            for unit in ("tokens", "epochs")
        ]
        return cls(
            headline=headline(crossovers),
            scope=scope(crossovers),
            table=tuple(replace(q, false_crossings=false[q.definition]) for q in quadrants),
            evidence=crossovers.crossings[0].allows if crossovers.crossings else "",
            control=_control(crossovers, controls),
        )


def _control(crossovers: SameNCrossovers, controls: Sequence[Control]) -> str:
    """How often, and by how much, replicates of one objective trade the lead, beside the leads of this
    study."""
    raw = [c for c in controls if c.definition == "raw" and c.pairs]
    if not raw:
        return "A/A control: none, for no cell has two replicates."
    apart = max(c.apart for c in raw)
    words = (
        f"A/A control: replicates of one objective cross robustly in {sum(c.robust for c in raw)} of "
        f"{sum(c.pairs for c in raw)} "
        f"pairs, and stand {crossovers.amount(apart)} apart"
    )
    leads = [
        o.lead_after
        for c in crossovers.select("raw", "tokens")
        if c.confirmed
        for o in c.outcomes
        if o.lead_after
    ]
    if leads:
        words += (
            f"; after the crossing {crossovers.names[1]} leads by up to {min(leads):.2g} to {max(leads):.2g}"
        )
    return words + "."


def headline(crossovers: SameNCrossovers) -> str:
    """One sentence, by what raw and best-so-far crossings there are. A crossing counts if it is robust in
    every replicate of its cell."""
    first, second = crossovers.names
    raw, best = crossovers.select("raw", "tokens"), crossovers.select("best_so_far", "tokens")
    if not raw:
        return f"No pair of {first} and {second} runs could be compared"
    n = len(raw)
    crossed = [r for r in raw if r.confirmed]
    ahead_on_best = sum(r.ahead > 0 for r in best)
    stopped = [r for r in best if r.confirmed]
    ahead = [r for r in raw if r.censored == "left"]
    within = "within this budget"
    if len(stopped) == n:
        return f"{second} passes even an early-stopped {first} {within}"
    if stopped:
        rest = f"in the others it has not {within}"
        if ahead_on_best:
            rest = f"in {ahead_on_best} more it leads on best values, without a verdict: a minimum is open"
        return f"{second} passes even an early-stopped {first} in {len(stopped)} of {n} cells; {rest}"
    if crossed and all(r.past_minimum for r in crossed) and ahead_on_best:
        return (
            f"{second} passes an over-fitted {first}; on best values it leads in {ahead_on_best} of {n} "
            f"cells, but a minimum is not bracketed {within}: no verdict on an early-stopped {first}"
        )
    if crossed and all(r.past_minimum for r in crossed):
        return f"{second} passes an over-fitted {first}; it has not passed an early-stopped {first} {within}"
    if crossed:
        return (
            f"{second} passes {first} before {first} over-fits; whether it passes an early-stopped {first} "
            f"is not settled {within}"
        )
    if ahead and all(r.on_plateau for r in ahead) and not any(r.crossed for r in raw):
        return (
            f"{first}'s and {second}'s curves cross only on the start-up plateau, which does not count; "
            "beyond it "
            f"{second} has not passed {first} {within}"
        )
    if len(ahead) == n:
        return f"{second} is ahead of {first} from the first counted evaluation on, in every cell"
    if any(r.censored is None for r in raw):
        return (
            f"{second}'s curve meets {first}'s, but no crossing is confirmed by three standard errors in all "
            f"replicates; it has not passed an early-stopped {first} {within}"
        )
    if ahead:
        return (
            f"{second} is ahead of {first} from the first counted evaluation on in {len(ahead)} of {n} "
            "cells, "
            "and has not passed it in the others"
        )
    if any(r.crossed for r in raw):
        return f"{second} passes {first} in some replicates, but not in all of any cell {within}"
    return f"{second} has not passed {first} {within}, neither over-fitted nor early-stopped"


def scope(crossovers: SameNCrossovers) -> str:
    """What the headline stands on, cell by cell counted."""
    raw, best = crossovers.select("raw", "tokens"), crossovers.select("best_so_far", "tokens")
    if not raw:
        return ""
    n = len(raw)
    robust, loose = sum(r.confirmed for r in raw), sum(r.censored is None and not r.robust for r in raw)
    words = f"Raw curves cross in {robust} of {n} cells, robustly in every replicate"
    if loose:
        words += f" (in {loose} more without three evaluations beyond three standard errors on each side)"
    partly = sum(0 < r.crossed < r.replicates for r in raw)
    if partly:
        words += f", in {partly} in some replicates only"
    early = sum(r.on_plateau for r in raw)
    if early:
        words += f"; in {early} they cross on the start-up plateau, which does not count"
    won = sum(r.confirmed for r in best)
    open_ = sum(not r.settled for r in best if not r.confirmed)
    words += f". Best values so far cross in {won} of {n}"
    if open_:
        words += f"; in {open_} that is open, for a minimum is not bracketed and a longer run could tell"
    return words + "."


def _quadrant(crossovers: SameNCrossovers, definition: str, unit: str, law: CensoredLaw | None) -> Quadrant:
    crossings = crossovers.select(definition, unit)
    places = [r.value for r in crossings if r.censored is None and r.value]
    bounds = [r.value for r in crossings if r.censored == "right" and r.value]
    lefts = [r.value for r in crossings if r.censored == "left" and r.value]
    n = len(crossings)
    parts = []
    if places:
        parts.append(
            f"crosses at {_range(places)} {unit}"
            + (f" in {len(places)} of {n} cells" if len(places) < n else "")
        )
    if bounds:
        where = f" in {len(bounds)}" if len(bounds) < n else f" in any of {n} cells" if n > 1 else ""
        parts.append(f"has not crossed by {_range(bounds)}{'' if places else ' ' + unit}{where}")
    if lefts:
        where = f" in {len(lefts)} of {n} cells" if len(lefts) < n else ""
        parts.append(f"had crossed before {_range(lefts)} {unit}{where}")
    less, larger = _moves(crossings, law, unit)
    return Quadrant(
        definition, unit, "; ".join(parts) or "nothing to compare", less, larger, len(places), len(crossings)
    )


def _moves(crossings: list[CellCrossover], law: CensoredLaw | None, unit: str) -> tuple[str, str]:
    """How the place moves with less data and with a larger model: by the law, else by ordered pairs of
    cells."""
    slopes = {v: law.coefficient(v) if law else None for v in ("U", "N")}
    less = _slope_words(slopes["U"], -1, "U") or _ordered(crossings, "U", -1)
    larger = _slope_words(slopes["N"], 1, "N") or _ordered(crossings, "N", 1)
    return less, larger


def _slope_words(slope: Coefficient | None, change: int, variable: str) -> str:
    if slope is None:
        return ""
    power = f"~ {variable}^{slope.value:.2f} [{slope.low:.2f}, {slope.high:.2f}]"
    if not slope.decided():
        leaning = "later" if slope.value * change > 0 else "earlier"
        return f"not decided, leaning {leaning} ({power})"
    return f"{'later' if slope.decided() * change > 0 else 'earlier'} ({power})"


def _ordered(crossings: list[CellCrossover], variable: str, change: int) -> str:
    """Comparisons of cells that differ in this variable alone; bounds count where they decide."""
    other = "N" if variable == "U" else "U"
    earlier = later = unknown = 0
    for i, one in enumerate(crossings):
        for two in crossings[i + 1 :]:
            if not _alone(one, two, variable, other):
                continue
            small, big = sorted((one, two), key=attrgetter(variable))
            order = _compare(small, big)
            if change < 0:
                order = -order
            earlier += order < 0
            later += order > 0
            unknown += order == 0
    total = earlier + later + unknown
    if not total:
        return "not varied"
    if not earlier + later:
        return "unknown: only bounds"
    word, count = ("later", later) if later > earlier else ("earlier", earlier)
    if later == earlier:
        return f"mixed ({earlier} earlier, {later} later of {total} comparisons)"
    return f"{word} in {count} of {total} comparisons"


def _alone(one: CellCrossover, two: CellCrossover, variable: str, other: str) -> bool:
    """Whether two cells differ in one variable, and in nothing else."""
    if None in (one.N, two.N, one.U, two.U):
        return False
    differs, same = (abs(math.log(getattr(one, v) / getattr(two, v))) for v in (variable, other))
    changed = sum(one.axes.get(k) != two.axes.get(k) for k in one.axes)
    return differs > 0.1 and same < 0.05 and changed == 1


def _compare(small: CellCrossover, big: CellCrossover) -> int:
    """Sign of log(place at the bigger / place at the smaller value) where places and bounds decide it, else
    0."""
    a, b = small.censored, big.censored
    if not small.value or not big.value:
        return 0
    up, down = big.value > small.value, big.value < small.value
    if up and a in (None, "left") and b in (None, "right"):
        return 1
    if down and a in (None, "right") and b in (None, "left"):
        return -1
    return 0


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return human(low) if high < 1.02 * low else f"{human(low)}–{human(high)}"
