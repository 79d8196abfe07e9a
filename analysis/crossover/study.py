"""Everything that a report says, as one value: computed once, written as JSON and as a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.crossover.fronts.meeting import ComputeOptimal, compute_optimal
from analysis.crossover.place import plain, record
from analysis.crossover.places.censored_law import CensoredLaw, crossing_law
from analysis.crossover.same_n.aa_control import Control, control, rates
from analysis.crossover.same_n.arm import UNITS
from analysis.crossover.same_n.efficiency import EfficiencyRatio, by_cell, data_efficiency, losses
from analysis.crossover.same_n.location import Crossovers
from analysis.crossover.same_n.outcome import DEFINITIONS
from analysis.crossover.surfaces.fits_of_arms import ArmLaws, arm_laws
from analysis.crossover.verdict import Verdict
from analysis.tables.wording import human, words


@dataclass(frozen=True, kw_only=True)
class StudyAnalysis:
    """The results of one study: everything that a report says, computed once.

    Crossovers of the three kinds stand apart: ``crossovers`` (same N), ``fronts`` (compute-optimal) and
    ``arm_laws`` (law against law).

    Attributes:
        laws: (definition, unit) -> the law of the crossing's place; None where too few places were seen.
        verdict: the study in words.
        controls: the A/A control.
        ratios: data-efficiency ratios; ``losses``: the best and the final loss of every run.
        not_shown: what the results do not show, a sentence each.
    """

    crossovers: Crossovers
    laws: dict[tuple[str, str], CensoredLaw | None]
    verdict: Verdict
    controls: list[Control]
    ratios: list[EfficiencyRatio]
    losses: pd.DataFrame
    fronts: ComputeOptimal
    arm_laws: ArmLaws
    not_shown: list[str]

    def json(self) -> dict[str, Any]:
        """Plain values: crossovers first, in the schema of ``report --json``."""
        crossovers = self.crossovers
        false = {d: r.json() for d, r in rates(self.controls, crossovers.confidence).items()}
        rows: dict[str, Any] = plain(
            {
                "crossovers": [
                    {**record(c), "false_crossings": false[c.definition]} for c in crossovers.crossings
                ],
                "compute_optimal": self.fronts.records,
                "compute_optimal_refused": list(self.fronts.refused),
                "law_against_law": [record(m) for m in self.arm_laws.meetings],
                "law_against_law_refused": self.arm_laws.why,
                "headline": self.verdict.headline,
                "verdict": self.verdict.json(),
                "laws": [law.json() for law in self.laws.values() if law is not None],
                "control": [c.json() for c in self.controls],
                "data_efficiency": [record(r) for r in self.ratios],
                "losses": [
                    {"definition": v, **row}
                    for v in (("best", "final") if len(self.losses) else ())
                    for row in by_cell(self.losses, v).to_dict("records")
                ],
                "runs": [] if self.losses.empty else self.losses.to_dict("records"),
                "excluded": crossovers.excluded,
                "notes": list(crossovers.notes),
                "not_shown": self.not_shown,
                "pair": list(crossovers.pair),
                "metric": crossovers.metric,
                "confidence": crossovers.confidence,
            }
        )
        return rows


def analyse(crossovers: Crossovers) -> StudyAnalysis:
    """Everything that follows from the crossovers of a study."""
    laws = {(d, u): crossing_law(crossovers, d, u) for d in DEFINITIONS for u in UNITS}
    controls = control(crossovers)
    fronts = compute_optimal(crossovers)
    return StudyAnalysis(
        crossovers=crossovers,
        laws={(str(d), u): law for (d, u), law in laws.items()},
        verdict=Verdict.of(crossovers, {(str(d), u): law for (d, u), law in laws.items()}, controls),
        controls=controls,
        ratios=data_efficiency(crossovers),
        losses=losses(crossovers),
        fronts=fronts,
        arm_laws=arm_laws(crossovers),
        not_shown=not_shown(crossovers, controls, fronts),
    )


def not_shown(crossovers: Crossovers, controls: list[Control], fronts: ComputeOptimal) -> list[str]:
    """What the result does not show: the limits that hold always, and those of this study."""
    first, second = crossovers.names
    raw = crossovers.select("raw", "tokens")
    out = []
    kinds = raw[0].likelihood if raw and crossovers.metric == "nll" else {}
    if kinds.get(crossovers.pair[1]) == "upper_bound" and kinds.get(crossovers.pair[0]) == "exact":
        out.append(
            f"That {first} is the better model where its curve is lower: {second}'s loss is an upper "
            "bound, its own "
            "likelihood may be lower. Crossings seen here can only be late for that reason, not early."
        )
    best = crossovers.select("best_so_far", "tokens")
    open_ = [c for c in best if not c.settled]
    if open_:
        out.append(
            f"What longer runs would give: in {len(open_)} of {len(best)} cells a minimum is not "
            "bracketed, so that "
            "best-so-far results hold within this budget only."
        )
    out.append(
        f"A tuned {first}: unless weight decay, dropout and the learning rate were searched for each arm, "
        "a better-regularised "
        f"{first} may over-fit later and less, and the crossing move or vanish."
    )
    if not any(c.value for c in fronts.crossings):
        out.append(
            "A compute-optimal comparison: these are same-N crossings, both arms at one size. Crossings "
            "between Pareto fronts are another quantity, 16 to 130 times later in published studies."
        )
    replicates = min((c.replicates for c in raw), default=0)
    if replicates <= 3:
        out.append(
            f"How replicates scatter in each cell: with {replicates} a cell the intervals rest on one "
            "variance for all cells."
        )
    if raw:
        sizes = [c.N for c in raw if c.N]
        budgets = [c.U for c in raw if c.U]
        if sizes and budgets:
            out.append(
                f"Anything beyond its range: N = {human(min(sizes))} to {human(max(sizes))}, U = "
                f"{human(min(budgets))} to "
                f"{human(max(budgets))} tokens of one corpus. Laws drawn further are dashed for that reason."
            )
    out.append(
        "Use: validation loss is no downstream task, and other metrics cross elsewhere (2.4 to 8 times "
        "later in one study)."
    )
    false = [c for c in controls if c.definition == "raw" and c.robust]
    if false:
        worst = max(c.apart for c in false)
        out.append(
            f"That a lead of {worst:.2g} nats means anything: twins that differ only in their replicate "
            "stand that far apart, and "
            f"trade the lead in {sum(c.robust for c in false)} of {sum(c.pairs for c in false)} pairs."
        )
    return out


def cell_titles(crossovers: Crossovers) -> dict[str, str]:
    """Cells as people read them, by their names in tables."""
    return {cell.pair.name: words(cell.pair.axes) for cell in crossovers.cells}
