"""What a verdict for the exact arm beats: the other arm's exact NLL under a decoding order.

An upper bound above another model's exact loss proves nothing, for the model may be better than its bound. A
masked-diffusion model that decodes in a fixed order is a chain rule with an exact likelihood of its own, and
that can be compared (DUEL, arXiv 2603.01367). So where best values favour the exact arm, the other's best
checkpoint is scored so, in one replicate a cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.crossover.same_n.arm import Arm, influence
from analysis.crossover.same_n.cell_places import CellOutcome
from analysis.crossover.same_n.location import SameNCrossovers

MARGIN = 3.0
"""Standard errors by which a decoder's NLL must lie above the exact arm's for it to be beaten."""


@dataclass(frozen=True)
class DecoderComparison:
    """One cell's best bound, decoded in one order, against the exact arm's best.

    ``exact``, ``bound``, ``decoded``: nats per token of the same validation sequences of half B. ``lead``:
    decoded - exact, with its paired standard error ``se``.
    """

    cell: str
    seed: Any
    run: str
    step: int
    decoder: str
    sequences: int
    exact: float
    bound: float
    decoded: float
    lead: float
    se: float
    beaten: bool


def wanted_decoding(crossovers: SameNCrossovers) -> list[tuple[str, int]]:
    """(run, step) of the best value of each bound that loses to an exact loss: the first such replicate of a
    cell."""
    return [(bound.run, int(bound.step[_best(bound)])) for _, _, _, bound in _losing(crossovers)]


def _losing(crossovers: SameNCrossovers) -> list[tuple[CellOutcome, Any, Arm, Arm]]:
    """Cell, seed, exact arm and bound, where on best values the bound lies above; one replicate a cell."""
    out: list[tuple[CellOutcome, Any, Arm, Arm]] = []
    for cell in crossovers.cells:
        for twins, pair in zip(cell.pair.twins, cell.arms, strict=True):
            kinds = [str(row["likelihood"]) for row in (twins.first, twins.second)]
            if set(kinds) != {"exact", "upper_bound"}:
                continue
            exact, bound = (pair[kinds.index(kind)] for kind in ("exact", "upper_bound"))
            if exact.b.value[_best(exact)] < bound.b.value[_best(bound)]:
                out.append((cell, twins.seed, exact, bound))
                break
    return out


def _best(arm: Arm) -> int:
    return int(arm.best_so_far()[-1])


def beaten(crossovers: SameNCrossovers, decoding: pd.DataFrame | None) -> list[DecoderComparison]:
    """Every decoder that was scored for a verdict, with whether it is beaten.

    ``decoding`` has the columns ``run``, ``step``, ``order``, ``tokens_per_step``, ``sequence``, ``nll`` and
    ``tokens``.
    """
    if decoding is None or decoding.empty:
        return []
    return [
        decoder
        for cell, seed, exact, bound in _losing(crossovers)
        for (order, together), rows in _at(decoding, bound).groupby(["order", "tokens_per_step"])
        if (decoder := _decoder(cell, seed, exact, bound, f"{order}, {together} a step", rows)) is not None
    ]


def _at(decoding: pd.DataFrame, bound: Arm) -> pd.DataFrame:
    return decoding[(decoding["run"] == bound.run) & (decoding["step"] == bound.step[_best(bound)])]


def _decoder(
    cell: CellOutcome, seed: Any, exact: Arm, bound: Arm, name: str, rows: pd.DataFrame
) -> DecoderComparison | None:
    """The comparison on the sequences that all three were scored on; None where there are fewer than two."""
    rows = rows.drop_duplicates("sequence").set_index("sequence").sort_index()
    values = [_sequences(arm).reindex(rows.index) for arm in (exact, bound)]
    common = values[0].notna() & values[1].notna()
    if int(common.sum()) < 2:
        return None
    share = rows["tokens"][common].to_numpy(float)
    share = share / share.sum()
    one, two = (v[common].to_numpy(float) for v in values)
    decoded = rows["nll"][common].to_numpy(float)
    lead, se = float(share @ (decoded - one)), float(np.linalg.norm(influence(decoded - one, share)))
    return DecoderComparison(
        cell=cell.pair.name,
        seed=seed.item() if isinstance(seed, np.generic) else seed,
        run=bound.run,
        step=int(bound.step[_best(bound)]),
        decoder=name.replace("_", " "),
        sequences=int(common.sum()),
        exact=float(share @ one),
        bound=float(share @ two),
        decoded=float(share @ decoded),
        lead=lead,
        se=se,
        beaten=lead > MARGIN * se,
    )


def _sequences(arm: Arm) -> pd.Series:
    """Half B's loss of each sequence at the arm's best step."""
    if arm.b.sequences is None or arm.b.names is None:
        return pd.Series(dtype=float)
    return pd.Series(arm.b.sequences[_best(arm)], index=arm.b.names.astype(int))
