"""Published numbers, reproduced (ids T1-T21): Chinchilla's points, datablations, Gadre et al.

Data and licences: tests/data/published/README.md. Tolerances are what a converged float64 fit meets.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from analysis.fitting.fitting import fit
from analysis.fitting.likelihood import log_likelihood
from analysis.fitting.result import Fit
from analysis.laws import get_law
from analysis.laws.chinchilla import hoffmann_grid
from tests.paths import PUBLISHED

EPOCH = {
    "table": str(PUBLISHED / "chinchilla_fig4.csv"),
    "columns": {"N": "Model Size", "C": "Training FLOP"},
}
HOFFMANN = dict(zip(("A", "B", "E"), np.exp([6.0073404, 6.0179186, 0.5267228]), strict=True)) | {
    "alpha": 0.33917084,
    "beta": 0.2849083,
}
BASE = dict(zip(("A", "B", "E"), np.exp([6.255414, 7.3049974, 0.6254804]), strict=True)) | {
    "alpha": 0.3526596
}
MUENNIGHOFF = {"columns": {"N": "params", "D": "tokens", "U": "unique_tokens", "loss": "val_loss"}}


def _epoch(**options: object) -> Fit:
    return fit(**EPOCH, drop_highest=5, **options)  # type: ignore[arg-type]


def _close(found: Fit, values: dict[str, float], tolerance: dict[str, float]) -> None:
    for name, value in values.items():
        assert found.values[name] == pytest.approx(value, abs=tolerance[name]), name


@lru_cache
def _runs(name: str) -> pd.DataFrame:
    return pd.read_csv(PUBLISHED / name)


def test_t1_huber_optimum_from_the_full_grid() -> None:
    found = _epoch(starts=hoffmann_grid(), interval="none")
    assert found.n == 240 and len(found.excluded) == 5
    assert found.objective <= 0.00101827403
    assert found.objective == pytest.approx(0.0010182740178, abs=1e-11)
    _close(
        found,
        {"A": 477.826, "B": 2143.42, "E": 1.817218, "alpha": 0.347310, "beta": 0.367172},
        {"A": 0.05, "B": 0.2, "E": 1e-5, "alpha": 1e-5, "beta": 1e-5},
    )
    assert found.convergence.starts == 4500 and found.convergence.basins[0].starts >= 32
    assert found.diagnostics.scaled_gradient < 1e-10


def test_t2_the_published_notebook_grid_is_the_same_optimum_less_far() -> None:
    found = _epoch(interval="none")
    _close(
        found,
        {"A": 477.84, "B": 2143.86, "E": 1.817236, "alpha": 0.347313, "beta": 0.367183},
        {"A": 0.1, "B": 1.0, "E": 5e-5, "alpha": 5e-5, "beta": 5e-5},
    )


def test_t3_the_published_point_is_least_absolute_deviations() -> None:
    found = _epoch(estimand="lad", interval="none")
    _close(
        found,
        {"A": 482.01, "B": 2085.43, "E": 1.81686, "alpha": 0.34781, "beta": 0.36585},
        {"A": 0.3, "B": 1.0, "E": 2e-4, "alpha": 2e-4, "beta": 2e-4},
    )


@pytest.mark.slow
def test_t4_published_bootstrap_with_its_own_draws() -> None:
    found = _epoch(bootstrap=4000, seed=np.random.RandomState(42))
    for name, se, low, high in (
        ("A", 124.522, 285.2, 743.6),
        ("B", 1293.28, 1042, 5810),
        ("E", 0.02566, 1.769, 1.871),
        ("alpha", 0.01540, 0.317, 0.373),
        ("beta", 0.02060, 0.331, 0.415),
    ):
        e = found.parameters[name]
        assert e.se == pytest.approx(se, rel=0.01)
        assert (e.low, e.high) == (pytest.approx(low, rel=0.01), pytest.approx(high, rel=0.01))
    a = found.derive(lambda p: p["beta"] / (p["alpha"] + p["beta"]))
    assert a.se == pytest.approx(0.01998, rel=0.01) and a.value == pytest.approx(0.513900, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_t4_other_seeds(seed: int) -> None:
    """The published SE of A is a high draw: over seeds 1 to 30 ours is 120.7 with a standard deviation of 1.4
    (117.9 to 123.2), so that 124.5, which its own resamples give us too, lies 2.8 of them above. A tolerance
    of 4 % about it holds 24 of those seeds, and 10 % about B's 25."""
    spread = _epoch(bootstrap=4000, seed=seed).draws.std()
    for name, se, tolerance in (
        ("A", 124.522, 0.04),
        ("B", 1293.28, 0.10),
        ("E", 0.02566, 0.04),
        ("alpha", 0.01540, 0.04),
        ("beta", 0.02060, 0.04),
    ):
        assert spread[name] == pytest.approx(se, rel=tolerance), name


