"""Everything that a report says, as one value: computed once, written as JSON and as a page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.crossover.fronts.meeting import ComputeOptimal, compute_optimal
from analysis.crossover.places.law import CrossingLaw, crossing_law
from analysis.crossover.same_n.aa_control import Control, control, rates
from analysis.crossover.same_n.arm import UNITS
from analysis.crossover.same_n.efficiency import by_cell, data_efficiency, losses
from analysis.crossover.same_n.location import Crossovers
from analysis.crossover.same_n.outcome import DEFINITIONS
from analysis.crossover.surfaces.fits_of_arms import ArmLaws, arm_laws
from analysis.crossover.verdict import Verdict, number, verdict
from analysis.tables.wording import words


@dataclass(frozen=True)
class Study:
    """The results of one study. Crossovers of the three kinds stand apart: ``found`` (same N), ``fronts``
    (compute-optimal) and ``arm_laws`` (law against law)."""

    found: Crossovers
    laws: dict[tuple[str, str], CrossingLaw | None]
    verdict: Verdict
    controls: list[Control]
    ratios: list[dict[str, Any]]
    losses: pd.DataFrame
    fronts: ComputeOptimal
    arm_laws: ArmLaws
    not_shown: list[str]

    def json(self) -> dict[str, Any]:
        """Plain values: crossovers first, in the schema of ``report --json``."""
        best = (
            []
            if self.losses.empty
            else [
                {"definition": v, **row}
                for v in ("best", "final")
                for row in by_cell(self.losses, v).to_dict("records")
            ]
        )
        false = rates(self.controls, self.found.confidence)
        return clean(
            {
                "crossovers": [{**r, "false_crossings": false[r["definition"]]} for r in self.found.records],
                "compute_optimal": self.fronts.records,
                "compute_optimal_refused": list(self.fronts.refused),
                "law_against_law": [m.json() for m in self.arm_laws.meetings],
                "law_against_law_refused": self.arm_laws.why,
                "headline": self.verdict.headline,
                "verdict": self.verdict.json(),
                "laws": [law.json() for law in self.laws.values() if law is not None],
                "control": [c.json() for c in self.controls],
                "data_efficiency": self.ratios,
                "losses": best,
                "runs": [] if self.losses.empty else self.losses.to_dict("records"),
                "excluded": self.found.excluded,
                "notes": list(self.found.notes),
                "not_shown": self.not_shown,
                "pair": list(self.found.pair),
                "metric": self.found.metric,
                "confidence": self.found.confidence,
            }
        )


def analyse(found: Crossovers) -> Study:
    """All that follows from the crossovers of a study."""
    laws: dict[tuple[str, str], CrossingLaw | None] = {
        (d, u): crossing_law(found, d, u) for d in DEFINITIONS for u in UNITS
    }
    controls = control(found)
    ratios = data_efficiency(found)
    fronts = compute_optimal(found)
    return Study(
        found,
        laws,
        verdict(found, laws, controls),
        controls,
        ratios,
        losses(found),
        fronts,
        arm_laws(found),
        not_shown(found, controls, fronts),
    )


def not_shown(found: Crossovers, controls: list[Control], fronts: ComputeOptimal) -> list[str]:
    """What the result does not show: the limits that hold always, and those of this study."""
    first, second = found.names
    records = found.select("raw", "tokens")
    out = []
    kinds = records[0]["likelihood"] if records and found.metric == "nll" else {}
    if kinds.get(found.pair[1]) == "upper_bound" and kinds.get(found.pair[0]) == "exact":
        out.append(
            f"That {first} is the better model where its curve is lower: {second}'s loss is an upper "
            "bound, its own "
            "likelihood may be lower. Crossings seen here can only be late for that reason, not early."
        )
    best = found.select("best_so_far", "tokens")
    open_ = [r for r in best if not r["settled"]]
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
    if not any(r["value"] for r in fronts.records):
        out.append(
            "A compute-optimal comparison: these are same-N crossings, both arms at one size. Crossings "
            "between Pareto fronts are another quantity, 16 to 130 times later in published studies."
        )
    replicates = min((r["replicates"] for r in records), default=0)
    if replicates <= 3:
        out.append(
            f"How replicates scatter in each cell: with {replicates} a cell the intervals rest on one "
            "variance for all cells."
        )
    if records:
        sizes = [r["N"] for r in records if r["N"]]
        budgets = [r["U"] for r in records if r["U"]]
        if sizes and budgets:
            out.append(
                f"Anything beyond its range: N = {number(min(sizes))} to {number(max(sizes))}, U = "
                f"{number(min(budgets))} to "
                f"{number(max(budgets))} tokens of one corpus. Laws drawn further are dashed for that reason."
            )
    out.append(
        "Use: validation loss is no downstream task, and other metrics cross elsewhere (2.4 to 8 times "
        "later in one study)."
    )
    false = [c for c in controls if c.definition == "raw" and c.found]
    if false:
        worst = max(c.apart for c in false)
        out.append(
            f"That a lead of {worst:.2g} nats means anything: twins that differ only in their replicate "
            "stand that far apart, and "
            f"trade the lead in {sum(c.found for c in false)} of {sum(c.pairs for c in false)} pairs."
        )
    return out


def clean(value: Any) -> Any:
    """JSON without NaN and infinities, and without NumPy types."""
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is pd.NA or value is pd.NaT:
        return None
    return value


def called(found: Crossovers) -> dict[str, str]:
    """Cells as people read them, by their names in tables."""
    return {cell.pair.name: words(cell.pair.axes) for cell in found.cells}
