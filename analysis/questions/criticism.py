"""What is wrong with a fit: lack of fit, influence of single points, and laws against one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import f as f_distribution

from analysis.fitting.fitting import fit, law_of
from analysis.fitting.likelihood import log_likelihood
from analysis.fitting.result import Fit, NotConverged
from analysis.fitting.solver.descent import DescentBatch, descend
from analysis.fitting.starts import problem_of
from analysis.fitting.uncertainty.resampling import dispersion, residuals_and_slopes
from analysis.laws.base import Array, Law
from analysis.questions.holdout import score
from analysis.tables.frame import Table
from analysis.tables.shown import Block, Grid, Shown


@dataclass(frozen=True, repr=False)
class LackOfFit(Shown):
    """Tests of the law's form. ``pure_error``: the fit against the scatter of replicates (None without
    replicates). ``trends``: one row a variable; would its logarithm and the square of it explain residuals
    that the law does not? Small p says that the form is wrong there. ``alarm`` collects those below .01 after
    Holm's correction."""

    pure_error: dict[str, float] | None
    trends: pd.DataFrame
    alarm: list[str] = field(default_factory=list)

    def blocks(self) -> Sequence[Block]:
        pure = (
            "no replicates"
            if self.pure_error is None
            else (
                f"F({self.pure_error['df1']:.0f}, {self.pure_error['df2']:.0f}) = "
                f"{self.pure_error['F']:.2f}, p = {self.pure_error['p']:.2g}"
            )
        )
        return [f"pure error: {pure}", Grid(self.trends, 3), *(f"! {a}" for a in self.alarm)]


def lack_of_fit(result: Fit) -> LackOfFit:
    """Replicate pure-error F test, and added-variable F tests of trends in log N, log D, epochs and so on.

    The tests are least-squares ones on the residuals of the estimand's scale; with a robust estimand gross
    outliers inflate the noise and make them cautious.
    """
    problem, phi = problem_of(result)
    r, jac = residuals_and_slopes(problem, phi)
    w = problem.weights / problem.weights.mean()
    n, free = len(r), len(phi)
    root = np.sqrt(w)
    base = jac.T * root[:, None]
    target = _project_out(base, r * root)
    rss = float(target @ target)
    tests: list[dict[str, Any]] = []
    for name, column in _trend_columns(result).items():
        z = (column - column.mean()) / (column.std() or 1.0)
        extra = _project_out(base, np.column_stack((z, z * z)) * root[:, None])
        solid = np.linalg.norm(extra, axis=0) > 1e-6 * math.sqrt(n)
        extra, k = extra[:, solid], int(solid.sum())
        if k == 0 or n - free - k < 3 or rss <= 0:
            continue
        coefficient, *_ = np.linalg.lstsq(extra, target, rcond=None)
        left = float(np.sum((target - extra @ coefficient) ** 2))
        f = (rss - left) / k / (left / (n - free - k))
        tests.append(
            {
                "variable": name,
                "F": f,
                "df": k,
                "p": float(f_distribution.sf(f, k, n - free - k)),
                "slope": float(coefficient[0]),
                "explains": 1 - left / rss,
            }
        )
    trends = pd.DataFrame(tests, columns=["variable", "F", "df", "p", "slope", "explains"])
    pure = _pure_error(result, r, w, free)
    alarm = []
    if pure is not None and pure["p"] < 0.01:
        alarm.append(
            f"the fit misses replicate means by more than replicates scatter (p = {pure['p']:.1g}): "
            f"wrong form, or "
            "replicates that share noise"
        )
    ordered = trends.sort_values("p").reset_index(drop=True)
    for k, row in enumerate(ordered.to_dict("records")):
        if row["p"] * (len(ordered) - k) >= 0.01:
            break
        alarm.append(
            f"residuals follow log {row['variable']} (p = {row['p']:.1g}): intervals assume that they do not"
        )
    return LackOfFit(pure, trends, alarm)


def _project_out(base: Array, columns: Array) -> Array:
    basis, singular, _ = np.linalg.svd(base, full_matrices=False)
    basis = basis[:, singular > 1e-10 * max(float(singular.max(initial=0.0)), 1e-300)]
    return columns - basis @ (basis.T @ columns)


