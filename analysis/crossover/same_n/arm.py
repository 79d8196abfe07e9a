"""One run as a crossover sees it: its curve on both validation halves, and what each sequence contributed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.crossover.same_n.metrics import NLL, Better, metric_curves, metric_scores
from analysis.tables.tables import Tables

Array = NDArray[np.float64]
UNITS = ("tokens", "epochs", "flops")


@dataclass(frozen=True)
class ValidationHalf:
    """One validation half along a run of S evaluations.

    ``value``, ``se`` (over sequences), ``mc_se`` (Monte-Carlo part of it): [S], nats per token. ``sequences``
    [S, n]: each sequence's mean over draws, NaN where a step has none; ``weights`` [n] sum to one. ``draws``:
    step -> [n, m], by draw.
    """

    value: Array
    se: Array
    mc_se: Array
    sequences: Array | None = None
    names: Array | None = None
    weights: Array | None = None
    draws: Mapping[int, Array] | None = None

    def take(self, index: NDArray[np.int64]) -> ValidationHalf:
        """The half at some of its evaluations; ``draws`` are kept under their steps."""
        sequences = None if self.sequences is None else self.sequences[index]
        return replace(
            self, value=self.value[index], se=self.se[index], mc_se=self.mc_se[index], sequences=sequences
        )


@dataclass(frozen=True)
class Arm:
    """A run's evaluations in order of ``step`` [S], with ``x``: unit -> [S] and the halves ``a`` (select) and
    ``b`` (report). ``chance``: the value of guessing, NaN where it is not known."""

    run: str
    likelihood: str
    step: Array
    x: Mapping[str, Array]
    a: ValidationHalf
    b: ValidationHalf
    chance: float = math.nan

    def __len__(self) -> int:
        return len(self.step)

    def until(self, step: float) -> Arm:
        """The arm up to a horizon, which a sweep reads it to however far it was extended."""
        keep = np.flatnonzero(self.step <= step)
        x = {u: v[keep] for u, v in self.x.items()}
        return replace(self, step=self.step[keep], x=x, a=self.a.take(keep), b=self.b.take(keep))

    def best_so_far(self) -> NDArray[np.int64]:
        """[S] index of the evaluation where half A's loss was least so far (the first of equals)."""
        least = np.minimum.accumulate(self.a.value)
        fresh = np.concatenate([[True], self.a.value[1:] < least[:-1]])
        return np.maximum.accumulate(np.where(fresh, np.arange(len(self)), 0))

    def bracketed(self, margin: float = 3.0, evaluations: int = 3) -> bool:
        """Whether half A's minimum lies inside the run: its last three evaluations exceed it by three
        (paired) errors."""
        best = int(self.a.value.argmin())
        last = np.arange(max(best + 1, len(self) - evaluations), len(self))
        if len(last) < evaluations:
            return False
        rise = self.a.value[last] - self.a.value[best]
        error = _paired_se(self.a, last, best)
        return bool(np.all(rise > margin * np.where(np.isfinite(error), error, 0.0)))


def _paired_se(half: ValidationHalf, index: NDArray[np.int64], reference: int) -> Array:
    if half.sequences is not None and half.weights is not None:
        centred = influence(half.sequences[index] - half.sequences[reference], half.weights)
        if np.isfinite(centred).all():
            return np.sqrt((centred**2).sum(axis=-1))
    return np.hypot(half.se[index], half.se[reference])


def influence(values: Array, weights: Array) -> Array:
    """What each unit adds to the error of a weighted mean.

    ``values`` [..., n], ``weights`` [n] (sum 1) -> [..., n] such that ``influence @ influence.T`` estimates
    the covariance of the means when units are exchangeable (the linearised, sandwich form with n/(n-1)).
    """
    n = values.shape[-1]
    mean = values @ weights
    return np.sqrt(n / max(n - 1, 1)) * weights * (values - mean[..., None])


