"""IsoFLOP analysis: the best size at each budget, where there is one, and how it grows with compute.

A budget counts only if its lowest run is an interior one: at the edge of the sizes tried, or in a concave
group, there is no optimum to speak of, and the group is refused with the reason. Curves go through a window
of sizes about the lowest run (`analysis.questions.isoflop_minima`); what it leaves out is listed. Parabolas
in log N are biased off centre and when alpha != beta; the cubic and the law-consistent profile E + A/N**alpha
+ B (6N/C)**beta are offered beside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import t as t_distribution

from analysis.fitting.estimands import Estimand, get_estimand
from analysis.fitting.estimate import Estimate
from analysis.fitting.fitting import fit
from analysis.fitting.result import Fit
from analysis.questions.holdout import budgets
from analysis.questions.isoflop_minima import Budget, Minimum, choose_window, is_concave, minimum
from analysis.questions.optimum import allocation_exponents, optimal
from analysis.tables.frame import FitError, Table, read_table, resolve, row_labels
from analysis.tables.keywords import checked_keywords, unknown
from analysis.tables.shown import Block, Grid, Shown, room

if TYPE_CHECKING:
    from analysis.plots.drawing import Drawing

METHODS = ("parabola", "cubic", "law")
_NEEDS = {"parabola": 4, "cubic": 5, "law": 3}
SHOWN = 6
"""Runs outside the window that are printed; all are in ``left_out``."""
EVEN = 0.02
"""How far C may lie from 6ND for the two to count as one."""


@dataclass(frozen=True)
class Growth:
    """N* ~ C**a and D* ~ C**b. ``exponents``: a and b, each fitted, with their intervals; ``size`` and
    ``tokens``: log N* and log D* at C = 1."""

    exponents: dict[str, Estimate]
    size: float
    tokens: float

    def size_at(self, compute: float) -> float:
        """N* at a budget."""
        return float(math.exp(self.size + (self.exponents["a"].value or 0.0) * math.log(compute)))

    def tokens_at(self, compute: float) -> float:
        """D* at a budget."""
        return float(math.exp(self.tokens + (self.exponents["b"].value or 0.0) * math.log(compute)))


@dataclass(frozen=True, repr=False)
class IsoFlop(Shown):
    """Minima of the budgets that have one, the growth law of N* and D*, and the budgets refused.

    ``minima``: C, N, D, loss, se_log_N, runs (that the curve goes through). ``growth``: how N* and D* grow
    with C, None with fewer than 3 minima. ``refused``: C, runs, reason. ``points``: the runs (N, D, C, loss,
    budget, and ``used``: whether a curve goes through them), indexed as in the table. ``window``: sizes
    within this factor of a budget's lowest run are used; infinite if all are. ``curves``: budget -> its
    minimum with its curve. ``law``: the law through all of them, if that was the method. ``estimand``: what
    of the losses the curves estimate.
    """

    method: str
    estimand: Estimand
    minima: pd.DataFrame
    refused: pd.DataFrame
    growth: Growth | None
    warnings: list[str]
    points: pd.DataFrame = field(default_factory=pd.DataFrame)
    window: float = math.inf
    curves: Mapping[int, Minimum] = field(default_factory=dict)
    law: Fit | None = None

    @property
    def exponents(self) -> dict[str, Estimate] | None:
        """a and b of N* ~ C**a, D* ~ C**b, with t intervals over budgets."""
        return None if self.growth is None else self.growth.exponents

    @property
    def left_out(self) -> pd.DataFrame:
        """The runs outside the window of their budget: N, C, loss."""
        if not len(self.points):
            return self.points
        inside = self.points["budget"].isin(list(self.curves)) & ~self.points["used"]
        return self.points.loc[inside, ["N", "C", "loss"]]

    def size_at(self, compute: float) -> float:
        """N* at a budget, by the growth law. Raises ValueError if there is none."""
        return self._grown().size_at(compute)

    def tokens_at(self, compute: float) -> float:
        """D* at a budget, by the growth law. Raises ValueError if there is none."""
        return self._grown().tokens_at(compute)

    def _grown(self) -> Growth:
        if self.growth is None:
            raise ValueError(
                "fewer than 3 budgets have an interior minimum: there is no growth law to extend"
            )
        return self.growth

    def blocks(self) -> Sequence[Block]:
        head = f"isoFLOP ({self.method}): {len(self.minima)} minima, {len(self.refused)} budgets refused"
        parts: list[Block] = [head, f"estimates {self.estimand.meaning}"]
        if self.method != "law":
            parts.append(self._window_text())
        if len(self.minima):
            parts.append(Grid(self.minima))
        if self.exponents:
            for name, letter in (("N*", "a"), ("D*", "b")):
                e = self.exponents[letter]
                parts.append(f"{name} ~ C^{e.value:.3f} [{_text(e.low)}, {_text(e.high)}]")
        parts += [f"refused: C = {r.C:.3g}, {r.runs} runs: {r.reason}" for r in self.refused.itertuples()]
        return [*parts, *(f"! {w}" for w in self.warnings)]

    def _window_text(self) -> str:
        if math.isinf(self.window):
            return "curves go through all sizes of their budgets"
        rows = self.left_out
        listed = ", ".join(f"N = {r.N:.3g} at C = {r.C:.3g}" for r in rows.head(SHOWN).itertuples())
        more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        return (
            f"curves go through sizes within a factor {self.window:g} of the lowest run, beyond which they"
            f" bend otherwise; {len(rows)} runs outside" + (f": {listed}{more}" if len(rows) else "")
        )

    def plot(self) -> Drawing:
        """Loss against N at each budget, with the curve through it and its minimum."""
        drawing: Drawing = room("plots.isoflop").isoflop_curves(self)
        return drawing


def _text(v: float | None) -> str:
    return "unbounded" if v is None else f"{v:.3f}"


def end_points(
    table: Table, columns: Mapping[str, str] | None, positive_loss: bool = True
) -> tuple[pd.DataFrame, list[str]]:
    """Columns N, D, C, loss of rows that may enter a front: finite, positive, annealed (if the table says).

    D is the table's own where it has one, else C/(6N). Raises FitError if there is no such row.
    """
    frame = read_table(table)
    if frame.empty:
        raise FitError("the table has no rows")
    known = resolve(frame, ["N", "D", "C", "loss"], dict(columns or {}))
    data = pd.DataFrame({k: known.values[k] for k in ("N", "D", "C", "loss")}, index=row_labels(frame))
    warnings = [*known.notes, *known.warnings]
    array = data.to_numpy()
    usable = np.isfinite(array).all(axis=1) & (array[:, :3] > 0).all(axis=1)
    if positive_loss:
        usable &= array[:, 3] > 0
    ended = (
        frame["annealed"].astype(bool).to_numpy()
        if "annealed" in frame.columns
        else np.ones(len(data), dtype=bool)
    )
    if (usable & ~ended).any():
        warnings.append(f"{int((usable & ~ended).sum())} rows are not annealed end points and stay out")
    if (~usable).any():
        warnings.append(
            f"{int((~usable).sum())} of {len(data)} rows left out: N, D, C or loss not finite or not positive"
        )
    data = data[usable & ended]
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
    estimand: str | Estimand | None = None,
    delta: float = 1e-3,
    tau: float = 0.05,
    columns: Mapping[str, str] | None = None,
    tolerance: float = 0.1,
    level: float = 0.95,
    log_loss: bool = True,
    window: float | None = None,
) -> IsoFlop:
    """Minima over N at each budget C, and their growth.

    Rows whose C differ by less than ``tolerance`` are one budget, taken at its geometric mean; with
    ``annealed`` in the table only annealed end points count. ``method``: parabola or cubic in log N, or
    ``law``, one separable law through all budgets, minimised at each. ``estimand``: what of the losses is
    estimated, as in ``fit``; by default least squares of log loss (of loss, with ``log_loss=False``), and
    Huber's function for the law. ``window``: the factor about the lowest run within which sizes are used;
    chosen by a residual test if None.

    Raises FitError for another method, and for a table without usable rows.
    """
    if method not in METHODS:
        raise FitError(unknown("isoFLOP method", method, METHODS))
    if window is not None and not window > 1:
        raise FitError(f"window must be above 1, got {window:g}")
    usual = "mse" if not log_loss else "huber" if method == "law" else "log_mse"
    aim = get_estimand(estimand or usual, delta=delta, tau=tau)
    if aim.log and not log_loss:
        raise FitError(f"curves through the loss itself estimate its mean: 'mse', not {aim.name!r}")
    data, warnings = end_points(table, columns, aim.log)
    data["budget"] = budgets(data["C"].to_numpy(), tolerance)
    data["used"] = False
    groups = {code: data[data["budget"] == code] for code in range(int(data["budget"].max()) + 1)}
    parts = {code: _budget(group, aim) for code, group in groups.items()}
    law = fit(data[["N", "D", "loss"]], "chinchilla", estimand=aim) if method == "law" else None
    if law is None and window is None:
        window = choose_window(list(parts.values()), method, aim)
    rows, refused, curves = [], [], {}
    for code, group in groups.items():
        compute = float(np.exp(np.log(group["C"].to_numpy()).mean()))
        outcome = (
            _law_minimum(law, parts[code], method) if law else _minimum(parts[code], method, aim, window)
        )
        if isinstance(outcome, str):
            refused.append({"C": compute, "runs": len(group), "reason": outcome})
            continue
        curves[code] = outcome
        data.loc[data["budget"] == code, "used"] = outcome.kept
        at = {"C": compute, "N": math.exp(outcome.log_n), "D": math.exp(outcome.log_d)}
        loss = math.exp(outcome.y) if aim.log else outcome.y
        rows.append({**at, "loss": loss, "se_log_N": outcome.error, "runs": int(outcome.kept.sum())})
    minima = pd.DataFrame(rows, columns=["C", "N", "D", "loss", "se_log_N", "runs"])
    grown = growth(minima, level)
    if law is not None and grown is not None and _even(data):
        grown = replace(grown, exponents=allocation_exponents(law))
    if grown is None:
        warnings.append(f"{len(minima)} budgets have an interior minimum; a growth law needs 3")
    return IsoFlop(
        method=method,
        estimand=aim,
        minima=minima,
        refused=pd.DataFrame(refused, columns=["C", "runs", "reason"]),
        growth=grown,
        warnings=warnings,
        points=data,
        window=math.inf if window is None else window,
        curves=curves,
        law=law,
    )


def _budget(group: pd.DataFrame, aim: Estimand) -> Budget:
    loss = group["loss"].to_numpy()
    logs = (np.log(group[k].to_numpy()) for k in "ND")
    log_n, log_d = logs
    return Budget(log_n, np.log(loss) if aim.log else loss, log_d)


def _even(data: pd.DataFrame) -> bool:
    """Whether C is 6ND in every row."""
    return bool((np.abs(np.log(data["C"] / 6 / data["N"] / data["D"])) < EVEN).all())


def _minimum(budget: Budget, method: str, aim: Estimand, window: float | None) -> Minimum | str:
    """The minimum of a budget, or why there is none."""
    reason = _unusable(budget, method)
    if reason:
        return reason
    if not budget.interior:
        if is_concave(budget):
            return "concave: loss has no minimum over these sizes"
        return _edge(budget)
    return minimum(budget, method, aim, math.inf if window is None else window)


def _unusable(budget: Budget, method: str) -> str:
    few = len(budget.sizes) < _NEEDS[method]
    needs = f"{len(budget.sizes)} sizes, and a {method} needs {_NEEDS[method]}; add sizes at this budget"
    return needs if few else ""


def _edge(budget: Budget) -> str:
    sizes = np.exp(budget.sizes)
    side = "larger" if budget.lowest else "smaller"
    return (
        f"not bracketed: the lowest loss lies at N = {sizes[budget.lowest]:.3g}, and sizes run from "
        f"{sizes[0]:.3g} to {sizes[-1]:.3g}; add {side} ones"
    )


def _law_minimum(law: Fit, budget: Budget, method: str) -> Minimum | str:
    """The law's minimum at the 6ND of a budget, or why there is none."""
    reason = _unusable(budget, method)
    if reason:
        return reason
    compute = 6 * math.exp(float(np.mean(budget.log_n + budget.log_d)))
    try:
        best = optimal(law, compute)
    except ValueError:  # its best size runs off
        return "the law has no interior minimum at this budget"
    size, tokens, loss = (float(e.value or math.nan) for e in (best.N, best.D, best.loss))
    low, high = np.exp(budget.sizes[[0, -1]])
    if not low < size < high:
        if not budget.interior:
            return _edge(budget)
        return (
            f"the law's minimum, N = {size:.3g}, lies outside the sizes, {low:.3g} to {high:.3g}, and the"
            " lowest run inside: believe neither"
        )
    error = math.nan if best.N.se is None else best.N.se / size
    y = math.log(loss) if law.estimand.log else loss
    kept = np.ones(len(budget.y), dtype=bool)
    return Minimum(math.log(size), math.log(tokens), y, error, kept, np.zeros(0), 0.0)