def _trend_columns(result: Fit) -> dict[str, Array]:
    data = result.require_data()
    out = {
        v: np.log(data[v].to_numpy())
        for v in data.columns
        if v != str(result.law.target) and v not in result.law.raw_variables and np.all(data[v] > 0)
    }
    if {"D", "U"} <= set(data.columns):
        out["epochs"] = np.log(data["D"].to_numpy() / data["U"].to_numpy())
    return {k: v for k, v in out.items() if np.ptp(v) > 1e-9}


def _pure_error(result: Fit, r: Array, w: Array, free: int) -> dict[str, float] | None:
    data = result.data
    if data is None:
        return None
    _, code = np.unique(data[list(result.law.variables)].to_numpy(), axis=0, return_inverse=True)
    code = code.ravel()
    cells, n = int(code.max()) + 1, len(r)
    if n - cells < 2 or cells - free < 1:
        return None
    mean = np.bincount(code, w * r) / np.bincount(code, w)
    within = float(np.sum(w * (r - mean[code]) ** 2))
    between = float(np.sum(w * mean[code] ** 2))
    if within <= 0:
        return None
    f = between / (cells - free) / (within / (n - cells))
    return {
        "F": f,
        "df1": float(cells - free),
        "df2": float(n - cells),
        "p": float(f_distribution.sf(f, cells - free, n - cells)),
        "replicate_scale": math.sqrt(within / (n - cells)),
    }


