"""Which runs next: those that narrow a named quantity most for their FLOPs.

What a run would add is known before it is done (:mod:`analysis.questions.information`), so plans are made
by taking the best run again and again: by what it narrows, and by that over its cost, whichever plan ends
narrower. A run is valued as independent of the others, with the scatter that the fit's residuals have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.fitting.result import Fit
from analysis.laws.base import Array, Law
from analysis.questions.information import LogQuantity, Mode, greedy, modes, variance, weighted_optima
from analysis.questions.optimum import best_size
from analysis.tables.keywords import checked_keywords
from analysis.tables.shown import Block, Grid, Shown

_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, repr=False)
class Suggestion(Shown):
    """Runs worth doing next. ``runs``: the law's variables, C, and the standard error expected after each run
    (of the quantity; of its logarithm where it is positive). ``before`` and ``after``: that error without and
    with all runs."""

    quantity: str
    runs: pd.DataFrame
    before: float
    after: float
    spent: float
    basins: int
    warnings: list[str]

    def blocks(self) -> Sequence[Block]:
        head = (
            f"{self.quantity}: standard error {self.before:.4g} now, {self.after:.4g} expected after "
            f"{len(self.runs)} runs "
            f"({self.spent:.3g} FLOPs), over {self.basins} basin{'s' * (self.basins > 1)}"
        )
        return [head, Grid(self.runs), *(f"! {w}" for w in self.warnings)]


def split_call(text: str) -> tuple[str, list[str]]:
    """``name(a, b=1)`` as its name and its parts. The name is empty if the text is no call."""
    match = re.fullmatch(r"\s*(\w+)\s*\(([^()]*)\)\s*", text)
    if match is None:
        return "", []
    return match.group(1), [part for p in match.group(2).split(",") if (part := p.strip())]


def numbers(text: str, parts: Sequence[str]) -> dict[str, float]:
    """Parts ``N=7e10`` as a dictionary. Raises ValueError if a part is not NAME=NUMBER."""
    given: dict[str, float] = {}
    for part in parts:
        key, _, value = part.partition("=")
        try:
            given[key.strip()] = float(value)
        except ValueError:
            raise ValueError(f"quantity {text!r}: {part!r} is not NAME=NUMBER") from None
    return given


def parse_quantity(text: str, law: Law) -> LogQuantity:
    """The quantity that a text names, as a function of natural parameters (S, P).

    The text is a parameter (``alpha``), ``loss(N=7e10, D=1.4e12)``, ``N_opt(C=1e24)`` or ``D_opt(C=1e24)``.
    Raises ValueError for anything else, with what is allowed.
    """
    if text in law.parameter_names:
        j = law.index(text)
        positive = law.parameters[j].positive
        return lambda natural: np.log(natural[:, j]) if positive else natural[:, j]
    name, parts = split_call(text)
    given = numbers(text, parts)
    if name in ("loss", str(law.target)):
        point = law.inputs(given)
        return lambda natural: np.log(
            np.maximum(law.evaluate(law.to_internal(natural), point, jac=False)[0][:, 0], 1e-300)
        )
    if name in ("N_opt", "D_opt") and "C" in given and {"N", "D"} <= set(law.variables):
        compute = given.pop("C")
        sign, shift = (1.0, 0.0) if name == "N_opt" else (-1.0, math.log(compute / 6))
        return lambda natural: shift + sign * best_size(law, natural, compute, given)
    raise ValueError(
        f"no quantity {text!r}: give a parameter ({', '.join(law.parameter_names)}), "
        f"loss({', '.join(f'{v}=...' for v in law.variables)})"
        + (", N_opt(C=...) or D_opt(C=...)" if {"N", "D"} <= set(law.variables) else "")
    )


def candidates(result: Fit, budget: float, reach: float = 3.0, levels: int = 12) -> pd.DataFrame:
    """A grid of possible runs: sizes and tokens up to ``reach`` times beyond those of the data, costing 6ND
    <= ``budget`` each; unique tokens, where the law knows them, at the levels of the data."""
    data = result.require_data()
    axes: dict[str, Array] = {}
    for v in result.law.variables:
        low, high = float(data[v].min()), float(data[v].max())
        if v == "U":
            unique = np.unique(data[v].to_numpy())
            axes[v] = unique if len(unique) <= levels else np.geomspace(low, high, levels)
        elif v == "Q":
            axes[v] = np.unique(data[v].to_numpy())
        else:
            axes[v] = np.geomspace(low / reach, high * reach, levels)
    mesh = np.meshgrid(*axes.values(), indexing="ij")
    out = pd.DataFrame({v: m.ravel() for v, m in zip(axes, mesh, strict=True)})
    if "U" in out and "D" in out:
        out = out[out["D"] >= out["U"]]
    out["C"] = _cost(out)
    return out[out["C"] <= budget].reset_index(drop=True)


def _cost(rows: pd.DataFrame) -> Array:
    if {"N", "D"} <= set(rows.columns):
        return 6.0 * rows["N"].to_numpy(dtype=float) * rows["D"].to_numpy(dtype=float)
    if "C" in rows.columns:
        return rows["C"].to_numpy(dtype=float)
    raise ValueError("candidate runs need N and D, or C, to know what they cost")


@checked_keywords
def suggest(
    result: Fit,
    quantity: str,
    budget: float,
    *,
    count: int = 8,
    choices: pd.DataFrame | None = None,
    reach: float = 3.0,
    per_run: float | None = None,
    repeats: bool = True,
) -> Suggestion:
    """A plan of at most ``count`` runs, of at most ``budget`` FLOPs together, that narrows ``quantity`` most.

    ``choices``: the runs that are possible (columns under the law's names; C = 6ND is their cost), else a
    grid around the data up to ``reach`` times beyond it; ``per_run`` caps one run's cost. With
    ``repeats`` runs may come twice: replicates are a choice like any.

    Raises ValueError if there is no such quantity, or if no run costs that little.
    """
    if not budget > 0 or count < 1:
        raise ValueError(f"budget must be positive and count at least 1; got {budget:g} and {count}")
    pool = affordable(result, budget, choices, reach, per_run)
    value = parse_quantity(quantity, result.law)
    views = modes(weighted_optima(result), value, {v: pool[v].to_numpy() for v in result.law.variables})
    return planned(quantity, views, pool, budget, count, repeats, beyond(pool, result))


def affordable(
    result: Fit, budget: float, choices: pd.DataFrame | None, reach: float, per_run: float | None
) -> pd.DataFrame:
    """The runs to choose from, each at most ``per_run`` and ``budget`` FLOPs (column C). Raises ValueError
    if none is."""
    cap = min(budget, per_run or budget)
    pool = candidates(result, cap, reach) if choices is None else choices.assign(C=_cost(choices))
    pool = pool[pool["C"] <= cap].reset_index(drop=True)
    if not len(pool):
        raise ValueError(
            f"no candidate run costs at most {cap:.3g} FLOPs; raise the budget or offer smaller runs"
        )
    return pool


def beyond(pool: pd.DataFrame, result: Fit) -> dict[str, Array]:
    """Variable -> (m,) whether a candidate run lies beyond the data in that variable."""
    if result.data is None:
        return {}
    return {
        v: pool[v].to_numpy(dtype=float) > float(result.data[v].max()) * 1.001 for v in result.law.variables
    }


def planned(
    quantity: str,
    views: Sequence[Mode],
    pool: pd.DataFrame,
    budget: float,
    count: int,
    repeats: bool,
    far: Mapping[str, Array],
) -> Suggestion:
    """The best of several greedy plans, one for each weight on cost; ``far`` is what :func:`beyond`
    returns."""
    before = math.sqrt(variance(views))
    plans = [greedy(views, pool["C"].to_numpy(), budget, count, power, repeats) for power in _POWERS]
    chosen, errors = min(plans, key=lambda plan: plan[1][-1] if plan[1] else before)
    runs = pool.iloc[chosen].reset_index(drop=True)
    runs["se_after"] = errors
    counts = {v: int(outside[chosen].sum()) for v, outside in far.items()}
    warnings = [
        f"{k} runs lie beyond the data in {v}: valued by the law's own extrapolation"
        for v, k in counts.items()
        if k
    ]
    after = errors[-1] if errors else before
    return Suggestion(quantity, runs, before, after, float(runs["C"].sum()), len(views), warnings)
