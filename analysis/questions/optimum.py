"""The best use of a budget: N*, D* and the loss there, with intervals, from any law of N and D."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.fitting.estimate import Estimate
from analysis.fitting.result import Fit
from analysis.laws.base import Array, Law, Named
from analysis.tables.keywords import checked_keywords
from analysis.tables.shown import Block, Grid, Shown

_GRID = 241
_FAR = np.log(1e30)
_SPAN = (np.log(1e3), np.log(1e15))
_ASIDE, _FLAT = np.log(1e3), 1e-9


@dataclass(frozen=True, repr=False)
class Allocation(Shown):
    """Compute-optimal N, D, tokens per parameter and loss at budget C = 6ND (matmul-free convention), with
    intervals.

    ``extrapolates``: how many times the budget lies above the largest in the data (1 or less: inside).
    """

    C: float
    N: Estimate
    D: Estimate
    tokens_per_parameter: Estimate
    loss: Estimate
    extrapolates: float

    def table(self) -> pd.DataFrame:
        """One row a quantity: value, se, low, high, unbounded."""
        rows = {"N": self.N, "D": self.D, "D/N": self.tokens_per_parameter, "loss": self.loss}
        return pd.DataFrame.from_dict({k: e.as_dict() for k, e in rows.items()}, orient="index")

    def blocks(self) -> Sequence[Block]:
        head, far = f"C = {self.C:.4g}", self.extrapolates > 1
        if far:
            head += f" ({self.extrapolates:.3g} times the largest budget in the data)"
        caution = ["! intervals assume that the law holds beyond the data, too"] if far else []
        return [head, Grid(self.table(), 5, index=True), *caution]

    def as_dict(self) -> dict[str, Any]:
        """One entry of the field ``optimal`` of ``crossover fit --at --json``."""
        estimates = {k: getattr(self, k).as_dict() for k in ("N", "D", "tokens_per_parameter", "loss")}
        return {"C": self.C, "extrapolates": self.extrapolates, **estimates}


def best_size(law: Law, natural: Array, compute: float, fixed: Mapping[str, float] | None = None) -> Array:
    """(S,) log N that minimises the law at C = 6ND for each row of natural parameters (S, P); NaN where there
    is no interior minimum. ``fixed`` gives the law's other variables (U, Q)."""
    theta = law.to_internal(natural)
    low, high = np.full(len(theta), _SPAN[0]), np.full(len(theta), _SPAN[1])
    grid = np.linspace(0.0, 1.0, _GRID)
    interior = np.ones(len(theta), dtype=bool)
    for round_ in range(5):
        n = low[:, None] + grid * (high - low)[:, None]
        values = np.stack([_along(law, theta[i : i + 1], n[i], compute, fixed) for i in range(len(theta))])
        values = np.where(np.isfinite(values), values, np.inf)
        at = np.argmin(values, axis=1)
        if round_ == 0:
            interior = (at > 0) & (at < _GRID - 1)
        row = np.arange(len(theta))
        low, high = n[row, np.maximum(at - 1, 0)], n[row, np.minimum(at + 1, _GRID - 1)]
    return np.where(interior, 0.5 * (low + high), np.nan)


def _along(law: Law, theta: Array, log_n: Array, compute: float, fixed: Mapping[str, float] | None) -> Array:
    log_d = np.log(compute / 6.0) - log_n
    x: dict[str, Array] = {"N": log_n, "D": log_d, "C": np.full_like(log_n, np.log(compute))}
    for name, value in (fixed or {}).items():
        x[name] = np.full_like(log_n, np.log(value))
    if "U" in law.variables and "U" not in x:
        x["U"] = log_d
    x = {v: np.exp(x[v]) if v in law.raw_variables else x[v] for v in law.variables}
    with np.errstate(all="ignore"):
        return law.evaluate(theta, x, jac=False)[0][0]


def _rises_on_both_sides(
    law: Law, theta: Array, log_n: float, compute: float, fixed: Mapping[str, float] | None
) -> bool:
    """Whether the loss at C = 6ND is higher at a thousandth and at a thousand times N. Where the fit left a
    term of the law out (its coefficient at a bound) the loss is flat on that term's side, and the N at which
    the two slopes cancel is an accident of rounding."""
    left, here, right = _along(law, theta, log_n + np.array([-_ASIDE, 0.0, _ASIDE]), compute, fixed)
    return bool(min(left, right) - here > _FLAT * abs(here))


