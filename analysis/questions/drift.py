"""Predictions beyond the data, by a law that may be wrong: what the law leaves over drifts on.

A law's own intervals hold if the law is right, and no published one is, 20 times beyond its data. Here the
log of the loss is the law, plus a drift that no parameter takes up, plus noise (Kennedy and O'Hagan 2001,
J. R. Stat. Soc. B 63, 425). The drift is an integrated Wiener process in the logarithm of each variable of
the law (the prior of a cubic smoothing spline: Wahba 1978, J. R. Stat. Soc. B 40, 364) and, weaker, in that
of N D. Beyond the data it goes on as it went, with a spread that grows with the distance to the power 3/2.

How much there is of it the data say: the likelihood of its size is the product of predictions of each run
from those before it, a back-test of every run (Dawid 1984, J. R. Stat. Soc. A 147, 278). Little data say
little, so a prior stands beside it: Student's t with 3 degrees of freedom and scale `TYPICAL`, the size that
makes a law err by some per cent 20 times beyond its data, as published ones do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm
from scipy.stats import t as student

from analysis.fitting.problem import FitProblem
from analysis.fitting.result import Fit, Rows
from analysis.fitting.starts import problem_of
from analysis.fitting.uncertainty.resampling import covariance as sandwich
from analysis.fitting.uncertainty.resampling import residuals_and_slopes
from analysis.laws.base import Array
from analysis.tables.frame import FitError

TYPICAL, TAILS = 0.015, 3.0
"""Scale of the prior of the drift's size, relative loss per decade to the power 3/2, and its degrees of
freedom."""
SIZES = np.geomspace(3e-4, 0.15, 12)
"""Sizes of the drift that are tried."""
NOISES = np.geomspace(0.15, 2.5, 14)
"""Standard deviations of noise that are tried, over that of the residuals."""
JOINT = 0.1
"""Variance of the drift along N D, over that along each variable."""
ROWS = 1000
"""Rows beyond which as many, spread over the data, stand for all."""
ROBUST = 2.0
"""Robust standard deviations beyond which a residual of a robust estimand weighs less."""
ASSUMPTION = (
    "the law's error drifts on beyond the data as an integrated Wiener process of the size that the data and "
    "a prior allow; noise of new runs like that of the residuals"
)


@dataclass(frozen=True)
class Evidence:
    """What the residuals (n,) of a fit say of drift and noise, in units of each row's noise.

    Attributes:
        residuals: (n,) of the fit.
        jac, inverse: (n, F) slopes of the log prediction, and their pseudo-inverse (F, n).
        places: axis of the drift -> (n,) its values, log10.
        noise: (n,) standard deviation of each row's noise, over that of an ordinary row.
        contrasts, values: combinations (n, m) of rows to which the law is blind, uncorrelated under drift,
        and (m,) their variance for a drift of size 1.
        unit: what relative losses are relative to: 1 for log estimands.
    """

    residuals: Array
    jac: Array
    inverse: Array
    places: Mapping[str, Array]
    noise: Array
    contrasts: Array
    values: Array
    unit: float


@dataclass(frozen=True)
class Drift:
    """A fit with the drift that its data allow.

    Attributes:
        fit: the fit.
        evidence: what its residuals say.
        weights: (K,) how probable each size and noise is that was tried.
        sizes, noises: (K,) those: relative loss per decade to the power 3/2, relative loss.
    """

    fit: Fit
    evidence: Evidence
    weights: Array
    sizes: Array
    noises: Array

    def predict(self, rows: Rows, level: float | None = None) -> pd.DataFrame:
        """Prediction of the law, ``low`` and ``high`` for a new run, ``shift`` (the centre of the interval
        over the prediction, less 1) and ``beyond`` (the budget over the largest in the data). The interval
        holds the law's own, which is right if the law is. Ends are infinite where the data do not identify
        the law.
        """
        frame = framed(self.fit, rows)
        tail = (1 - (self.fit.diagnostics.level if level is None else level)) / 2
        value = self.fit.predict(frame, interval=False)["prediction"].to_numpy()
        slopes = self._slopes(frame)
        mean, spread = self._moments(frame, slopes)
        ends = [self._quantiles(mean, spread, share) for share in (tail, 0.5, 1 - tail)]
        own = self._own(slopes, tail)
        ends[0], ends[2] = np.minimum(ends[0], -own), np.maximum(ends[2], own)
        with np.errstate(over="ignore"):
            if self.fit.estimand.log:
                low, middle, high = (value * np.exp(e) for e in ends)
            else:
                low, middle, high = (value + self.evidence.unit * e for e in ends)
        columns = {"prediction": value, "low": low, "high": high, "shift": middle / value - 1}
        far = budget_of(self.fit, frame) / budget_of(self.fit, self.fit.require_data()).max()
        out = pd.DataFrame({**columns, "beyond": far}, index=frame.index)
        out.attrs.update(kind="run", method="drift", assumption=ASSUMPTION)
        return out

    def _slopes(self, frame: pd.DataFrame) -> Array:
        """(m, F) derivatives of the log prediction, or of the prediction in units of the losses."""
        problem, phi = problem_of(self.fit)
        x = problem.law.inputs(
            {v: frame[v].to_numpy(dtype=float) for v in problem.law.variables}, problem.log_units
        )
        value, jac = problem.law.evaluate(problem.theta(phi[None]), x, jac=True)
        slopes = jac[0][problem.free].T  # type: ignore[index]
        return slopes / (value[0][:, None] if self.fit.estimand.log else self.evidence.unit)

    def _own(self, slopes: Array, tail: float) -> Array:
        """(m,) half width of the law's own interval for a new run: it holds if the law is right, and it may
        be."""
        problem, phi = problem_of(self.fit)
        cov = sandwich(problem, phi, None if self.fit.source is None else self.fit.source.clusters)
        known = self.fit.diagnostics
        variance = (
            np.sum((slopes @ cov) * slopes, axis=1)
            + (float(known.residual_scale or 0) / self.evidence.unit) ** 2
        )
        return float(student.ppf(1 - tail, known.degrees_of_freedom)) * np.sqrt(variance)

    def _moments(self, frame: pd.DataFrame, slopes: Array) -> tuple[Array, Array]:
        """(K, m) mean and standard deviation of a new run over its prediction, in logs, at what was tried."""
        known = self.evidence
        ahead = {name: values for name, values in places_of(self.fit, frame).items() if name in known.places}
        origin = {name: float(values.min()) for name, values in known.places.items()}
        cross = covariance(ahead, known.places, origin) / known.noise
        inside = covariance(known.places, known.places, origin) / np.outer(known.noise, known.noise)
        law = slopes @ known.inverse  # what the law itself makes of the data: least squares
        gain = (cross - law @ inside) @ known.contrasts
        drift = np.diag(covariance(ahead, ahead, origin))
        drift = drift - 2 * np.sum(law * cross, axis=1) + np.sum((law @ inside) * law, axis=1)
        ordinary = float(np.mean(known.noise**2))
        size, noise = self.sizes[:, None] ** 2, self.noises[:, None] ** 2
        total = size * known.values + noise
        mean = law @ known.residuals + (size * (known.contrasts.T @ known.residuals) / total) @ gain.T
        variance = (
            size * drift + noise * (ordinary + np.sum(law**2, axis=1)) - (size**2 / total) @ (gain**2).T
        )
        unknown = np.linalg.norm(slopes - law @ known.jac, axis=1) > 1e-4 * np.linalg.norm(slopes, axis=1)
        return mean, np.where(unknown, np.inf, np.sqrt(np.maximum(variance, 1e-300)))

    def _quantiles(self, mean: Array, spread: Array, share: float) -> Array:
        """(m,) quantiles of the mixtures of normals whose members are columns."""
        out = np.empty(mean.shape[1])
        for j, (centre, width) in enumerate(zip(mean.T, spread.T, strict=True)):
            if not np.isfinite(width).all():
                out[j] = (
                    float(self.weights @ centre) if share == 0.5 else math.copysign(math.inf, share - 0.5)
                )
                continue

            def excess(at: float, centre: Array = centre, width: Array = width) -> float:
                return float(self.weights @ norm.cdf((at - centre) / width)) - share

            out[j] = brentq(
                excess, float((centre - 12 * width).min()), float((centre + 12 * width).max()), xtol=1e-9
            )
        return out


def drift_of(fit: Fit) -> Drift:
    """The drift that the data of a fit allow.

    Raises NotConverged if the fit has no numbers, FitError if it holds no data or too few.
    """
    fit.require()
    known = _evidence(fit)
    data = known.contrasts.T @ known.residuals
    scale = float(np.sqrt(np.mean(data**2))) or 1e-12
    size, noise = (g.ravel() for g in np.meshgrid(SIZES, NOISES * scale, indexing="ij"))
    total = size[:, None] ** 2 * known.values + noise[:, None] ** 2
    likelihood = -0.5 * np.sum(np.log(total) + data**2 / total, axis=1)
    prior = np.log(size) - 0.5 * (TAILS + 1) * np.log1p((size / TYPICAL) ** 2 / TAILS)
    weights = np.exp(likelihood + prior - np.max(likelihood + prior))
    kept = weights > 1e-4 * weights.max()
    return Drift(fit, known, weights[kept] / weights[kept].sum(), size[kept], noise[kept])


def _evidence(fit: Fit) -> Evidence:
    problem, phi = problem_of(fit)
    residuals, jac = residuals_and_slopes(problem, phi)
    unit = 1.0 if fit.estimand.log else float(np.median(np.abs(problem.y)))
    residuals, jac = residuals / unit, jac.T / unit
    noise = _noise(problem, residuals)
    places = places_of(fit, fit.require_data())
    clusters = None if fit.source is None else fit.source.clusters
    groups = np.arange(len(residuals)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    mean = _means(groups)
    residuals, jac, noise = mean @ residuals, mean @ jac, np.sqrt(mean @ noise**2)
    places = {name: mean @ values for name, values in places.items()}
    if len(residuals) > ROWS:
        order = np.argsort(sum(places.values()), kind="stable")
        kept = order[np.linspace(0, len(order) - 1, ROWS).astype(int)]
        residuals, jac, noise = residuals[kept], jac[kept], noise[kept]
        places = {name: values[kept] for name, values in places.items()}
    if len(residuals) < len(phi) + 2:
        raise FitError(f"{len(residuals)} rows are too few to tell drift from noise: the law has {len(phi)}")
    residuals, jac = residuals / noise, jac / noise[:, None]
    left, singular, _ = np.linalg.svd(jac, full_matrices=True)
    blind = left[:, int(np.sum(singular > 1e-7 * singular.max(initial=0.0))) :]
    origin = {name: float(values.min()) for name, values in places.items()}
    inside = covariance(places, places, origin) / np.outer(noise, noise)
    values, vectors = np.linalg.eigh(blind.T @ inside @ blind)
    inverse = np.linalg.pinv(jac, rcond=1e-7)
    return Evidence(residuals, jac, inverse, places, noise, blind @ vectors, np.maximum(values, 0.0), unit)


def _noise(problem: FitProblem, residuals: Array) -> Array:
    """(n,) noise of each row over an ordinary one's: by its weight, and, under a robust estimand, by how far
    it lies out."""
    out = 1 / np.sqrt(problem.weights / problem.weights.mean())
    if problem.estimand.squares:
        return out
    away = np.abs(residuals - np.median(residuals))
    return out * np.sqrt(np.maximum(1.0, away / (ROBUST * 1.4826 * max(float(np.median(away)), 1e-300))))


def _means(groups: Array) -> Array:
    """(g, n) matrix that takes the mean of each group: rows of a run share its luck."""
    member = (np.arange(int(groups.max()) + 1)[:, None] == groups[None]).astype(float)
    return member / member.sum(axis=1, keepdims=True)


def framed(fit: Fit, rows: Rows) -> pd.DataFrame:
    """Rows as a table of the law's variables."""
    if isinstance(rows, pd.DataFrame):
        return rows
    return pd.DataFrame({k: np.atleast_1d(np.asarray(v, dtype=float)) for k, v in rows.items()})


