"""The verdict of a study: a headline, the two-by-two table under it, and what both rest on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.crossover.moves import Move, axis_moves
from analysis.crossover.places.censored_law import CensoredLaw
from analysis.crossover.same_n.aa_control import Control, FalseCrossings, rates
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.crossover.same_n.outcome import DEFINITIONS, Definition
from analysis.crossover.sentences import entry, headline, scope
from analysis.crossover.situations import CROSSES, cell_situations

DEFINITION_WORDS = {"raw": "raw", "best_so_far": "best so far"}


@dataclass(frozen=True)
class Quadrant:
    """One entry of the two-by-two table. ``status``: what happened; ``moves``: how the place moves along each
    axis; ``situations``: how many cells are in each situation; ``crossed``: in how many of ``cells`` the
    second arm passes the first, once and robustly; ``false_crossings``: the A/A control's rate under this
    definition (:func:`analysis.crossover.same_n.aa_control.rates`)."""

    definition: Definition
    unit: str
    status: str
    moves: tuple[Move, ...]
    situations: Mapping[str, int]
    crossed: int
    cells: int
    false_crossings: FalseCrossings

    def move(self, axis: str) -> str:
        """How the place moves along ``U``, ``N`` or an axis of one contrast, in words."""
        return next((m.words for m in self.moves if m.axis == axis), "not varied")

    def json(self) -> dict[str, Any]:
        """The quadrant as plain values."""
        return {
            **vars(self),
            "less_data": self.move("U"),
            "larger_model": self.move("N"),
            "moves": [{**vars(m), "words": m.words} for m in self.moves],
            "situations": dict(self.situations),
            "false_crossings": self.false_crossings.json(),
        }


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
        return cls(
            headline=headline(crossovers),
            scope=scope(crossovers),
            table=tuple(
                _quadrant(crossovers, definition, unit, laws.get((definition, unit)), false[definition])
                for definition in DEFINITIONS
                for unit in ("tokens", "epochs")
            ),
            evidence="; ".join(dict.fromkeys(c.allows for c in crossovers.crossings)),
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


def _quadrant(
    crossovers: SameNCrossovers,
    definition: Definition,
    unit: str,
    law: CensoredLaw | None,
    false: FalseCrossings,
) -> Quadrant:
    cells = cell_situations(crossovers, definition, unit)
    return Quadrant(
        definition=definition,
        unit=unit,
        status=entry(cells, crossovers.names, unit),
        moves=axis_moves(cells, law, crossovers.tables.runs),
        situations=Counter(c.situation.name.lower() for c in cells),
        crossed=sum(c.situation in CROSSES for c in cells),
        cells=len(cells),
        false_crossings=false,
    )
