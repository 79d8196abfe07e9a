"""Fits: intervals against exact results, predictions, JSON, estimands, bootstraps, and what a result says of
itself."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.fitting.estimands import get_estimand
from analysis.fitting.fitting import fit
from analysis.fitting.likelihood import log_likelihood
from analysis.fitting.options import OPTIONS
from analysis.fitting.result import Fit, NotConverged
from analysis.fitting.starts import rebuild
from analysis.fitting.uncertainty.choice import Case, choose
from analysis.fitting.uncertainty.intervals import parameter_targets
from analysis.fitting.uncertainty.resampling import bootstrap
from analysis.questions.estimand_table import fit_estimands
from benchmarks.designs import DESIGNS, UNIDENTIFIED, Design

SLOW = [pytest.param("bnsl3", marks=pytest.mark.slow)]


def _line(n: int = 25, seed: int = 0, noise: float = 0.05) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = np.geomspace(1e3, 1e8, n)
    return pd.DataFrame({"x": x, "y": 30 * x**-0.2 * np.exp(rng.normal(0, noise, n))})


@pytest.mark.parametrize("law", [*(n for n in DESIGNS if n != "bnsl3"), *SLOW])
def test_every_law_recovers_its_truth(law: str) -> None:
    design = DESIGNS[law]
    starts = None if law == "bnsl3" else 256
    found = fit(design.sample(5), law, estimand="log_mse", interval="t", starts=starts, fix=design.frozen)
    assert found.converged and not found.diagnostics.flat_directions
    for name, e in found.parameters.items():
        size = (
            abs(np.log(e.value / design.truth[name])) * e.value
            if design.truth[name] > 0
            else abs(e.value - design.truth[name])
        )
        assert e.low is not None and e.high is not None and size < 5 * e.se, name


def test_profile_of_a_straight_line_is_students_t() -> None:
    """log y is linear in log x, so the profile interval must equal the textbook one."""
    table = _line()
    found = fit(table, "power", estimand="log_mse", interval="profile")
    line = stats.linregress(np.log(table["x"]), np.log(table["y"]))
    q = stats.t.ppf(0.975, len(table) - 2)
    e = found.parameters["alpha"]
    assert e.value == pytest.approx(-line.slope, rel=1e-9)
    assert (e.low, e.high) == (
        pytest.approx(-line.slope - q * line.stderr, rel=1e-3),
        pytest.approx(-line.slope + q * line.stderr, rel=1e-3),
    )
    a = found.parameters["A"]
    assert np.log(a.high / a.low) / 2 == pytest.approx(q * line.intercept_stderr, rel=2e-3)
    curve = found.predict({"x": [1e5]})
    point = np.log(1e5) - np.log(table["x"]).mean()
    scale = np.sqrt(found.objective / (len(table) - 2))
    se = scale * np.sqrt(
        1 / len(table) + point**2 / np.sum((np.log(table["x"]) - np.log(table["x"]).mean()) ** 2)
    )
    assert np.log(curve["high"][0] / curve["low"][0]) / 2 == pytest.approx(q * se, rel=2e-3)
    run = found.predict({"x": [1e5]}, kind="run")
    assert np.log(run["high"][0] / run["low"][0]) / 2 == pytest.approx(q * np.hypot(se, scale), rel=2e-3)
    assert "t" in run.attrs["assumption"] and run.attrs["method"] == "profile"


@pytest.mark.parametrize("design", UNIDENTIFIED, ids=lambda d: d.law)
def test_a_parameter_that_a_design_leaves_open_is_unbounded(design: Design) -> None:
    found = fit(design.sample(1), design.law, estimand="log_mse", starts=256)
    for name in design.open:
        e = found.parameters[name]
        assert e.unbounded and e.high is None and e.se is None
        assert json.loads(found.to_json())["parameters"][name]["high"] is None
        assert any(name in w for w in found.warnings if w.startswith("unbounded"))
    assert not found.parameters["E"].unbounded


def test_far_values_are_ruled_out_before_an_end_is_believed() -> None:
    """With D = 20 N the data term may vanish: seen from the optimum alone, the profile ends at its first
    rise."""
    design = next(d for d in UNIDENTIFIED if d.law == "chinchilla")
    found = fit(design.sample(20_002), design.law, estimand="log_mse", interval="profile", starts=256)
    assert found.sampler is not None and found.sampler.probes is not None
    alone = replace(found.sampler, basins=None, probes=None)
    near = dict(zip(alone.problem.free_names, alone.intervals(parameter_targets(alone.problem)), strict=True))
    assert all(near[name].high is not None and near[name].high < 1 for name in ("alpha", "beta"))
    assert found.parameters["alpha"].high is None and found.parameters["beta"].high is None
    assert fit(DESIGNS["chinchilla"].sample(1), interval="profile").sampler.probes is None
    # robust errors of an open direction say nothing of the noise, and a bootstrap never leaves its basins
    other = fit(design.sample(20_006), design.law, estimand="log_mse", starts=64)
    assert other.diagnostics.interval == "profile" and other.parameters["alpha"].unbounded


def test_breaks_are_named_in_the_order_of_their_places() -> None:
    """Exchanged breaks are one optimum, not two basins; where one of them is frozen they are not
    exchangeable."""
    design = DESIGNS["bnsl2"]
    table, t = design.sample(5), design.truth
    swapped = t | {f"{k}{i}": t[f"{k}{3 - i}"] for k in "cdf" for i in (1, 2)}
    found = fit(table, "bnsl2", estimand="log_mse", interval="none", starts=[t, swapped])
    assert len(found.convergence.basins) == 1 and found.values["d1"] < found.values["d2"]
    held = fit(
        table, "bnsl2", estimand="log_mse", interval="none", starts=[swapped], fix={"d1": swapped["d1"]}
    )
    assert held.values["d1"] > held.values["d2"]


@pytest.mark.parametrize("interval", ["profile", "bootstrap", "wild", "t"])
def test_every_interval_names_its_assumption(interval: str) -> None:
    found = fit(_line(60), "power_offset", interval=interval, bootstrap=200 if interval != "t" else 0)
    assert found.diagnostics.assumption and found.diagnostics.interval
    assert all(e.low <= e.value <= e.high for e in found.parameters.values() if not e.unbounded)
    if interval == "wild":
        assert "Webb" in found.diagnostics.assumption


def test_percentiles_need_forty_units_and_fewer_take_t() -> None:
    assert fit(_line(45), "power", bootstrap=200).diagnostics.interval == "percentile"
    small = fit(_line(20), "power", estimand="log_mse", bootstrap=200)
    assert small.diagnostics.interval == "t" and "fewer than 40 units" in small.diagnostics.assumption
    robust = fit(_line(20), "power", bootstrap=200)
    assert robust.draws is None and "sandwich" in robust.diagnostics.assumption
    assert any("too few to bootstrap a robust fit" in w for w in robust.warnings)
    assert any(
        "cover too little" in w for w in fit(_line(20), "power", interval="wild", bootstrap=99).warnings
    )


def test_cluster_bootstrap_resamples_whole_runs() -> None:
    rng = np.random.default_rng(1)
    table = pd.concat([_line(12, seed=s, noise=0.01).assign(run=s) for s in range(20)], ignore_index=True)
    table["y"] *= np.exp(rng.normal(0, 0.1, 20))[table["run"]]
    alone = fit(table, "power", estimand="log_mse", bootstrap=400).parameters["A"]
    grouped = fit(table, "power", estimand="log_mse", cluster="run", bootstrap=400)
    assert grouped.diagnostics.bootstrap["kind"] == "cluster" and grouped.diagnostics.bootstrap["units"] == 20
    # between-run scatter dominates the level at the centre of the data, which rows taken alone understate
    centre = {"x": [float(np.exp(np.log(table["x"]).mean()))]}
    width = [
        np.log(f.predict(centre)["high"][0] / f.predict(centre)["low"][0])
        for f in (fit(table, "power", estimand="log_mse", bootstrap=400), grouped)
    ]
    assert alone.se is not None and width[1] > 1.5 * width[0]


def test_bootstrap_is_a_function_of_its_seed() -> None:
    one, same, other = (fit(_line(50), "power", bootstrap=100, seed=s).draws for s in (3, 3, 4))
    pd.testing.assert_frame_equal(one, same)
    assert not np.allclose(one, other)


def test_bootstrap_with_few_units_is_refused() -> None:
    found = fit(_line(20), "power", interval="none")
    problem = rebuild(found)
    phi = problem.phi(np.array([[found.values[n] for n in found.law.parameter_names]]))
    with pytest.raises(ValueError, match="5 units are too few"):
        bootstrap(problem, phi, 100, kind="cluster", clusters=np.arange(20) // 4)


def test_json_round_trip() -> None:
    found = fit(
        DESIGNS["chinchilla"].sample(1), drop_highest=2, where="N > 2e6", bootstrap=100, fix={"E": 1.8}
    )
    record = json.loads(found.to_json())
    assert list(record) == [
        "law",
        "estimand",
        "n",
        "excluded",
        "parameters",
        "objective",
        "convergence",
        "diagnostics",
        "warnings",
    ]
    assert set(record["parameters"]["A"]) == {"value", "se", "low", "high", "unbounded"}
    assert set(record["convergence"]) == {"starts", "converged", "basins"}
    again = Fit.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert again.values == pytest.approx(found.values) and again.frozen == {"E": 1.8}
    rows = {"N": [1e8, 1e10], "D": [1e10, 1e12]}
    np.testing.assert_allclose(again.predict(rows)["prediction"], found.predict(rows)["prediction"])
    np.testing.assert_allclose(again.predict(rows)["low"], found.predict(rows)["low"], rtol=3e-3)


def test_a_formula_fits_like_the_registered_law_and_survives_json() -> None:
    table = DESIGNS["chinchilla"].sample(2)
    own, known = (fit(table, law, interval="t") for law in ("E + A/N**alpha + B/D**beta", "chinchilla"))
    assert own.objective == pytest.approx(known.objective, rel=1e-9)
    assert own.parameters["B"].se == pytest.approx(known.parameters["B"].se, rel=1e-4)
    assert Fit.from_json(own.to_json()).values == pytest.approx(own.values)


def test_a_fit_that_did_not_converge_has_no_numbers() -> None:
    found = fit(DESIGNS["chinchilla"].sample(1), interval="none")
    found = replace(found, convergence=replace(found.convergence, converged=False))
    with pytest.raises(NotConverged):
        _ = found.values
    with pytest.raises(NotConverged):
        found.predict({"N": [1e8], "D": [1e9]})
    assert "NOT CONVERGED" in str(found)


def test_display_names_what_matters() -> None:
    found = fit(DESIGNS["chinchilla"].sample(1), drop_highest=3)
    text, page = str(found), found._repr_html_()
    for part in ("E + A/N**alpha + B/D**beta", "n = 77, 3 rows left out", "Huber", "assumes", "alpha"):
        assert part in text
    assert page.startswith("<div>") and "<table>" in page and "<script" not in page


def test_derived_quantities_carry_the_fits_interval() -> None:
    found = fit(DESIGNS["chinchilla"].sample(3), estimand="log_mse", interval="profile")
    a = found.derive(lambda p: p["beta"] / (p["alpha"] + p["beta"]))
    assert a.low < 0.36 / 0.70 < a.high and a.se == pytest.approx((a.high - a.low) / 3.97, rel=0.4)


def test_estimands_side_by_side_flag_their_spread() -> None:
    table = DESIGNS["chinchilla"].sample(1)
    table.loc[table["loss"].nlargest(4).index, "loss"] *= 1.3
    found = fit_estimands(table, interval="t")
    assert list(found.table().columns) == ["huber", "lad", "log_mse", "mse", "quantile"]
    assert any("mse" in flag for flag in found.flags()) and "matters more" in str(found)


@pytest.mark.parametrize("name", ["huber", "lad", "log_mse", "mse", "quantile"])
def test_estimand_derivatives(name: str) -> None:
    aim = get_estimand(name, delta=0.3, tau=0.2)
    r = np.array([-1.7, -0.31, -0.02, 0.02, 0.1, 0.9])
    for part in (aim, aim.smoothed(0.05)):
        slope = (part.rho(r + 1e-7) - part.rho(r - 1e-7)) / 2e-7
        np.testing.assert_allclose(part.psi(r), slope, atol=1e-6)
        np.testing.assert_allclose(part.weight(r) * r, part.psi(r), atol=1e-12)
    assert get_estimand(aim.label) == aim


def test_quantile_leaves_its_share_below() -> None:
    table = _line(200, noise=0.1)
    found = fit(table, "power", estimand="quantile", tau=0.1, interval="none")
    assert np.mean(found.residuals() < 0) == pytest.approx(0.1, abs=0.015)


def test_likelihoods_are_densities() -> None:
    rng = np.random.default_rng(0)
    r = rng.normal(0, 0.02, 4000)
    assert log_likelihood(r, "log_mse") == pytest.approx(
        np.sum(stats.norm.logpdf(r, 0, np.sqrt(np.mean(r**2))))
    )
    assert log_likelihood(r, "lad") == pytest.approx(np.sum(stats.laplace.logpdf(r, 0, np.mean(np.abs(r)))))
    assert log_likelihood(r, "huber") == pytest.approx(log_likelihood(r, "lad"), abs=0.01)
    wide = get_estimand("huber", delta=50.0)
    assert log_likelihood(r, wide) == pytest.approx(log_likelihood(r, "log_mse"), abs=1e-3)


def test_frozen_amplitude_keeps_its_value_in_original_units() -> None:
    design = DESIGNS["chinchilla"]
    found = fit(design.sample(4), fix={"A": 400.0}, estimand="log_mse", interval="t")
    assert found.values["A"] == 400.0 and found.parameters["A"].se is None
    free = fit(design.sample(4), estimand="log_mse", interval="t")
    assert found.parameters["alpha"].se < free.parameters["alpha"].se


def test_a_level_at_zero_has_an_upper_end() -> None:
    """The profile of a level near zero is a plateau on the logarithmic scale, then a wall."""
    rng = np.random.default_rng(3)
    x = np.geomspace(1e3, 1e8, 40)
    table = pd.DataFrame({"x": x, "y": 30 * x**-0.2 * np.exp(rng.normal(0, 0.02, 40))})
    found = fit(table, "power_offset", estimand="log_mse", interval="profile")
    e = found.parameters["E"]
    assert e.low == pytest.approx(0.0, abs=1e-9) and 0.01 < e.high < table["y"].min()
    # at the upper end the fit is as much worse as F allows
    held = fit(table, "power_offset", estimand="log_mse", interval="none", fix={"E": e.high})
    rise = (held.objective / found.objective - 1) * (40 - 3)
    assert rise == pytest.approx(stats.f.ppf(0.95, 1, 37), rel=0.02)


def test_the_declared_options_are_those_of_fit_with_its_defaults() -> None:
    parameters = inspect.signature(fit).parameters
    declared = {o.name: o.default for o in OPTIONS}
    taken = {n: p.default for n, p in parameters.items() if n not in ("table", "law")}
    assert declared == taken
    documented = re.findall(r"^        (\w+):", fit.__doc__ or "", re.MULTILINE)
    assert set(parameters) <= set(documented)


@pytest.mark.parametrize(
    ("estimand", "rows", "requested", "draws", "clusters", "method", "resamples", "said"),
    [
        ("log_mse", 60, "auto", 0, None, "profile", False, ""),
        ("log_mse", 60, "auto", 99, None, "bootstrap", True, ""),
        ("log_mse", 12, "bootstrap", 99, None, "wild", True, ""),
        ("huber", 12, "bootstrap", 99, None, "t", False, "too few to bootstrap a robust fit"),
        ("huber", 60, "wild", 99, None, "wild", True, "cover too little"),
        ("log_mse", 60, "auto", 0, 20, "t", False, ""),
        ("log_mse", 60, "auto", 99, 20, "cluster", True, ""),
        ("log_mse", 60, "profile", 0, 20, "profile", False, ""),
        ("log_mse", 60, "t", 0, 3, "none", False, "at least 6 are needed"),
        ("log_mse", 60, "none", 0, None, "none", False, ""),
    ],
)
def test_the_rules_choose_the_interval(
    estimand: str,
    rows: int,
    requested: str,
    draws: int,
    clusters: int | None,
    method: str,
    resamples: bool,
    said: str,
) -> None:
    result = fit(_line(rows), "power", estimand=estimand, interval="profile")
    codes = None if clusters is None else np.arange(rows) % clusters
    problem = rebuild(result)
    phi = problem.phi(np.array([[result.values[n] for n in result.law.parameter_names]]))[0]
    choice = choose(Case(requested, draws, problem, phi, codes, closed=True))
    assert (choice.method, choice.resamples) == (method, resamples)
    assert said in " ".join(choice.warnings) and bool(choice.warnings) == bool(said)
