"""Input as it comes: every case gives an answer or a refusal that says what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.fitting.fitting import fit
from analysis.fitting.solver.descent import solved
from analysis.laws import get_law
from analysis.questions.isoflop_curves import isoflop
from analysis.tables.frame import FitError, prepare
from analysis.tables.where import select

TRUTH = {"A": 400.0, "B": 1500.0, "E": 1.8, "alpha": 0.34, "beta": 0.36}


def table(n: int = 60, seed: int = 0, noise: float = 0.003) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"N": 10 ** rng.uniform(7, 10, n), "D": 10 ** rng.uniform(8.5, 11.5, n)})
    frame["loss"] = get_law("chinchilla").predict(
        TRUTH, {"N": frame["N"].to_numpy(), "D": frame["D"].to_numpy()}
    )
    frame["loss"] *= np.exp(rng.normal(0, noise, n))
    return frame


def test_awkward_column_names() -> None:
    frame = table().rename(columns={"N": "Model size (M) #1", "D": "tokens; seen", "loss": "val loss: `c4`"})
    columns = {"N": "Model size (M) #1", "D": "tokens; seen", "loss": "val loss: `c4`"}
    found = fit(
        frame, columns=columns, interval="t", where="`Model size (M) #1` > 2e7 and `tokens; seen` < 3e11"
    )
    assert found.converged and found.n + len(found.excluded) == 60 and found.excluded
    with pytest.raises(FitError, match="did you mean 'tokens; seen'"):
        fit(frame, columns={**columns, "D": "tokens seen!"})


def test_common_names_are_found_and_noted() -> None:
    frame = table().rename(columns={"N": "params", "D": "Tokens", "loss": "val_loss"})
    found = fit(frame, interval="none")
    assert found.converged and "N read from column 'params'" in found.diagnostics.notes


def test_missing_and_infinite_values_are_excluded_by_name() -> None:
    frame = table()
    frame.loc[3, "loss"], frame.loc[7, "N"], frame.loc[9, "D"] = np.nan, np.inf, -np.inf
    frame["loss"] = frame["loss"].astype(object)
    frame.loc[11, "loss"] = "diverged"
    found = fit(frame, interval="none")
    assert {e["row"]: e["reason"] for e in found.excluded} == {
        3: "loss is missing or not finite",
        7: "N is missing or not finite",
        9: "D is missing or not finite",
        11: "loss is missing or not finite",
    }
    assert found.converged and any("left out" in w for w in found.warnings)


def test_two_points_are_refused_with_advice() -> None:
    with pytest.raises(FitError, match=r"at least 6 rows.*Add runs, fix parameters, or fit a smaller law"):
        fit(table(2))


def test_few_points_with_parameters_fixed() -> None:
    found = fit(table(6), fix={"alpha": 0.34, "beta": 0.36, "E": 1.8}, estimand="log_mse")
    assert found.converged and found.frozen == {"alpha": 0.34, "beta": 0.36, "E": 1.8}
    assert found.parameters["A"].value == pytest.approx(400, rel=0.05)


def test_equal_sizes_are_refused_with_advice() -> None:
    with pytest.raises(FitError, match=r"N is 1e\+08 in every row.*add runs at other N"):
        fit(table().assign(N=1e8))
    frame = table().assign(N=1e8)
    frame["loss"] = 2.0 + 1500 / frame["D"] ** 0.36
    assert fit(
        frame, "power_offset", columns={"x": "D", "y": "loss"}, estimand="mse", interval="none"
    ).values["alpha"] == pytest.approx(0.36, rel=1e-4)


def test_duplicates_are_kept_and_warned_of() -> None:
    frame = table()
    found = fit(pd.concat([frame, frame.iloc[:3]]), interval="none")
    assert found.n == 63 and any("3 rows are an exact copy" in w for w in found.warnings)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_units_a_million_times_off(unit: float) -> None:
    base = fit(table(), interval="t")
    scaled = table()
    scaled["N"] *= unit
    scaled["D"] *= unit
    found = fit(scaled, interval="t")
    assert found.objective == pytest.approx(base.objective, rel=1e-9)
    assert found.values["alpha"] == pytest.approx(base.values["alpha"], rel=1e-6)
    assert found.values["A"] == pytest.approx(base.values["A"] * unit ** base.values["alpha"], rel=1e-5)
    loss = table()
    loss["loss"] *= unit
    found = fit(loss, interval="t")
    assert found.values["E"] == pytest.approx(base.values["E"] * unit, rel=1e-6)
    assert fit(loss, estimand="mse", interval="none").converged


def test_negative_losses() -> None:
    frame = table()
    frame["loss"] -= 3.0
    found = fit(frame, interval="none")
    assert (
        all("log estimands need that; 'mse' does not" in e["reason"] for e in found.excluded)
        and found.excluded
    )
    with pytest.raises(FitError, match="no row is left"):
        fit(frame.assign(loss=-frame["loss"].abs()))
    shifted = fit(frame, "c + A/N**alpha + B/D**beta | real c", estimand="mse", interval="none")
    assert shifted.converged and shifted.values["c"] == pytest.approx(-1.2, abs=0.05)


def test_empty_inputs(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    with pytest.raises(FitError, match="is empty"):
        fit(str(empty))
    empty.write_text("N,D,loss\n")
    with pytest.raises(FitError, match="no rows"):
        fit(str(empty))
    with pytest.raises(FitError, match="no file"):
        fit(str(tmp_path / "absent.csv"))
    with pytest.raises(FitError, match="no column for D"):
        fit(table()[["N", "loss"]])


def test_many_rows() -> None:
    """A slow test of the command fits a hundred thousand."""
    found = fit(table(20_000, noise=0.01), interval="t")
    assert found.converged and found.n == 20_000
    for name, truth in TRUTH.items():
        e = found.parameters[name]
        assert abs(e.value - truth) < 4 * e.se, name


def test_constant_loss_is_not_a_law() -> None:
    with pytest.raises(FitError, match="loss is 2 in every row"):
        fit(table().assign(loss=2.0))


def test_concave_and_edge_isoflop_groups_are_refused() -> None:
    sizes = np.geomspace(1e7, 1e9, 7)
    x = np.log(sizes / 1e8)
    rows = [
        *({"N": n, "C": 1e19, "loss": 3.0 - 0.02 * v * v} for n, v in zip(sizes, x, strict=True)),
        *({"N": n, "C": 1e20, "loss": 2.8 + 0.02 * (v - 4) ** 2} for n, v in zip(sizes, x, strict=True)),
        *({"N": n, "C": 1e21, "loss": 2.6 + 0.02 * (v - 0.5) ** 2} for n, v in zip(sizes, x, strict=True)),
        *({"N": n, "C": 1e22, "loss": 2.5} for n in sizes[:2]),
    ]
    found = isoflop(pd.DataFrame(rows), method="parabola")
    assert len(found.minima) == 1 and found.minima["N"][0] == pytest.approx(1e8 * np.exp(0.5), rel=0.02)
    reasons = " | ".join(found.refused["reason"])
    assert (
        "concave" in reasons
        and "add larger ones" in reasons
        and "2 sizes" in reasons
        and found.exponents is None
    )
    with pytest.raises(ValueError, match="fewer than 3 budgets"):
        found.size_at(1e23)


def test_a_cubic_without_a_stationary_point_is_not_called_concave() -> None:
    """Convex losses whose lowest is an interior one, through which the cubic of all six rises throughout."""
    size = 1e7 * np.exp([0.0, 0.7, 1.4, 2.1, 2.8, 3.5])
    table = pd.DataFrame(
        {"N": size, "C": 1e19, "loss": 3 + np.array([0.0, -0.102, 0.168, 0.476, 1.011, 2.815])}
    )
    result = isoflop(table, method="cubic", log_loss=False, window=1e6)
    assert not len(result.refused) and size[0] < result.minima["N"][0] < size[2]
    cut = isoflop(table[table["N"] > size[0]], method="cubic", log_loss=False)
    assert "not bracketed" in cut.refused["reason"][0] and "add smaller ones" in cut.refused["reason"][0]


def test_the_window_is_the_widest_over_which_curves_do_not_bend_otherwise() -> None:
    """Losses steeper than a parabola beyond a factor 8; noise of .001; sizes a factor 2.1 apart."""
    rng, parts = np.random.default_rng(0), []
    for c in np.geomspace(1e18, 1e21, 6):
        x = np.linspace(-4.5, 4.5, 13)
        y = 1 + 0.02 * x**2 + 0.02 * np.maximum(np.abs(x) - np.log(8), 0) ** 3 * (x > 0)
        parts.append(
            pd.DataFrame({"N": 1e8 * np.exp(x), "C": c, "loss": np.exp(y + rng.normal(0, 1e-3, 13))})
        )
    result = isoflop(pd.concat(parts, ignore_index=True))
    assert 8 <= result.window <= 20 and len(result.left_out) and not len(result.refused)
    assert result.minima["N"].to_numpy() == pytest.approx(1e8, rel=0.05)
    wide = isoflop(pd.concat(parts, ignore_index=True), window=1e6)
    assert (np.abs(np.log(wide.minima["N"] / 1e8)) > 0.1).all()


def test_too_few_units_get_no_interval() -> None:
    frame = table(60).assign(run=np.repeat(np.arange(4), 15))
    found = fit(frame, cluster="run", interval="t")
    assert found.parameters["A"].low is None and any("4 independent units" in w for w in found.warnings)
    with pytest.raises(FitError, match="cluster: no column"):
        fit(frame, cluster="rnu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimand": "hubber"}, "no estimand 'hubber'; did you mean 'huber'"),
        ({"interval": "bayes"}, "no interval 'bayes'. There are auto, profile"),
        ({"fix": {"gamma": 1.0}}, "has no parameter 'gamma'; it has A, B"),
        ({"fix": {"A": -1.0}}, "must be positive"),
        ({"where": "C > "}, "cannot be parsed"),
        ({"where": "Z > 3"}, "no column 'Z'"),
        ({"where": "N + 1"}, "not a condition"),
        ({"where": "__import__('os')"}, "not allowed"),
        ({"holdout": "N > 1e30"}, "holds for no usable row"),
        ({"drop_highest": -1}, "0 or more"),
        ({"starts": [{"A": 1.0}]}, "wrong or missing: B, E, alpha, beta"),
        ({"level": 1.5}, "between 0 and 1"),
        ({"law": "chinchila"}, "did you mean 'chinchilla'"),
        ({"delta": 0.0}, "delta > 0"),
    ],
)
def test_wrong_options_say_what_is_allowed(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(table(), **options)


def test_filters() -> None:
    frame = pd.DataFrame({"a b": [1.0, 2.0, np.nan], "s": ["x", "y", "x"], "n": [1, 2, 3]})
    columns = {str(c): frame[c] for c in frame}
    assert select("`a b` >= 1 and s == 'x'", columns).tolist() == [True, False, False]
    assert select("not (n in [1, 3]) or n ** 2 > 8", columns).tolist() == [False, True, True]
    assert select("1 < n <= 3", columns).tolist() == [False, True, True]


def redundant() -> pd.DataFrame:
    """Twenty runs without noise, of which no law with more terms can say more."""
    frame = pd.DataFrame(
        {"N": np.repeat([1e7, 3e7, 1e8, 3e8, 1e9], 4), "D": np.tile([1e9, 3e9, 1e10, 3e10], 5)}
    )
    frame["loss"] = 1.8 + 300 / frame["N"] ** 0.34 + 400 / frame["D"] ** 0.28
    return frame.assign(U=np.minimum(frame["D"], 5e9))


@pytest.mark.parametrize(
    ("law", "flat"),
    [
        ("L + A*N**(-a) + B*(D**(-b*q)+(k*U)**(-b*q))**(1/q)", None),
        ("A/(N**a*(1+b*D)**g) + c + d*log(N) | real c, d", {"b"}),
        ("E + A/N**a + B/D**b + F/width**c", {"F", "width", "c"}),
    ],
)
def test_singular_starts_end_no_fit_and_what_is_redundant_is_named(law: str, flat: set[str] | None) -> None:
    result = fit(redundant(), law, estimand="mse", interval="none")
    assert result.converged
    if flat is not None:
        directions = result.diagnostics.flat_directions
        assert {n for d in directions for n in d["parameters"]} >= flat
        assert any("not identified by this design" in w for w in result.warnings)


def test_a_singular_member_of_a_batch_leaves_the_others_as_they_are() -> None:
    regular, singular = np.array([[2.0, 1.0], [1.0, 3.0]]), np.ones((2, 2))
    right = np.array([[1.0, 2.0], [1.0, 1.0]])
    alone = np.linalg.solve(regular, right[0])
    together = solved(np.stack([regular, singular]), right)
    np.testing.assert_array_equal(together[0], alone)
    np.testing.assert_allclose(together[1], [0.5, 0.5])


def test_an_unknown_keyword_is_answered_with_the_nearest_and_with_all_there_are() -> None:
    with pytest.raises(TypeError, match=r"no option 'estimant'; did you mean 'estimand'\? There are table"):
        fit({"N": [1.0]}, estimant="lad")  # type: ignore[call-arg]


def test_the_mapped_names_can_be_used_in_filters() -> None:
    data = prepare(
        table().rename(columns={"N": "size"}), get_law("chinchilla"), columns={"N": "size"}, where="N > 1e8"
    )
    assert (data.x["N"] > 1e8).all() and "C" in data.x
