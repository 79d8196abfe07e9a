"""What enters a Pareto front: the runs of a study in groups of one U, and each arm's curves in them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.crossover.axes import is_length, is_size
from analysis.crossover.fronts.frontier import Curve, Front, build, shared
from analysis.crossover.same_n.arm import Arm
from analysis.crossover.same_n.pairs import curve_name

SIZES = 3
"""Sizes that a front needs."""


@dataclass(frozen=True)
class FrontEntries:
    """Two fronts of a group, not yet compared."""

    axes: dict[str, Any]
    U: float
    entropy: float
    entries: str
    fronts: tuple[Front, Front]
    likelihoods: tuple[str, str]

    @property
    def replicates(self) -> int:
        """Replicates that both fronts have."""
        return len(set(self.fronts[0].seeds) & set(self.fronts[1].seeds))


def groups(
    rows: pd.DataFrame, axes: Sequence[str], pair: tuple[str, str], tuned: set[str]
) -> list[tuple[dict[str, Any], tuple[pd.DataFrame, pd.DataFrame]]]:
    """The study in parts that a front may mix: all sizes, lengths and tuned settings of one U and data."""
    one, two = (rows[rows["objective"] == o] for o in pair)
    if one.empty or two.empty:
        return []
    fixed = [a for a in axes if a not in tuned and not is_length(a) and not is_size(rows, a)]
    out: list[tuple[dict[str, Any], tuple[pd.DataFrame, pd.DataFrame]]] = []
    # An axis that one objective does not have (its own options) splits the other's front only.
    keys = [[a for a in fixed if not side[a].isna().all()] for side in (one, two)]
    for (a, left), (b, right) in itertools.product(_grouped(one, keys[0]), _grouped(two, keys[1])):
        if all(str(a[k]) == str(b[k]) for k in a.keys() & b.keys()):
            out.append(({k: {**a, **b}[k] for k in fixed if k in a or k in b}, (left, right)))
    return out


def _grouped(rows: pd.DataFrame, keys: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    if not keys:
        return [({}, rows)]
    return [
        (dict(zip(keys, key if isinstance(key, tuple) else (key,), strict=True)), part)
        for key, part in rows.groupby(keys, dropna=False, sort=True)
    ]


def fronts(
    axes: dict[str, Any],
    sides: tuple[pd.DataFrame, pd.DataFrame],
    every: Mapping[str, Arm],
    names: tuple[str, str],
    entries: str,
    free: list[str],
) -> FrontEntries | str:
    """Both fronts of a group, or why there are none; ``names``: what the reason calls the arms."""
    tried = ("annealed", "trunk") if entries == "auto" else (entries,)
    reason = ""
    for kind in tried:
        curves = [_curves(side, every, kind, free) for side in sides]
        sizes = [len({c.N for c in part}) for part in curves]
        if min(sizes) >= SIZES:
            built = [build(part) for part in curves]
            if built[0] is None or built[1] is None:
                continue
            both = pd.concat(sides)
            return FrontEntries(
                axes,
                float(np.exp(np.log(both["U"].to_numpy(float)).mean())),
                float(both["unigram_entropy"].max()),
                kind,
                (built[0], built[1]),
                (str(sides[0]["likelihood"].iloc[0]), str(sides[1]["likelihood"].iloc[0])),
            )
        what = {"annealed": "annealed end points", "trunk": "constant-rate runs"}[kind]
        reason = f"a front needs {SIZES} sizes; of {what} {names[0]} has {sizes[0]} and {names[1]} {sizes[1]}"
    return reason


def _curves(side: pd.DataFrame, every: Mapping[str, Arm], kind: str, free: list[str]) -> list[Curve]:
    """One curve a size and setting (and, annealed, a length), its replicates together."""
    annealed = kind == "annealed"
    settings: dict[tuple[Any, ...], dict[str, tuple[float, Arm]]] = {}
    for _, row in side.iterrows():
        name = str(row["run"]) if annealed else curve_name(row, every)
        if annealed != bool(row["annealed"]) and name == str(row["run"]):
            continue
        limit = float(row["steps"]) if math.isfinite(row["steps"]) else math.inf
        arm = every[name].until(limit) if name in every else None
        if arm is None or not len(arm) or not np.isfinite(arm.x["flops"]).all():
            continue
        setting = tuple(str(row[a]) for a in free)
        key = (round(math.log(row["N"]), 2), *setting, *((limit,) if annealed else ()))
        kept = settings.setdefault(key, {})
        seed = str(row["seed"])
        if seed not in kept or len(kept[seed][1]) < len(arm):
            kept[seed] = (float(row["N"]), arm)
    out = []
    for key, kept in settings.items():
        members = [arm for _, arm in kept.values()]
        index, cost = shared(members, annealed)
        n = float(np.exp(np.mean([math.log(n) for n, _ in kept.values()])))
        final = not annealed and all(a.bracketed() for a in members)
        name = " ".join(map(str, key))
        out.append(Curve(float(f"{n:.4g}"), name, tuple(kept), tuple(members), index, cost, final))
    return out
