"""Criticism, hold-outs, calibration, routes to an optimum, and designs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.fitting.fitting import fit
from analysis.laws import get_law, law_names
from analysis.questions.classic_routes import approaches, envelope, pareto
from analysis.questions.criticism import compare, influence, lack_of_fit, nested_test
from analysis.questions.design import parse_quantity, suggest
from analysis.questions.holdout import budgets, score
from analysis.questions.isoflop_curves import isoflop
from analysis.questions.likelihood_profiles import profile_curves
from analysis.questions.optimum import allocation_exponents, best_size, log_size, optimal
from benchmarks.designs import DESIGNS

TRUTH = DESIGNS["chinchilla"].truth


def _isoflops(noise: float = 0.0, seed: int = 0, budgets_: int = 8, sizes: int = 9) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    law, rows = get_law("chinchilla"), []
    for c in np.geomspace(1e18, 1e21, budgets_):
        best = np.exp(best_size(law, np.array([[TRUTH[n] for n in law.parameter_names]]), c)[0])
        rows += [{"N": n, "C": c, "D": c / 6 / n} for n in best * np.geomspace(0.15, 6, sizes)]
    table = pd.DataFrame(rows)
    table["loss"] = law.predict(TRUTH, {k: table[k].to_numpy() for k in "ND"}) * np.exp(
        rng.normal(0, noise, len(table))
    )
    return table


def test_closed_form_and_numeric_optimum_agree() -> None:
    law = get_law("chinchilla")
    a, b = TRUTH["alpha"], TRUTH["beta"]
    g = (a * TRUTH["A"] / (b * TRUTH["B"])) ** (1 / (a + b))
    numeric = np.exp(best_size(law, np.array([[TRUTH[n] for n in law.parameter_names]]), 1e22)[0])
    assert numeric == pytest.approx(g * (1e22 / 6) ** (b / (a + b)), rel=1e-5)


def test_laws_that_call_themselves_separable_have_the_optimum_of_the_closed_form() -> None:
    values = {"A": 400.0, "B": 1500.0, "E": 1.8, "alpha": 0.34, "beta": 0.31, "gamma": 0.8}
    separable = [law for name in law_names() if (law := get_law(name)).separable]
    assert {law.name for law in separable} >= {"chinchilla", "chinchilla_tied", "coupled"}
    for law in separable:
        p = {n: np.array([values[n]]) for n in law.parameter_names}
        searched = best_size(law, np.column_stack(list(p.values())), 1e22)
        assert log_size(law, p, 1e22) == pytest.approx(searched, abs=1e-4), law.name


def test_optimum_of_a_fit_has_intervals_and_says_how_far_it_extrapolates() -> None:
    found = fit(_isoflops(0.003), estimand="log_mse", interval="profile")
    best = optimal(found, 1e23)
    a, b = TRUTH["alpha"], TRUTH["beta"]
    truth = (a * TRUTH["A"] / (b * TRUTH["B"])) ** (1 / (a + b)) * (1e23 / 6) ** (b / (a + b))
    assert best.N.low < truth < best.N.high and best.N.value * best.D.value == pytest.approx(1e23 / 6)
    assert best.extrapolates == pytest.approx(100, rel=0.01) and "times the largest" in str(best)
    e = allocation_exponents(found)
    assert e["a"].low < b / (a + b) < e["a"].high and e["a"].value + e["b"].value == pytest.approx(1)


def test_a_monotone_law_has_no_optimum() -> None:
    found = fit(_isoflops(0.003), "kaplan", interval="t")
    assert optimal(found, 1e20).N.value > 0
    single = fit(_isoflops(0.003), "loss_saturation", interval="t")
    with pytest.raises(ValueError, match="no law of N and D"):
        optimal(single, 1e20)


def test_a_law_whose_data_term_vanished_has_no_optimum() -> None:
    """The two slopes cancel at N = 8e6, inside the data's range, but the loss is flat from there on."""
    vanished = {"A": 2.9e83, "alpha": 20.0, "B": 3.7e-50, "beta": 1e-4}
    found = fit(DESIGNS["chinchilla"].sample(1), fix=vanished, interval="none")
    with pytest.raises(ValueError, match=r"no interior optimum.*a term of N or of D has vanished"):
        optimal(found, 1e22)


