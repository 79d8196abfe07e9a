"""A crossing as a band: between where a bound puts it and where the same model's exact value does.

An arm known by an upper bound on its NLL passes an exact arm no later than its bound does. Where its exact
value, an importance-weighted one, or the exact likelihood of a decoder was scored too, the crossing lies
from the place by that value to the place by the bound. A decoder is a model of its own (DUEL, arXiv
2603.01367), and its value may lie on either side of the bound, so that every band says what it is by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.crossover.gaps.replicates import ReplicateValue, over_replicates, spread_of
from analysis.crossover.place import Place, natural
from analysis.crossover.same_n.arm import Arm, influence
from analysis.crossover.same_n.cell_places import CellCrossover, CellOutcome
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.crossover.same_n.zeros import MARGIN
from analysis.fitting.estimate import Estimate
from analysis.tables.json_values import plain

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CrossingBand(Place):
    """The band of one cell, in tokens: from the lower end of the place by ``by`` to the upper end of that
    by the bound. It has no ``value``; an end that nothing bounds is None.

    ``tight``: the place by the value that is no bound; ``bound``: the place by the bound.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "cell", "axes", "by", "low", "high", "tight_value", "tight_censored", "bound_value",
        "bound_censored", "replicates", "assumption", "confidence",
    )  # fmt: skip
    unit: ClassVar[str] = "tokens"

    cell: str
    axes: dict[str, Any]
    by: str
    tight: Place
    bound: CellCrossover
    replicates: int

    @property
    def tight_value(self) -> float | None:
        return self.tight.value

    @property
    def tight_censored(self) -> str | None:
        return self.tight.censored

    @property
    def bound_value(self) -> float | None:
        return self.bound.value

    @property
    def bound_censored(self) -> str | None:
        return self.bound.censored


def crossing_bands(crossovers: SameNCrossovers, values: pd.DataFrame | None) -> list[CrossingBand]:
    """The bands of all cells in which the second arm is a bound and the first is exact.

    ``values`` has the columns ``run``, ``step``, ``sequence``, ``nll`` and ``tokens``, one row a sequence of
    half B, and ``kind`` (``exact``, ``importance_weighted``, ...) or, of decoders, ``order`` and
    ``tokens_per_step``.
    """
    if values is None or values.empty or crossovers.metric != "nll":
        return []
    values = values if "kind" in values else values.assign(kind=_decoder(values))
    places = {c.cell: c for c in crossovers.select("raw", "tokens")}
    out = []
    for by, rows in values.groupby("kind", sort=False):
        cells = [(cell, _tight(cell, rows)) for cell in crossovers.cells]
        cells = [(cell, group) for cell, group in cells if group]
        spread = spread_of([group for _, group in cells])
        for index, (cell, group) in enumerate(cells):
            estimate = over_replicates(group, spread, crossovers.confidence, index)
            tight = Place(estimate=natural(estimate))
            out.append(_band(cell, str(by), tight, places[cell.pair.name], len(group)))
    return out


def _decoder(values: pd.DataFrame) -> pd.Series:
    order = values["order"].astype(str).str.replace("_", " ")
    return "decoded " + order + ", " + values["tokens_per_step"].astype(str) + " a step"


def _band(cell: CellOutcome, by: str, tight: Place, bound: CellCrossover, replicates: int) -> CrossingBand:
    low = {"right": tight.value, "left": None, None: tight.low or tight.value}[tight.censored]
    high = {"right": None, "left": bound.value, None: bound.high or bound.value}[bound.censored]
    words = f"from the place by {by} ({tight.assumption}) to the place by the bound ({bound.assumption})"
    return CrossingBand(
        estimate=Estimate(None, low=low, high=high, assumption=words, level=bound.confidence),
        cell=cell.pair.name,
        axes=plain(cell.pair.axes),
        by=by,
        tight=tight,
        bound=bound,
        replicates=replicates,
    )


def _tight(cell: CellOutcome, rows: pd.DataFrame) -> dict[str, ReplicateValue]:
    """Replicate -> the logarithm of the place by these values, or a bound on it."""
    out: dict[str, ReplicateValue] = {}
    for twins, (first, second) in zip(cell.pair.twins, cell.arms, strict=True):
        if (first.likelihood, second.likelihood) == ("exact", "upper_bound"):
            value = tight_place(first, second, rows[rows["run"].astype(str) == second.run])
            if value is not None:
                out[str(twins.seed)] = value
    return out


def tight_place(first: Arm, second: Arm, rows: pd.DataFrame) -> ReplicateValue | None:
    """Where the second arm passes the exact first by ``rows`` of its values, in log tokens.

    Interpolated between two scored evaluations of which it leads the later beyond error; else the bound that
    the last of them gives. None where no evaluation decides.
    """
    scored = [
        (math.log(second.x["tokens"][k]), *difference)
        for k, step in enumerate(second.step)
        if (difference := _apart(first, second, k, rows[rows["step"] == step])) is not None
    ]
    if not scored:
        return None
    before = None
    for x, value, se in scored:
        if value < -MARGIN * se:
            if before is None:
                return ReplicateValue(x, "left")
            last, lead = before
            return ReplicateValue(last + (x - last) * lead / (lead - value))
        before = (x, value) if value > 0 else before
    x, value, se = scored[-1]
    return ReplicateValue(x, "right") if value > MARGIN * se else None


def _apart(first: Arm, second: Arm, k: int, rows: pd.DataFrame) -> tuple[float, float] | None:
    """Second's value less first's at equal tokens, on the sequences of ``rows``, with its paired error."""
    same = np.flatnonzero(np.isclose(first.x["tokens"], second.x["tokens"][k], rtol=1e-6))
    if rows.empty or not len(same) or first.b.sequences is None or first.b.names is None:
        return None
    known = pd.Series(first.b.sequences[int(same[0])], index=first.b.names.astype(int))
    rows = rows.drop_duplicates("sequence").set_index("sequence").sort_index()
    exact = known.reindex(rows.index)
    use = exact.notna().to_numpy()
    if int(use.sum()) < 2:
        return None
    weights = rows["tokens"].to_numpy(float)[use]
    weights = weights / weights.sum()
    apart = (rows["nll"].to_numpy(float) - exact.to_numpy(float))[use]
    return float(weights @ apart), float(np.linalg.norm(influence(apart, weights)))