def test_t5_likelihood_tests_against_hoffmann() -> None:
    found = _epoch(estimand="lad", interval="none")
    everything = fit(**EPOCH, interval="none").data  # type: ignore[arg-type]
    rounded = {"A": 406.4, "B": 410.7, "E": 1.69, "alpha": 0.34, "beta": 0.28}

    def at(values: dict[str, float], frame: pd.DataFrame) -> float:
        fitted = found.law.predict(values, {"N": frame["N"].to_numpy(), "D": frame["D"].to_numpy()})
        return log_likelihood(np.log(frame["loss"].to_numpy()) - np.log(fitted), "huber")

    ours = [at(v, found.data) for v in (found.values, HOFFMANN, rounded)]
    assert ours == pytest.approx([879.77, 837.78, 562.25], abs=0.02)
    assert 2 * (ours[0] - ours[1]) == pytest.approx(84.00, abs=0.02)
    assert [at(v, everything) for v in (found.values, HOFFMANN, rounded)] == pytest.approx(
        [757.80, 714.43, 531.89], abs=0.02
    )


@pytest.mark.slow
def test_t5_wald_test_of_the_published_point() -> None:
    """The published 238.40 comes of draws that stopped early: SciPy's BFGS with its default tolerance, on the
    unscaled objective, from Hoffmann et al.'s parameters. The same resamples fitted to the end give 239.7."""
    frame = _epoch(interval="none").data
    log_n, log_d, log_loss = (np.log(frame[c].to_numpy()) for c in ("N", "D", "loss"))

    def huber(p: np.ndarray, rows: np.ndarray) -> tuple[float, np.ndarray]:
        n, d = log_n[rows], log_d[rows]
        terms = np.stack([p[0] - p[3] * n, p[1] - p[4] * d, np.full(len(rows), p[2])])
        fitted = np.logaddexp.reduce(terms)
        r = log_loss[rows] - fitted
        psi = np.clip(r, -1e-3, 1e-3)
        by_term = -psi * np.exp(terms - fitted)
        slope = [*by_term.sum(axis=1), -by_term[0] @ n, -by_term[1] @ d]
        return float(np.sum(np.abs(psi) * (np.abs(r) - 0.5 * np.abs(psi)))), np.array(slope)

    def logs(v: dict[str, float]) -> np.ndarray:
        return np.column_stack([np.log(v["A"]), np.log(v["B"]), np.log(v["E"]), v["alpha"], v["beta"]])

    def wald(draws: np.ndarray) -> float:
        gap = (logs(_epoch(estimand="lad", interval="none").values) - logs(HOFFMANN))[0]
        return float(gap @ np.linalg.solve(np.cov(draws.T), gap))

    rng = np.random.RandomState(42)
    rows = [rng.choice(240, size=240, replace=True) for _ in range(4000)]
    start = logs(HOFFMANN)[0]
    early = np.array([minimize(huber, start, args=(r,), jac=True, method="BFGS").x for r in rows])
    assert wald(early) == pytest.approx(238.40, abs=0.02)
    ended = logs(_epoch(bootstrap=4000, seed=np.random.RandomState(42)).draws)
    assert wald(ended) == pytest.approx(239.7, abs=0.1)


def test_t6_all_points() -> None:
    found = fit(**EPOCH, interval="none")  # type: ignore[arg-type]
    assert found.n == 245 and found.objective == pytest.approx(0.00182601052, abs=1e-11)
    _close(
        found,
        {"A": 495.73, "B": 12845.6, "E": 1.891338, "alpha": 0.349313, "beta": 0.453049},
        {"A": 0.1, "B": 10, "E": 3e-5, "alpha": 3e-5, "beta": 3e-5},
    )


def test_t7_least_squares() -> None:
    found = _epoch(estimand="mse", interval="none")
    assert found.objective == pytest.approx(0.0832038, rel=1e-6)
    for name, value in (
        ("A", 567.805),
        ("B", 7581.85),
        ("E", 1.8828136),
        ("alpha", 0.3576151),
        ("beta", 0.4276206),
    ):
        assert found.values[name] == pytest.approx(value, rel=1e-5)


def test_t8_least_squares_on_logs() -> None:
    found = _epoch(estimand="log_mse", interval="none")
    for name, value in (
        ("A", 593.32),
        ("B", 4875.6),
        ("E", 1.86455),
        ("alpha", 0.360253),
        ("beta", 0.405883),
    ):
        assert found.values[name] == pytest.approx(value, rel=1e-4)


