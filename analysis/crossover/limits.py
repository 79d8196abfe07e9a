"""What a result does not show: the limits that hold always, and those of one study."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.crossover.fronts.meeting import ComputeOptimal
from analysis.crossover.same_n.aa_control import Control
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.tables.wording import human


def not_shown(crossovers: SameNCrossovers, controls: Sequence[Control], fronts: ComputeOptimal) -> list[str]:
    """What the result does not show: the limits that hold always, and those of this study."""
    first, second = crossovers.names
    raw = crossovers.select("raw", "tokens")
    out = []
    kinds = crossovers.likelihoods
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
            f"That a lead of {crossovers.amount(worst)} means anything: twins that differ only in their "
            f"replicate stand that far apart, and trade the lead in {sum(c.robust for c in false)} of "
            f"{sum(c.pairs for c in false)} pairs."
        )
    return out
