"""What unique data buys: final and best loss against U, and how much more of it the other paradigm needs.

The data-efficiency ratio at U is U'/U, where the first arm needs U' unique tokens to reach the loss that the
second reaches on U, both at their best within the budget (early-stopped on half A, read on half B). Runs of
different lengths compare only where the first arm's minima are bracketed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.crossover.axes import follows
from analysis.crossover.place import Place, Side, natural
from analysis.crossover.pooling import Spread, Variance, pool_places, t_interval
from analysis.crossover.same_n.arm import Arm, influence
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.fitting.estimate import Estimate
from analysis.tables.json_values import plain
from analysis.tables.wording import human

Array = NDArray[np.float64]


def losses(crossovers: SameNCrossovers) -> pd.DataFrame:
    """One row a run: ``final`` loss (or metric), ``best`` one (half B at half A's best), where that was,
    whether it is bracketed; with ``cell``, ``objective``, ``seed``, ``U``, ``N`` and the axes."""
    table = _losses(crossovers)
    if len(table):
        table[["final", "best"]] *= crossovers.sign
    return table


def _losses(crossovers: SameNCrossovers) -> pd.DataFrame:
    """The same with less always better."""
    rows = []
    for cell in crossovers.cells:
        for twins, both in zip(cell.pair.twins, cell.arms, strict=True):
            for row, arm in zip((twins.first, twins.second), both, strict=True):
                best = int(arm.best_so_far()[-1])
                rows.append(
                    {
                        "cell": cell.pair.name,
                        **cell.pair.axes,
                        "objective": row["objective"],
                        "seed": twins.seed,
                        "run": arm.run,
                        "N": float(row["N"]),
                        "U": float(row["U"]),
                        "likelihood": arm.likelihood,
                        "tokens": float(arm.x["tokens"][-1]),
                        "final": float(arm.b.value[-1]),
                        "best": float(arm.b.value[best]),
                        "best_se": float(arm.b.se[best]),
                        "best_tokens": float(arm.x["tokens"][best]),
                        "best_epochs": float(arm.x["epochs"][best]),
                        "bracketed": arm.bracketed(),
                    }
                )
    return pd.DataFrame(rows)


def by_cell(table: pd.DataFrame, value: str, confidence: float = 0.95) -> pd.DataFrame:
    """Mean of ``value`` over replicates a cell and objective with a t interval, its variance from the
    objective's cells; ``low`` and ``high`` are NaN where no cell has two replicates."""
    out = []
    for objective, part in table.groupby("objective", sort=False):
        groups = list(part.groupby("cell", sort=False))
        spread = pool_places([dict(zip(g["seed"].astype(str), g[value], strict=True)) for _, g in groups])
        for group, (cell, g) in enumerate(groups):
            mean = Estimate(float(g[value].mean()))
            if spread is not None:
                between = spread.of_mean(len(g), group)
                mean = t_interval(float(g[value].mean()), between, Variance(0.0, math.inf), confidence)
            out.append(
                {
                    "cell": cell,
                    "objective": objective,
                    "U": float(np.exp(np.log(g["U"]).mean())),
                    "N": float(g["N"].iloc[0]),
                    "mean": mean.value,
                    "low": math.nan if mean.low is None else mean.low,
                    "high": math.nan if mean.high is None else mean.high,
                    "replicates": len(g),
                    "df": 0.0 if mean.df is None else mean.df,
                    "bracketed": bool(g["bracketed"].all()),
                    "likelihood": g["likelihood"].iloc[0],
                }
            )
    return pd.DataFrame(out)


@dataclass(frozen=True, kw_only=True)
class EfficiencyRatio(Place):
    """The data-efficiency ratio of a cell.

    It is censored ``right`` where the loss lies below the first arm's best at its largest U (the ratio is at
    least that), ``left`` where it lies above its best at its smallest. Where the second arm's minimum is not
    bracketed (``settled`` is false), the value is a lower bound, whatever ``censored`` says.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "cell", "axes", "U", "N", "value", "low", "high", "censored", "settled", "replicates", "assumption",
    )  # fmt: skip
    unit: ClassVar[str] = "ratio"

    cell: str
    axes: dict[str, Any]
    U: float
    N: float
    settled: bool
    replicates: int


def data_efficiency(crossovers: SameNCrossovers) -> list[EfficiencyRatio]:
    """The data-efficiency ratio of each cell, over replicates that have at least two budgets at equal other
    axes."""
    table = _losses(crossovers)
    if table.empty or table["U"].isna().any():
        return []
    first, second = crossovers.pair
    free = [a for cell in crossovers.cells[:1] for a in cell.pair.axes if not follows(table, a, "U")]
    every = {arm.run: arm for cell in crossovers.cells for both in cell.arms for arm in both}
    out: dict[str, list[_Ratio]] = {}
    for _, part in table.groupby([*free, "seed"], dropna=False, sort=False):
        one = part[part["objective"] == first].sort_values("U")
        two = part[part["objective"] == second].sort_values("U")
        if one["U"].nunique() < 2:
            continue
        for row in two.to_dict("records"):
            out.setdefault(str(row["cell"]), []).append(_ratio(one, row, every))
    return _ratios(crossovers, out)


@dataclass(frozen=True)
class _Ratio:
    """One replicate's ratio: ``log`` of it (or of its bound), the ``side`` on which it is one, ``parts`` [n]
    what each validation sequence adds to its error, ``refused`` why it is none."""

    log: float
    side: Side | None
    settled: bool
    seed: str
    U: float
    N: float
    parts: Array | None
    refused: str = ""


HORIZON = 1.02
"""Ratio of two runs' tokens up to which they count as equally long."""


def _incomparable(one: pd.DataFrame, row: Mapping[Any, Any]) -> str:
    """Why the best values of the first arm's runs ``one`` do not compare with that of ``row``. Empty if they
    do: their minima are bracketed, or all are equally long."""
    lengths = [*one["tokens"], float(row["tokens"])]
    if one["bracketed"].all() or max(lengths) <= HORIZON * min(lengths):
        return ""
    return (
        f"not compared: the first arm's minimum is not bracketed, and runs differ in length "
        f"({human(min(lengths))} to {human(max(lengths))} tokens)"
    )


def _ratio(one: pd.DataFrame, row: Mapping[Any, Any], every: dict[str, Arm]) -> _Ratio:
    """How much unique data the first arm, runs ``one`` in order of U, needs for the loss of ``row``."""
    log_u, curve = np.log(one["U"].to_numpy(float)), np.minimum.accumulate(one["best"].to_numpy(float))
    loss, own = float(row["best"]), math.log(float(row["U"]))
    facts = (bool(row["bracketed"]), str(row["seed"]), float(row["U"]), float(row["N"]))
    if loss < curve[-1]:
        return _Ratio(float(log_u[-1]) - own, "right", *facts, None, _incomparable(one, row))
    if loss > curve[0]:
        return _Ratio(float(log_u[0]) - own, "left", *facts, None, _incomparable(one.iloc[:1], row))
    k = int(np.clip(np.searchsorted(-curve, -loss), 1, len(curve) - 1))
    drop = float(curve[k - 1] - curve[k])
    weight = (curve[k - 1] - loss) / drop if drop > 0 else 0.0
    needed = float(log_u[k - 1] + weight * (log_u[k] - log_u[k - 1]))
    parts = None
    if drop > 0:
        low, high, other = (
            _best(every[str(r)]) for r in (one["run"].iloc[k - 1], one["run"].iloc[k], row["run"])
        )
        if low is not None and high is not None and other is not None and len(low[0]) == len(other[0]):
            apart = other[0] - ((1 - weight) * low[0] + weight * high[0])
            parts = influence(apart, other[1]) * float(log_u[k] - log_u[k - 1]) / drop
    return _Ratio(needed - own, None, *facts, parts, _incomparable(one.iloc[: k + 1], row))


def _best(arm: Arm) -> tuple[Array, Array] | None:
    """[n] each validation sequence's loss at the arm's best value, and weights; None without scores."""
    if arm.b.sequences is None or arm.b.weights is None:
        return None
    values = arm.b.sequences[int(arm.best_so_far()[-1])]
    return (values, arm.b.weights) if np.isfinite(values).all() else None


def _ratios(crossovers: SameNCrossovers, cells: dict[str, list[_Ratio]]) -> list[EfficiencyRatio]:
    spread = pool_places(
        [{r.seed: r.log for r in rows if r.side is None and not r.refused} for rows in cells.values()]
    )
    axes = {c.pair.name: c.pair.axes for c in crossovers.cells}
    return [
        EfficiencyRatio(
            estimate=natural(_mean(rows, spread, crossovers.confidence, group), digits=None),
            cell=cell,
            axes=plain(axes[cell]),
            U=rows[0].U,
            N=rows[0].N,
            settled=all(r.settled for r in rows),
            replicates=len(rows),
        )
        for group, (cell, rows) in enumerate(cells.items())
    ]


def _mean(rows: list[_Ratio], spread: Spread | None, confidence: float, group: int) -> Estimate:
    """The geometric mean's logarithm with a t interval: the variance between replicates pooled over cells,
    and the validation text's share, which replicates have in common, added."""
    if refused := [r.refused for r in rows if r.refused]:
        return Estimate(assumption=refused[0], level=confidence)
    sides = {r.side for r in rows}
    logs = [r.log for r in rows]
    value = float(np.mean(logs))
    if sides != {None}:
        words = "a bound, kept by every replicate: a loss lies outside what the first arm reached here"
        if sides >= {"left", "right"}:
            words = "no bound: losses lie outside what the first arm reached on both sides"
            return Estimate(assumption=words, level=confidence)
        if "right" in sides:
            return Estimate(min(logs), low=min(logs), bound="lower", assumption=words, level=confidence)
        return Estimate(max(logs), high=max(logs), bound="upper", assumption=words, level=confidence)
    shared = _shared(rows)
    if spread is None and not shared:
        return Estimate(value, assumption="one replicate: no interval", level=confidence)
    text = Variance(shared, 30.0)
    if spread is None:
        words = "one replicate: the validation text's error alone, conditional on this subset and seed"
        return replace(t_interval(value, Variance(0.0, math.inf), text, confidence), assumption=words)
    estimate = t_interval(value, spread.of_mean(len(rows), group), text, confidence)
    words = f"log-normal ratios, {spread}, Student's t; " + (
        f"validation text included ({math.sqrt(shared):.1%})"
        if shared
        else "the validation text's error left out, for there are no scores"
    )
    return replace(estimate, assumption=words)


def _shared(rows: list[_Ratio]) -> float:
    """Variance of the mean log ratio that the shared validation text causes; 0 where scores are missing."""
    parts = [r.parts for r in rows if r.parts is not None]
    if len(parts) < len(rows) or len({len(p) for p in parts}) > 1:
        return 0.0
    mean = np.mean(parts, axis=0)
    return float((mean**2).sum())