def growth(minima: pd.DataFrame, level: float) -> Growth | None:
    """Regress log N* and log D* on log C over budgets, which weigh equally (their errors are mostly of form).

    ``minima`` has the columns C, N and D. The exponents a of N* and b of D* have t intervals; None where
    fewer than three budgets determine nothing.
    """
    m = len(minima)
    if m < 3:
        return None
    x = np.log(minima["C"].to_numpy())
    centre = x.mean()
    sxx = float(np.sum((x - centre) ** 2))
    if sxx <= 0:
        return None
    exponents, levels = {}, []
    for letter, name in (("a", "N"), ("b", "D")):
        y = np.log(minima[name].to_numpy())
        slope = float(np.sum((x - centre) * (y - y.mean())) / sxx)
        residual = y - y.mean() - slope * (x - centre)
        se = math.sqrt(float(residual @ residual) / (m - 2) / sxx)
        q = float(t_distribution.ppf(0.5 + level / 2, m - 2)) * se
        assumes = (
            f"budgets independent, log {name}* of one spread about a line; t with {m - 2} degrees of freedom"
        )
        exponents[letter] = Estimate(
            slope, se, slope - q, slope + q, assumption=assumes, method="t", level=level, df=m - 2
        )
        levels.append(float(y.mean() - slope * centre))
    return Growth(exponents, *levels)
