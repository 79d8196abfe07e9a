"""Extrapolation, scored: rows held out beyond the data, and back-tests that roll the origin forward.

The intervals that a law gives itself are conditional on the law being right: fitted below 1e21 FLOPs, they
cover less than four in five of Chinchilla's points above (docs/fitting.md, "How far to extrapolate"). Those
of `analysis.questions.drift` allow the law to be wrong. A back-test fits up to each budget and predicts all
later ones, as far as there are any: so far the intervals are calibrated, and beyond that they are called
otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.fitting.estimands import get_estimand
from analysis.fitting.fitting import fit, law_of
from analysis.fitting.result import Fit, Rows
from analysis.laws.base import Array, Law
from analysis.questions.drift import ASSUMPTION, drift_of
from analysis.tables.frame import Columns, FitError, Table, prepare
from analysis.tables.shown import Block, Shown

ORIGINS = 3
"""Origins that must have predicted so far beyond their data before a back-test reaches there."""

GROUPS = 12
"""Groups of runs that a back-test takes for budgets where runs share none."""


@dataclass(frozen=True, repr=False)
class Score(Shown):
    """Held-out rows, scored.

    Attributes:
        table: observed, prediction, error (prediction/observed - 1), ``beyond`` (the budget over the largest
            fitted), ``low``, ``high`` and ``covered`` by the law's own interval for a new run, ``drift_low``,
            ``drift_high`` and ``drift_covered`` by the interval that allows the law to be wrong.
        signed, rms: mean and root mean square of the error.
        coverage, drift_coverage: shares covered; None where the fit has no intervals.
    """

    table: pd.DataFrame
    signed: float
    rms: float
    coverage: float | None
    drift_coverage: float | None = None

    def blocks(self) -> Sequence[Block]:
        text = f"{len(self.table)} rows held out: {self.signed:+.2%} mean error, {self.rms:.2%} rms"
        if self.coverage is not None:
            text += f"; {self.coverage:.0%} covered by the law's own intervals for new runs"
        if self.drift_coverage is not None:
            far = float(self.table["beyond"].max())
            text += (
                f", {self.drift_coverage:.0%} by those that allow it to drift (up to {far:.3g} times beyond)"
            )
        return [text]

    def as_dict(self) -> dict[str, Any]:
        """The field ``holdout`` of ``crossover fit --holdout --json``."""
        rows = [
            {"row": int(i), **r} for i, r in zip(self.table.index, self.table.to_dict("records"), strict=True)
        ]
        summary = {"n": len(self.table), "signed": self.signed, "rms": self.rms, "coverage": self.coverage}
        return {**summary, "drift_coverage": self.drift_coverage, "rows": rows}


def score(result: Fit, rows: pd.DataFrame | None = None) -> Score:
    """Score a fit on its own held-out rows (``fit(..., holdout=...)``) or on given ones.

    Raises FitError if there are none.
    """
    heldout = result.heldout if rows is None else rows
    if heldout is None or not len(heldout):
        raise FitError("nothing was held out; give holdout='C > 1e21' to fit, or rows to score")
    target = str(result.law.target)
    observed = heldout[target].to_numpy(dtype=float)
    known = result.diagnostics.interval != "none"
    predicted = result.predict(heldout, interval=known, kind="run" if known else "curve")
    out = pd.DataFrame(
        {"observed": observed, "prediction": predicted["prediction"].to_numpy()}, index=heldout.index
    )
    out["error"] = out["prediction"] / out["observed"] - 1.0
    coverage = drift_coverage = None
    if known:
        out["low"], out["high"] = predicted["low"].to_numpy(), predicted["high"].to_numpy()
        out["covered"] = (out["low"] <= out["observed"]) & (out["observed"] <= out["high"])
        coverage = float(out["covered"].mean())
        if result.source is not None:
            wide = drift_of(result).predict(heldout)
            out["beyond"] = wide["beyond"].to_numpy()
            out["drift_low"], out["drift_high"] = wide["low"].to_numpy(), wide["high"].to_numpy()
            out["drift_covered"] = (out["drift_low"] <= observed) & (observed <= out["drift_high"])
            drift_coverage = float(out["drift_covered"].mean())
    rms = float(np.sqrt(np.mean(out["error"] ** 2)))
    return Score(out, float(out["error"].mean()), rms, coverage, drift_coverage)


@dataclass(frozen=True, repr=False)
class BackTest(Shown):
    """Fits up to each budget, and how far off they were at all later ones.

    Attributes:
        errors: one row a prediction: ``origin`` (the last budget fitted), ``row``, ``budget``, ``beyond``
        (over the largest fitted), ``error`` (log observed/predicted), ``low`` and ``high`` (of the error, by
            the drift that the rows up to the origin allow), ``covered``.
        level: coverage that the intervals claim.
    """

    errors: pd.DataFrame
    level: float

    @property
    def origins(self) -> int:
        """Fits that predicted later budgets."""
        return int(self.errors["origin"].nunique())

    @property
    def reach(self) -> float:
        """How many times beyond its data at least `ORIGINS` fits were tested; 1 if fewer fits were."""
        far = self.errors.groupby("origin")["beyond"].max().sort_values(ascending=False)
        return float(far.iloc[ORIGINS - 1]) if len(far) >= ORIGINS else 1.0

    @property
    def coverage(self) -> float:
        """Share of predictions in their interval, each origin counting once."""
        return float(self.errors.groupby("origin")["covered"].mean().mean()) if self.origins else math.nan

    @property
    def shift(self) -> float:
        """Mean log observed/predicted at the farthest budget of each origin."""
        if not self.origins:
            return math.nan
        last = self.errors.groupby("origin")["beyond"].transform("max") == self.errors["beyond"]
        return float(self.errors[last].groupby("origin")["error"].mean().mean())

    def is_calibrated(self, beyond: Array) -> Array:
        """Whether predictions so many times beyond the data have been tested."""
        return np.asarray(beyond <= max(self.reach, 1.0) * (1 + 1e-9))

    def predict(self, result: Fit, rows: Rows) -> pd.DataFrame:
        """The intervals of `analysis.questions.drift`, with ``calibrated``: whether back-tests reach
        there."""
        out = drift_of(result).predict(rows)
        return out.assign(calibrated=self.is_calibrated(out["beyond"].to_numpy()))

    def blocks(self) -> Sequence[Block]:
        if self.origins < ORIGINS:
            return [
                f"{self.origins} origins: predictions beyond the data are not calibrated ({ORIGINS} needed)"
            ]
        return [
            f"{self.origins} origins, {len(self.errors)} predictions of later budgets: {self.coverage:.0%} in"
            f" their {self.level:.0%} interval; {self.shift:+.2%} off on average at the farthest budget."
            f" Calibrated up to {self.reach:.3g} times beyond the data, and not beyond that"
        ]

    def as_dict(self) -> dict[str, Any]:
        """The field ``back_test`` of ``crossover fit --check --json``."""
        return {
            "origins": self.origins,
            "errors": len(self.errors),
            "coverage": self.coverage,
            "shift": self.shift,
            "reach": self.reach,
            "calibrated": self.origins >= ORIGINS,
            "assumption": ASSUMPTION,
        }


def budgets(values: Array, tolerance: float = 0.1) -> Array:
    """(n,) codes of compute budgets, ascending: values within ``tolerance`` (relative) of a common centre are
    one."""
    order = np.argsort(values, kind="stable")
    logs = np.log(values[order])
    codes = np.empty(len(values), dtype=int)
    code, first = -1, -math.inf
    for place, value in zip(order, logs, strict=True):
        if value > first + 2 * math.log1p(tolerance):
            code, first = code + 1, value
        codes[place] = code
    return codes


def _bins(values: Array, groups: int) -> Array:
    """Budgets as they are, or, where runs do not share budgets, groups of equal count."""
    codes = budgets(values)
    if codes.max() + 1 <= groups:
        return codes
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return (ranks * groups // len(values)).astype(int)


def rolling_origin(
    table: Table,
    law: str | Law = "chinchilla",
    *,
    by: str = "C",
    groups: int = GROUPS,
    level: float = 0.95,
    **options: Any,
) -> BackTest:
    """Back-test: fit to budgets up to k, predict all later ones, for every k that allows a fit.

    ``by`` is the column that orders budgets (C; any law variable). The other options are those of ``fit``.
    Predictions of one origin share a fit and are not independent: each origin counts once, however many runs
    it predicts.
    """
    chosen = law_of(law, table, options.get("columns"))
    keys = ("columns", "where", "drop_highest", "weights", "cluster")
    data = prepare(
        table,
        chosen,
        log_target=get_estimand(options.get("estimand", "huber")).log,
        **{k: v for k, v in options.items() if k in keys},
    )
    passed = {k: v for k, v in options.items() if k not in (*keys, "holdout", "holdout_table")}
    return BackTest(_errors(data, chosen, by, groups, level, passed), level)


def back_test(result: Fit, heldout: bool = True, **options: Any) -> BackTest:
    """Roll the origin of a fit's own rows, with its law, estimand and frozen parameters.

    ``heldout``: whether the rows held out take part. ``options`` are those of `fit`, such as ``starts``.

    Raises FitError if the fit holds no data, or no budgets to order it by.
    """
    result.require_data()
    data: Columns = result.source  # type: ignore[assignment]
    if heldout and data.heldout is not None:
        data = data.joined(data.heldout)
    passed = {"estimand": result.estimand, "fix": result.frozen, **options}
    by = "C" if "C" in data.x else result.law.variables[0]
    level = result.diagnostics.level
    return BackTest(_errors(data, result.law, by, GROUPS, level, passed), level)


def _errors(
    data: Columns, law: Law, by: str, groups: int, level: float, options: Mapping[str, Any]
) -> pd.DataFrame:
    """One row a prediction of a later budget; ``options`` are those of `fit`."""
    if by not in data.x:
        raise FitError(f"rolling origin needs the column {by!r} to order budgets; known: {', '.join(data.x)}")
    codes, target = _bins(data.x[by], groups), str(law.target)
    frame = data.frame(target).assign(_weight=data.weights)
    if data.clusters is not None:
        frame["_cluster"] = data.clusters
    cluster = "_cluster" if data.clusters is not None else None
    parts = []
    for origin in range(codes.max()):
        past, future = frame[codes <= origin], frame[codes > origin]
        try:
            result = fit(past, law, weights="_weight", cluster=cluster, **{"interval": "none", **options})
            ends = drift_of(result).predict(future, level)
        except (ValueError, RuntimeError):  # too few budgets so far, or no optimum
            continue
        with np.errstate(all="ignore"):
            logs = {k: np.log(ends[k].to_numpy() / ends["prediction"].to_numpy()) for k in ("low", "high")}
            error = np.log(future[target].to_numpy() / ends["prediction"].to_numpy())
        inside = (ends["low"] <= future[target]) & (future[target] <= ends["high"])
        place = {"origin": origin, "row": future.index, "budget": future[by], "beyond": ends["beyond"]}
        parts.append(pd.DataFrame({**place, "error": error, **logs, "covered": inside}))
    names = ["origin", "row", "budget", "beyond", "error", "low", "high", "covered"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)