@pytest.mark.parametrize("method", ["parabola", "cubic", "law"])
def test_isoflop_finds_the_exponent(method: str) -> None:
    found = isoflop(_isoflops(0.001), method=method)
    assert len(found.minima) == 8 and not len(found.refused)
    assert found.exponents["a"].value == pytest.approx(0.36 / 0.70, abs=0.02 if method == "cubic" else 0.01)
    assert found.size_at(1e20) > 0


def test_only_annealed_bracketed_points_make_a_front() -> None:
    table = _isoflops()
    middle = table.assign(annealed=True)
    early = table.assign(loss=table["loss"] * 0.9, annealed=False)
    found = envelope(pd.concat([middle, early]), per_decade=2)
    assert found.points["loss"].min() == pytest.approx(table["loss"].min())
    assert any("not annealed" in w for w in found.warnings)
    edge = envelope(table[table["N"] < table.groupby("C")["N"].transform("median")])
    assert not edge.points["bracketed"].any() and edge.exponents is None
    assert any("not bracketed" in w for w in edge.warnings)


def test_pareto_keeps_what_nothing_cheaper_beats() -> None:
    keep = pareto(np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([3.0, 3.5, 2.5, 2.5, 2.0]))
    assert keep.tolist() == [0, 2, 4]


def test_three_approaches_side_by_side() -> None:
    found = approaches(_isoflops(0.002), 1e22, columns={"N": "N", "C": "C", "loss": "loss"}).table
    assert list(found.index) == [
        "1 envelope",
        "2 isoFLOP parabola",
        "2 isoFLOP cubic",
        "2 isoFLOP law",
        "3 chinchilla",
    ]
    assert np.allclose(found["a"].astype(float), 0.514, atol=0.05)
    sparse = approaches(_isoflops(0.002, budgets_=2), 1e22).table
    assert sparse.loc["2 isoFLOP parabola", "a"] is None or np.isnan(sparse.loc["2 isoFLOP parabola", "a"])
    assert "needs 3" in sparse.loc["2 isoFLOP parabola", "note"]


def test_lack_of_fit_sees_a_wrong_form_and_not_a_right_one() -> None:
    table = DESIGNS["coupled"].sample(1)
    right = lack_of_fit(fit(table, "coupled", estimand="log_mse", interval="t"))
    wrong = lack_of_fit(fit(table, "chinchilla", estimand="log_mse", interval="t"))
    assert not right.alarm and wrong.alarm and wrong.trends["p"].min() < 1e-6


def test_pure_error_from_replicates() -> None:
    design = DESIGNS["coupled"]
    table = pd.concat([design.sample(s) for s in range(3)])
    wrong = lack_of_fit(fit(table, "chinchilla", estimand="log_mse", interval="none"))
    assert wrong.pure_error["p"] < 1e-6 and wrong.pure_error["replicate_scale"] == pytest.approx(
        0.002, rel=0.15
    )
    right = lack_of_fit(fit(table, "coupled", estimand="log_mse", interval="none"))
    assert right.pure_error["p"] > 0.01


def test_influence_finds_the_planted_point() -> None:
    table = DESIGNS["chinchilla"].sample(1)
    table.loc[17, "loss"] *= 1.1
    found = influence(fit(table, estimand="log_mse", interval="t"))
    assert found["row"][0] == 17 and found["distance"][0] > 3 * found["distance"][1] and len(found) == 80


