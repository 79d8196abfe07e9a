"""Extrapolation, scored: rows held out beyond the data, and back-tests that roll the origin forward.

The intervals that a law gives itself are conditional on the law being right: fitted below 1e21 FLOPs, they
cover less than four in five of Chinchilla's points above (docs/fitting.md, "How far to extrapolate"). A
back-test measures that error, and a prediction calibrated by it can be believed: distribution-free from 19
back-test errors on, parametric and called so with fewer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as t_distribution

from analysis.fitting.estimands import get_estimand
from analysis.fitting.fitting import fit, law_of
from analysis.fitting.result import Fit, Rows
from analysis.laws.base import Array, Law
from analysis.tables.frame import Columns, FitError, Table, prepare
from analysis.tables.shown import Block, Shown

FREE_ERRORS = 19
"""Back-test errors from which on intervals need no distribution."""

GROUPS = 12
"""Groups of runs that a back-test takes for budgets where runs share none."""


@dataclass(frozen=True, repr=False)
class Score(Shown):
    """Held-out rows: ``table`` (observed, prediction, low, high, error = prediction/observed - 1, covered),
    mean signed and root-mean-square relative error, and the share that the interval for new runs covers."""

    table: pd.DataFrame
    signed: float
    rms: float
    coverage: float | None

    def blocks(self) -> Sequence[Block]:
        cover = "" if self.coverage is None else f"; {self.coverage:.0%} covered by intervals for new runs"
        return [f"{len(self.table)} rows held out: {self.signed:+.2%} mean error, {self.rms:.2%} rms{cover}"]

    def as_dict(self) -> dict[str, Any]:
        """The field ``holdout`` of ``crossover fit --holdout --json``."""
        rows = [
            {"row": int(i), **r} for i, r in zip(self.table.index, self.table.to_dict("records"), strict=True)
        ]
        summary = {"n": len(self.table), "signed": self.signed, "rms": self.rms, "coverage": self.coverage}
        return {**summary, "rows": rows}


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
    coverage = None
    if known:
        out["low"], out["high"] = predicted["low"].to_numpy(), predicted["high"].to_numpy()
        out["covered"] = (out["low"] <= out["observed"]) & (out["observed"] <= out["high"])
        coverage = float(out["covered"].mean())
    return Score(out, float(out["error"].mean()), float(np.sqrt(np.mean(out["error"] ** 2))), coverage)


@dataclass(frozen=True, repr=False)
class Calibration(Shown):
    """Back-test errors and the prediction intervals they justify.

    ``errors``: one row a prediction (origin, row, budget, error = log observed/predicted, scale, z =
    error/scale). ``kind``: ``distribution-free`` (19 or more origins), ``parametric`` (t, with its degrees of
    freedom) or ``unbounded``. ``factor`` multiplies the scale of a new prediction's error.
    """

    errors: pd.DataFrame
    kind: str
    factor: float
    level: float
    horizon: int
    assumption: str

    def predict(self, result: Fit, rows: Rows) -> pd.DataFrame:
        """Calibrated intervals for new runs: prediction, low, high; infinite ends when unbounded."""
        base = result.predict(rows, interval=False)
        scale = _scales(result, rows)
        centre = np.log(base["prediction"].to_numpy())
        with np.errstate(over="ignore"):
            base["low"], base["high"] = (
                np.exp(centre - self.factor * scale),
                np.exp(centre + self.factor * scale),
            )
        base.attrs.update(kind="run", method=f"rolling origin, {self.kind}", assumption=self.assumption)
        return base

    def blocks(self) -> Sequence[Block]:
        return [
            f"{self.errors['origin'].nunique()} origins, {len(self.errors)} back-test errors, "
            f"{self.horizon} budget{'s' * (self.horizon > 1)} ahead: {self.kind}, "
            f"mean z {self.errors['z'].mean() if len(self.errors) else math.nan:+.2f}; {self.assumption}"
        ]


def _scales(result: Fit, rows: Rows) -> Array:
    """(m,) standard error of log prediction for a new run: the curve's and the residuals', in quadrature."""
    known = result.diagnostics
    quantile = float(t_distribution.ppf(0.5 + known.level / 2, known.degrees_of_freedom))
    predicted = result.predict(rows, kind="run")
    with np.errstate(all="ignore"):
        width = np.log(predicted["high"].to_numpy() / predicted["low"].to_numpy()) / 2 / quantile
    floor = float(known.residual_scale or 0.0)
    return np.where(np.isfinite(width), width, 10.0 * floor + 1.0)


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
    horizon: int = 1,
    groups: int = GROUPS,
    level: float = 0.95,
    **options: Any,
) -> Calibration:
    """Back-test: fit to budgets up to k, predict budget k + ``horizon``, for every k that allows a fit.

    ``by`` is the column that orders budgets (C; any law variable). The other options are those of ``fit``.
    Errors are scaled by the prediction's own standard error for a new run. Those of one origin share a fit
    and are not independent: each origin counts once, however many runs it predicts.
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
    errors = _errors(data, chosen, by, horizon, groups, passed)
    return calibrate(errors, level, horizon)


