"""From columns to a problem, and where to start looking for its optimum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.fitting.estimands import Estimand
from analysis.fitting.problem import FitProblem
from analysis.fitting.result import Fit
from analysis.fitting.solver.multistart import draw_starts
from analysis.laws.base import Array, Law
from analysis.tables.frame import Columns, FitError

Starts = int | Sequence[Mapping[str, float]] | Array


def make_problem(law: Law, data: Columns, estimand: Estimand, fix: Mapping[str, float]) -> FitProblem:
    """The centred problem of a fit. Raises FitError if the data cannot determine the free parameters."""
    for name, value in fix.items():
        p = law.parameters[law.index(name)]
        if not math.isfinite(float(value)) or (p.positive and not value > 0):
            raise FitError(f"fix {name}={value:g}: must be {'positive' if p.positive else 'finite'}")
    # a frozen amplitude is only constant in the original units unless its exponents are frozen with it
    units = {} if any(law.parameters[law.index(n)].units for n in fix) else law.centre(data.x)
    fixed = {n: float(v) for n, v in fix.items()}
    problem = FitProblem(
        law,
        law.inputs({v: data.x[v] for v in law.variables}, units),
        data.y,
        data.weights,
        estimand,
        units,
        fixed,
    )
    free = len(problem.free)
    if np.ptp(data.y) <= 1e-12 * float(np.abs(data.y).max(initial=0.0)):
        raise FitError(f"{law.target} is {data.y[0]:g} in every row: there is nothing to fit")
    distinct = len(np.unique(np.column_stack([data.x[v] for v in law.variables]), axis=0))
    if len(data.y) < free + 1 or distinct < free:
        raise FitError(
            f"{len(data.y)} rows ({distinct} distinct designs) cannot determine the {free} free "
            f"parameters of {law.name}: at "
            f"least {free + 1} rows at {free} designs are needed. Add runs, fix parameters, or fit a "
            f"smaller law"
        )
    for v in law.variables:
        touched = [p.name for p in law.parameters if v in p.units and p.name not in fixed]
        if touched and np.ptp(np.log(data.x[v]) if v not in law.raw_variables else data.x[v]) < 1e-9:
            raise FitError(
                f"{v} is {data.x[v][0]:g} in every row, so {', '.join(touched)} cannot be told from the "
                f"level: add runs at other "
                f"{v}, fix its parameters, or fit a law without {v}, such as 'power_offset' with a "
                f"column map x=..."
            )
    return problem


def make_starts(problem: FitProblem, starts: Starts | None) -> Array:
    """(S, F) starts: drawn over the ranges that the data imply, or those given in natural values.

    Raises FitError for starts that do not fit the law.
    """
    names, free = problem.law.parameter_names, len(problem.free)
    if starts is None or isinstance(starts, int):
        count = starts if isinstance(starts, int) else int(min(4096, max(256, 512 * free)))
        if count < 1:
            raise FitError(f"starts must be at least 1, got {count}")
        ranges = problem.law.start_ranges(problem.x, problem.y)[problem.free]
        return draw_starts(_widened(problem, ranges), count)
    if isinstance(starts, np.ndarray):
        if starts.ndim != 2 or starts.shape[1] != len(names):
            raise FitError(
                f"starts must have shape (S, {len(names)}) for {', '.join(names)}; got {starts.shape}"
            )
        return problem.phi(starts)
    rows = []
    for start in starts:
        wrong = [n for n in start if n not in names] + [n for n in problem.free_names if n not in start]
        if wrong:
            raise FitError(
                f"a start gives a value for each of {', '.join(problem.free_names)}; wrong or missing: "
                f"{', '.join(wrong)}"
            )
        rows.append([float(start.get(n, problem.fixed.get(n, 1.0))) for n in names])
    return problem.phi(np.array(rows))


def _widened(problem: FitProblem, ranges: Array) -> Array:
    """Ranges for amplitudes are meant for centred data; without centring, they follow the exponents."""
    out = ranges.copy()
    if any(problem.log_units.values()):
        return out
    for k, j in enumerate(problem.free):
        p = problem.law.parameters[j]
        if not p.units or not p.positive:
            continue
        shifts = [0.0]
        for v, power in p.units.items():
            typical = {
                q.name: np.array([problem.fixed.get(q.name, 0.3 if q.role == "exponent" else 1.0)])
                for q in problem.law.parameters
            }
            centre = float(np.mean(problem.x[v])) if v not in problem.law.raw_variables else 0.0
            shifts.append(shifts[-1] + centre * float(np.asarray(power(typical)).ravel()[0]))
        out[k] += shifts[-1]
        if not set(q.name for q in problem.law.parameters if q.role == "exponent") <= set(problem.fixed):
            out[k] += np.array([-1.0, 1.0]) * 0.5 * abs(shifts[-1])
    return out


def rebuild(result: Fit) -> FitProblem:
    """The problem of a fit. Raises FitError if the fit was read from JSON, and so holds no data."""
    if result.source is None:
        raise FitError("this fit was read from JSON and holds no data; fit again")
    return make_problem(result.law, result.source, result.estimand, result.frozen)


def problem_of(result: Fit) -> tuple[FitProblem, Array]:
    """The problem of a fit, and its optimum (F,).

    Raises NotConverged if the fit has no numbers, FitError if it was read from JSON.
    """
    values = result.values
    if result.sampler is not None:
        return result.sampler.problem, result.sampler.phi
    problem = rebuild(result)
    return problem, problem.phi(np.array([[values[n] for n in result.law.parameter_names]]))[0]