def test_nested_comparison_prefers_the_truth() -> None:
    found = compare(
        DESIGNS["coupled"].sample(1),
        ["chinchilla", "chinchilla_tied", "coupled", "kaplan", "quality"],
        estimand="log_mse",
        holdout="D > 3e11",
    )
    assert found.table.index[0] == "coupled" and "quality" in found.left_out
    row = found.nested[(found.nested["small"] == "chinchilla") & (found.nested["large"] == "coupled")].iloc[0]
    assert row["p"] < 1e-6 and {"holdout_signed", "holdout_rms", "dAICc"} <= set(found.table.columns)
    table = DESIGNS["chinchilla"].sample(3)
    small, large = (fit(table, law, estimand="log_mse", interval="none") for law in ("chinchilla", "coupled"))
    assert nested_test(small, large)["p"] > 0.01
    with pytest.raises(ValueError, match="same estimand"):
        nested_test(fit(table, interval="none"), large)


def test_holdout_is_scored_with_sign_and_coverage() -> None:
    found = fit(_isoflops(0.003), estimand="log_mse", holdout="C > 3e20")
    held = score(found)
    assert len(held.table) == len(found.heldout) and abs(held.signed) < 0.003 and held.coverage > 0.7
    bent = _isoflops(0.003)
    bent["loss"] *= np.where(bent["C"] > 3e20, 0.97, 1.0)
    assert score(fit(bent, estimand="log_mse", holdout="C > 3e20")).signed == pytest.approx(0.031, abs=0.006)
    with pytest.raises(ValueError, match="nothing was held out"):
        score(fit(_isoflops(0.003), interval="none"))


def test_budgets_gather_neighbours() -> None:
    assert budgets(np.array([1e18, 1.05e18, 1e19, 9.8e18, 3e18])).tolist() == [0, 0, 2, 2, 1]


def test_suggest_narrows_the_named_quantity() -> None:
    table = _isoflops(0.004, budgets_=4, sizes=5)
    found = fit(table, estimand="log_mse", interval="profile")
    plan = suggest(found, "N_opt(C=1e23)", 2e21, count=5)
    assert plan.after < plan.before and plan.spent <= 2e21 and 1 <= len(plan.runs) <= 5
    assert (np.diff(plan.runs["se_after"]) <= 1e-12).all()
    # carrying the plan out narrows the interval about as promised
    law, rng = get_law("chinchilla"), np.random.default_rng(5)
    more = plan.runs[["N", "D"]].copy()
    more["loss"] = law.predict(TRUTH, {k: more[k].to_numpy() for k in "ND"}) * np.exp(
        rng.normal(0, 0.004, len(more))
    )
    after = optimal(fit(pd.concat([table, more]), estimand="log_mse", interval="profile"), 1e23).N
    before = optimal(found, 1e23).N
    promised = plan.after / plan.before
    assert np.log(after.high / after.low) / np.log(before.high / before.low) == pytest.approx(
        promised, rel=0.35
    )


def test_suggest_refuses_what_it_cannot_price_or_name() -> None:
    found = fit(_isoflops(0.004), estimand="log_mse", interval="t")
    with pytest.raises(ValueError, match="raise the budget"):
        suggest(found, "alpha", 1.0)
    with pytest.raises(ValueError, match="no quantity 'alhpa'"):
        suggest(found, "alhpa", 1e21)
    with pytest.raises(ValueError, match="not NAME=NUMBER"):
        parse_quantity("loss(N=big)", found.law)


def test_profile_curves_cross_their_threshold_at_the_interval() -> None:
    found = fit(DESIGNS["chinchilla"].sample(1), estimand="log_mse", interval="profile")
    curve = profile_curves(found, ["beta"])["beta"]
    e = found.parameters["beta"]
    assert (curve.low, curve.high) == (pytest.approx(e.low, rel=1e-6), pytest.approx(e.high, rel=1e-6))
    below, above = np.interp([e.low, e.high], curve.points["value"], curve.points["rise"])
    assert below == pytest.approx(curve.threshold, rel=0.05) and above == pytest.approx(
        curve.threshold, rel=0.05
    )
    assert curve.points["rise"].min() < 0.05
    with pytest.raises(ValueError, match="no free parameter 'gamma'"):
        profile_curves(found, ["gamma"])
