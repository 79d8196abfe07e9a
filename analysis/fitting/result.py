"""The result of a fit: what was estimated, from what, how surely, and what was left out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.fitting.diagnostics import Convergence, Diagnostics
from analysis.fitting.display import as_html, as_text
from analysis.fitting.estimands import Estimand, get_estimand
from analysis.fitting.estimate import Estimate
from analysis.fitting.uncertainty.intervals import IntervalSampler, Target, positive, real
from analysis.laws import get_law
from analysis.laws.base import Array, Law
from analysis.tables.frame import Columns, FitError
from analysis.tables.json_values import plain
from analysis.tables.keywords import unknown
from analysis.tables.shown import room

if TYPE_CHECKING:
    from analysis.plots.drawing import Drawing
    from analysis.questions.design import Suggestion
    from analysis.questions.fit_check import FitCheck
    from analysis.questions.holdout import BackTest, Score
    from analysis.questions.likelihood_profiles import ProfileCurve
    from analysis.questions.optimum import Allocation

Rows = pd.DataFrame | Mapping[str, Any]


class NotConverged(RuntimeError):
    """The fit did not converge, so it has no numbers; ``fit.convergence`` and ``fit.warnings`` say how it
    ended."""


@dataclass(frozen=True, repr=False)
class Fit:
    """A fitted law. ``fit.values`` are the numbers, ``fit.parameters`` the same with intervals,
    ``print(fit)`` a page.

    Questions chain from it: ``fit.optimal(1e24)``, ``fit.profile("R_D")``, ``fit.check()``, ``fit.score()``,
    ``fit.suggest("alpha", 1e21)``, ``fit.plot("compute")``.

    Attributes:
        law, estimand: what was fitted, and what of the losses it estimates.
        n: rows fitted.
        excluded: every row left out, with its reason.
        parameters: parameter name -> ``Estimate`` in the table's units.
        objective: the sum of losses at the optimum.
        convergence: how the search ended, with all local optima.
        diagnostics: what is known beside the numbers: method and assumption of the intervals, frozen
            parameters, flat directions, the scale of residuals and more.
        warnings: what to know before believing the fit.
        source: the columns that were fitted; None after reading JSON.
        sampler: what further intervals are made from; None without intervals.
    """

    law: Law
    estimand: Estimand
    n: int
    excluded: list[dict[str, Any]]
    parameters: dict[str, Estimate]
    objective: float
    convergence: Convergence
    diagnostics: Diagnostics
    warnings: list[str] = field(default_factory=list)
    source: Columns | None = None
    sampler: IntervalSampler | None = None

    # ---- data ------------------------------------------------------------------------------------------

    @cached_property
    def data(self) -> pd.DataFrame | None:
        """The rows fitted, under the law's names, indexed by the table's rows; None after reading JSON."""
        return None if self.source is None else self.source.frame(str(self.law.target))

    @cached_property
    def heldout(self) -> pd.DataFrame | None:
        """The rows kept for scoring, in the same form; None if there are none."""
        heldout = None if self.source is None else self.source.heldout
        return None if heldout is None else heldout.frame(str(self.law.target))

    @property
    def weights(self) -> Array | None:
        """(n,) weights of the rows fitted."""
        return None if self.source is None else self.source.weights

    def require_data(self) -> pd.DataFrame:
        """``data``. Raises FitError if the fit was read from JSON, which holds none."""
        if self.data is None:
            raise FitError("this fit was read from JSON and holds no data; fit again")
        return self.data

    # ---- numbers ---------------------------------------------------------------------------------------

    @property
    def converged(self) -> bool:
        """Whether the optimum is proved: a Newton step would remove less than 1e-8 of the objective."""
        return self.convergence.converged

    def require(self) -> Fit:
        """The fit itself. Raises NotConverged if it did not converge and so has no numbers."""
        if not self.converged:
            raise NotConverged(f"the fit of {self.law.name} did not converge: " + "; ".join(self.warnings))
        return self

    @property
    def values(self) -> dict[str, float]:
        """Parameter name -> value in the table's units. Raises NotConverged if there are none."""
        self.require()
        return {n: float(e.value) for n, e in self.parameters.items() if e.value is not None}

    @property
    def frozen(self) -> dict[str, float]:
        """Parameters that were fixed, not estimated."""
        return dict(self.diagnostics.frozen)

    @property
    def draws(self) -> pd.DataFrame | None:
        """Bootstrap draws of the parameters in the table's units, or None."""
        if self.sampler is None or self.sampler.draws is None:
            return None
        values = self.sampler.problem.natural(self.sampler.draws.phi)
        return pd.DataFrame(values, columns=list(self.law.parameter_names))

    def fitted(self) -> Array:
        """(n,) predictions at the data."""
        data = self.require_data()
        return self.law.predict(self.values, {v: data[v].to_numpy() for v in self.law.variables})

    def residuals(self) -> Array:
        """(n,) residuals on the estimand's scale: log observed - log predicted, or observed - predicted."""
        fitted = self.fitted()
        observed = self.require_data()[str(self.law.target)].to_numpy()
        return np.log(observed) - np.log(fitted) if self.estimand.log else observed - fitted

    def predict(self, rows: Rows, interval: bool = True, kind: str = "curve") -> pd.DataFrame:
        """Predictions at ``rows`` (columns under the law's names, in the table's units).

        Returns columns prediction, low, high, with the interval's method and assumption in ``.attrs``.
        ``kind``: ``curve`` for the law's own value, ``run`` for a new run's (adds the spread of residuals: t
        if there are few, normal-tailed and called so). Interval ends that are unbounded are infinite.

        Raises NotConverged, and ValueError for another ``kind`` or for intervals that the fit does not carry.
        """
        if kind not in ("curve", "run"):
            raise ValueError(unknown("kind of prediction", kind, ("curve", "run")))
        frame = (
            pd.DataFrame(
                {
                    k: np.atleast_1d(np.asarray(v, dtype=float))
                    for k, v in dict(rows).items()
                    if k in self.law.variables
                }
            )
            if not isinstance(rows, pd.DataFrame)
            else rows
        )
        columns = {v: frame[v].to_numpy(dtype=float) for v in self.law.variables if v in frame}
        value = self.law.predict(self.values, columns)
        out = pd.DataFrame({"prediction": value}, index=frame.index)
        if not interval:
            return out
        ends = self._curve_ends(columns, value)
        out["low"], out["high"] = ends
        out.attrs.update(kind=kind, method=self.diagnostics.interval, assumption=self.diagnostics.assumption)
        if kind == "run":
            self._widen(out)
        return out

    def extrapolate(self, rows: Rows) -> pd.DataFrame:
        """Predictions of new runs at ``rows`` that allow the law to be wrong (`analysis.questions.drift`):
        columns prediction, low, high, shift and beyond. Raises FitError if the fit holds no data."""
        table: pd.DataFrame = room("questions.drift").drift_of(self).predict(rows)
        return table

    def back_test(self, **options: Any) -> BackTest:
        """Fits up to each budget, and how far off they are later (`analysis.questions.holdout.back_test`)."""
        return room("questions.holdout").back_test(self, **options)

    def _curve_ends(self, columns: Mapping[str, Array], value: Array) -> tuple[Array, Array]:
        x = self.law.inputs(columns)
        if self.sampler is not None:

            def at(i: int) -> Callable[[Array], Array]:
                point = {k: v[i : i + 1] for k, v in x.items()}
                return lambda natural: self.law.evaluate(self.law.to_internal(natural), point, jac=False)[0][
                    :, 0
                ]

            make = positive if np.all(value > 0) else real
            intervals = self.sampler.intervals([make(at(i)) for i in range(len(value))])
            return (
                np.array([-np.inf if f.low is None else f.low for f in intervals]),
                np.array([np.inf if f.high is None else f.high for f in intervals]),
            )
        stored = self.diagnostics.covariance
        if not stored:
            raise ValueError(
                "this fit carries no interval (interval='none'); ask for predict(rows, interval=False)"
            )
        return self._delta_ends(x, value, np.asarray(stored["matrix"]), float(stored["t"]))

    def _delta_ends(
        self, x: Mapping[str, Array], value: Array, cov: Array, quantile: float
    ) -> tuple[Array, Array]:
        names = [n for n in self.law.parameter_names if n not in self.frozen]
        theta = self.law.to_internal(np.array([[self.values[n] for n in self.law.parameter_names]]))
        jac = self.law.evaluate(theta, x, jac=True)[1]
        slopes = jac[0][[self.law.index(n) for n in names]]  # type: ignore[index]
        spread = np.sqrt(np.maximum(np.einsum("fn,fg,gn->n", slopes, cov, slopes), 0.0))
        if self.estimand.log:
            return value * np.exp(-quantile * spread / value), value * np.exp(quantile * spread / value)
        return value - quantile * spread, value + quantile * spread

    def _widen(self, out: pd.DataFrame) -> None:
        noise = self.diagnostics.residual_quantile or 0.0
        with np.errstate(all="ignore"):
            if self.estimand.log:
                up, down = np.log(out["high"] / out["prediction"]), np.log(out["prediction"] / out["low"])
                out["high"] = out["prediction"] * np.exp(np.hypot(up, noise))
                out["low"] = out["prediction"] * np.exp(-np.hypot(down, noise))
            else:
                out["high"] = out["prediction"] + np.hypot(out["high"] - out["prediction"], noise)
                out["low"] = out["prediction"] - np.hypot(out["prediction"] - out["low"], noise)
        out.attrs["assumption"] = (
            f"{out.attrs['assumption']}; new runs scatter like the residuals (t, same size everywhere)"
        )

    def derive(
        self, function: Callable[[Mapping[str, Array]], Array], positive_scale: bool = True
    ) -> Estimate:
        """A quantity computed from the parameters, with the fit's own kind of interval.

        ``function`` takes name -> (S,) values and returns (S,) values; ``positive_scale`` handles it as a
        logarithm. Raises ValueError if the fit has no intervals, or was read from JSON.
        """
        if self.sampler is None:
            raise ValueError(
                "this fit carries no intervals, or was read from JSON without its data: fit again with "
                "an interval"
            )
        names = self.law.parameter_names

        def of(natural: Array) -> Array:
            return np.asarray(function({n: natural[:, j] for j, n in enumerate(names)}), dtype=float)

        target: Target = positive(of) if positive_scale else real(of)
        value = float(of(np.array([[self.values[n] for n in names]]))[0])
        se = float(self.sampler.standard_errors([target])[0])
        return self.sampler.intervals([target])[0].around(value, se)

    # ---- questions -------------------------------------------------------------------------------------

    def optimal(self, compute: float, **fixed: float) -> Allocation:
        """Compute-optimal N and D for ``compute`` FLOPs; ``fixed`` gives the law's other variables
        (``U=1e8``).

        Raises ValueError if the law has no interior optimum there.
        """
        return room("questions.optimum").optimal(self, compute, fixed or None)

    def profile(self, name: str, level: float | None = None) -> ProfileCurve:
        """The profile likelihood of one free parameter. Raises ValueError if there is no such parameter."""
        level = self.diagnostics.level if level is None else level
        return room("questions.likelihood_profiles").profile_curves(self, [name], level)[name]

    def check(self, **options: Any) -> FitCheck:
        """Lack of fit, influential rows, and a back-test; ``options`` of ``fit`` go to the back-test's
        refits."""
        return room("questions.fit_check").check(self, **options)

    def score(self, rows: pd.DataFrame | None = None) -> Score:
        """Predictions against the held-out rows, or against other ``rows``. Raises FitError if there are
        none."""
        return room("questions.holdout").score(self, rows)

    def suggest(self, quantity: str, budget: float, **options: Any) -> Suggestion:
        """Which next runs narrow ``quantity`` most for ``budget`` FLOPs
        (`analysis.questions.design.suggest`)."""
        return room("questions.design").suggest(self, quantity, budget, **options)

    def plot(self, kind: str = "law", **options: Any) -> Drawing:
        """A figure: one of `analysis.plots.kinds.OF_FITS`. A notebook shows it; ``.write(path)`` saves it.

        Raises FitError if there is no such kind, or if the law lacks what the figure shows.
        """
        return room("plots.laws").figure(kind, self, **options)

    # ---- JSON ------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The fields of ``crossover fit --json``; infinities and NaN become null."""
        return plain(
            {
                "law": self.law.name,
                "estimand": self.estimand.label,
                "n": self.n,
                "excluded": self.excluded,
                "parameters": {n: e.as_dict() for n, e in self.parameters.items()},
                "objective": self.objective,
                "convergence": self.convergence.as_dict(),
                "diagnostics": self.diagnostics.as_dict(),
                "warnings": self.warnings,
            }
        )

    def to_json(self, indent: int | None = None) -> str:
        """``to_dict`` as text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Fit:
        """Read ``to_dict`` back: numbers, diagnostics and predictions (delta method), without the data."""
        assumption = str(record["diagnostics"].get("assumption") or "")
        return cls(
            law=get_law(record["law"], record["diagnostics"].get("columns", {}).keys() - {"loss", "y"}),
            estimand=get_estimand(record["estimand"]),
            n=int(record["n"]),
            excluded=list(record["excluded"]),
            parameters={n: Estimate.from_dict(e, assumption) for n, e in record["parameters"].items()},
            objective=math.nan if record["objective"] is None else float(record["objective"]),
            convergence=Convergence.from_dict(record["convergence"]),
            diagnostics=Diagnostics.from_dict(record["diagnostics"]),
            warnings=list(record["warnings"]),
        )

    @classmethod
    def from_json(cls, text: str) -> Fit:
        """``to_json`` read back."""
        return cls.from_dict(json.loads(text))

    def save(self, path: str | Path) -> None:
        """Write ``to_json`` to a file."""
        Path(path).write_text(self.to_json(indent=2), encoding="utf-8")

    # ---- display ---------------------------------------------------------------------------------------

    def table(self) -> pd.DataFrame:
        """Parameters as a DataFrame: value, se, low, high, unbounded, frozen."""
        rows = {n: {**e.as_dict(), "frozen": n in self.frozen} for n, e in self.parameters.items()}
        return pd.DataFrame.from_dict(rows, orient="index")

    def __str__(self) -> str:
        return as_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(self)
