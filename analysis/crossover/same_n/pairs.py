"""Which runs are twins, and what they agree in: two runs of a pair of cells and of the same replicate."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from analysis.crossover.axes import follows
from analysis.tables.keywords import unknown
from analysis.tables.tables import TableError, Tables
from analysis.tables.wording import human

Agreement = Literal["same_n", "same_active_n", "same_backbone_n", "same_flops"]
"""What twins agree in, the strictest that they do: N (the rows of tokens that are fed and never predicted
apart), the N that one token uses, N without the modules of an objective's own, or training FLOPs a token."""

AGREEMENT_WORDS: dict[Agreement, str] = {
    "same_n": "N",
    "same_active_n": "active N",
    "same_backbone_n": "N without the objective's own modules",
    "same_flops": "FLOPs a token",
}

NEAR = 0.02
"""How far apart, as a share, a count of twins may be that is called the same."""


def short_names(runs: pd.DataFrame, pair: tuple[str, str]) -> tuple[str, str]:
    """What figures and sentences call two objectives: the column ``objective_short`` of their runs, or their
    own names in words where a table lacks it."""

    def name(objective: str) -> str:
        mine = runs.loc[runs["objective"] == objective]
        known = mine["objective_short"].dropna() if "objective_short" in mine else mine["objective"]
        return str(known.iloc[0] if len(known) else objective).replace("_", " ")

    return name(pair[0]), name(pair[1])


@dataclass(frozen=True)
class Twins:
    """Two rows of ``runs``: same cell but for the objective, same replicate ``seed``."""

    seed: Any
    first: pd.Series
    second: pd.Series

    @property
    def entropy(self) -> float:
        """The validation unigram entropy, nats per token; NaN where neither arm's row tells it."""
        values = [float(r["unigram_entropy"]) for r in (self.first, self.second)]
        return float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")

    @property
    def steps(self) -> float:
        """The horizon that both reach; infinite where the table does not limit it."""
        return float(np.nanmin([self.first["steps"], self.second["steps"], np.inf]))

    def agreement(self, flops: tuple[float, float]) -> Agreement | None:
        """What the twins agree in; None where it is nothing. ``flops``: training FLOPs a token of each.
        Where a table lacks N, that it is the same is taken on trust."""
        one, two = self.first, self.second
        if pd.isna(one["N"]) or pd.isna(two["N"]):
            return "same_n"
        counts: dict[Agreement, tuple[float, float]] = {
            "same_n": (one["N"], two["N"]),
            "same_active_n": (_count(one, "N_active"), _count(two, "N_active")),
            "same_backbone_n": (
                one["N"] - _count(one, "N_objective"),
                two["N"] - _count(two, "N_objective"),
            ),
            "same_flops": flops,
        }
        return next((kind for kind in get_args(Agreement) if _near(*counts[kind])), None)

    def incomparable(self) -> str | None:
        """Why the twins cannot be compared, whatever their sizes; None if they can."""
        one, two = self.first, self.second
        if one["vocab"] != two["vocab"] and not (pd.isna(one["vocab"]) or pd.isna(two["vocab"])):
            return "twins have different vocabularies: nats per token do not compare"
        if not _near(one["U"], two["U"], 0.01) and not (pd.isna(one["U"]) or pd.isna(two["U"])):
            return f"twins have different unique data ({one['U']:g} and {two['U']:g} tokens)"
        return None

    def sizes_apart(self) -> str:
        """Why twins that agree in no count are not compared."""
        return (
            f"twins have different N ({human(self.first['N'])} and {human(self.second['N'])}), and neither "
            "active N nor FLOPs a token in common: sizes are compared by fronts, not by twins"
        )


def _count(row: pd.Series, column: str) -> float:
    return float(row[column]) if column in row and not pd.isna(row[column]) else float("nan")


def _near(one: float, two: float, within: float = NEAR) -> bool:
    """Whether two counts are the same; False where one is not known."""
    return bool(one > 0 and two > 0 and abs(np.log(one / two)) <= np.log1p(within) + 1e-9)


@dataclass(frozen=True)
class Pair:
    """A cell seen twice: its ``axes``, its ``name``, its twins. ``tuned``: per objective, the values that
    ``pair_over`` lets differ."""

    axes: dict[str, Any]
    twins: tuple[Twins, ...]
    tuned: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``model.size=64x3, data.unique_bytes=5000``; ``all`` for a sweep without axes."""
        return ", ".join(f"{k}={text(v)}" for k, v in self.axes.items()) or "all"

    @property
    def rows(self) -> list[pd.Series]:
        return [r for t in self.twins for r in (t.first, t.second)]

    def mean(self, column: str) -> float:
        """Geometric mean of a column over the pair's runs; NaN where it is missing."""
        values = np.array([float(r.get(column, np.nan)) for r in self.rows])
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = float(np.exp(np.log(values).mean()))
        return mean if mean > 0 else float("nan")


def text(value: Any) -> str:
    """A value of an axis as people write it: 5000.0 -> 5000."""
    if isinstance(value, float | np.floating):
        number = float(value)
        return f"{number:g}" if abs(number) < 1e6 else f"{number:.4g}"
    return str(value)


def usable(tables: Tables) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """The rows of ``runs`` that may enter a crossover, and why the others may not."""
    have = set(tables.curves["run"])
    reasons = []
    keep = []
    for index, row in tables.runs.iterrows():
        if row["state"] in ("diverged", "failed", "blocked", "cancelled"):
            reason = f"the run {row['state']}"
        elif row["likelihood"] in ("pseudo", "none"):
            reason = f"its loss is no likelihood ({row['likelihood']})"
        elif curve_name(row, have) not in have:
            reason = "no evaluations yet"
        else:
            keep.append(index)
            continue
        reasons.append({"run": str(row["run"]), "reason": reason})
    return tables.runs.loc[keep], reasons


