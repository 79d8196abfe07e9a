"""The result of a fit: what was estimated, from what, how surely, and what was left out."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.fitting.estimands import Estimand, get_estimand
from analysis.fitting.estimate import Estimate
from analysis.fitting.uncertainty.intervals import Sampler, Target, positive, real
from analysis.laws import get_law
from analysis.laws.base import Array, Law

Rows = pd.DataFrame | Mapping[str, Any]


class NotConverged(RuntimeError):
    """The fit did not converge, so it has no numbers; ``fit.convergence`` and ``fit.warnings`` say how it
    ended."""


@dataclass
class Fit:
    """A fitted law. ``fit.values`` are the numbers, ``fit.parameters`` the same with intervals,
    ``print(fit)`` a page.

    ``excluded`` lists every row left out, with its reason; ``diagnostics`` holds the interval's method and
    assumption, frozen parameters, scaled gradient, flat directions, parameters at bounds, the gap to the
    second basin, residual scale, sources of the columns. ``data`` holds the columns used (None after reading
    JSON).
    """

    law: Law
    estimand: Estimand
    n: int
    excluded: list[dict[str, Any]]
    parameters: dict[str, Estimate]
    objective: float
    convergence: dict[str, Any]
    diagnostics: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    data: pd.DataFrame | None = None
    weights: Array | None = None
    sampler: Sampler | None = field(default=None, repr=False)
    heldout: pd.DataFrame | None = field(default=None, repr=False)

    # ---- numbers ---------------------------------------------------------------------------------------

    @property
    def converged(self) -> bool:
        return bool(self.convergence["converged"])

    @property
    def values(self) -> dict[str, float]:
        """Parameter name -> value in the table's units; NotConverged if there are none."""
        if not self.converged:
            raise NotConverged(f"the fit of {self.law.name} did not converge: " + "; ".join(self.warnings))
        return {n: float(e.value) for n, e in self.parameters.items() if e.value is not None}

    @property
    def frozen(self) -> dict[str, float]:
        """Parameters that were fixed, not estimated."""
        return dict(self.diagnostics.get("frozen", {}))

    @property
    def draws(self) -> pd.DataFrame | None:
        """Bootstrap draws of the parameters in the table's units, or None."""
        if self.sampler is None or self.sampler.draws is None:
            return None
        values = self.sampler.problem.natural(self.sampler.draws.phi)
        return pd.DataFrame(values, columns=list(self.law.parameter_names))

    def fitted(self) -> Array:
        """(n,) predictions at the data."""
        if self.data is None:
            raise ValueError("this fit was read from JSON and holds no data; fit again, or use predict(rows)")
        return self.law.predict(self.values, {v: self.data[v].to_numpy() for v in self.law.variables})

    def residuals(self) -> Array:
        """(n,) residuals on the estimand's scale: log observed - log predicted, or observed - predicted."""
        fitted = self.fitted()
        observed = self.data[str(self.law.target)].to_numpy()  # type: ignore[index]
        return np.log(observed) - np.log(fitted) if self.estimand.log else observed - fitted

    def predict(self, rows: Rows, interval: bool = True, kind: str = "curve") -> pd.DataFrame:
        """Predictions at ``rows`` (columns under the law's names, in the table's units).

        Returns columns prediction, low, high, with the interval's method and assumption in ``.attrs``.
        ``kind``: ``curve`` for the law's own value, ``run`` for a new run's (adds the spread of residuals: t
        if there are few, normal-tailed and called so). Interval ends that are unbounded are infinite.
        """
        if kind not in ("curve", "run"):
            raise ValueError(f"kind must be 'curve' or 'run', got {kind!r}")
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
        out.attrs.update(
            kind=kind, method=self.diagnostics.get("interval"), assumption=self.diagnostics.get("assumption")
        )
        if kind == "run":
            self._widen(out)
        return out

    def _curve_ends(self, columns: Mapping[str, Array], value: Array) -> tuple[Array, Array]:
        x = self.law.inputs(columns)
        if self.sampler is not None and self.diagnostics.get("interval") != "none":

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
        stored = self.diagnostics.get("covariance")
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
        noise = self.diagnostics["residual_quantile"]
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
        logarithm.
        """
        if self.sampler is None:
            raise ValueError(
                "this fit was read from JSON without its data: intervals of derived quantities need a new fit"
            )
        names = self.law.parameter_names

        def of(natural: Array) -> Array:
            return np.asarray(function({n: natural[:, j] for j, n in enumerate(names)}), dtype=float)

        target: Target = positive(of) if positive_scale else real(of)
        value = float(of(np.array([[self.values[n] for n in names]]))[0])
        se = float(self.sampler.standard_errors([target])[0])
        interval = None if self.diagnostics.get("interval") == "none" else self.sampler.intervals([target])[0]
        return (interval or Estimate()).around(value, se)

    # ---- JSON ------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The fields of ``crossover fit --json``; infinities and NaN become null."""
        return _clean(
            {
                "law": self.law.name,
                "estimand": self.estimand.label,
                "n": self.n,
                "excluded": self.excluded,
                "parameters": {n: e.as_dict() for n, e in self.parameters.items()},
                "objective": self.objective,
                "convergence": self.convergence,
                "diagnostics": self.diagnostics,
                "warnings": self.warnings,
            }
        )

    def to_json(self, indent: int | None = None) -> str:
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Fit:
        """Read ``to_dict`` back: numbers, diagnostics and predictions (delta method), without the data."""
        assumption = str(record["diagnostics"].get("assumption") or "")
        return cls(
            law=get_law(record["law"]),
            estimand=get_estimand(record["estimand"]),
            n=int(record["n"]),
            excluded=list(record["excluded"]),
            parameters={n: Estimate.from_dict(e, assumption) for n, e in record["parameters"].items()},
            objective=math.nan if record["objective"] is None else float(record["objective"]),
            convergence=dict(record["convergence"]),
            diagnostics=dict(record["diagnostics"]),
            warnings=list(record["warnings"]),
        )

    @classmethod
    def from_json(cls, text: str) -> Fit:
        return cls.from_dict(json.loads(text))

    def save(self, path: str | Path) -> None:
        Path(path).write_text(self.to_json(indent=2), encoding="utf-8")

    # ---- display ---------------------------------------------------------------------------------------

    def table(self) -> pd.DataFrame:
        """Parameters as a DataFrame: value, se, low, high, unbounded, frozen."""
        rows = {n: {**e.as_dict(), "frozen": n in self.frozen} for n, e in self.parameters.items()}
        return pd.DataFrame.from_dict(rows, orient="index")

    def _head(self) -> list[str]:
        d = self.diagnostics
        c = self.convergence
        head = [
            f"{self.law.name}: {self.law.formula}",
            f"estimates {self.estimand.meaning}; n = {self.n}, {len(self.excluded)} rows left out",
        ]
        if self.converged:
            best = c["basins"][0]["starts"] if c["basins"] else 0
            gap = d.get("gap_to_second_basin")
            head.append(
                f"converged: {best} of {d.get('refined', c['starts'])} followed starts (of "
                f"{c['starts']}) end in the best of "
                f"{len(c['basins'])} basins" + (f", the second is {gap:.2%} worse" if gap is not None else "")
            )
        else:
            head.append("NOT CONVERGED: no numbers")
        head.append(f"objective {self.objective:.8g}; residual scale {d.get('residual_scale', math.nan):.3g}")
        if d.get("interval") not in (None, "none"):
            head.append(
                f"{d.get('level', 0.95):.0%} intervals: {d['interval']}; assumes {d.get('assumption')}"
            )
        else:
            head.append("no intervals")
        return head

    def _rows(self) -> list[tuple[str, str, str, str]]:
        out = []
        for name, e in self.parameters.items():
            if e.value is None:
                out.append((name, "-", "-", "-"))
            elif name in self.frozen:
                out.append((name, f"{e.value:.6g}", "frozen", ""))
            else:
                known = e.low is not None or e.high is not None or e.unbounded
                low = "-inf" if e.low is None else f"{e.low:.4g}"
                high = "unbounded" if e.high is None else f"{e.high:.4g}"
                out.append(
                    (
                        name,
                        f"{e.value:.6g}",
                        "-" if e.se is None else f"{e.se:.3g}",
                        f"[{low}, {high}]" if known else "-",
                    )
                )
        return out

    def __str__(self) -> str:
        lines = self._head()
        rows = [("", "value", "se", f"{self.diagnostics.get('level', 0.95):.0%} interval"), *self._rows()]
        widths = [max(len(r[k]) for r in rows) for k in range(4)]
        lines += [
            "  " + "  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in rows
        ]
        lines += [f"! {w}" for w in self.warnings]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        cells = "".join(
            "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in r) + "</tr>" for r in self._rows()
        )
        head = "".join(f"<div>{html.escape(line)}</div>" for line in self._head())
        notes = "".join(f"<li>{html.escape(w)}</li>" for w in self.warnings)
        return (
            f"<div>{head}<table><thead><tr><th></th><th>value</th><th>se</th><th>interval</th></tr></thead>"
            f"<tbody>{cells}</tbody></table>" + (f"<ul>{notes}</ul>" if notes else "") + "</div>"
        )


def _clean(value: Any) -> Any:
    """Plain JSON types; NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _clean(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_clean(v) for v in value]
    if isinstance(value, (np.integer, np.bool_)):
        return value.item()
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
