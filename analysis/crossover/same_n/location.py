"""Same-N crossovers of a study: every pair, every replicate, raw and best so far, on every unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.crossover.same_n.arm import UNITS, Arm, arms
from analysis.crossover.same_n.outcome import DEFINITIONS, Definition, Minima, Outcome, outcomes
from analysis.crossover.same_n.pairs import Pair, Twins, curve_name, find_pairs, short, usable
from analysis.crossover.same_n.pool import Interval, interval, places, pooled
from analysis.tables.tables import TableError, Tables, load

PAIR = ("autoregressive", "masked_diffusion")


@dataclass(frozen=True)
class CellOutcome:
    """One pair: its replicates' outcomes by definition, in the order of its twins. ``annealed``: (objective,
    tokens, loss) where runs with a decaying end finish; their curves are those of their constant-rate
    trunks."""

    pair: Pair
    outcomes: Mapping[Definition, tuple[Outcome, ...]]
    arms: tuple[tuple[Arm, Arm], ...]
    annealed: tuple[tuple[str, float, float], ...] = ()


@dataclass(frozen=True)
class Crossovers:
    """Every same-N crossover of a study. ``records`` follow the report's schema; ``cells`` hold the curves
    behind them; ``excluded`` says which runs took no part, and why; ``notes`` what was assumed;
    ``arms`` every run's curve, of which less is better; ``minima`` whose had to be bracketed. Where
    ``higher_is_better`` the arms hold the metric's negative."""

    pair: tuple[str, str]
    metric: str
    records: list[dict[str, Any]]
    cells: tuple[CellOutcome, ...]
    tables: Tables
    confidence: float
    excluded: list[dict[str, str]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    arms: Mapping[str, Arm] = field(default_factory=dict, repr=False)
    minima: Minima = "each"
    higher_is_better: bool = False

    @property
    def names(self) -> tuple[str, str]:
        """Both objectives as figures call them."""
        return short(self.pair[0]), short(self.pair[1])

    def frame(self) -> pd.DataFrame:
        """The records as a table, axes in columns of their own."""
        rows = [
            {**{k: v for k, v in r.items() if k not in ("axes", "replicate_values")}, **r["axes"]}
            for r in self.records
        ]
        return pd.DataFrame(rows)

    def select(self, definition: str, unit: str) -> list[dict[str, Any]]:
        """The records of one definition and unit, one a cell."""
        return [r for r in self.records if r["definition"] == definition and r["unit"] == unit]


def locate(
    runs: pd.DataFrame | str | Path | Tables,
    curves: pd.DataFrame | str | Path | None = None,
    scores: pd.DataFrame | str | Path | None = None,
    *,
    pair: tuple[str, str] | None = None,
    pair_over: Iterable[str] = (),
    axes: Iterable[str] | None = None,
    metric: str = "nll",
    higher_is_better: bool = False,
    minima: Minima = "each",
    confidence: float = 0.95,
    columns: Mapping[str, str] | None = None,
) -> Crossovers:
    """Locate the crossovers of ``pair`` (first: ahead early; second: expected to pass it) in three tables.

    ``pair_over``: axes that may differ within a pair (tuned per objective). ``axes``, ``columns``: see
    :func:`analysis.tables.tables.load`. ``metric``: ``nll``, or any column pair
    ``<metric>_a``/``<metric>_b`` of curves. ``minima``: see
    :func:`analysis.crossover.same_n.outcome.outcomes`. Raises :class:`analysis.tables.tables.TableError`.
    """
    tables = runs if isinstance(runs, Tables) else _load(runs, curves, scores, metric, columns, axes)
    if metric != "nll" and not {f"{metric}_a", f"{metric}_b"} <= set(tables.curves.columns):
        raise TableError(f"metric {metric!r}: curves has no columns {metric}_a and {metric}_b")
    if minima not in ("passed", "each"):
        raise TableError(f"minima: {minima!r} is not one of each, passed")
    first, second = chosen = pair or _pair_of(tables.runs)
    every = arms(tables, metric, higher_is_better)
    rows, excluded = usable(tables)
    rows = rows.assign(best_a=[_best(every, r) for _, r in rows.iterrows()])
    pairs, lonely = find_pairs(rows, tables.axes, first, second, pair_over)
    cells = []
    for p in pairs:
        cell, refused = _cell(p, every, minima, plateau=metric == "nll")
        excluded += refused
        if cell is not None:
            cells.append(cell)
    records = _records(cells, metric, confidence)
    excluded = [*tables.excluded, *excluded, *lonely]
    notes = _notes(tables, cells)
    return Crossovers(
        chosen,
        metric,
        records,
        tuple(cells),
        tables,
        confidence,
        excluded,
        notes,
        every,
        minima,
        higher_is_better,
    )


def _load(runs: Any, curves: Any, scores: Any, metric: str, columns: Any, axes: Any) -> Tables:
    if curves is None:
        raise TableError("locate needs the curves beside the runs")
    table = load(runs, curves, scores, columns=columns, axes=axes)
    return table


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


def _comparable(twins: Twins) -> str | None:
    """Why two twins cannot be compared; None if they can."""
    one, two = twins.first, twins.second
    if one["vocab"] != two["vocab"] and not (pd.isna(one["vocab"]) or pd.isna(two["vocab"])):
        return "twins have different vocabularies: nats per token do not compare"
    if abs(one["U"] / two["U"] - 1) > 0.01:
        return f"twins have different unique data ({one['U']:g} and {two['U']:g} tokens)"
    return None


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
    found: list[dict[Definition, Outcome]] = []
    used: list[tuple[Arm, Arm]] = []
    kept: list[Twins] = []
    annealed: list[tuple[str, float, float]] = []
    refused = []
    for twins in pair.twins:
        a, b = (_read(every, r) for r in (twins.first, twins.second))
        reason = _comparable(twins) or _scored_apart(a, b)
        if reason:
            refused += [{"run": str(r["run"]), "reason": reason} for r in (twins.first, twins.second)]
            continue
        entropy = twins.entropy if plateau else math.nan
        found.append(_outcomes(a, b, twins.seed, entropy, minima))
        annealed += [_end(every, r) for r in (twins.first, twins.second) if curve_name(r, every) != r["run"]]
        used.append((a, b))
        kept.append(twins)
    if not found:
        return None, refused
    grouped = {d: tuple(f[d] for f in found) for d in DEFINITIONS}
    ends = tuple(e for e in annealed if math.isfinite(e[1]))
    return CellOutcome(Pair(pair.axes, tuple(kept), pair.tuned), grouped, tuple(used), ends), refused


def _end(every: Mapping[str, Arm], row: pd.Series) -> tuple[str, float, float]:
    """Where an annealed run finishes: objective, tokens, loss."""
    arm = every.get(str(row["run"]))
    if arm is None or not len(arm):
        return str(row["objective"]), math.nan, math.nan
    return str(row["objective"]), float(arm.x["tokens"][-1]), float(arm.b.value[-1])


def _outcomes(a: Arm, b: Arm, seed: Any, entropy: float, minima: Minima) -> dict[Definition, Outcome]:
    """On equal tokens; where the arms' FLOPs per token differ, the FLOPs come from curves at equal FLOPs."""
    out = outcomes(a, b, seed, entropy=entropy, minima=minima)
    cost_a, cost_b = (arm.x["flops"][-1] / arm.x["tokens"][-1] for arm in (a, b))
    if np.isfinite([cost_a, cost_b]).all() and abs(cost_a / cost_b - 1) > 1e-3:
        other = outcomes(a, b, seed, axis="flops", entropy=entropy, minima=minima)
        for definition, outcome in out.items():
            equal = other[definition]
            if equal.censored == outcome.censored:
                outcome.x["flops"] = equal.x["flops"]
            else:
                outcome.x["flops"] = math.nan
    return out


def _records(cells: list[CellOutcome], metric: str, confidence: float) -> list[dict[str, Any]]:
    records = []
    for definition in DEFINITIONS:
        for unit in UNITS:
            spread = pooled([places(c.outcomes[definition], unit) for c in cells])
            for cell in cells:
                where = interval(cell.outcomes[definition], unit, spread, confidence)
                records.append(_record(cell, definition, unit, where, metric, confidence))
    return records


def _natural(value: float) -> float | None:
    """exp of a logarithm without the last digits' noise; None where it is unbounded."""
    return float(f"{math.exp(value):.10g}") if math.isfinite(value) else None


def _record(
    cell: CellOutcome, definition: Definition, unit: str, where: Interval, metric: str, confidence: float
) -> dict[str, Any]:
    found = cell.outcomes[definition]
    rows = cell.pair.rows
    sides = {o.censored for o in found}
    censored = "right" if "right" in sides else "left" if "left" in sides else None
    words = where.assumption
    if unit == "flops" and any(math.isnan(o.x["flops"]) for o in found):
        words += "; crossed on tokens or on FLOPs, not on both"
    pinned = any(bool(r.get("subset_pinned")) and not pd.isna(r.get("subset_pinned")) for r in rows)
    if pinned:
        words += "; conditional on this subset, which all replicates share"
    if any(
        not str(r.get("schedule", "constant")).startswith(("constant", "nan"))
        and pd.isna(r.get("trunk", np.nan))
        for r in rows
    ):
        words += "; decaying learning rate: the place depends on the horizon"
    if metric == "nll" and not any(math.isfinite(t.entropy) for t in cell.pair.twins):
        words += "; no unigram entropy given, so the start-up plateau was not excluded"
    numerics = sorted({str(r["numerics"]) for r in rows if not pd.isna(r.get("numerics"))})
    return {
        "cell": cell.pair.name,
        "axes": {k: _plain(v) for k, v in cell.pair.axes.items()},
        "metric": metric,
        "definition": definition,
        "unit": unit,
        "value": _natural(where.value),
        "low": _natural(where.low),
        "high": _natural(where.high),
        "censored": censored,
        "replicates": len(found),
        "assumption": words,
        "kind": "same_n",
        "confidence": confidence,
        "df": where.df if math.isfinite(where.df) else None,
        "robust": all(o.robust for o in found),
        "crossed": sum(o.censored is None for o in found),
        "ahead": sum(o.ahead for o in found),
        "settled": all(o.settled for o in found),
        "on_plateau": any(o.on_plateau for o in found),
        "past_minimum": all(o.past_minimum for o in found if o.censored is None) and None in sides,
        "N": _finite(cell.pair.mean("N")),
        "U": _finite(cell.pair.mean("U")),
        "tuned": {o: {k: _plain(v) for k, v in s.items()} for o, s in cell.pair.tuned.items()},
        "mixed_numerics": len(numerics) > 1,
        "likelihood": {str(r["objective"]): str(r["likelihood"]) for r in rows[:2]},
        "allows": allows(*((short(str(r["objective"])), str(r["likelihood"])) for r in rows[:2]))
        if metric == "nll"
        else f"{metric} is measured alike on both: it says nothing about their likelihoods",
        "replicate_values": [o.record() for o in found],
    }


def allows(first: tuple[str, str], second: tuple[str, str]) -> str:
    """What two losses, each (name, kind), permit one to conclude about the models."""
    kinds = first[1], second[1]
    if set(kinds) == {"exact", "upper_bound"}:
        exact, bound = (first[0], second[0]) if kinds[0] == "exact" else (second[0], first[0])
        return (
            f"where {bound}'s upper bound lies below {exact}'s exact loss, {bound} is the better model; "
            "where it lies above, "
            f"nothing follows about {bound}"
        )
    if kinds == ("exact", "exact"):
        return "both losses are exact: the lower one is the better model on this text"
    if kinds == ("upper_bound", "upper_bound"):
        return "both losses are upper bounds: their order proves nothing about the models' own likelihoods"
    return "the kind of a loss is unknown: the order of the curves is all that is shown"


def _finite(value: float) -> float | None:
    return float(f"{value:.10g}") if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def _notes(tables: Tables, cells: list[CellOutcome]) -> tuple[str, ...]:
    notes = list(tables.notes)
    if any(c.pair.tuned for c in cells):
        notes.append("tuned fields were selected on validation half A, per objective and cell")
    return tuple(notes)
