"""IsoFLOP analysis: the best size at each budget, where there is one, and how it grows with compute.

A budget counts only if its minimum is interior and bracketed: at the edge of the sizes tried, or in a concave
group, there is no optimum to speak of, and the group is refused with the reason. Parabolas in log N are
biased off centre and when alpha != beta; the cubic and the law-consistent profile E + A/N**alpha + B
(6N/C)**beta are offered beside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import t as t_distribution

from analysis.fitting.estimate import Estimate
from analysis.fitting.fitting import fit
from analysis.fitting.result import Fit
from analysis.laws.base import Array
from analysis.questions.holdout import budgets
from analysis.questions.optimum import allocation_exponents, optimal
from analysis.tables.frame import FitError, Table, read_table, resolve
from analysis.tables.keywords import checked_keywords, unknown
from analysis.tables.shown import Block, Grid, Shown, room

if TYPE_CHECKING:
    from analysis.plots.drawing import Drawing

METHODS = ("parabola", "cubic", "law")
_NEEDS = {"parabola": 4, "cubic": 5, "law": 3}


@dataclass(frozen=True, repr=False)
class IsoFlop(Shown):
    """Minima of the budgets that have one, the growth law of N* and D*, and the budgets refused.

    ``minima``: C, N, D, loss, se_log_N, runs. ``exponents``: a and b of N* ~ C**a, D* ~ C**b, with intervals
    (t over budgets), None with fewer than 3 minima. ``refused``: C, runs, reason. ``points``: the runs (N, C,
    loss, budget); ``log_loss``: whether curves go through its logarithm; ``law``: the law through all of
    them, if that was the method.
    """

    method: str
    minima: pd.DataFrame
    refused: pd.DataFrame
    exponents: dict[str, Estimate] | None
    coefficient: float | None
    warnings: list[str]
    points: pd.DataFrame = field(default_factory=pd.DataFrame)
    log_loss: bool = True
    law: Fit | None = None

    def size_at(self, compute: float) -> float:
        """N* at a budget, by the growth law. Raises ValueError if there is none."""
        if self.exponents is None or self.coefficient is None or self.exponents["a"].value is None:
            raise ValueError(
                "fewer than 3 budgets have an interior minimum: there is no growth law to extend"
            )
        return float(math.exp(self.coefficient) * compute ** self.exponents["a"].value)

    def blocks(self) -> Sequence[Block]:
        head = f"isoFLOP ({self.method}): {len(self.minima)} minima, {len(self.refused)} budgets refused"
        parts: list[Block] = [head]
        if len(self.minima):
            parts.append(Grid(self.minima))
        if self.exponents:
            a = self.exponents["a"]
            parts.append(f"N* ~ C^{a.value:.3f} [{_text(a.low)}, {_text(a.high)}]")
        parts += [f"refused: C = {r.C:.3g}, {r.runs} runs: {r.reason}" for r in self.refused.itertuples()]
        return [*parts, *(f"! {w}" for w in self.warnings)]

    def plot(self) -> Drawing:
        """Loss against N at each budget, with the curve through it and its minimum."""
        drawing: Drawing = room("plots.isoflop").isoflop_curves(self)
        return drawing


def _text(v: float | None) -> str:
    return "unbounded" if v is None else f"{v:.3f}"


def end_points(
    table: Table, columns: Mapping[str, str] | None, positive_loss: bool = True
) -> tuple[pd.DataFrame, list[str]]:
    """Columns N, C, loss of rows that may enter a front: finite, positive, annealed (if the table says).

    Raises FitError if there is none.
    """
    frame = read_table(table)
    if frame.empty:
        raise FitError("the table has no rows")
    values, _, notes = resolve(frame, ["N", "C", "loss"], dict(columns or {}))
    data = pd.DataFrame({k: values[k] for k in ("N", "C", "loss")})
    warnings = list(notes)
    array = data.to_numpy()
    usable = np.isfinite(array).all(axis=1) & (array[:, :2] > 0).all(axis=1)
    if positive_loss:
        usable &= array[:, 2] > 0
    ended = (
        frame["annealed"].astype(bool).to_numpy()
        if "annealed" in frame.columns
        else np.ones(len(data), dtype=bool)
    )
    if (usable & ~ended).any():
        warnings.append(f"{int((usable & ~ended).sum())} rows are not annealed end points and stay out")
    if (~usable).any():
        warnings.append(
            f"{int((~usable).sum())} of {len(data)} rows left out: N, C or loss not finite or not positive"
        )
    data = data[usable & ended].reset_index(drop=True)
    if data.empty:
        raise FitError(
            "no usable row: N, C (or D) and loss must be positive, finite and at annealed end points"
        )
    return data, warnings


@checked_keywords
def isoflop(
    table: Table,
    *,
    method: str = "parabola",
    columns: Mapping[str, str] | None = None,
    tolerance: float = 0.1,
    level: float = 0.95,
    log_loss: bool = True,
) -> IsoFlop:
    """Minima over N at each budget C, and their growth.

    Rows whose C differ by less than ``tolerance`` are one budget, taken at its geometric mean; with
    ``annealed`` in the table only annealed end points count. ``method``: parabola or cubic in log N of (log)
    loss, or ``law``, one separable law through all budgets, minimised at each.

    Raises FitError for another method, and for a table without usable rows.
    """
    if method not in METHODS:
        raise FitError(unknown("isoFLOP method", method, METHODS))
    data, warnings = end_points(table, columns, log_loss)
    data["budget"] = budgets(data["C"].to_numpy(), tolerance)
    law_at = _law_minimum(data) if method == "law" else None
    rows, refused = [], []
    for _, group in data.groupby("budget"):
        compute = float(np.exp(np.log(group["C"].to_numpy()).mean()))
        outcome = _minimum(group, method, log_loss, compute, law_at)
        if isinstance(outcome, str):
            refused.append({"C": compute, "runs": len(group), "reason": outcome})
        else:
            log_n, value, se = outcome
            size = math.exp(log_n)
            rows.append(
                {
                    "C": compute,
                    "N": size,
                    "D": compute / 6 / size,
                    "loss": value,
                    "se_log_N": se,
                    "runs": len(group),
                }
            )
    minima = pd.DataFrame(rows, columns=["C", "N", "D", "loss", "se_log_N", "runs"])
    exponents, coefficient = growth(minima, level)
    if law_at is not None and exponents is not None:
        exponents = allocation_exponents(law_at.result)
    if exponents is None:
        warnings.append(f"{len(minima)} budgets have an interior minimum; a growth law needs 3")
    return IsoFlop(
        method=method,
        minima=minima,
        refused=pd.DataFrame(refused, columns=["C", "runs", "reason"]),
        exponents=exponents,
        coefficient=coefficient,
        warnings=warnings,
        points=data,
        log_loss=log_loss,
        law=None if law_at is None else law_at.result,
    )


def _minimum(
    group: pd.DataFrame, method: str, log_loss: bool, compute: float, law_at: _LawMinimum | None
) -> tuple[float, float, float] | str:
    """(log N*, loss there, standard error of log N*), or why there is none."""
    sizes = np.sort(group["N"].unique())
    needed = _NEEDS[method]
    if len(sizes) < needed:
        return f"{len(sizes)} sizes, and a {method} needs {needed}; add sizes at this budget"
    # C varies a little within a budget: losses are compared at its centre, along the local trend of all of
    # them
    x = np.log(group["N"].to_numpy())
    y = np.log(group["loss"].to_numpy()) if log_loss else group["loss"].to_numpy()
    best = float(np.exp(x[np.argmin(y)]))
    if law_at is not None:
        log_n, value, se = law_at.at(compute)
        if not np.isfinite(log_n):
            return "the law has no interior minimum at this budget"
        if not np.log(sizes[0]) < log_n < np.log(sizes[-1]):
            return _edge(sizes, math.exp(log_n), "the law's minimum")
        return log_n, value, se
    centre = x.mean()
    outcome = _vertex(x - centre, y, 2 if method == "parabola" else 3)
    if isinstance(outcome, str):
        return outcome
    at, value, se = outcome
    log_n = at + centre
    if not np.log(sizes[0]) < log_n < np.log(sizes[-1]):
        return _edge(sizes, math.exp(log_n), "the minimum")
    if best in (sizes[0], sizes[-1]):
        return _edge(sizes, best, "the lowest loss")
    return log_n, math.exp(value) if log_loss else value, se


def _edge(sizes: Array, at: float, what: str) -> str:
    side = "larger" if at >= sizes[-1] else "smaller"
    span = f"{sizes[0]:.3g} to {sizes[-1]:.3g}"
    return f"not bracketed: {what} lies at N = {at:.3g}, and sizes run from {span}; add {side} ones"


def _vertex(x: Array, y: Array, degree: int) -> tuple[float, float, float] | str:
    design = np.vander(x, degree + 1, increasing=True)
    coefficient, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    if rank < degree + 1:
        return "sizes too alike for a curve"
    slope = np.polynomial.polynomial.polyder(coefficient)
    roots = np.polynomial.polynomial.polyroots(slope)
    bend = np.polynomial.polynomial.polyder(slope)
    real = [float(r.real) for r in np.atleast_1d(roots) if abs(r.imag) < 1e-9]
    wells = [r for r in real if float(np.polynomial.polynomial.polyval(r, bend)) > 0]
    if not wells:
        return "concave: loss has no minimum over these sizes"
    at = wells[int(np.argmin(np.abs(np.array(wells) - x[np.argmin(y)])))]
    dof = len(x) - degree - 1
    residual = y - design @ coefficient
    variance = float(residual @ residual) / dof if dof > 0 else math.nan
    cov = variance * np.linalg.pinv(design.T @ design)
    curve = float(np.polynomial.polynomial.polyval(at, bend))
    gradient = np.array([0.0] + [k * at ** (k - 1) for k in range(1, degree + 1)]) / -curve
    se = float(np.sqrt(max(float(gradient @ cov @ gradient), 0.0))) if np.isfinite(variance) else math.nan
    return at, float(np.polynomial.polynomial.polyval(at, coefficient)), se


@dataclass(frozen=True)
class _LawMinimum:
    result: Fit

    def at(self, compute: float) -> tuple[float, float, float]:
        try:
            best = optimal(self.result, compute)
        except ValueError:  # its best size runs off
            return math.nan, math.nan, math.nan
        n, se = float(best.N.value or math.nan), best.N.se
        return math.log(n), float(best.loss.value or math.nan), math.nan if se is None else se / n


def _law_minimum(data: pd.DataFrame) -> _LawMinimum:
    return _LawMinimum(fit(data.assign(D=data["C"] / 6 / data["N"])[["N", "D", "loss"]], "chinchilla"))


def growth(minima: pd.DataFrame, level: float) -> tuple[dict[str, Estimate] | None, float | None]:
    """Regress log N* on log C over budgets, which weigh equally (their errors are mostly of form).

    ``minima`` has the columns C and N. Returns the exponents a of N* and b = 1 - a of D* with t intervals,
    and the intercept log N* at C = 1; or None and None where fewer than three budgets determine nothing.
    """
    m = len(minima)
    if m < 3:
        return None, None
    x, y = np.log(minima["C"].to_numpy()), np.log(minima["N"].to_numpy())
    centre = x.mean()
    sxx = float(np.sum((x - centre) ** 2))
    if sxx <= 0:
        return None, None
    a = float(np.sum((x - centre) * (y - y.mean())) / sxx)
    residual = y - y.mean() - a * (x - centre)
    se = math.sqrt(float(residual @ residual) / (m - 2) / sxx)
    q = float(t_distribution.ppf(0.5 + level / 2, m - 2)) * se
    assumes = f"budgets independent, log N* of one spread about a line; t with {m - 2} degrees of freedom"
    exponents = {
        name: Estimate(v, se, v - q, v + q, assumption=assumes, method="t", level=level, df=m - 2)
        for name, v in (("a", a), ("b", 1 - a))
    }
    return exponents, float(y.mean() - a * centre)
