"""Same-N crossovers of a study: every pair, every replicate, raw and best so far, on every unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import pandas as pd

from analysis.crossover.place import record
from analysis.crossover.same_n.arm import Arm, arms
from analysis.crossover.same_n.cell_places import CellCrossover, CellOutcome, cell_crossovers
from analysis.crossover.same_n.metrics import NLL, Better, chance_level, direction
from analysis.crossover.same_n.outcome import DEFINITIONS, CrossingOutcome, Definition, Minima, outcomes
from analysis.crossover.same_n.pairs import (
    AGREEMENT_WORDS,
    Agreement,
    Pair,
    Twins,
    curve_name,
    find_pairs,
    short_names,
    usable,
)
from analysis.tables.keywords import unknown
from analysis.tables.tables import Source, TableError, Tables, load

PAIR = ("autoregressive", "masked_diffusion")


@dataclass(frozen=True, kw_only=True)
class SameNCrossovers:
    """Every same-N crossover of a study.

    Attributes:
        pair: both objectives, the one expected to be passed first; ``names``: what figures call them.
        metric: what was compared; ``better``: whether lower or higher values of it are better. Where higher
            ones are, the arms hold its negative, so that less is better everywhere.
        crossings: the crossovers, one a cell, definition and unit.
        cells: the curves behind them.
        arms: every run's curve.
        excluded: {"run", "reason"} of the runs that took no part; ``notes``: what was assumed.
        minima: whose minimum had to be bracketed.
    """

    pair: tuple[str, str]
    names: tuple[str, str]
    metric: str
    crossings: tuple[CellCrossover, ...]
    cells: tuple[CellOutcome, ...]
    tables: Tables
    confidence: float
    excluded: list[dict[str, str]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    arms: Mapping[str, Arm] = field(default_factory=dict, repr=False)
    minima: Minima = "each"
    better: Better = "lower"

    @property
    def sign(self) -> float:
        """What turns a value of an arm into one of the metric: -1 where higher values are better."""
        return -1.0 if self.better == "higher" else 1.0

    @property
    def value_name(self) -> str:
        """What a value of the metric is called: ``loss``, or the metric's name in words."""
        return "loss" if self.metric == NLL else self.metric.replace("_", " ")

    @property
    def title_name(self) -> str:
        """The same at the beginning of a sentence."""
        return self.value_name[:1].upper() + self.value_name[1:]

    @property
    def likelihoods(self) -> dict[str, str]:
        """Objective -> kind of its loss; empty for a metric that is no loss."""
        return self.crossings[0].likelihood if self.crossings and self.metric == NLL else {}

    @property
    def axis_label(self) -> str:
        """What an axis of the metric's values is called, with its unit."""
        return "loss, nats/token" if self.metric == NLL else self.value_name

    def amount(self, value: float, digits: int = 2) -> str:
        """A difference of the metric with its unit: ``0.12 nats``."""
        return f"{value:.{digits}g}{' nats' if self.metric == NLL else ''}"

    @property
    def records(self) -> list[dict[str, Any]]:
        """The crossings as flat rows of plain values."""
        return [record(c) for c in self.crossings]

    def frame(self) -> pd.DataFrame:
        """The records as a table, axes in columns of their own."""
        rows = [
            {**{k: v for k, v in r.items() if k not in ("axes", "replicate_values")}, **r["axes"]}
            for r in self.records
        ]
        return pd.DataFrame(rows)

    def select(self, definition: str, unit: str) -> list[CellCrossover]:
        """The crossings under one definition and in one unit, one a cell."""
        return [c for c in self.crossings if c.definition == definition and c.unit == unit]