def curve_name(row: pd.Series, have: Container[str]) -> str:
    """The run whose curve a row is read from: its trunk, where it has one with evaluations, else itself."""
    trunk = row.get("trunk")
    return str(trunk) if trunk is not None and not pd.isna(trunk) and str(trunk) in have else str(row["run"])


def find_pairs(
    runs: pd.DataFrame, axes: Iterable[str], first: str, second: str, pair_over: Iterable[str] = ()
) -> tuple[list[Pair], list[dict[str, str]]]:
    """All pairs of ``first`` and ``second``, and the runs that found no twin.

    An axis that an objective does not have at all (its own options, say) does not keep it from pairing with
    every value that the other has. Where ``pair_over`` leaves several candidates, the setting with the least
    mean of the column ``best_a`` is the objective's own.
    """
    names = list(axes)
    over = set(pair_over)
    for name in over:
        if name not in runs.columns:
            raise TableError(f"pair_over: {unknown('axis', name, names)}")
    one, two = (runs[runs["objective"] == o] for o in (first, second))
    fixed = [a for a in names if a not in over]
    own = [a for a in fixed if one[a].isna().all() != two[a].isna().all()]
    common = [a for a in fixed if a not in own]
    cells: dict[tuple[Any, ...], Pair] = {}
    for values, group_one in _grouped(one, common):
        group_two = _matching(two, common, values)
        for own_one, part_one in _grouped(group_one, [a for a in own if not one[a].isna().all()]):
            for own_two, part_two in _grouped(group_two, [a for a in own if not two[a].isna().all()]):
                axes_here = {**values, **own_one, **own_two}
                pair = _pair({a: axes_here[a] for a in fixed if a in axes_here}, part_one, part_two, over)
                if pair is not None:
                    cells[tuple(map(str, axes_here.items()))] = pair
    paired = {r["run"] for p in cells.values() for r in p.rows}
    lonely = [
        {"run": str(row["run"]), "reason": _lonely(row, others, name, common, sorted(over))}
        for mine, others, name in ((one, two, second), (two, one, first))
        for _, row in mine.drop_duplicates("run").iterrows()
        if row["run"] not in paired
    ]
    return sorted(cells.values(), key=_order), lonely


def _lonely(row: pd.Series, others: pd.DataFrame, name: str, common: list[str], over: list[str]) -> str:
    """Why a run of which ``others`` are the possible twins, of the objective ``name``, is in no pair."""
    if others.empty:
        return f"no {name} run to compare it with"
    differ = pd.DataFrame(
        {a: (others[a].notna() if pd.isna(row[a]) else others[a] != row[a]) for a in common},
        index=others.index,
    )
    nearest = differ.to_numpy()[int(differ.sum(axis=1).to_numpy().argmin())]
    apart = [a for a, differs in zip(common, nearest, strict=True) if differs]
    if not apart:
        if row["seed"] not in set(others.loc[~differ.any(axis=1), "seed"]):
            return f"no {name} twin of its replicate"
        if over:
            return f"another setting of {', '.join(over)} was better on half A"
        return "another run of its cell and replicate was read in its place"
    reason = f"no {name} twin in its cell and replicate: the nearest differs in {', '.join(apart)}"
    table = pd.concat([others, row.to_frame().T]).infer_objects()
    sizes = any(follows(table, a, v) for a in apart for v in ("N", "U"))
    return reason if sizes else f"{reason}, over which `pair_over: [{', '.join(apart)}]` would pair"


def _order(pair: Pair) -> list[tuple[int, float, str]]:
    """Numbers by size, everything else by name."""
    return [
        (0, float(v), "")
        if isinstance(v, int | float | np.number) and not isinstance(v, bool)
        else (1, 0.0, str(v))
        for v in (pair.mean("N") if np.isfinite(pair.mean("N")) else 0.0, *pair.axes.values())
    ]


def _grouped(runs: pd.DataFrame, axes: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    if not axes:
        return [({}, runs)] if len(runs) else []
    out = []
    for key, part in runs.groupby(axes, dropna=False, sort=False):
        values = key if isinstance(key, tuple) else (key,)
        out.append((dict(zip(axes, values, strict=True)), part))
    return out


def _matching(runs: pd.DataFrame, axes: list[str], values: dict[str, Any]) -> pd.DataFrame:
    mask = np.ones(len(runs), dtype=bool)
    for axis in axes:
        value = values[axis]
        mask &= (runs[axis].isna() if pd.isna(value) else runs[axis] == value).to_numpy()
    return runs[mask]


def _pair(axes: dict[str, Any], one: pd.DataFrame, two: pd.DataFrame, over: set[str]) -> Pair | None:
    tuned = sorted(over)
    one, own = _tuned(one, tuned)
    two, other = _tuned(two, tuned)
    twins = []
    for seed in sorted(set(one["seed"]) & set(two["seed"]), key=str):
        # Rows that differ only in their end are one run, read to the furthest of them.
        rows = [part[part["seed"] == seed].sort_values("steps").iloc[-1] for part in (one, two)]
        twins.append(Twins(seed, rows[0], rows[1]))
    if not twins:
        return None
    settings = {str(t["objective"].iloc[0]): s for t, s in ((one, own), (two, other)) if s}
    return Pair(axes, tuple(twins), settings)


def _tuned(runs: pd.DataFrame, tuned: list[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows of the best setting of the tuned fields, selected on half A, and that setting."""
    if not tuned or runs.empty:
        return runs, {}
    settings = _grouped(runs, tuned)
    values, rows = min(settings, key=lambda s: float(s[1]["best_a"].mean()) if "best_a" in s[1] else 0.0)
    return rows, values