def back_test(result: Fit, heldout: bool = True, **options: Any) -> Calibration:
    """Roll the origin of a fit's own rows, with its law, estimand and frozen parameters.

    ``heldout``: whether the rows held out take part. ``options`` are those of `fit`, such as ``starts``.

    Raises FitError if the fit holds no data, or no budgets to order it by.
    """
    result.require_data()
    data: Columns = result.source  # type: ignore[assignment]
    if heldout and data.heldout is not None:
        data = data.joined(data.heldout)
    passed = {"estimand": result.estimand, "fix": result.frozen, **options}
    return calibrate(_errors(data, result.law, "C", 1, GROUPS, passed), result.diagnostics.level)


def _errors(
    data: Columns, law: Law, by: str, horizon: int, groups: int, options: Mapping[str, Any]
) -> pd.DataFrame:
    """One row a prediction of a later budget; ``options`` are those of `fit`."""
    if by not in data.x:
        raise FitError(f"rolling origin needs the column {by!r} to order budgets; known: {', '.join(data.x)}")
    codes, target = _bins(data.x[by], groups), str(law.target)
    frame = data.frame(target).assign(_weight=data.weights)
    if data.clusters is not None:
        frame["_cluster"] = data.clusters
    cluster = "_cluster" if data.clusters is not None else None
    errors: list[dict[str, Any]] = []
    for origin in range(codes.max() + 1 - horizon):
        past, future = frame[codes <= origin], frame[codes == origin + horizon]
        try:
            result = fit(past, law, weights="_weight", cluster=cluster, **{"interval": "t", **options})
            scales = _scales(result, future)
            predicted = result.predict(future, interval=False)["prediction"].to_numpy()
        except (ValueError, RuntimeError):
            continue
        error = np.log(future[target].to_numpy() / predicted)
        errors.extend(
            {"origin": origin, "row": row, "budget": c, "error": e, "scale": k, "z": e / k}
            for row, c, e, k in zip(future.index, future[by], error, scales, strict=True)
        )
    return pd.DataFrame(errors, columns=["origin", "row", "budget", "error", "scale", "z"])


def calibrate(errors: pd.DataFrame, level: float = 0.95, horizon: int = 1) -> Calibration:
    """Prediction intervals that back-test errors justify: distribution-free from 19 origins on, parametric
    from 3."""
    z = np.abs(errors["z"].to_numpy(dtype=float))
    share = (
        1.0 / errors.groupby("origin")["z"].transform("size").to_numpy(dtype=float)
        if len(errors)
        else np.zeros(0)
    )
    m = int(errors["origin"].nunique())
    if m >= FREE_ERRORS:
        order = np.argsort(z)
        reached = np.cumsum(share[order]) >= (m + 1) * level - 1e-9
        factor = float(z[order][np.argmax(reached)]) if reached.any() else math.inf
        text = f"the next error, scaled by its standard error, is exchangeable with those of {m} origins"
        return Calibration(errors, "distribution-free", factor, level, horizon, text)
    if m >= 3:
        spread = float(np.sqrt(np.sum(share * z**2) / m))
        factor = float(t_distribution.ppf(0.5 + level / 2, m)) * max(spread, 1.0)
        text = (
            f"parametric: scaled back-test errors normal about zero, t with {m} degrees of freedom "
            f"(fewer than {FREE_ERRORS} origins)"
        )
        return Calibration(errors, "parametric", factor, level, horizon, text)
    factor = math.inf
    return Calibration(
        errors,
        "unbounded",
        factor,
        level,
        horizon,
        f"{m} origins are too few to say how far a prediction errs: at least 3 are needed",
    )