def budget_of(fit: Fit, rows: pd.DataFrame) -> Array:
    """(m,) what says how far beyond the data rows lie: 6ND, else the law's first variable."""
    if {"N", "D"} <= set(fit.law.variables):
        return 6.0 * rows["N"].to_numpy(dtype=float) * rows["D"].to_numpy(dtype=float)
    return rows[fit.law.variables[0]].to_numpy(dtype=float)


def places_of(fit: Fit, rows: pd.DataFrame) -> dict[str, Array]:
    """Axes along which the law may drift, log10: its variables, where they are positive, and N D."""
    values = {v: rows[v].to_numpy(dtype=float) for v in fit.law.variables}
    out = {v: np.log10(x) for v, x in values.items() if (x > 0).all()}
    if {"N", "D"} <= out.keys():
        out["ND"] = out["N"] + out["D"]
    return out


def covariance(one: Mapping[str, Array], two: Mapping[str, Array], origin: Mapping[str, float]) -> Array:
    """(m, n) covariance of a drift of size 1 between two sets of places."""
    total: Array = np.zeros((len(next(iter(one.values()))), len(next(iter(two.values())))))
    for name, values in one.items():
        a = np.maximum(values[:, None] - origin[name], 0.0)
        b = np.maximum(two[name][None] - origin[name], 0.0)
        near, far = np.minimum(a, b), np.maximum(a, b)
        total = total + (JOINT if name == "ND" else 1.0) * near * near * (3 * far - near) / 6
    return total
