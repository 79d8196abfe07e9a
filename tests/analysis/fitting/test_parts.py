"""Parts of a fit against what they are defined to be: losses, likelihoods, leverages, resamples, kinks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.fitting.estimands import get_estimand
from analysis.fitting.estimate import Estimate
from analysis.fitting.fitting import fit
from analysis.fitting.likelihood import log_likelihood
from analysis.fitting.starts import rebuild
from analysis.fitting.uncertainty.resampling import bootstrap, covariance, dispersion, leverage
from analysis.tables.frame import FitError


def line(n: int = 12, noise: float = 0.1) -> pd.DataFrame:
    """A power law: its fit on logs is a straight line, of which everything is known in closed form."""
    rng = np.random.default_rng(1)
    x = np.geomspace(1e3, 1e6, n) * np.exp(rng.normal(0, 0.3, n))
    return pd.DataFrame({"x": x, "y": 30 * x**-0.2 * np.exp(noise * rng.standard_t(4, n))})


def design(table: pd.DataFrame) -> np.ndarray:
    return np.stack([np.ones(len(table)), -np.log(table["x"]) + np.log(table["x"]).mean()], axis=1)


R = (-3.0, -0.5, -0.1, 0.0, 0.1, 0.5, 3.0)
LOSSES: dict[str, Callable[[float], float]] = {
    "mse": lambda r: r * r,
    "log_mse": lambda r: r * r,
    "lad": abs,
    "huber(delta=0.3)": lambda r: r * r / 2 if abs(r) < 0.3 else 0.3 * (abs(r) - 0.15),
    "quantile(tau=0.2)": lambda r: 0.2 * r if r > 0 else -0.8 * r,
}


@pytest.mark.parametrize("label", LOSSES)
def test_losses_are_as_defined(label: str) -> None:
    aim = get_estimand(label)
    assert aim.label == label
    np.testing.assert_allclose(aim.rho(np.array(R)), [LOSSES[label](r) for r in R], atol=1e-15)
    if aim.width != 0:
        assert aim.smoothed(0.2) == aim
    else:  # beyond its quadratic zone the smoothed loss is the loss, less that of half the zone
        for r in (-3.0, -0.5, 0.5, 3.0):
            rounded = float(aim.smoothed(0.2).rho(np.array([r]))[0])
            assert rounded == pytest.approx(LOSSES[label](r) * (1 - 0.1 / abs(r)))


def test_estimands_and_their_limits() -> None:
    assert get_estimand("quantile").tau == 0.05 and get_estimand("lad").tau == 0.5
    assert get_estimand("huber", delta=0.5).width == 0.5 and get_estimand("mse").width is None
    for wrong in ("huber(delta=0)", "quantile(tau=0)", "quantile(tau=1)", "hubr"):
        with pytest.raises(ValueError, match=r"needs|did you mean"):
            get_estimand(wrong)


def test_the_likelihood_of_a_quantile_is_an_asymmetric_laplace_density() -> None:
    r, tau = np.random.default_rng(0).normal(0.1, 0.3, 50), 0.2
    scale = float(np.mean(np.where(r >= 0, tau, tau - 1) * r))
    density = stats.laplace_asymmetric(math.sqrt(tau / (1 - tau)), 0, scale / math.sqrt(tau * (1 - tau)))
    assert log_likelihood(r, f"quantile(tau={tau})") == pytest.approx(float(density.logpdf(r).sum()))


@pytest.mark.parametrize("estimand", ["log_mse", "lad", "huber", "quantile"])
def test_a_weight_of_two_is_a_row_twice(estimand: str) -> None:
    r = np.random.default_rng(0).normal(0, 0.3, 20)
    weights = np.where(np.arange(20) < 5, 2.0, 1.0)
    twice = np.concatenate([r, r[:5]])
    assert log_likelihood(r, estimand, weights) == pytest.approx(log_likelihood(twice, estimand), rel=1e-6)


def test_leverage_dispersion_and_sandwich_of_a_straight_line() -> None:
    table = line()
    result = fit(table, "power", estimand="log_mse", interval="none")
    problem = rebuild(result)
    phi = problem.phi(np.array([[result.values["A"], result.values["alpha"]]]))[0]
    x, r = design(table), result.residuals()
    inverse = np.linalg.inv(x.T @ x)
    hat = np.einsum("ij,jk,ik->i", x, inverse, x)
    np.testing.assert_allclose(leverage(problem, phi), hat, rtol=1e-6)
    assert dispersion(problem, phi) == pytest.approx(2 * float(r @ r) / 10, rel=1e-6)
    hc3 = inverse @ (x.T * (r / (1 - hat)) ** 2) @ x @ inverse
    np.testing.assert_allclose(covariance(problem, phi), hc3, rtol=1e-5)
    codes = np.arange(12) // 3
    sums = np.array([(x[codes == g] * r[codes == g, None]).sum(0) for g in range(4)])
    cr1 = inverse @ sums.T @ sums @ inverse * (4 / 3) * (11 / 10)
    np.testing.assert_allclose(covariance(problem, phi, codes), cr1, rtol=1e-5)


def test_wild_draws_spread_as_enlarged_residuals_do() -> None:
    """Var = sum over rows of (X+ r)**2 / (1 - h): each row's residual, of variance one less its leverage."""
    table = line()
    result = fit(table, "power", estimand="log_mse", interval="none")
    problem = rebuild(result)
    phi = problem.phi(np.array([[result.values["A"], result.values["alpha"]]]))
    x, r = design(table), result.residuals()
    pseudo = np.linalg.pinv(x)
    hat = np.diag(x @ pseudo)
    expected = np.sqrt(((pseudo * r) ** 2 / (1 - hat)).sum(axis=1))
    drawn = bootstrap(problem, phi, 4000, kind="wild")
    assert drawn.units == 12 and drawn.lost == 0
    np.testing.assert_allclose(drawn.phi.std(axis=0), expected, rtol=0.06)
    np.testing.assert_allclose(drawn.phi.mean(axis=0), phi[0], atol=5 * expected.max() / 4000**0.5)
    grouped = bootstrap(problem, phi, 4000, kind="wild", clusters=np.arange(12) // 2)
    together = (pseudo * r / np.sqrt(1 - hat)).reshape(2, 6, 2).sum(axis=2)
    np.testing.assert_allclose(grouped.phi.std(axis=0), np.sqrt((together**2).sum(axis=1)), rtol=0.06)


def test_six_units_are_enough_and_five_are_not() -> None:
    table = line()
    result = fit(table, "power", estimand="log_mse", interval="none")
    problem = rebuild(result)
    phi = problem.phi(np.array([[result.values["A"], result.values["alpha"]]]))
    for kind in ("cluster", "wild"):
        assert bootstrap(problem, phi, 5, kind=kind, clusters=np.arange(12) // 2).units == 6
        with pytest.raises(ValueError, match="5 units are too few"):
            bootstrap(problem, phi, 5, kind=kind, clusters=np.minimum(np.arange(12) // 2, 4))
    with pytest.raises(ValueError, match="needs `cluster`"):
        bootstrap(problem, phi, 5, kind="cluster")


@pytest.mark.parametrize(("estimand", "share"), [("lad", 0.5), ("quantile(tau=0.25)", 0.25)])
def test_one_parameter_ends_in_the_order_statistic(estimand: str, share: float) -> None:
    """With its exponent frozen a power law on logs is one number, and its optimum a row's."""
    table = line(11)
    result = fit(table, "power", estimand=estimand, interval="none", fix={"alpha": 0.2})
    levels = np.sort(np.log(table["y"]) + 0.2 * np.log(table["x"]))
    assert math.log(result.values["A"]) == pytest.approx(levels[math.ceil(share * 11) - 1], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("A", 0.0, "positive"),
        ("A", -0.5, "positive"),
        ("A", math.inf, "positive"),
        ("alpha", math.inf, "finite"),
        ("alpha", math.nan, "finite"),
    ],
)
def test_a_parameter_is_frozen_at_a_value_that_it_can_have(name: str, value: float, what: str) -> None:
    with pytest.raises(FitError, match=f"fix {name}={value:g}: must be {what}"):
        fit(line(), "power", fix={name: value})
    for fixed in ({"A": 1e-3}, {"alpha": -0.1}):
        assert fit(line(), "power", estimand="log_mse", interval="none", fix=fixed).converged


def test_an_open_end_is_one_of_an_interval() -> None:
    assert Estimate(1.0, low=None, high=2.0, assumption="a").unbounded is True
    assert Estimate(1.0, low=0.0, high=2.0, assumption="a").unbounded is False
    assert Estimate(1.0).unbounded is False, "no interval has no ends"
    ends = Estimate(low=0.0, high=2.0, assumption="a")
    assert ends.around(1.0, 0.5).se == 0.5 and ends.around(1.0, math.inf).se is None
    assert Estimate(high=2.0, assumption="a").around(1.0, 0.5).se is None


@pytest.mark.parametrize("estimand", ["lad", "quantile", "huber", "log_mse"])
def test_data_that_obey_a_law_are_fitted_exactly(estimand: str) -> None:
    result = fit(line(noise=0.0), "power", estimand=estimand, interval="none")
    assert result.converged
    assert (result.values["A"], result.values["alpha"]) == (pytest.approx(30), pytest.approx(0.2))
