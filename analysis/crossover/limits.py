"""What a result does not show: the limits that hold always, and those of one study."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.crossover.fronts.meeting import ComputeOptimal
from analysis.crossover.same_n.aa_control import Control
from analysis.crossover.same_n.cell_places import CellCrossover
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.crossover.same_n.metrics import NLL
from analysis.crossover.same_n.pairs import AGREEMENT_WORDS
from analysis.tables.wording import human


def not_shown(crossovers: SameNCrossovers, controls: Sequence[Control], fronts: ComputeOptimal) -> list[str]:
    """What the result does not show: the limits that hold always, and those of this study."""
    first, second = crossovers.names
    raw = crossovers.select("raw", "tokens")
    if not raw:
        return [f"Anything of {first} against {second}: no pair of their runs could be compared."]
    out = []
    kinds = crossovers.likelihoods
    if kinds.get(crossovers.pair[1]) == "upper_bound" and kinds.get(crossovers.pair[0]) == "exact":
        out.append(
            f"That {first} is the better model where its curve is lower: {second}'s loss is an upper bound, "
            f"its own likelihood may be lower. Where {second} passes {first} can only be late for "
            f"that reason, "
            "not early."
        )
    best = crossovers.select("best_so_far", "tokens")
    open_ = [c for c in best if not c.settled]
    if open_:
        out.append(
            f"What longer runs would give: in {len(open_)} of {len(best)} cells a minimum is not "
            f"bracketed, so "
            "that best-so-far results hold within this budget only."
        )
    out.append(
        f"A tuned {first}: unless weight decay, dropout and the learning rate were searched for each arm, a "
        f"better-regularised {first} may over-fit later and less, and the crossing move or vanish."
    )
    if not any(c.value for c in fronts.crossings):
        counts = " and ".join(AGREEMENT_WORDS[k] for k in dict.fromkeys(c.kind for c in raw))
        out.append(
            f"A compute-optimal comparison: twins have the same {counts}, and neither need be at its best "
            "size. Crossings between Pareto fronts are another quantity, 16 to 130 times later in published "
            "studies."
        )
    out += _scatter(raw)
    sizes = [c.N for c in raw if c.N]
    budgets = [c.U for c in raw if c.U]
    if sizes and budgets:
        out.append(
            f"Anything beyond its range: N = {_range(sizes)}, U = {_range(budgets)} tokens of the data of "
            "these runs."
        )
    if crossovers.metric == NLL:
        out.append(
            "Use: validation loss is no downstream task, and other metrics cross elsewhere (2.4 to 8 times "
            "later in one study)."
        )
    else:
        out.append(
            f"Other metrics: that {crossovers.value_name} crosses here says nothing of where others do."
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


def _scatter(raw: Sequence[CellCrossover]) -> list[str]:
    """What is not known of how replicates scatter: by what the intervals of the raw places rest on."""
    pooled = [c for c in raw if c.pooled_over > 1]
    if pooled:
        return [
            f"How replicates scatter in each cell: {len(pooled)} intervals rest on the variances of "
            f"{pooled[0].pooled_over} cells together."
        ]
    if all(c.replicates == 1 for c in raw):
        alone = ": an interval is of evaluation error alone" if any(c.df for c in raw) else ""
        return [f"How replicates scatter: each cell has one{alone}."]
    return []


def _range(values: Sequence[float]) -> str:
    low, high = human(min(values)), human(max(values))
    return low if low == high else f"{low} to {high}"
