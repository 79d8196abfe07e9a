"""What unique data buys: final and best loss against U, and how much more of it the other paradigm needs.

The data-efficiency ratio at U is U'/U, where the first arm needs U' unique tokens to reach the loss that the
second reaches on U, both at their best within the budget (early-stopped on half A, read on half B).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.crossover.locate import Crossovers

Array = NDArray[np.float64]


def losses(found: Crossovers) -> pd.DataFrame:
    """One row a run: ``final`` loss, ``best`` loss (half B at half A's minimum), where that was, whether it
    is bracketed; with ``cell``, ``objective``, ``seed``, ``U``, ``N`` and the axes."""
    rows = []
    for cell in found.cells:
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
    """Mean of ``value`` over replicates a cell and objective with a t interval whose variance is pooled over
    the objective's cells; ``low`` and ``high`` are NaN where no cell has two replicates."""
    out = []
    for objective, part in table.groupby("objective", sort=False):
        groups = part.groupby("cell", sort=False)
        df = int((groups[value].count() - 1).sum())
        squares = float(((part[value] - groups[value].transform("mean")) ** 2).sum())
        sd = math.sqrt(squares / df) if df else math.nan
        t = float(stats.t.ppf(0.5 + confidence / 2, df)) if df else math.nan
        for cell, g in groups:
            half = t * sd / math.sqrt(len(g)) if df else math.nan
            mean = float(g[value].mean())
            out.append(
                {
                    "cell": cell,
                    "objective": objective,
                    "U": float(np.exp(np.log(g["U"]).mean())),
                    "N": float(g["N"].iloc[0]),
                    "mean": mean,
                    "low": mean - half,
                    "high": mean + half,
                    "replicates": len(g),
                    "df": df,
                    "bracketed": bool(g["bracketed"].all()),
                    "likelihood": g["likelihood"].iloc[0],
                }
            )
    return pd.DataFrame(out)


def data_efficiency(found: Crossovers) -> list[dict[str, Any]]:
    """The data-efficiency ratio of each cell, over replicates that have at least two budgets at equal other
    axes.

    ``censored``: ``right`` where the loss lies below the first arm's best at its largest U (the ratio is at
    least that), ``left`` where above its best at its smallest. Both are at most what the budget showed: where
    the second arm's minimum is not bracketed, ``value`` is a lower bound whatever ``censored`` says
    (``settled``).
    """
    table = losses(found)
    if table.empty or table["U"].isna().any():
        return []
    first, second = found.pair
    free = [a for cell in found.cells[:1] for a in cell.pair.axes if not _follows_u(table, a)]
    out: dict[str, list[dict[str, Any]]] = {}
    for _, part in table.groupby([*free, "seed"], dropna=False, sort=False):
        one = part[part["objective"] == first].sort_values("U")
        two = part[part["objective"] == second].sort_values("U")
        if one["U"].nunique() < 2:
            continue
        for row in two.to_dict("records"):
            ratio, side = _needed(
                np.log(one["U"].to_numpy(float)), one["best"].to_numpy(float), float(row["best"])
            )
            out.setdefault(str(row["cell"]), []).append(
                {
                    "log": ratio - math.log(float(row["U"])),
                    "side": side,
                    "settled": bool(row["bracketed"]),
                    "U": float(row["U"]),
                    "N": float(row["N"]),
                }
            )
    return _ratios(found, out)


def _ratios(found: Crossovers, cells: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Geometric means with t intervals, the variance pooled over cells."""
    seen = [[r["log"] for r in rows if r["side"] is None] for rows in cells.values()]
    df = sum(len(s) - 1 for s in seen if len(s) > 1)
    squares = sum(float(np.var(s) * len(s)) for s in seen if len(s) > 1)
    axes = {c.pair.name: c.pair.axes for c in found.cells}
    records = []
    for cell, rows in cells.items():
        sides = {r["side"] for r in rows}
        censored = "right" if "right" in sides else "left" if "left" in sides else None
        value = float(np.mean([r["log"] for r in rows]))
        if censored:
            low, high = (value, math.inf) if censored == "right" else (-math.inf, value)
            words = "a bound: the loss lies outside what the first arm reached in this study"
        elif df:
            half = float(stats.t.ppf(0.5 + found.confidence / 2, df)) * math.sqrt(squares / df / len(rows))
            low, high = value - half, value + half
            words = f"log-normal ratios, one variance for all cells (df {df}), Student's t"
        else:
            low = high = math.nan
            words = "one replicate: no interval"
        records.append(
            {
                "cell": cell,
                "axes": dict(axes[cell]),
                "U": rows[0]["U"],
                "N": rows[0]["N"],
                "value": math.exp(value),
                "low": math.exp(low) if math.isfinite(low) else None,
                "high": math.exp(high) if math.isfinite(high) else None,
                "censored": censored,
                "settled": all(r["settled"] for r in rows),
                "replicates": len(rows),
                "assumption": words,
            }
        )
    return records


def _needed(log_u: Array, best: Array, loss: float) -> tuple[float, str | None]:
    """log U at which the first arm's best loss equals ``loss``, and the side on which it lies outside."""
    curve = np.minimum.accumulate(best)
    if loss < curve[-1]:
        return float(log_u[-1]), "right"
    if loss > curve[0]:
        return float(log_u[0]), "left"
    return float(np.interp(-loss, -curve, log_u)), None


def _follows_u(table: pd.DataFrame, axis: str) -> bool:
    """Whether an axis is a budget of unique data: its values order as U does."""
    groups = table.groupby(table[axis].astype(str))["U"]
    spread = np.log(table["U"]).max() - np.log(table["U"]).min()
    within = groups.agg(lambda u: float(np.log(u).max() - np.log(u).min())).max()
    return bool(spread > 0.02 and within < 0.2 * spread)