def locate_same_n(
    runs: Source | Tables,
    curves: Source | None = None,
    scores: Source | None = None,
    *,
    items: Source | None = None,
    pair: tuple[str, str] | None = None,
    pair_over: Iterable[str] = (),
    axes: Iterable[str] | None = None,
    metric: str = NLL,
    better: Better | None = None,
    chance: float | None = None,
    minima: Minima = "each",
    confidence: float = 0.95,
    columns: Mapping[str, str] | None = None,
) -> SameNCrossovers:
    """The same-N crossovers of a study; arguments and errors are those of
    :func:`analysis.crossover.study.locate`."""
    if isinstance(runs, Tables):
        tables = runs
    elif curves is None:
        raise TableError("locate needs the curves beside the runs")
    else:
        tables = load(runs, curves, scores, items, columns=columns, axes=axes)
    better = direction(tables, metric, better)
    if metric == NLL and chance is not None:
        raise TableError(
            f"chance: {chance!r}, but nll is no score: its plateau is that of the unigram entropy"
        )
    guess = chance_level(tables, metric) if chance is None else chance
    if minima not in get_args(Minima):
        raise TableError(f"minima: {unknown('rule', minima, get_args(Minima))}")
    if not 0 < confidence < 1:
        raise TableError(f"confidence: {confidence!r} does not lie between 0 and 1")
    for objective in pair or ():
        if objective not in (known := list(dict.fromkeys(tables.runs["objective"]))) and len(known) > 1:
            raise TableError(f"pair: {unknown('objective', objective, known)}")
    pair = pair or _pair_of(tables.runs)
    names = short_names(tables.runs, pair)
    every = arms(tables, metric, better, guess)
    rows, excluded = usable(tables)
    rows = rows.assign(best_a=[_best(every, r) for _, r in rows.iterrows()])
    pairs, lonely = find_pairs(rows, tables.axes, *pair, pair_over)
    cells = []
    for p in pairs:
        cell, refused = _cell(p, every, minima, plateau=metric == NLL)
        excluded += refused
        if cell is not None:
            cells.append(cell)
    return SameNCrossovers(
        pair=pair,
        names=names,
        metric=metric,
        crossings=cell_crossovers(cells, dict(zip(pair, names, strict=True)), metric, confidence),
        cells=tuple(cells),
        tables=tables,
        confidence=confidence,
        excluded=[*tables.excluded, *excluded, *lonely, *_others(rows, pair)],
        notes=_notes(tables, cells, metric, guess),
        arms=every,
        minima=minima,
        better=better,
    )


def _others(runs: pd.DataFrame, pair: tuple[str, str]) -> list[dict[str, str]]:
    """The runs of objectives that are not compared."""
    others = runs.loc[~runs["objective"].isin(pair), ["run", "objective"]].drop_duplicates("run")
    return [
        {"run": str(run), "reason": f"its objective, {objective}, is not of the pair"}
        for run, objective in others.itertuples(index=False)
    ]


def _pair_of(runs: pd.DataFrame) -> tuple[str, str]:
    """The usual pair, or the only two objectives that there are."""
    have = list(dict.fromkeys(runs["objective"]))
    if set(PAIR) <= set(have):
        return PAIR
    if len(have) == 2:
        return have[0], have[1]
    raise TableError(f"pair: which two objectives? The runs have: {', '.join(have)}")


def _best(every: Mapping[str, Arm], row: pd.Series) -> float:
    arm = _read(every, row)
    return float(arm.a.value.min()) if len(arm) else math.inf


def _read(every: Mapping[str, Arm], row: pd.Series) -> Arm:
    """A row's curve up to its own horizon, whatever else the run was extended to: the trunk's where it has
    one."""
    return every[curve_name(row, every)].until(_limit(row))


def _limit(row: pd.Series) -> float:
    return float(row["steps"]) if math.isfinite(row["steps"]) else math.inf


def _scored_apart(a: Arm, b: Arm) -> str | None:
    """Why two twins' curves cannot be compared; None if they can."""
    if min(len(a), len(b)) < 2:
        return "fewer than two evaluations"
    one, two = a.b.names, b.b.names
    if one is not None and two is not None and not np.array_equal(one, two):
        return f"twins are scored on different validation sequences ({len(one)} and {len(two)} of half B)"
    return None


