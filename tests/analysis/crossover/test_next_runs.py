"""Which runs narrow a crossing of two laws, against closed forms and by doing them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.crossover.surfaces.law_against_law import meet
from analysis.crossover.surfaces.next_runs import parse_crossing, suggest_crossing
from analysis.fitting.fitting import fit
from analysis.fitting.result import Fit
from analysis.laws import get_law
from analysis.questions.design import suggest
from analysis.questions.information import slope, weighted_optima

LAWS = {
    "autoregressive": {"A": 400.0, "B": 410.0, "E": 1.7, "alpha": 0.34, "beta": 0.28},
    "masked_diffusion": {"A": 400.0, "B": 900.0, "E": 1.7, "alpha": 0.34, "beta": 0.32},
}
PLACE = (900.0 / 410.0) ** (1 / 0.04)  # tokens where B1 / D**b1 = B2 / D**b2
NOISE = 0.002


def losses(name: str, rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    mean = get_law("chinchilla").predict(LAWS[name], {k: rows[k].to_numpy() for k in "ND"})
    noise = np.random.default_rng(seed).normal(0, NOISE, len(rows))
    return rows[["N", "D"]].assign(loss=mean * np.exp(noise))


def first_study() -> pd.DataFrame:
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e7, 1e11, 6)))
    return pd.DataFrame({"N": n, "D": d})


def fits(extra: pd.DataFrame | None = None) -> dict[str, Fit]:
    out = {}
    for k, name in enumerate(LAWS):
        table = losses(name, first_study(), k)
        if extra is not None:
            more = extra[extra["objective"] == name]
            table = pd.concat([table, losses(name, more, 10 + k)])
        out[name] = fit(table, "chinchilla", estimand="log_mse", interval="t", starts=64)
    return out


@pytest.fixture(scope="module")
def found() -> dict[str, Fit]:
    return fits()


def test_a_crossing_is_asked_for_by_its_axis_and_what_is_held() -> None:
    assert parse_crossing("crossover(C, U=1e8)") == ("C", {"U": 1e8})
    assert parse_crossing("N_opt(C=1e20)") is None and parse_crossing("alpha") is None
    with pytest.raises(ValueError, match="name the axis first"):
        parse_crossing("crossover(U=1e8)")
    with pytest.raises(ValueError, match="'U' is not NAME=NUMBER"):
        parse_crossing("crossover(C, U)")


def test_the_error_of_a_crossing_is_that_of_the_difference_over_its_slope(found: dict[str, Fit]) -> None:
    """By the implicit function theorem, from the gradients of the losses at the place."""
    fixed = {"N": 1e8}
    plan = suggest_crossing(found, "D", fixed, 1e22, count=1)
    place = meet(*found.values(), "D", fixed=fixed, between=(1e6, 1e13)).value
    spread, slopes = 0.0, []
    for result in found.values():
        (basin,) = weighted_optima(result)
        point = result.law.inputs({"N": 1e8, "D": place})

        def loss(natural: np.ndarray, law=result.law, point=point) -> np.ndarray:
            return law.evaluate(law.to_internal(natural), point, jac=False)[0][:, 0]

        _, gradient = slope(basin, loss)
        spread += float(gradient @ basin.inverse @ gradient)
        ends = result.predict({"N": [1e8] * 2, "D": [place * 0.999, place * 1.001]}, interval=False)
        slopes.append(float(np.diff(ends["prediction"])[0]) / math.log(1.001 / 0.999))
    assert plan.before == pytest.approx(math.sqrt(spread) / abs(slopes[1] - slopes[0]), rel=0.03)


def test_the_plan_names_runs_of_both_arms_and_keeps_its_promise(found: dict[str, Fit]) -> None:
    plan = suggest_crossing(found, "D", {"N": 1e8}, 1e22, count=12)
    assert plan.quantity == "crossover(D, N=1e+08)" and plan.spent <= 1e22
    assert set(plan.runs["objective"]) == set(LAWS) and plan.after < 0.8 * plan.before
    again = suggest_crossing(fits(plan.runs), "D", {"N": 1e8}, 1e22, count=1)
    assert again.before == pytest.approx(plan.after, rel=0.35)


def test_compute_optimal_crossings_can_be_asked_for_too(found: dict[str, Fit]) -> None:
    plan = suggest_crossing(found, "C", {}, 1e22, count=4, between=(1e14, 1e26))
    assert plan.after < plan.before and len(plan.runs) == 4


def test_laws_that_do_not_cross_in_range_leave_nothing_to_narrow(found: dict[str, Fit]) -> None:
    with pytest.raises(ValueError, match="do not cross along D"):
        suggest_crossing(found, "D", {"N": 1e8}, 1e22, between=(PLACE * 10, PLACE * 1000))
    with pytest.raises(ValueError, match="give N, which the laws need"):
        suggest_crossing(found, "D", {}, 1e22)


def test_a_replicate_is_a_choice_like_any_but_not_in_a_sweep(found: dict[str, Fit]) -> None:
    one = found["autoregressive"]
    offered = pd.DataFrame({"N": [1e6, 1e9], "D": [1e9, 1e9]})
    twice = suggest(one, "alpha", 1e22, count=3, choices=offered)
    once = suggest(one, "alpha", 1e22, count=3, choices=offered, repeats=False)
    assert len(twice.runs) == 3 and len(once.runs) == 2 and not once.runs.duplicated().any()
