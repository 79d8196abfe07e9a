"""Which runs next: those that narrow a named quantity most for their FLOPs.

At the optimum of a fit, the expected variance of a quantity with gradient c is c' H^-1 c, with H the
information of the runs there are. A run with derivative j (per residual standard deviation) adds j j' to H,
whatever its outcome, so that plans can be valued before they are run (c-optimal design). Where several basins
fit about equally well, each has its own H and c, and runs on whose outcome the basins disagree are worth the
more (after active-sl, arXiv 2604.22753).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.criticism import problem_of
from analysis.laws.base import Array, Law
from analysis.optimum import best_size
from analysis.problem import Problem
from analysis.result import Fit
from analysis.uncertainty import dispersion, mean_slope, residuals_and_slopes

#: natural parameters (S, P) -> (S,) the quantity, as a logarithm where it is positive
LogQuantity = Callable[[Array], Array]
_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Suggestion:
    """Runs worth doing next. ``runs``: the law's variables, C, and the standard error expected after each run
    (of the quantity; of its logarithm where it is positive). ``before`` and ``after``: that error without and
    with all runs."""

    quantity: str
    runs: pd.DataFrame
    before: float
    after: float
    spent: float
    basins: int
    warnings: list[str]

    def __str__(self) -> str:
        head = (
            f"{self.quantity}: standard error {self.before:.4g} now, {self.after:.4g} expected after "
            f"{len(self.runs)} runs "
            f"({self.spent:.3g} FLOPs), over {self.basins} basin{'s' * (self.basins > 1)}"
        )
        return "\n".join(
            [
                head,
                self.runs.to_string(index=False, float_format=lambda v: f"{v:.4g}"),
                *(f"! {w}" for w in self.warnings),
            ]
        )

    def to_yaml(self, name: str, extends: str | None = None, sizes: Mapping[str, float] | None = None) -> str:
        """A sweep that runs them: one zipped group of points. ``extends`` names the sweep whose base they
        share; ``sizes`` maps the ladder's names to N, to write names in place of numbers."""
        lines = [f"name: {name}"] + ([f"extends: {extends}"] if extends else []) + ["zip:"]
        for k, row in enumerate(self.runs.to_dict("records")):
            point = {"model.size": _size(float(row["N"]), sizes)} if "N" in row else {}
            if "U" in row:
                point["data.unique_tokens"] = f"{round(float(row['U']))}"
            if "D" in row:
                point["budget.tokens"] = f"{round(float(row['D']))}"
            text = ", ".join(f"{key}: {value}" for key, value in point.items())
            lines.append(("  - - " if k == 0 else "    - ") + "{" + text + "}")
        return "\n".join(lines) + "\n"


def _size(n: float, sizes: Mapping[str, float] | None) -> str:
    if not sizes:
        return f"{round(n)}"
    return min(sizes, key=lambda s: abs(math.log(sizes[s] / n)))


def parse_quantity(text: str, law: Law) -> LogQuantity:
    """``alpha`` (a parameter), ``loss(N=7e10, D=1.4e12)``, ``N_opt(C=1e24)`` or ``D_opt(C=1e24)``.

    ValueError says what is allowed.
    """
    if text in law.parameter_names:
        j = law.index(text)
        positive = law.parameters[j].positive
        return lambda natural: np.log(natural[:, j]) if positive else natural[:, j]
    match = re.fullmatch(r"\s*(\w+)\s*\(([^()]*)\)\s*", text)
    given: dict[str, float] = {}
    if match:
        for part in filter(None, (p.strip() for p in match.group(2).split(","))):
            key, _, value = part.partition("=")
            try:
                given[key.strip()] = float(value)
            except ValueError:
                raise ValueError(f"quantity {text!r}: {part!r} is not NAME=NUMBER") from None
    if match and match.group(1) in ("loss", str(law.target)):
        point = law.inputs(given)
        return lambda natural: np.log(
            np.maximum(law.evaluate(law.to_internal(natural), point, jac=False)[0][:, 0], 1e-300)
        )
    if match and match.group(1) in ("N_opt", "D_opt") and "C" in given and {"N", "D"} <= set(law.variables):
        compute = given.pop("C")
        sign, shift = (1.0, 0.0) if match.group(1) == "N_opt" else (-1.0, math.log(compute / 6))
        return lambda natural: shift + sign * best_size(law, natural, compute, given)
    raise ValueError(
        f"no quantity {text!r}: give a parameter ({', '.join(law.parameter_names)}), "
        f"loss({', '.join(f'{v}=...' for v in law.variables)})"
        + (", N_opt(C=...) or D_opt(C=...)" if {"N", "D"} <= set(law.variables) else "")
    )


