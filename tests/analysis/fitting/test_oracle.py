"""Our optimum and profile intervals against MINUIT's, an independent minimiser, on the published runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from iminuit import Minuit
from scipy.stats import f as f_distribution

from analysis.fitting.fitting import fit
from analysis.fitting.result import Fit
from tests.paths import PUBLISHED

COLUMNS = {"N": "Model Size", "C": "Training FLOP"}
NAMES = ("log_A", "log_B", "log_E", "alpha", "beta")


def huber(r: np.ndarray, delta: float = 1e-3) -> np.ndarray:
    return np.where(np.abs(r) <= delta, 0.5 * r * r, delta * (np.abs(r) - 0.5 * delta))


def squares(r: np.ndarray) -> np.ndarray:
    return r * r


@pytest.fixture(scope="module")
def points() -> pd.DataFrame:
    """N, D and loss of Hoffmann et al.'s 240 runs, read without any code of ours."""
    table = pd.read_csv(PUBLISHED / "chinchilla_fig4.csv")
    table = table.sort_values("loss").iloc[:-5]
    n, c = table["Model Size"], table["Training FLOP"]
    return pd.DataFrame({"N": n, "D": c / 6 / n, "loss": table["loss"]})


def minimised(points: pd.DataFrame, rho: Callable[[np.ndarray], np.ndarray]) -> Minuit:
    """MINUIT at its optimum; A and B are those of N and D in units of their geometric means."""
    x, y, log_loss = (np.log(points[k].to_numpy()) for k in ("N", "D", "loss"))
    x, y = x - x.mean(), y - y.mean()

    def cost(log_a: float, log_b: float, log_e: float, alpha: float, beta: float) -> float:
        law = np.exp(log_e) + np.exp(log_a - alpha * x) + np.exp(log_b - beta * y)
        return 1e3 * float(np.sum(rho(log_loss - np.log(law))))

    minuit = Minuit(cost, -1.0, -1.0, 0.5, 0.5, 0.5, name=NAMES)
    minuit.strategy = 2
    minuit.tol = 1e-9
    for _ in range(4):
        minuit.migrad()
    return minuit


def natural(minuit: Minuit, points: pd.DataFrame) -> dict[str, float]:
    """The parameters in the table's units."""
    v = minuit.values
    units = [np.exp(np.log(points[k]).mean()) for k in ("N", "D")]
    return {
        "A": float(np.exp(v["log_A"]) * units[0] ** v["alpha"]),
        "B": float(np.exp(v["log_B"]) * units[1] ** v["beta"]),
        "E": float(np.exp(v["log_E"])),
        "alpha": float(v["alpha"]),
        "beta": float(v["beta"]),
    }


def ours(estimand: str, interval: str) -> Fit:
    path = PUBLISHED / "chinchilla_fig4.csv"
    return fit(path, columns=COLUMNS, drop_highest=5, estimand=estimand, interval=interval)


@pytest.mark.parametrize(("estimand", "rho"), [("log_mse", squares), ("huber", huber)])
def test_minuit_ends_in_our_optimum(
    points: pd.DataFrame, estimand: str, rho: Callable[[np.ndarray], np.ndarray]
) -> None:
    minuit, result = minimised(points, rho), ours(estimand, "none")
    assert minuit.fval / 1e3 >= result.objective * (1 - 1e-9)
    assert minuit.fval / 1e3 == pytest.approx(result.objective, rel=1e-6)
    assert result.values == pytest.approx(natural(minuit, points), rel=5e-3)


def test_minos_gives_our_profile_intervals(points: pd.DataFrame) -> None:
    minuit, result = minimised(points, squares), ours("log_mse", "profile")
    df = len(points) - 5
    minuit.errordef = minuit.fval / df * float(f_distribution.ppf(0.95, 1, df))
    minuit.hesse()
    minuit.minos("alpha", "beta", "log_E", cl=1)
    for name, parameter in (("alpha", "alpha"), ("beta", "beta"), ("E", "log_E")):
        error, centre = minuit.merrors[parameter], minuit.values[parameter]
        assert error.is_valid
        ends = np.array([centre + error.lower, centre + error.upper])
        estimate = result.parameters[name]
        width = estimate.high - estimate.low
        expected = np.exp(ends) if parameter.startswith("log") else ends
        assert [estimate.low, estimate.high] == pytest.approx(expected, abs=0.01 * width), name