def test_t9_below_1e21_in_other_units() -> None:
    frame = _runs("chinchilla_fig4.csv")
    table = pd.DataFrame(
        {
            "N": frame["Model Size"] / 1e6,
            "D": frame["Training FLOP"] / 6 / frame["Model Size"] / 1e9,
            "FLOP": frame["Training FLOP"],
            "loss": frame["loss"],
        }
    )
    found = fit(table, "chinchilla", where="FLOP < 1e21", drop_highest=5, estimand="mse", interval="none")
    assert found.n == 217 and found.objective == pytest.approx(0.062414, abs=2e-6)
    for name, value in (("E", 1.9051), ("A", 4.0001), ("B", 1.0509), ("alpha", 0.3510), ("beta", 0.4588)):
        assert found.values[name] == pytest.approx(value, rel=2e-4)
    assert 1 - found.objective / np.sum(
        (found.data["loss"] - found.data["loss"].mean()) ** 2
    ) == pytest.approx(0.996040, abs=2e-6)


def _rows() -> dict[str, np.ndarray]:
    frame = _runs("datablations_fit182.csv")
    return {
        "N": frame["params"].to_numpy(),
        "D": frame["tokens"].to_numpy(),
        "U": frame["unique_tokens"].to_numpy(),
    }


def test_t10_published_objective() -> None:
    predicted = get_law("data_constrained_tied").predict({**BASE, "R_D": 15.387756, "R_N": 5.309743}, _rows())
    residual = np.abs(np.log(_runs("datablations_fit182.csv")["val_loss"]) - np.log(predicted))
    assert np.sum(np.where(residual <= 1e-3, 0.5 * residual**2, 1e-3 * (residual - 5e-4))) == pytest.approx(
        0.0158259353, abs=2e-9
    )


@pytest.mark.parametrize(
    ("law", "extra", "expected"),
    [
        ("chinchilla_tied", {}, 0.4451684),
        ("data_constrained_tied", {"R_D": 15.387756, "R_N": 5.309743}, 0.7722046),
        ("data_constrained_data_only", {"R_D": 2.9157, "beta": BASE["alpha"]}, 0.7354469),
        ("data_constrained_params_only", {"R_N": 713.0, "beta": BASE["alpha"]}, 0.4487786),
    ],
)
def test_t11_published_variants(law: str, extra: dict[str, float], expected: float) -> None:
    loss = _runs("datablations_fit182.csv")["val_loss"].to_numpy()
    predicted = get_law(law).predict({**BASE, **extra}, _rows())
    assert 1 - np.sum((loss - predicted) ** 2) / np.sum((loss - loss.mean()) ** 2) == pytest.approx(
        expected, abs=1e-6
    )


def test_t11_geometric_decay() -> None:
    """R2 of the two published forms of geometric decay, .7987552 and (as an exponential) .7987222. Their
    parameters are not among the data, so this is at the optimum, which they reached in float32. The seventh
    variant, decaying exponents (.5109988), has neither its parameters nor its form there."""
    table = _runs("datablations_fit182.csv")
    fix = {**BASE, "beta": BASE["alpha"]}
    found = fit(table, "data_constrained_geometric", **MUENNIGHOFF, fix=fix, interval="none")
    loss = table["val_loss"].to_numpy()
    explained = 1 - np.sum((loss - found.fitted()) ** 2) / np.sum((loss - loss.mean()) ** 2)
    assert explained == pytest.approx(0.7987552, abs=3e-5) and explained == pytest.approx(0.7987222, abs=3e-5)


def test_t12_the_published_local_optimum_and_the_better_one() -> None:
    table = _runs("datablations_fit182.csv")
    published = fit(
        table,
        "data_constrained_tied",
        **MUENNIGHOFF,
        fix=BASE,
        interval="none",
        starts=[{"R_D": 6.67, "R_N": 6.67}],
    )
    assert published.values["R_D"] == pytest.approx(15.39, abs=0.03)
    assert published.values["R_N"] == pytest.approx(5.31, abs=0.01)
    found = fit(table, "data_constrained_tied", **MUENNIGHOFF, fix=BASE, interval="profile")
    assert found.objective == pytest.approx(0.01580466, abs=2e-8)
    assert found.values["R_D"] == pytest.approx(95.4, abs=0.3) and found.values["R_N"] == pytest.approx(
        1.71, abs=0.01
    )
    basins = found.convergence.basins
    assert any(abs(b.parameters["R_D"] - 15.39) < 0.03 for b in basins), (
        "the published optimum is reported beside"
    )
    assert found.parameters["R_D"].high is None and found.parameters["R_D"].unbounded
    assert set(found.frozen) == set(BASE) and any("frozen" in w for w in found.warnings)
    drawn = fit(table, "data_constrained_tied", **MUENNIGHOFF, fix=BASE, bootstrap=500, seed=1)
    assert drawn.parameters["R_D"].unbounded and 4.5 < drawn.parameters["R_D"].low < 8.5