def candidates(result: Fit, budget: float, reach: float = 3.0, levels: int = 12) -> pd.DataFrame:
    """A grid of possible runs: sizes and tokens up to ``reach`` times beyond those of the data, costing 6ND
    <= ``budget`` each; unique tokens, where the law knows them, at the levels of the data."""
    data = result.data
    if data is None:
        raise ValueError("this fit was read from JSON and holds no data; fit again")
    axes: dict[str, Array] = {}
    for v in result.law.variables:
        low, high = float(data[v].min()), float(data[v].max())
        if v == "U":
            found = np.unique(data[v].to_numpy())
            axes[v] = found if len(found) <= levels else np.geomspace(low, high, levels)
        elif v == "Q":
            axes[v] = np.unique(data[v].to_numpy())
        else:
            axes[v] = np.geomspace(low / reach, high * reach, levels)
    mesh = np.meshgrid(*axes.values(), indexing="ij")
    out = pd.DataFrame({v: m.ravel() for v, m in zip(axes, mesh, strict=True)})
    if "U" in out and "D" in out:
        out = out[out["D"] >= out["U"]]
    out["C"] = _cost(out)
    return out[out["C"] <= budget].reset_index(drop=True)


def _cost(rows: pd.DataFrame) -> Array:
    if {"N", "D"} <= set(rows.columns):
        return 6.0 * rows["N"].to_numpy(dtype=float) * rows["D"].to_numpy(dtype=float)
    if "C" in rows.columns:
        return rows["C"].to_numpy(dtype=float)
    raise ValueError("candidate runs need N and D, or C, to know what they cost")


@dataclass
class _Mode:
    """One basin: its weight, inverse information (F, F), gradient of the quantity (F,), value, and for each
    candidate its derivative per residual standard deviation (m, F) and predicted value per the same (m,)."""

    weight: float
    inverse: Array
    gradient: Array
    value: float
    rows: Array
    predicted: Array


def suggest(
    result: Fit,
    quantity: str,
    budget: float,
    *,
    count: int = 8,
    choices: pd.DataFrame | None = None,
    reach: float = 3.0,
    per_run: float | None = None,
    repeats: bool = True,
) -> Suggestion:
    """A plan of at most ``count`` runs, of at most ``budget`` FLOPs together, that narrows ``quantity`` most.

    ``choices``: the runs that are possible (columns under the law's names; C = 6ND is their cost), else a
    grid around the data up to ``reach`` times beyond it; ``per_run`` caps one run's cost. With
    ``repeats`` runs may come twice: replicates are a choice like any.
    """
    if not budget > 0 or count < 1:
        raise ValueError(f"budget must be positive and count at least 1; got {budget:g} and {count}")
    problem, phi = problem_of(result)
    cap = min(budget, per_run or budget)
    pool = candidates(result, cap, reach) if choices is None else choices.assign(C=_cost(choices))
    pool = pool[pool["C"] <= cap].reset_index(drop=True)
    if not len(pool):
        raise ValueError(
            f"no candidate run costs at most {cap:.3g} FLOPs; raise the budget or offer smaller runs"
        )
    value = parse_quantity(quantity, result.law)
    modes = _modes(result, problem, phi, value, pool)
    before = math.sqrt(_variance(modes))
    plans = [_greedy(modes, pool["C"].to_numpy(), budget, count, power, repeats) for power in _POWERS]
    chosen, errors = min(plans, key=lambda plan: plan[1][-1] if plan[1] else before)
    runs = pool.iloc[chosen].reset_index(drop=True)
    runs["se_after"] = errors
    data = result.data
    warnings = (
        []
        if data is None
        else [
            f"{int((runs[v] > data[v].max() * 1.001).sum())} runs lie beyond the data in {v}: valued by "
            f"the law's own extrapolation"
            for v in result.law.variables
            if (runs[v] > data[v].max() * 1.001).any()
        ]
    )
    return Suggestion(
        quantity, runs, before, errors[-1] if errors else before, float(runs["C"].sum()), len(modes), warnings
    )