def _cell(
    pair: Pair, every: Mapping[str, Arm], minima: Minima, plateau: bool
) -> tuple[CellOutcome | None, list[dict[str, str]]]:
    replicates: list[dict[Definition, CrossingOutcome]] = []
    used: list[tuple[Arm, Arm]] = []
    kept: list[Twins] = []
    annealed: list[tuple[str, float, float]] = []
    refused = []
    agreements: list[Agreement] = []
    for twins in pair.twins:
        a, b = (_read(every, r) for r in (twins.first, twins.second))
        agreement = twins.agreement((_cost(a), _cost(b)))
        reason = twins.incomparable() or _scored_apart(a, b)
        if reason is None and agreement is None:
            reason = twins.sizes_apart()
        if reason:
            refused += [{"run": str(r["run"]), "reason": reason} for r in (twins.first, twins.second)]
            continue
        agreements += [agreement] if agreement is not None else []
        entropy = twins.entropy if plateau else math.nan
        replicates.append(_outcomes(a, b, twins.seed, entropy, minima))
        annealed += [_end(every, r) for r in (twins.first, twins.second) if curve_name(r, every) != r["run"]]
        used.append((a, b))
        kept.append(twins)
    if not replicates:
        return None, refused
    grouped = {d: tuple(r[d] for r in replicates) for d in DEFINITIONS}
    ends = tuple(e for e in annealed if math.isfinite(e[1]))
    loosest = max(agreements, key=get_args(Agreement).index)
    return CellOutcome(Pair(pair.axes, tuple(kept), pair.tuned), grouped, tuple(used), loosest, ends), refused


def _end(every: Mapping[str, Arm], row: pd.Series) -> tuple[str, float, float]:
    """Where an annealed run finishes: objective, tokens, loss."""
    arm = every.get(str(row["run"]))
    if arm is None or not len(arm):
        return str(row["objective"]), math.nan, math.nan
    return str(row["objective"]), float(arm.x["tokens"][-1]), float(arm.b.value[-1])


def _cost(arm: Arm) -> float:
    """FLOPs a token."""
    return float(arm.x["flops"][-1] / arm.x["tokens"][-1]) if len(arm) else math.nan


def _outcomes(a: Arm, b: Arm, seed: Any, entropy: float, minima: Minima) -> dict[Definition, CrossingOutcome]:
    """On equal tokens; where the arms' FLOPs per token differ, the FLOPs come from curves at equal FLOPs."""
    out = outcomes(a, b, seed, entropy=entropy, minima=minima)
    cost_a, cost_b = _cost(a), _cost(b)
    if np.isfinite([cost_a, cost_b]).all() and abs(cost_a / cost_b - 1) > 1e-3:
        other = outcomes(a, b, seed, axis="flops", entropy=entropy, minima=minima)
        for definition, outcome in out.items():
            equal = other[definition]
            if equal.censored == outcome.censored:
                outcome.x["flops"] = equal.x["flops"]
            else:
                outcome.x["flops"] = math.nan
    return out


def _notes(tables: Tables, cells: list[CellOutcome], metric: str, chance: float) -> tuple[str, ...]:
    notes = list(tables.notes)
    if metric != NLL and math.isfinite(chance):
        notes.append(
            f"{metric.replace('_', ' ')}: crossings count once both arms are better than chance "
            f"({chance:.3g}) by three standard errors"
        )
    elif metric != NLL:
        notes.append(
            f"{metric.replace('_', ' ')}: no start-up plateau is known of it (that of the NLL ends .15 nats "
            "below the unigram entropy), so its crossings count from the first evaluation on"
        )
    for agreement in get_args(Agreement)[1:]:
        count = sum(c.agreement == agreement for c in cells)
        if count:
            notes.append(
                f"twins of {count} of {len(cells)} cells differ in N and are the same in "
                f"{AGREEMENT_WORDS[agreement]}: their kind is {agreement}"
            )
    if any(math.isnan(float(r["N"])) for c in cells for r in c.pair.rows):
        notes.append("runs lack N: that twins are of one size is taken on trust")
    if any(c.pair.tuned for c in cells):
        notes.append("tuned fields were selected on validation half A, per objective and cell")
    return tuple(notes)
