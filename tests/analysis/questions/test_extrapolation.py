"""Predictions beyond the data: drift of a law that may be wrong, back-tests, and how far they reach."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.fitting.fitting import fit
from analysis.fitting.result import Fit
from analysis.fitting.starts import problem_of
from analysis.fitting.uncertainty.resampling import residuals_and_slopes
from analysis.questions import drift
from analysis.questions.drift import covariance, drift_of, places_of
from analysis.questions.holdout import back_test, rolling_origin, score
from analysis.tables.frame import FitError
from analysis.tables.rows import chosen_rows
from benchmarks.extrapolation import BEYOND, simulate
from tests.paths import PUBLISHED


def ladder(truth: str, seed: int = 0, design: str = "isoflops") -> tuple[Fit, pd.DataFrame]:
    runs, later = simulate(truth, design, seed)
    return fit(runs, estimand="log_mse", interval="t", starts=16), later


@pytest.fixture(scope="module")
def right() -> tuple[Fit, pd.DataFrame]:
    return ladder("right")


def test_intervals_grow_with_the_distance_and_are_never_shorter_than_noise(
    right: tuple[Fit, pd.DataFrame],
) -> None:
    result, later = right
    ends = result.extrapolate(later)
    own = result.predict(later, kind="run")
    width = np.log(ends["high"] / ends["low"]).to_numpy()
    assert ends["beyond"].to_numpy() == pytest.approx(BEYOND)
    assert (np.diff(width) > 0).all() and (width >= np.log(own["high"] / own["low"]).to_numpy() - 1e-9).all()
    far = result.extrapolate({"N": later["N"] * 30, "D": later["D"] * 30})
    assert (np.log(far["high"] / far["low"]) > 2 * width).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_shift_that_the_data_show_goes_on_beyond_them(seed: int) -> None:
    result, later = ladder("large missing term", seed)
    ends = result.extrapolate(later)
    error = (later["loss"] / ends["prediction"] - 1).to_numpy()
    assert (ends["shift"].to_numpy() > 0.4 * error).all() and (error > 0.01).all()
    assert ((ends["low"] < later["loss"]) & (later["loss"] < ends["high"])).all()
    own = result.predict(later, kind="run")
    assert (own["high"] < later["loss"]).all()


def test_moments_are_those_of_universal_kriging(right: tuple[Fit, pd.DataFrame]) -> None:
    """Against the textbook's formulas with whole matrices (Cressie 1993, section 3.4)."""
    result, later = right
    known = drift_of(result)
    mean, spread = known._moments(later, known._slopes(later))
    (problem, phi), places = problem_of(result), places_of(result, result.data)
    r, jac = residuals_and_slopes(problem, phi)
    x = problem.law.inputs({v: later[v].to_numpy() for v in "ND"}, problem.log_units)
    value, slopes = problem.law.evaluate(problem.theta(phi[None]), x)
    ahead = (slopes[0] / value[0]).T
    origin = {k: float(v.min()) for k, v in places.items()}
    new = places_of(result, later)
    for k in range(len(known.sizes)):
        size, noise = known.sizes[k] ** 2, known.noises[k] ** 2
        total = size * covariance(places, places, origin) + noise * np.eye(len(r))
        inverse = np.linalg.inv(total)
        normal = np.linalg.inv(jac @ inverse @ jac.T)
        shift = normal @ jac @ inverse @ r
        cross = size * covariance(new, places, origin)
        expected = ahead @ shift + cross @ inverse @ (r - jac.T @ shift)
        left = ahead - cross @ inverse @ jac.T
        variance = size * np.diag(covariance(new, new, origin)) + noise
        variance = (
            variance - np.sum((cross @ inverse) * cross, axis=1) + np.sum((left @ normal) * left, axis=1)
        )
        np.testing.assert_allclose(mean[k], expected, atol=1e-6)
        np.testing.assert_allclose(spread[k], np.sqrt(variance), rtol=1e-4)


def test_what_the_data_do_not_identify_has_no_ends() -> None:
    size = np.geomspace(1e7, 1e10, 40)
    table = pd.DataFrame({"N": size, "D": 20 * size})
    table["loss"] = (1.8 + 3 / (size / 1e8) ** 0.3) * np.exp(np.random.default_rng(0).normal(0, 0.003, 40))
    table["loss"] = table["loss"].round(9)
    result = fit(table, estimand="log_mse", interval="none", starts=32)
    ends = drift_of(result).predict({"N": [1e9], "D": [1e13]})
    assert np.log(ends["high"][0] / ends["low"][0]) > 0.3