def log_size(law: Law, p: Named, compute: float, fixed: Mapping[str, float] | None = None) -> Array:
    """(S,) log N that minimises the law at C = 6ND, for parameters given by name as (S,) values.

    A separable law has a closed form (Hoffmann et al. 2022, arXiv 2203.15556, equation 4): N* = G
    (C/6)**(beta/(alpha+beta)). Of any other law the minimum is searched; NaN where it is not interior.
    """
    if not law.separable:
        return best_size(law, np.column_stack([p[n] for n in law.parameter_names]), compute, fixed)
    alpha, beta = p["alpha"], p.get("beta", p["alpha"])
    return (np.log(alpha * p["A"] / (beta * p["B"])) + beta * np.log(compute / 6.0)) / (alpha + beta)


@checked_keywords
def optimal(result: Fit, compute: float, fixed: Mapping[str, float] | None = None) -> Allocation:
    """Compute-optimal allocation of ``compute`` FLOPs (6ND) under a fitted law of N and D.

    ``fixed`` gives other variables, such as ``{"U": 1e8}``; a law of U without it takes fresh data (U = D).
    Intervals are of the fit's own kind. ValueError if the law has no interior optimum at that budget.
    """
    law = result.law
    if not {"N", "D"} <= set(law.variables):
        raise ValueError(
            f"law {law.name!r} is no law of N and D, so it has no allocation; it is one of "
            f"{', '.join(law.variables)}"
        )
    if not compute > 0:
        raise ValueError(f"compute must be positive, got {compute:g}")
    names = law.parameter_names

    def size(p: Named) -> Array:
        return log_size(law, p, compute, fixed)

    def loss(p: Named) -> Array:
        sizes = np.atleast_1d(size(p))
        natural = np.column_stack([np.broadcast_to(p[n], sizes.shape) for n in names])
        theta = law.to_internal(natural)
        return np.array(
            [_along(law, theta[i : i + 1], sizes[i : i + 1], compute, fixed)[0] for i in range(len(sizes))]
        )

    centre = float(np.atleast_1d(size({n: np.array([v]) for n, v in result.values.items()}))[0])
    theta = law.to_internal(np.array([[result.values[n] for n in names]]))
    if not -_FAR < centre < _FAR:  # NaN, or a parameter that ran off to its bound
        raise ValueError(
            f"{law.name} has no interior optimum at C = {compute:g}: its best N is at the edge of 1e3 to 1e15"
        )
    if not _rises_on_both_sides(law, theta, centre, compute, fixed):
        raise ValueError(
            f"{law.name} has no interior optimum at C = {compute:g}: "
            "a term of N or of D has vanished in the fit"
        )
    make: dict[str, Callable[[Named], Array]] = {
        "N": lambda p: np.exp(size(p)),
        "D": lambda p: compute / 6.0 / np.exp(size(p)),
        "ratio": lambda p: compute / 6.0 / np.exp(2 * size(p)),
        "loss": loss,
    }
    if result.sampler is None:
        p = {n: np.array([v]) for n, v in result.values.items()}
        estimates = {k: Estimate(float(np.atleast_1d(f(p))[0])) for k, f in make.items()}
    else:
        estimates = {k: result.derive(f) for k, f in make.items()}
    data = result.data
    largest = float((6 * data["N"] * data["D"]).max()) if data is not None else compute
    return Allocation(
        compute, estimates["N"], estimates["D"], estimates["ratio"], estimates["loss"], compute / largest
    )


def allocation_exponents(result: Fit) -> dict[str, Estimate]:
    """a and b of N* ~ C**a and D* ~ C**b of a separable law: a = beta/(alpha+beta).

    Raises ValueError for another law, whose exponents change with C.
    """
    if not result.law.separable:
        raise ValueError(
            f"{result.law.name} is not separable: its exponents change with C; use optimal() at each budget"
        )

    def a(p: Named) -> Array:
        beta = p.get("beta", p["alpha"])
        return beta / (p["alpha"] + beta)

    return {"a": result.derive(a), "b": result.derive(lambda p: 1.0 - a(p))}