def influence(result: Fit, limit: int = 2000) -> pd.DataFrame:
    """Case deletion: how far each row moves the fit, by refitting without it (all rows in one batch).

    One row a data row, most influential first: ``row`` (its index in the table), ``distance`` (fall of the
    objective's own likelihood ratio, per parameter, between the two optima: above 1 is a lot), and the shift
    of each parameter in its standard errors. Over ``limit`` rows only those with the largest score are
    refitted.
    """
    problem, phi = problem_of(result)
    n = len(problem.y)
    r, jac = residuals_and_slopes(problem, phi)
    score = np.abs(problem.weights * problem.estimand.psi(r)) * np.linalg.norm(jac, axis=0)
    chosen = np.argsort(-score)[:limit] if n > limit else np.arange(n)
    weights = np.repeat(problem.weights[None], len(chosen), axis=0)
    weights[np.arange(len(chosen)), chosen] = 0.0
    estimand = problem.estimand if problem.estimand.smooth else problem.estimand.smoothed(1e-4)
    moved = descend(
        problem,
        np.repeat(phi[None], len(chosen), axis=0),
        estimand=estimand,
        tolerance=1e-10,
        batch=DescentBatch(weights),
    )
    base = float(problem.objective(phi[None], estimand=estimand)[0])
    rise = (
        2
        * (problem.objective(moved.phi, estimand=estimand) - base)
        / dispersion(problem, phi)
        / max(len(phi), 1)
    )
    natural, centre = problem.natural(moved.phi), problem.natural(phi[None])[0]
    out = pd.DataFrame(
        {"row": result.require_data().index.to_numpy()[chosen], "distance": np.maximum(rise, 0.0)}
    )
    for j in problem.free:
        name = problem.law.parameter_names[j]
        se = result.parameters[name].se
        out[name] = (natural[:, j] - centre[j]) / se if se else natural[:, j] - centre[j]
    return out.sort_values("distance", ascending=False, ignore_index=True)


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Laws on the same rows. ``table`` has one row a law, best AICc first; ``nested`` the tests of laws that
    contain another; ``fits`` the fits themselves; ``left_out`` laws that could not be fitted, and why."""

    table: pd.DataFrame
    nested: pd.DataFrame
    fits: dict[str, Fit]
    left_out: dict[str, str]

    def blocks(self) -> Sequence[Block]:
        nested: list[Block] = ["nested:", Grid(self.nested, 5)] if len(self.nested) else []
        left_out = [f"! {k}: {v}" for k, v in self.left_out.items()]
        return [Grid(self.table, 5, index=True), *nested, *left_out]

    def as_dict(self) -> dict[str, Any]:
        """The field ``compare`` of ``crossover fit --compare --json``."""
        laws = [{"law": k, **r} for k, r in zip(self.table.index, self.table.to_dict("records"), strict=True)]
        return {"laws": laws, "nested": self.nested.to_dict("records"), "left_out": self.left_out}


def compare(table: Table, laws: Sequence[str | Law], **options: Any) -> Comparison:
    """Fit several laws with the same options, on the rows that all of them can use.

    Columns: parameters ``k``, log-likelihood, AICc and its differences, residual scale, and with ``holdout``
    the mean signed and root mean square relative error on what was held out. A law that does not converge is
    listed, not ranked.
    """
    options = {"interval": "none", **options}
    fits: dict[str, Fit] = {}
    left_out: dict[str, str] = {}
    for law in laws:
        chosen = law_of(law, table, options.get("columns"))
        try:
            result = fit(table, chosen, **options).require()
            fits[str(chosen.name)] = result
        except (ValueError, NotConverged) as error:
            left_out[str(chosen.name)] = str(error)
    common = set.intersection(*(set(f.require_data().index) for f in fits.values())) if fits else set()
    for name, result in list(fits.items()):
        if result.n != len(common):
            left_out[name] = f"uses {result.n} rows where the others share {len(common)}"
    ranked = {k: v for k, v in fits.items() if k not in left_out}
    rows = {name: _summary(result) for name, result in ranked.items()}
    out = pd.DataFrame.from_dict(rows, orient="index")
    if len(out):
        out = out.sort_values("AICc")
        out.insert(3, "dAICc", out["AICc"] - out["AICc"].min())
    return Comparison(out, _nested(ranked), fits, left_out)


def _summary(result: Fit) -> dict[str, float]:
    r = result.residuals()
    n = len(r)
    free = len(result.parameters) - len(result.frozen)
    k = free + 1
    likelihood = log_likelihood(r, result.estimand, result.weights)
    if result.estimand.log:  # densities of the loss itself, so that log and plain estimands compare
        likelihood -= float(np.sum(np.log(result.require_data()[str(result.law.target)])))
    aicc = -2 * likelihood + 2 * k + (2 * k * (k + 1) / (n - k - 1) if n - k - 1 > 0 else math.inf)
    out = {
        "k": float(free),
        "logL": likelihood,
        "AICc": aicc,
        "objective": result.objective,
        "residual_scale": float(result.diagnostics.residual_scale or 0.0),
    }
    if result.heldout is not None:
        scored = score(result)
        out |= {"holdout_signed": scored.signed, "holdout_rms": scored.rms}
    return out


def nested_test(small: Fit, large: Fit) -> dict[str, float]:
    """F test of a law against one that contains it, both fitted to the same rows with the same estimand.

    2 (Q_small - Q_large) / kappa per extra parameter, against F with n - k degrees: exact for normal errors
    and squares, asymptotic otherwise. Where the small law lies on the large one's boundary the p-value is
    conservative. Raises ValueError if estimand or rows differ, or if the larger law has no more parameters.
    """
    if small.estimand != large.estimand or small.n != large.n:
        raise ValueError("a nested test needs the same estimand and the same rows")
    problem, phi = problem_of(large)
    extra = (len(large.parameters) - len(large.frozen)) - (len(small.parameters) - len(small.frozen))
    if extra < 1:
        raise ValueError(f"{large.law.name} has no more free parameters than {small.law.name}")
    df = max(small.n - len(phi), 1)
    f = max(2 * (small.objective - large.objective) / dispersion(problem, phi) / extra, 0.0)
    return {"extra": float(extra), "F": f, "df": float(df), "p": float(f_distribution.sf(f, extra, df))}


def _nested(fits: dict[str, Fit]) -> pd.DataFrame:
    rows = [
        {"small": name, "large": large, **nested_test(fits[name], result)}
        for large, result in fits.items()
        for name in result.law.special_cases
        if name in fits
    ]
    return pd.DataFrame(rows, columns=["small", "large", "extra", "F", "df", "p"])