def _modes(result: Fit, problem: Problem, phi: Array, value: LogQuantity, pool: pd.DataFrame) -> list[_Mode]:
    law = result.law
    kappa = dispersion(problem, phi)
    points = [phi]
    weights = [1.0]
    for basin in result.convergence["basins"][1:]:
        gain = (float(basin["objective"]) - result.objective) * 2 / kappa
        if basin["converged"] and gain < 8.0 and not basin["at_bounds"]:
            points.append(problem.phi(np.array([[basin["parameters"][n] for n in law.parameter_names]]))[0])
            weights.append(math.exp(-0.5 * gain))
    x = law.inputs({v: pool[v].to_numpy() for v in law.variables}, problem.log_units)
    trial = Problem(
        law, x, np.ones(len(pool)), np.ones(len(pool)), problem.estimand, problem.log_units, problem.fixed
    )
    out = []
    for point, weight in zip(points, weights, strict=True):
        r, jac = residuals_and_slopes(problem, point)
        unit = math.sqrt(mean_slope(problem.estimand, r) / dispersion(problem, point))
        information = (jac * problem.weights) @ jac.T * unit**2
        # a weak prior of three e-folds keeps unidentified directions finite, and worth learning
        inverse = np.linalg.inv(information + np.eye(len(point)) / 9.0)
        step = 1e-4
        spread = np.concatenate(
            (point + step * np.eye(len(point)), point - step * np.eye(len(point)), point[None])
        )
        with np.errstate(all="ignore"):
            values = value(problem.natural(spread))
        half = len(point)
        gradient = (values[:half] - values[half : 2 * half]) / (2 * step)
        if not np.isfinite(gradient).all():
            continue
        _, rows = trial.linearised(point[None])
        out.append(
            _Mode(
                weight,
                inverse,
                gradient,
                float(values[-1]),
                rows[0].T * unit,
                trial.fitted(point[None])[0] * unit,
            )
        )
    if not out:
        raise ValueError("the quantity cannot be computed at the fitted parameters (no interior optimum?)")
    total = sum(m.weight for m in out)
    for m in out:
        m.weight /= total
    return out


def _variance(modes: Sequence[_Mode]) -> float:
    within = sum(m.weight * float(m.gradient @ m.inverse @ m.gradient) for m in modes)
    mean = sum(m.weight * m.value for m in modes)
    return within + sum(m.weight * (m.value - mean) ** 2 for m in modes)


def _greedy(
    modes: Sequence[_Mode], cost: Array, budget: float, count: int, power: float, repeats: bool = True
) -> tuple[list[int], list[float]]:
    """Runs one after another by gain / cost**power, within the budget; and the expected standard error after
    each."""
    inverses = [m.inverse.copy() for m in modes]
    total = _variance(modes)
    mean = sum(m.weight * m.value for m in modes)
    between = sum(m.weight * (m.value - mean) ** 2 for m in modes)
    left = budget
    chosen: list[int] = []
    errors: list[float] = []
    for _ in range(count):
        gain = np.zeros(len(cost))
        noise = np.zeros((len(modes), len(cost)))
        for k, (m, inverse) in enumerate(zip(modes, inverses, strict=True)):
            noise[k] = 1.0 + np.einsum("mf,fg,mg->m", m.rows, inverse, m.rows)
            gain += m.weight * (m.rows @ (inverse @ m.gradient)) ** 2 / noise[k]
        tell = np.zeros(len(cost))
        if len(modes) > 1:
            centre = sum(m.weight * m.predicted for m in modes)
            apart = sum(m.weight * (m.predicted - centre) ** 2 for m in modes)
            tell = between * -np.expm1(-0.5 * apart / noise.mean(axis=0))
        worth = np.where(cost <= left, (gain + tell) / cost**power, -np.inf)
        if not repeats:
            worth[chosen] = -np.inf
        best = int(np.argmax(worth))
        if not np.isfinite(worth[best]) or worth[best] <= 0:
            break
        for k, m in enumerate(modes):
            direction = inverses[k] @ m.rows[best]
            inverses[k] -= np.outer(direction, direction) / noise[k, best]
        total -= float(gain[best] + tell[best])
        between -= float(tell[best])
        left -= float(cost[best])
        chosen.append(best)
        errors.append(math.sqrt(max(total, 0.0)))
    return chosen, errors
