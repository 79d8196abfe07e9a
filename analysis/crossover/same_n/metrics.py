"""What may be compared beside the NLL: any metric of a study's curves, whose better direction is declared."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from analysis.tables.keywords import unknown
from analysis.tables.tables import TableError, Tables

Better = Literal["lower", "higher"]

NLL = "nll"
_HALVES = ("a", "b")
_ITEM_METRICS = {"accuracy": "correct", "margin": "margin"}
"""Metric of a task -> the column of items whose mean it is. Both are the same for all choices of an item."""

_PASS = re.compile(r"pass@([1-9]\d*)")
_SAMPLES = ("samples", "passed")
"""Columns of items that give ``<task>_pass@K``: samples drawn, and how many of them passed."""


def pass_at_k(samples: ArrayLike, passed: ArrayLike, k: int) -> NDArray[np.float64]:
    """[items] unbiased estimates of the probability that at least one of ``k`` samples passes.

    1 - C(n - c, k) / C(n, k) of n ``samples`` [items] of which c ``passed`` [items] (Chen et al. 2021, arXiv
    2107.03374, eq. 1). Its scatter over items holds both theirs and that of the samples, so that the standard
    error of the mean is that of any mean over items. Raises ValueError unless 1 <= k <= n and 0 <= c <= n.
    """
    n, c = np.broadcast_arrays(np.asarray(samples, float), np.asarray(passed, float))
    if k < 1 or (n < k).any() or (c < 0).any() or (c > n).any():
        raise ValueError(f"pass@{k}: needs 1 <= k <= samples and 0 <= passed <= samples of every item")
    left = np.maximum(n - c, k)  # with fewer than k failures some sample passes for certain
    log_none = (
        special.gammaln(left + 1)
        - special.gammaln(left - k + 1)
        - special.gammaln(n + 1)
        + special.gammaln(n - k + 1)
    )
    return np.where(n - c < k, 1.0, -np.expm1(log_none))


def chance_level(tables: Tables, metric: str) -> float:
    """What guessing scores: of an accuracy one over the choices of its items, of pass@k zero; NaN where items
    do not tell."""
    for task in tables.items["task"].unique():
        if _PASS.fullmatch(name := metric.removeprefix(f"{task}_")):
            return 0.0
        if name == "accuracy" and (not task or name != metric):
            mine = tables.items[tables.items["task"] == task]
            choices = mine.groupby(["half", "item"])["choice"].nunique()
            return float((1 / choices).mean()) if (choices > 1).all() else float("nan")
    return float("nan")


def known_metrics(tables: Tables) -> list[str]:
    """The metrics that the tables hold: ``nll``, pairs ``<metric>_a``, ``<metric>_b`` of curves, and
    ``<task>_<column>`` of items."""
    columns = set(tables.curves.columns)
    pairs = [c[:-2] for c in tables.curves.columns if c.endswith("_a") and f"{c[:-2]}_b" in columns]
    errors = ("se", "mc_se")
    curves = [c for c in pairs if c not in errors and not c.endswith("_se")]
    tasks = [
        f"{task}_{name}" if task else name
        for task in tables.items["task"].unique()
        for name, column in _ITEM_METRICS.items()
        if column in tables.items.columns
    ]
    return list(dict.fromkeys([NLL, *curves, *tasks, *_passes(tables.items)]))


def _passes(items: pd.DataFrame) -> list[str]:
    """pass@1 and pass@n of the tasks that have ``samples`` n and how many ``passed``."""
    if not set(_SAMPLES) <= set(items.columns):
        return []
    least = items.dropna(subset=list(_SAMPLES)).groupby("task")["samples"].min()
    names = [f"{task}_pass@{k}" if task else f"pass@{k}" for task, n in least.items() for k in (1, int(n))]
    return list(dict.fromkeys(names))


def direction(tables: Tables, metric: str, better: str | None) -> Better:
    """Whether lower or higher values of a metric are better: as the argument says, or as the tables declare.

    Raises :class:`TableError` where the metric is unknown, or where nobody, or two, say what is better.
    """
    if metric not in (known := known_metrics(tables)) and _items_of(tables, metric) is None:
        raise TableError(unknown("metric", metric, known))
    if better not in (None, "lower", "higher"):
        raise TableError(f"better: {unknown('direction', better, ('lower', 'higher'))}")
    declared = "lower" if metric == NLL else tables.better.get(metric)
    if declared and better and declared != better:
        raise TableError(f"better: {better!r}, but of {metric!r} {declared} values are declared to be better")
    chosen = better or declared
    if chosen is None:
        raise TableError(
            f"metric {metric!r}: which values are better? Give better='lower' or better='higher', or declare "
            "it in curves.attrs['better']"
        )
    return "higher" if chosen == "higher" else "lower"


def metric_scores(tables: Tables, metric: str, sign: float) -> pd.DataFrame:
    """Rows of the table ``scores`` (less is better) that a metric's values by sequence or item give; empty
    where there are none."""
    if metric == NLL:
        return tables.scores
    chosen = _items_of(tables, metric)
    if chosen is None:
        return tables.scores.iloc[:0]
    rows, column = chosen
    codes, _ = pd.factorize(rows["item"])
    return pd.DataFrame(
        {
            "run": rows["run"],
            "step": rows["step"],
            "half": rows["half"],
            "sequence": codes,
            "draw": 0,
            "nll": sign * rows[column].to_numpy(float),
            "tokens": 1.0,
        }
    )


def metric_curves(tables: Tables, metric: str) -> pd.DataFrame:
    """The curves with both columns of a metric; where they lack one it is the mean over items."""
    curves, chosen = tables.curves, _items_of(tables, metric)
    lacking = [h for h in _HALVES if f"{metric}_{h}" not in curves.columns]
    if not lacking or chosen is None:
        return curves.dropna(subset=[f"{metric}_{h}" for h in _HALVES])
    rows, column = chosen
    means = rows.groupby(["run", "step", "half"])[column].mean().unstack("half")
    for half in lacking:
        # A task without halves selects and reads on the same items.
        side = means[half] if half in means else means.iloc[:, 0]
        curves = curves.merge(side.rename(f"{metric}_{half}").reset_index(), on=["run", "step"], how="left")
    return curves.dropna(subset=[f"{metric}_{h}" for h in _HALVES])


def _items_of(tables: Tables, metric: str) -> tuple[pd.DataFrame, str] | None:
    """The items of a metric's task, one a row, and the column of its values."""
    items = tables.items
    for task in items["task"].unique():
        match = _PASS.fullmatch(metric.removeprefix(f"{task}_") if task else metric)
        if match and set(_SAMPLES) <= set(items.columns):
            rows = items[items["task"] == task].drop_duplicates(["run", "step", "half", "item"])
            rows = rows.dropna(subset=list(_SAMPLES))
            if (rows["samples"] < int(match[1])).any():
                raise TableError(
                    f"metric {metric!r}: items of task {task!r} have {rows['samples'].min():g} samples"
                )
            return rows.assign(passes=pass_at_k(rows["samples"], rows["passed"], int(match[1]))), "passes"
        column = _ITEM_METRICS.get(metric.removeprefix(f"{task}_") if task else metric)
        if (not task or metric.startswith(f"{task}_")) and column is not None and column in items.columns:
            rows = items[items["task"] == task].drop_duplicates(["run", "step", "half", "item"])
            return rows.assign(**{column: rows[column].astype(float)}), column
    return None