def test_t12_an_identified_design_of_the_same_size_is_bounded_and_covers() -> None:
    law, truth = get_law("data_constrained_tied"), {**BASE, "R_D": 15.0, "R_N": 5.0}
    hits = 0
    for seed in range(1000, 1010):
        rng = np.random.default_rng(seed)
        unique = 10 ** rng.uniform(8, 9, 182)
        table = pd.DataFrame(
            {"N": 10 ** rng.uniform(7.5, 9.5, 182), "U": unique, "D": unique * 10 ** rng.uniform(0, 2.5, 182)}
        )
        table["loss"] = law.predict(truth, {k: table[k].to_numpy() for k in "NDU"}) * np.exp(
            rng.normal(0, 0.01, 182)
        )
        found = fit(table, law, fix=BASE, estimand="log_mse", starts=128)
        for name in ("R_D", "R_N"):
            e = found.parameters[name]
            assert not e.unbounded and e.high / e.low < 2
            hits += e.low < truth[name] < e.high
    assert hits >= 15  # of 20; over 250 seeds 94.4 % and 96.0 % cover


def test_t13_joint_fit() -> None:
    found = fit(_runs("datablations_fit182.csv"), "data_constrained", **MUENNIGHOFF, interval="profile")
    assert found.objective == pytest.approx(0.0065659, abs=1e-6) and not found.frozen
    for name, value, tolerance in (
        ("E", 1.831, 1e-3),
        ("A", 54.1, 0.1),
        ("B", 22720, 10),
        ("alpha", 0.2124, 1e-4),
        ("beta", 0.4663, 1e-4),
        ("R_D", 25.17, 0.02),
    ):
        assert found.values[name] == pytest.approx(value, abs=tolerance), name
    assert found.parameters["R_N"].unbounded and found.parameters["R_N"].high is None


def test_t14_tied_base_law() -> None:
    found = fit(
        _runs("datablations_all.csv"),
        "chinchilla_tied",
        where="tokens/unique_tokens <= 2.5",
        **MUENNIGHOFF,
        interval="none",
    )
    assert found.n == 62 and found.objective == pytest.approx(0.00121894, abs=1e-8)
    v = found.values
    assert [np.log(v["A"]), np.log(v["B"]), np.log(v["E"]), v["alpha"]] == pytest.approx(
        [6.4540, 8.0242, 0.64004, 0.35961], abs=2e-4
    )


def _gadre(dataset: str) -> tuple[Fit, pd.DataFrame]:
    frame = _runs("gadre_overtraining.csv")
    frame = frame[frame["dataset"] == dataset]
    small = frame["params"] < 1e9
    train = frame[
        small
        & (
            (frame["chinchilla_multiplier"] == 1)
            | ((frame["chinchilla_multiplier"] == 16) & (frame["params"] < 2e7))
        )
    ]
    assert len(train) == 5
    return fit(
        train,
        "chinchilla_tied",
        estimand="mse",
        interval="none",
        columns={"N": "params", "D": "tokens", "loss": "loss_c4_val"},
    ), frame


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("c4_original", (113.693, 189.516, -0.242472, 1.508261)),
        ("rpj", (166.211, 366.687, -0.272851, 1.836648)),
        ("rw_original", (125.096, 246.207, -0.254395, 1.734462)),
    ],
)
def test_t20_gadre_coefficients(dataset: str, expected: tuple[float, ...]) -> None:
    v = _gadre(dataset)[0].values
    assert (v["A"], v["B"] * 6 ** (v["alpha"] / 2), -v["alpha"], v["E"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("dataset", "params", "multiplier", "percent"),
    [
        ("rpj", 1.4e9, 32, 0.7103),
        ("rpj", 6.9e9, 1, 0.7320),
        ("c4_original", 6.9e9, 1, 4.295),
        ("rw_original", 6.9e9, 1, 1.619),
    ],
)
def test_t21_gadre_extrapolation(dataset: str, params: float, multiplier: float, percent: float) -> None:
    found, frame = _gadre(dataset)
    row = frame[
        (np.abs(frame["params"] / params - 1) < 0.1) & (frame["chinchilla_multiplier"] == multiplier)
    ].iloc[0]
    predicted = found.predict({"N": row["params"], "D": row["tokens"]}, interval=False)["prediction"][0]
    assert 100 * abs(predicted / row["loss_c4_val"] - 1) == pytest.approx(percent, abs=1e-3)
