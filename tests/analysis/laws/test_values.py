"""Every law against its published formula, written out in plain Python for one row at a time.

Gradients are held to the values that a law gives itself (test_gradients), so a fault in both passes there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest

from analysis.laws import get_law, law_names
from analysis.laws.data_constrained import DataConstrained

ROWS = [
    {"N": 90.0, "D": 400.0, "U": 400.0},
    {"N": 90.0, "D": 3000.0, "U": 400.0},
    {"N": 9000.0, "D": 3000.0, "U": 400.0},
    {"N": 4e6, "D": 4e4, "U": 50.0},
    {"N": 9000.0, "D": 100.0, "U": 400.0},  # less than one epoch
]


def given(name: str, rng: np.random.Generator) -> dict[str, float]:
    """Values of a law's parameters, all of an order of magnitude that shows."""
    return {p.name: float(rng.uniform(0.3, 1.5)) for p in get_law(name).parameters}


def predicted(name: str, values: dict[str, float], row: dict[str, float]) -> float:
    return float(get_law(name).predict(values, {v: np.array([row[v]]) for v in get_law(name).variables})[0])


@pytest.mark.parametrize("name", [n for n in law_names() if not isinstance(get_law(n), DataConstrained)])
def test_a_law_computes_the_formula_that_it_prints(name: str) -> None:
    law, rng = get_law(name), np.random.default_rng(0)
    body, _, where = re.sub(r"\blambda\b", "lam", law.formula).partition(", e = ")
    for row in ROWS:
        values = given(name, rng)
        columns = {**row, "C": row["N"] * row["D"], "Q": 0.4, "x": row["D"]}
        numbers = columns | {"lam" if k == "lambda" else k: v for k, v in values.items()}
        names = {"max": max, "exp": np.exp, **{k: np.float64(v) for k, v in numbers.items()}}
        names |= {"e": eval(where, {}, names)} if where else {}
        with np.errstate(divide="ignore"):  # data so over-fitted that it is worth nothing
            expected = eval(body, {}, names)
        assert predicted(name, values, columns) == pytest.approx(expected, rel=1e-12), row


SATURATION: dict[str, Callable[[float, float], float]] = {
    "exponential": lambda r, star: star * (1 - math.exp(-r / star)),
    "geometric": lambda r, star: (
        star * (1 - (star / (1 + star)) ** r)
    ),  # each repeat worth R/(1+R) of the last
    "hyperbolic": lambda r, star: star * r / (star + r),
}


@pytest.mark.parametrize("name", [n for n in law_names() if isinstance(get_law(n), DataConstrained)])
def test_repeated_data_and_excess_parameters_saturate(name: str) -> None:
    """Muennighoff et al., equations 5-7; unique tokens are at most the tokens seen."""
    law, rng = get_law(name), np.random.default_rng(1)
    assert isinstance(law, DataConstrained)
    saturated = SATURATION[law.saturation.kind]
    for row in ROWS:
        v = given(name, rng)
        alpha, beta = v["alpha"], v.get("beta", v["alpha"])
        size, tokens, unique = row["N"], row["D"], min(row["U"], row["D"])
        if law.params:
            best = (alpha * v["A"] / (beta * v["B"]) * unique**beta) ** (1 / alpha)
            base = min(size, best)
            size = base * (1 + saturated(size / base - 1, v["R_N"]))
        if law.data:
            tokens = unique * (1 + saturated(tokens / unique - 1, v["R_D"]))
        expected = v["E"] + v["A"] / size**alpha + v["B"] / tokens**beta
        assert predicted(name, v, row) == pytest.approx(expected, rel=1e-12), row


def test_the_penalty_counts_repeats_and_not_epochs() -> None:
    values = {"A": 2.0, "B": 3.0, "E": 1.5, "alpha": 0.5, "beta": 0.5, "P": 0.25, "kappa": 2.0, "lambda": 0.5}
    once = {"N": 400.0, "D": 100.0, "U": 100.0}
    assert predicted("overfit_penalty", values, once) == pytest.approx(1.5 + 0.1 + 0.3)
    assert predicted("overfit_penalty", values, {**once, "D": 400.0}) == pytest.approx(
        1.5 + 0.1 + 0.15 + 0.25 * 9 * 2
    )