@pytest.mark.parametrize("estimand", ["huber", "lad", "mse"])
def test_drift_knows_every_estimand_and_clusters(estimand: str) -> None:
    runs, later = simulate("right", "isoflops", 1)
    runs.loc[7, "loss"] *= 1.2
    runs["run"] = np.arange(len(runs)) // 3
    result = fit(runs, estimand=estimand, interval="none", starts=16)
    ends = drift_of(result).predict(later)
    assert ((ends["low"] < later["loss"]) & (later["loss"] < ends["high"])).all()
    if estimand != "mse":
        assert (np.log(ends["high"] / ends["low"]) < 0.15).all()
    clustered = fit(runs, estimand=estimand, interval="none", starts=16, cluster="run")
    assert len(drift_of(clustered).evidence.residuals) == 15


def test_too_few_rows_and_a_fit_without_data_are_refused() -> None:
    runs, _ = simulate("right", "isoflops", 0)
    result = fit(runs.iloc[::8], estimand="log_mse", interval="none", starts=16)
    with pytest.raises(FitError, match="too few to tell drift from noise"):
        drift_of(result)
    with pytest.raises(FitError, match="holds no data"):
        Fit.from_json(fit(runs, interval="t", starts=16).to_json()).extrapolate({"N": [1e9], "D": [1e10]})


def test_many_rows_are_thinned(monkeypatch: pytest.MonkeyPatch, right: tuple[Fit, pd.DataFrame]) -> None:
    monkeypatch.setattr(drift, "ROWS", 20)
    assert len(drift_of(right[0]).evidence.residuals) == 20


def test_back_tests_say_how_far_they_reach_and_what_lies_beyond(right: tuple[Fit, pd.DataFrame]) -> None:
    result, later = right
    tested = back_test(result, starts=16)
    assert tested.origins >= 4 and 10 < tested.reach < 2000 and tested.coverage > 0.8
    assert (tested.errors["beyond"] > 1).all()
    assert tested.is_calibrated(np.array([2.0, 1e5])).tolist() == [True, False]
    assert tested.predict(result, later)["calibrated"].all()
    assert f"up to {tested.reach:.3g} times" in str(tested) and tested.as_dict()["calibrated"]
    runs, _ = simulate("right", "isoflops", 0)
    short = rolling_origin(runs[runs["N"] * runs["D"] < 1.3e17], estimand="log_mse", starts=16)
    assert short.reach == 1.0 and "not calibrated" not in str(tested) and short.origins < 3
    assert "not calibrated (3 needed)" in str(short)


def test_held_out_runs_of_a_wrong_law_are_scored_by_both_intervals() -> None:
    runs, _ = simulate("large missing term", "isoflops", 0)
    far = float((6 * runs["N"] * runs["D"]).quantile(0.75))
    scored = score(fit(runs, estimand="log_mse", interval="t", holdout=f"C > {far}", starts=32))
    assert scored.drift_coverage >= 0.85 and scored.drift_coverage > scored.coverage
    assert "that allow it to drift (up to" in str(scored) and scored.table["beyond"].max() > 2


def test_published_runs_beyond_the_data_lie_in_what_is_called_an_interval() -> None:
    """Chinchilla's runs above five cuts, 3, 10 and 20 times beyond; benchmarks/extrapolation.py has more."""
    columns = {"N": "Model Size", "C": "Training FLOP"}
    rows = chosen_rows(PUBLISHED / "chinchilla_fig4.csv", columns, drop_highest=5).rows
    compute, parts = 6 * rows["N"] * rows["D"], []
    for cut in compute.quantile([0.3, 0.45, 0.6, 0.75, 0.9]):
        past, later = rows[compute <= cut], rows[compute > cut]
        ends = fit(past, interval="none", starts=32).extrapolate(later)
        inside = (ends["low"] <= later["loss"]) & (later["loss"] <= ends["high"])
        parts.append(pd.DataFrame({"beyond": ends["beyond"], "inside": inside}))
    table = pd.concat(parts)
    share = table.groupby(pd.cut(table["beyond"], [1.7, 5.5, 14, 40]), observed=True)["inside"].mean()
    assert len(share) == 3 and (share >= 0.85).all()