def _kinds(runs: pd.DataFrame) -> dict[str, str]:
    """Run -> its kind of likelihood; a trunk, which has no row of its own, has that of its branches."""
    kinds = dict(zip(runs["run"].astype(str), runs["likelihood"].astype(str), strict=True))
    if "trunk" in runs.columns:
        branches = runs[runs["trunk"].notna()]
        for trunk, kind in zip(
            branches["trunk"].astype(str), branches["likelihood"].astype(str), strict=True
        ):
            kinds.setdefault(trunk, kind)
    return kinds


def arms(
    tables: Tables, metric: str = NLL, better: Better = "lower", chance: float = math.nan
) -> dict[str, Arm]:
    """Run -> its arm, of which less is better.

    A metric other than ``nll`` is read from the columns ``<metric>_a`` and ``<metric>_b`` of curves, its
    errors from ``<metric>_se_a`` and ``<metric>_se_b``, and its values by item from those of its task.
    ``chance``: what guessing scores.
    """
    sign = -1.0 if better == "higher" else 1.0
    kinds = _kinds(tables.runs)
    scores = {str(run): part for run, part in metric_scores(tables, metric, sign).groupby("run", sort=False)}
    out: dict[str, Arm] = {}
    for run, curve in metric_curves(tables, metric).groupby("run", sort=False):
        curve = curve.sort_values("step")
        steps = curve["step"].to_numpy(float)
        kind = kinds.get(str(run), "unknown")
        halves = {}
        for half in ("a", "b"):
            value = sign * curve[f"{metric}_{half}"].to_numpy(float)
            if metric == NLL:
                se, mc = curve[f"se_{half}"].to_numpy(float), curve[f"mc_se_{half}"].to_numpy(float)
            else:
                se = curve.get(f"{metric}_se_{half}", pd.Series(np.nan, index=curve.index)).to_numpy(float)
                mc = np.zeros(len(curve))
            if kind == "exact":
                mc = np.where(np.isfinite(mc), mc, 0.0)
            halves[half] = _scored(ValidationHalf(value, se, mc), scores.get(str(run)), half, steps)
        units = {u: curve[u].to_numpy(float) for u in UNITS}
        out[str(run)] = Arm(
            run=str(run),
            likelihood=kind,
            step=steps,
            x=units,
            a=halves["a"],
            b=halves["b"],
            chance=sign * chance,
        )
    return out


def _scored(half: ValidationHalf, scores: pd.DataFrame | None, name: str, steps: Array) -> ValidationHalf:
    """The half with per-sequence values, if the scores hold any."""
    if scores is None:
        return half
    scores = scores[(scores["half"] == name) & scores["step"].isin(steps)]
    if scores.empty:
        return half
    names, column = np.unique(scores["sequence"].to_numpy(float), return_inverse=True)
    row = np.searchsorted(steps, scores["step"].to_numpy(float))
    value = scores["nll"].to_numpy(float)
    shape = (len(steps), len(names))
    flat = row * shape[1] + column
    count = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
    total = np.bincount(flat, weights=value, minlength=shape[0] * shape[1]).reshape(shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = total / count
    tokens = np.zeros(len(names))
    tokens[column] = scores["tokens"].to_numpy(float)
    draws: dict[int, Array] = {}
    draw = scores["draw"].to_numpy(int)
    most = int(draw.max()) + 1
    for r in np.unique(row) if most >= 2 else ():
        mine = row == r
        m = int(draw[mine].max()) + 1
        grid = np.full((shape[1], m), np.nan)
        grid[column[mine], draw[mine]] = value[mine]
        draws[int(steps[r])] = grid
    weights = tokens / tokens.sum()
    own = np.sqrt((influence(means, weights) ** 2).sum(axis=1))
    se = np.where(np.isfinite(half.se), half.se, own)
    return replace(half, se=se, sequences=means, names=names, weights=weights, draws=draws)
