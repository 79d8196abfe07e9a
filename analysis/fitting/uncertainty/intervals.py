"""Which interval a fit carries, and what it assumes. There is no interval without its assumption."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from analysis.fitting.estimate import Estimate
from analysis.fitting.problem import FitProblem
from analysis.fitting.uncertainty.profiles import Quantity, open_sides, parameter_quantities, profile
from analysis.fitting.uncertainty.resampling import MIN_UNITS, PERCENTILE_UNITS, Draws, covariance, dispersion
from analysis.laws.base import Array

#: standard error of a logarithm beyond which a t interval is called unbounded
WIDE_LOG = 3.0
_ASSUMES = {
    "profile": "the law is right; errors independent and of one size on the scale of the estimand; F "
    "quantile",
    "profile-bootstrap": "the law is right; independent rows; the rise calibrated by the bootstrap",
    "percentile": "the law is right; {unit} independent and alike ({units} of them); percentile bootstrap",
    "t": "the law is right; {unit} independent ({units} of them); sandwich standard errors, t with {df} "
    "degrees of freedom",
    "t-bootstrap": "the law is right; {unit} independent ({units} of them); bootstrap standard errors, t "
    "with {df} degrees "
    "of freedom, for fewer than 40 units",
}


@dataclass(frozen=True)
class Target:
    """A quantity to give an interval of.

    ``quantity`` maps natural parameters (S, P) to (S,) values on the scale on which it is nearly linear,
    ``invert`` goes back to the reported scale, ``floor`` is the least possible reported value (an end that
    runs off below stops there). Values at or beyond ``edges`` mean that a search stopped at its bound: they
    are reported as unbounded. ``parameter``: one of the law's own, not derived.
    """

    quantity: Quantity
    invert: Callable[[float], float]
    floor: float | None = None
    edges: tuple[float, float] = (-math.inf, math.inf)
    parameter: bool = False


def parameter_targets(problem: FitProblem) -> list[Target]:
    """One target for each free parameter, in original units."""
    out = []
    for j, quantity in zip(problem.free, parameter_quantities(problem), strict=True):
        p = problem.law.parameters[j]
        low, high = p.limits()
        edges = (low + 1e-6, high - 1e-6) if not p.units else (-math.inf, math.inf)
        out.append(Target(quantity, _exp if p.positive else _same, 0.0 if p.positive else None, edges, True))
    return out


def positive(function: Quantity) -> Target:
    """A target for a positive derived quantity. Its interval is made on the logarithmic scale."""
    return Target(lambda natural: np.log(np.maximum(function(natural), 1e-300)), _exp, 0.0)


def real(function: Quantity) -> Target:
    """A target for a derived quantity of either sign."""
    return Target(function, _same)


def _same(value: float) -> float:
    return value


def _exp(value: float) -> float:
    return math.exp(min(value, 709.0))


@dataclass(frozen=True)
class IntervalSampler:
    """What intervals are made from: the problem, its optimum, and (if drawn) the bootstrap. ``basins`` (B, F)
    are other optima that the data do not rule out; ``probes`` (S, F) starts from which far values of the
    parameters are tried, where the design may leave some of them open."""

    problem: FitProblem
    phi: Array
    draws: Draws | None
    clusters: Array | None
    method: str
    level: float
    notes: list[str] = field(default_factory=list)
    basins: Array | None = None
    probes: Array | None = None

    @property
    def units(self) -> int:
        """Independent units: what was resampled, else clusters, else rows."""
        if self.draws is not None:
            return self.draws.units
        return len(self.problem.y) if self.clusters is None else len(np.unique(self.clusters))

    @property
    def df(self) -> int:
        """Degrees of freedom of Student's t."""
        n, free = len(self.problem.y), len(self.phi)
        if self.clusters is not None and (self.draws is None or self.draws.kind != "case"):
            return max(1, min(self.units - 1, n - free))
        return max(1, n - free)

    def covariance(self) -> Array:
        """(F, F) in internal coordinates: of the draws where there are any, else the sandwich."""
        if self.draws is not None and len(self.draws) > len(self.phi) + 1:
            return np.atleast_2d(np.cov(self.draws.phi.T))
        return covariance(self.problem, self.phi, self.clusters)

    def _text(self, key: str) -> str:
        kind = self.draws.kind if self.draws is not None else ""
        unit = "clusters" if self.clusters is not None and kind != "case" else "rows"
        text = _ASSUMES[key].format(unit=unit, units=self.units, df=self.df)
        if kind == "wild":
            text = text.replace("bootstrap standard errors", "wild bootstrap (Webb weights) standard errors")
            text = text.replace("percentile bootstrap", "wild bootstrap (Webb weights)")
        return text

    def intervals(self, targets: Sequence[Target]) -> list[Estimate]:
        """The interval of each target, as an estimate that lacks its value.

        Raises ValueError if there are too few independent units for an interval.
        """
        if self.units < MIN_UNITS and self.method != "profile":
            raise ValueError(
                f"{self.units} independent units are too few for an interval: at least {MIN_UNITS} are "
                f"needed. "
                "Add runs, or ask for interval='none'"
            )
        if self.method == "profile":
            return self._profile(targets)
        if self.method == "t" or self.units < PERCENTILE_UNITS or self.draws is None:
            return self._student(targets)
        return self._percentile(targets)

    def standard_errors(self, targets: Sequence[Target]) -> Array:
        """(K,) of each target on the reported scale, by the delta method or, with draws, their standard
        deviation."""
        centre, spread = self._values(targets)
        with np.errstate(all="ignore"):
            if self.draws is not None and len(self.draws) > 2:
                values = self._at(self.draws.phi, targets)
                return np.array(
                    [
                        float(np.std([t.invert(v) for v in values[:, k]], ddof=1))
                        if np.isfinite(values[:, k]).all()
                        else math.inf
                        for k, t in enumerate(targets)
                    ]
                )
            return np.array(
                [
                    s * (abs(t.invert(c)) if t.floor is not None else 1.0)
                    for c, s, t in zip(centre, spread, targets, strict=True)
                ]
            )

    def _finish(
        self, low: float | None, high: float | None, target: Target, method: str, key: str
    ) -> Estimate:
        low = None if low is not None and low <= target.edges[0] else low
        high = (
            None
            if high is not None
            and high >= min(target.edges[1], 700.0 if target.floor is not None else math.inf)
            else high
        )
        a = target.floor if low is None else float(target.invert(low))
        b = None if high is None else float(target.invert(high))
        return Estimate(low=a, high=b, method=method, assumption=self._text(key), level=self.level)

    def _values(self, targets: Sequence[Target]) -> tuple[Array, Array]:
        """Value (K,) and standard error (K,) on the working scale, by the delta method on differences."""
        centre = self._at(self.phi[None], targets)[0]
        cov = self.covariance()
        step = 1e-5 * np.maximum(1.0, np.abs(self.phi))
        up = self._at(self.phi + np.diag(step), targets)
        down = self._at(self.phi - np.diag(step), targets)
        with np.errstate(all="ignore"):
            slope = (up - down) / (2 * step[:, None])
            return centre, np.sqrt(np.maximum(np.einsum("fk,fg,gk->k", slope, cov, slope), 0.0))

    def _at(self, phi: Array, targets: Sequence[Target]) -> Array:
        with np.errstate(all="ignore"):
            natural = self.problem.natural(phi)
            return np.stack([t.quantity(natural) for t in targets], axis=1)

    def _profile(self, targets: Sequence[Target]) -> list[Estimate]:
        kappa, key = dispersion(self.problem, self.phi), "profile"
        if self.draws is not None and np.isfinite(self.draws.excess) and len(self.phi):
            kappa, key = max(self.draws.excess / len(self.phi), 1e-300), "profile-bootstrap"
        _, spread = self._values(targets)
        quantities = [t.quantity for t in targets]
        profiles = profile(
            self.problem, self.phi, quantities, kappa, self.df, spread, self.level, self.basins
        )
        low, high = profiles.low, profiles.high
        if self.probes is not None and all(t.parameter for t in targets):
            rise = 0.5 * kappa * float(f_distribution.ppf(self.level, 1, self.df))
            sides = open_sides(self.problem, self.phi, self.probes, low, high, rise)
            low = [None if s[0] else v for s, v in zip(sides, low, strict=True)]
            high = [None if s[1] else v for s, v in zip(sides, high, strict=True)]
        gain = float(self.problem.objective(self.phi[None])[0]) - profiles.best
        if self.problem.estimand.smooth and 2 * gain / kappa > 0.05:
            self.notes.append("the profile met a better optimum than the fit: fit again with more starts")
        return [self._finish(a, b, t, "profile", key) for a, b, t in zip(low, high, targets, strict=True)]

    def _student(self, targets: Sequence[Target]) -> list[Estimate]:
        centre, spread = self._values(targets)
        q = float(t_distribution.ppf(0.5 + self.level / 2, self.df))
        key = "t-bootstrap" if self.draws is not None else "t"
        out = []
        for c, s, t in zip(centre, spread, targets, strict=True):
            wide = not np.isfinite(s) or (s > WIDE_LOG if t.floor is not None else s > 1e3 * max(1.0, abs(c)))
            out.append(self._finish(None if wide else c - q * s, None if wide else c + q * s, t, "t", key))
        return out

    def _percentile(self, targets: Sequence[Target]) -> list[Estimate]:
        if self.draws is None:
            raise ValueError("a percentile interval needs bootstrap draws")
        tail = (1 - self.level) / 2
        values = self._at(self.draws.phi, targets)
        out = []
        for k, target in enumerate(targets):
            column = np.where(np.isnan(values[:, k]), np.inf, values[:, k])
            low, high = (
                np.quantile(column, [tail, 1 - tail])
                if np.isfinite(column).all()
                else np.quantile(column, [tail, 1 - tail], method="inverted_cdf")
            )
            out.append(self._finish(float(low), float(high), target, "percentile", "percentile"))
        return out
