"""From replicates to a cell: the geometric mean of their places, with an interval over replicates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from analysis.crossover.place import Place, natural
from analysis.crossover.pooling import Mixture, Spread, Variance, pool_places, t_interval
from analysis.crossover.same_n.arm import UNITS, Arm
from analysis.crossover.same_n.outcome import DEFINITIONS, CrossingOutcome, Definition
from analysis.crossover.same_n.pairs import Agreement, Pair
from analysis.fitting.estimate import Bound, Estimate
from analysis.tables.json_values import plain

NONE = Variance(0.0, math.inf)


@dataclass(frozen=True)
class CellOutcome:
    """One pair: its replicates' outcomes by definition, in the order of its twins. ``agreement``: the count
    in which all of its twins are the same. ``annealed``: (objective,
    tokens, loss) where runs with a decaying end finish; their curves are those of their constant-rate
    trunks."""

    pair: Pair
    outcomes: dict[Definition, tuple[CrossingOutcome, ...]]
    arms: tuple[tuple[Arm, Arm], ...]
    agreement: Agreement = "same_n"
    annealed: tuple[tuple[str, float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class CellCrossover(Place):
    """The same-N crossover of one cell, under one definition and in one unit.

    Attributes:
        cell, axes: the cell's name, and the values of the study's axes in it.
        definition: ``raw`` curves, or ``best_so_far``.
        unit: ``tokens``, ``epochs`` or ``flops``.
        replicates: how many there are. ``crossed`` of them crossed; ``ahead`` of them lead on best values
            without a verdict.
        robust: whether each of them crossed robustly.
        settled: whether a longer run would leave the answer as it is.
        on_plateau: whether a replicate crossed on its start-up plateau, which does not count.
        past_minimum: whether, where it crossed, the first arm was past its minimum.
        N, U: geometric means over the cell's runs; None where the table lacks them.
        tuned: objective -> the values that ``pair_over`` lets differ.
        likelihood: objective -> kind of its loss; ``allows``: what the two kinds permit one to conclude.
        outcomes: the replicates.
        kind: the count in which all of its twins are the same.
        pooled_over: cells whose replicates give the variance that the interval rests on; 0 where it rests on
            none between replicates.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "cell", "axes", "metric", "definition", "unit", "value", "low", "high", "censored", "replicates",
        "assumption", "kind", "confidence", "df", "robust", "crossed", "ahead", "settled", "on_plateau",
        "past_minimum", "N", "U", "tuned", "mixed_numerics", "likelihood", "allows", "replicate_values",
    )  # fmt: skip
    cell: str
    axes: dict[str, Any]
    metric: str
    definition: Definition
    unit: str
    outcomes: tuple[CrossingOutcome, ...]
    N: float | None
    U: float | None
    tuned: dict[str, dict[str, Any]]
    mixed_numerics: bool
    likelihood: dict[str, str]
    allows: str
    kind: Agreement = "same_n"
    pooled_over: int = 0

    @property
    def replicates(self) -> int:
        return len(self.outcomes)

    @property
    def crossed(self) -> int:
        return sum(o.censored is None for o in self.outcomes)

    @property
    def ahead(self) -> int:
        return sum(o.ahead for o in self.outcomes)

    @property
    def robust(self) -> bool:
        return all(o.robust for o in self.outcomes)

    @property
    def settled(self) -> bool:
        return all(o.settled for o in self.outcomes)

    @property
    def on_plateau(self) -> bool:
        return any(o.on_plateau for o in self.outcomes)

    @property
    def past_minimum(self) -> bool:
        return self.crossed > 0 and all(o.past_minimum for o in self.outcomes if o.censored is None)

    @property
    def confirmed(self) -> bool:
        """Whether the place was seen, robustly, in every replicate: what a headline may rest on."""
        return self.censored is None and self.robust

    @property
    def replicate_values(self) -> list[dict[str, Any]]:
        """The replicates' rows."""
        return [o.record() for o in self.outcomes]


def cell_crossovers(
    cells: Sequence[CellOutcome], names: dict[str, str], metric: str, confidence: float
) -> tuple[CellCrossover, ...]:
    """Every cell under every definition in every unit; ``names``: what sentences call each objective."""
    out = []
    for definition in DEFINITIONS:
        for unit in UNITS:
            spread = pool_places([places(c.outcomes[definition], unit) for c in cells])
            for group, cell in enumerate(cells):
                place = cell_place(cell.outcomes[definition], unit, spread, confidence, group)
                crossing = _crossover(cell, definition, unit, place, names, metric)
                pooled = 0 if place.df is None or spread is None else spread.groups
                out.append(replace(crossing, pooled_over=pooled))
    return tuple(out)


def places(outcomes: Sequence[CrossingOutcome], unit: str) -> dict[str, float]:
    """Replicate -> log(place) of those that crossed."""
    return {str(o.seed): math.log(o.x[unit]) for o in outcomes if o.censored is None and o.x[unit] > 0}


def cell_place(
    outcomes: Sequence[CrossingOutcome],
    unit: str,
    spread: Spread | None,
    confidence: float = 0.95,
    group: int | None = None,
) -> Estimate:
    """The logarithm of the cell's place: the mean over replicates, with the variance of its ``group`` in
    ``spread``. A censored replicate enters as its bound, so that the value is a bound too, and the side that
    it leaves open has no limit."""
    none = Estimate(level=confidence)
    sides = {o.censored for o in outcomes}
    bound: Bound | None = "lower" if "right" in sides else "upper" if "left" in sides else None
    logs = np.array([math.log(o.x[unit]) for o in outcomes if o.x[unit] > 0])
    if not len(logs):
        return replace(none, bound=bound, assumption="no evaluation to bound it by")
    words = "a bound, kept by every replicate of this study"
    if sides == {"right"}:
        # All replicates give a bound: the one that holds for each of them.
        least = float(logs.min())
        return replace(none, value=least, low=least, bound="lower", assumption=words)
    if sides == {"left"}:
        most = float(logs.max())
        return replace(none, value=most, high=most, bound="upper", assumption=words)
    if {"left", "right"} <= sides:
        words = "no place: some replicates had crossed before the first counted evaluation, others never"
        return replace(none, bound=bound, assumption=words)
    value = float(logs.mean())
    shared = _evaluation_variance([o for o in outcomes if o.crossing is not None], len(outcomes))
    n = len(logs)
    between: Variance | Mixture = NONE
    if spread is not None:
        between = spread.of_mean(n, group)
        words = f"log-normal places, {spread}"
    elif shared.value == 0:
        words = "no interval: one replicate, and no errors of its losses"
        return replace(none, value=value, bound=bound, assumption=words)
    else:
        words = "one replicate: evaluation error alone, conditional on this data subset and seed"
    estimate = t_interval(value, between, shared, confidence)
    error = math.sqrt(shared.value)
    words += f"; Student's t; validation text and mask draws included ({error:.1%} of the place)"
    if len(sides) > 1:
        words += (
            f"; {sum(o.censored is not None for o in outcomes)} of {n} replicates censored, entered as bounds"
        )
    if any(o.curve.parts is None for o in outcomes):
        words += "; unpaired errors, for the scores were missing"
    low = None if "left" in sides else estimate.low
    high = None if "right" in sides else estimate.high
    return replace(estimate, low=low, high=high, bound=bound, assumption=words)


def _evaluation_variance(outcomes: Sequence[CrossingOutcome], n: int) -> Variance:
    """Variance of the mean log(place) that the shared validation text and mask draws cause."""
    crossings = [o.crossing for o in outcomes if o.crossing is not None]
    if not crossings:
        return NONE
    parts = [c.parts for c in crossings if c.parts is not None]
    floor = (sum(c.mc_se_log for c in crossings) / n) ** 2
    if len(parts) == len(crossings) and len({p.shape for p in parts}) == 1:
        mean = np.sum(parts, axis=0) / n
        return Variance(max(float((mean**2).sum()), floor), float(len(mean) - 1))
    errors = [c.se_log for c in crossings if math.isfinite(c.se_log)]
    return Variance(max((sum(errors) / n) ** 2, floor), 30.0)


def _crossover(
    cell: CellOutcome,
    definition: Definition,
    unit: str,
    place: Estimate,
    names: dict[str, str],
    metric: str,
) -> CellCrossover:
    outcomes, rows = cell.outcomes[definition], cell.pair.rows
    words = place.assumption
    if unit == "flops" and any(math.isnan(o.x["flops"]) for o in outcomes):
        words += "; crossed on tokens or on FLOPs, not on both"
    if any(bool(r.get("subset_pinned")) and not _missing(r, "subset_pinned") for r in rows):
        words += "; conditional on this subset, which all replicates share"
    if any(r["annealed"] and _missing(r, "trunk") for r in rows):
        words += "; decaying learning rate: the place depends on the horizon"
    if metric == "nll" and not any(math.isfinite(t.entropy) for t in cell.pair.twins):
        words += "; no unigram entropy given, so the start-up plateau was not excluded"
    numerics = {str(r["numerics"]) for r in rows if not _missing(r, "numerics")}
    kinds = {str(r["objective"]): str(r["likelihood"]) for r in rows[:2]}
    return CellCrossover(
        estimate=replace(natural(place), assumption=words),
        cell=cell.pair.name,
        axes=plain(cell.pair.axes),
        metric=metric,
        definition=definition,
        unit=unit,
        outcomes=outcomes,
        N=_rounded(cell.pair.mean("N")),
        U=_rounded(cell.pair.mean("U")),
        tuned=plain(cell.pair.tuned),
        mixed_numerics=len(numerics) > 1,
        kind=cell.agreement,
        likelihood=kinds,
        allows=allows(*((names[o], kind) for o, kind in kinds.items()))
        if metric == "nll"
        else f"{metric} is measured alike on both: it says nothing about their likelihoods",
    )


def allows(first: tuple[str, str], second: tuple[str, str]) -> str:
    """What two losses, each (name, kind), permit one to conclude about the models."""
    kinds = first[1], second[1]
    if set(kinds) == {"exact", "upper_bound"}:
        exact, bound = (first[0], second[0]) if kinds[0] == "exact" else (second[0], first[0])
        return (
            f"where {bound}'s upper bound lies below {exact}'s exact loss, {bound} is the better model; "
            f"where it lies above, nothing follows about {bound}"
        )
    if kinds == ("exact", "exact"):
        return "both losses are exact: the lower one is the better model on this text"
    if kinds == ("upper_bound", "upper_bound"):
        return "both losses are upper bounds: their order proves nothing about the models' own likelihoods"
    return "the kind of a loss is unknown: the order of the curves is all that is shown"


def _missing(row: Any, column: str) -> bool:
    value = row.get(column)
    return value is None or bool(np.any(value != value))


def _rounded(value: float) -> float | None:
    return float(f"{value:.10g}") if math.isfinite(value) else None
