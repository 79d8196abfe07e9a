"""`crossover fit`, `isoflop` and `suggest` on published tables, and on tables as they come."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import Result

from tests.paths import PUBLISHED

Cli = Callable[..., Result]
CHINCHILLA = (
    PUBLISHED / "chinchilla_fig4.csv",
    "--map",
    "N=Model Size,C=Training FLOP",
    "--drop-highest",
    "5",
)
TRUTH = {"A": 400.0, "B": 1500.0, "E": 1.8, "alpha": 0.34, "beta": 0.36}


def law(n: Any, d: Any) -> Any:
    return TRUTH["E"] + TRUTH["A"] / n ** TRUTH["alpha"] + TRUTH["B"] / d ** TRUTH["beta"]


def rows(n: int = 60, seed: int = 0, noise: float = 0.003) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"N": 10 ** rng.uniform(7, 10, n), "D": 10 ** rng.uniform(8.5, 11.5, n)})
    return frame.assign(loss=law(frame["N"], frame["D"]) * np.exp(rng.normal(0, noise, n)))


def isoflops() -> pd.DataFrame:
    """Three good budgets, a concave one, one cut off at its lower edge, and one of two sizes."""
    sizes = np.geomspace(1e7, 1e9, 7)
    x = np.log(sizes / 1e8)
    good = [(c, 3.2 - 0.2 * k, 0.02 * (x - 0.6 * k) ** 2) for k, c in enumerate((1e19, 3e19, 9e19))]
    parts = [pd.DataFrame({"N": sizes, "C": c, "loss": low + bend}) for c, low, bend in good]
    parts.append(pd.DataFrame({"N": sizes, "C": 1e21, "loss": 2.4 - 0.02 * x**2}))
    parts.append(pd.DataFrame({"N": sizes, "C": 1e22, "loss": 2.3 + 0.02 * (x + 4) ** 2}))
    parts.append(pd.DataFrame({"N": sizes[:2], "C": 1e23, "loss": 2.2}))
    return pd.concat(parts, ignore_index=True)


def read(crossover: Cli, *arguments: str | Path, code: int = 0) -> Any:
    result = crossover(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def refused(crossover: Cli, *arguments: str | Path) -> str:
    """What a refusal says: exit code 2, nothing on stdout, no traceback."""
    result = crossover(*arguments)
    assert result.exit_code == 2, result.output
    assert not result.stdout and "Traceback" not in result.stderr
    return result.stderr


# ---- published tables ----------------------------------------------------------------------------------


def test_json_carries_what_a_fit_is(crossover: Cli) -> None:
    found = read(crossover, "fit", *CHINCHILLA, "--law", "chinchilla", "--interval", "t")
    assert found["law"] == "chinchilla" and found["n"] == 240 and len(found["excluded"]) == 5
    assert found["objective"] == pytest.approx(0.0010182740178, rel=1e-6)
    assert found["parameters"]["E"]["value"] == pytest.approx(1.817218, abs=1e-5)
    assert set(found["parameters"]["E"]) == {"value", "se", "low", "high", "unbounded"}
    assert (
        set(found["convergence"]) >= {"starts", "converged", "basins"} and found["convergence"]["converged"]
    )
    assert {"estimand", "diagnostics", "warnings"} <= set(found)
    assert all("highest" in e["reason"] for e in found["excluded"])


def test_holdout_comparison_prediction_allocation_and_checks_stand_beside_the_fit(crossover: Cli) -> None:
    found = read(
        crossover,
        "fit",
        *CHINCHILLA,
        "--interval",
        "t",
        "--holdout",
        "C > 1e21",
        "--compare",
        "chinchilla_tied",
        "coupled",
        "--predict",
        "N=7e10,D=1.4e12",
        "--at",
        "5.76e23",
        "--check",
    )
    assert found["holdout"]["n"] == 23 and found["n"] == 217
    assert {c["law"] for c in found["compare"]["laws"]} == {"chinchilla", "chinchilla_tied", "coupled"}
    assert (
        found["predictions"][0]["low"]
        < found["predictions"][0]["prediction"]
        < found["predictions"][0]["run_high"]
    )
    assert found["optimal"][0]["N"]["low"] < found["optimal"][0]["N"]["value"]
    assert found["predictions"][0]["beyond"] > 100 and "calibrated" in found["predictions"][0]
    assert found["holdout"]["drift_coverage"] >= 0.85 > found["holdout"]["coverage"]
    assert found["check"]["trends"] and found["check"]["back_test"]["calibrated"]


def test_a_frozen_base_is_said_and_the_joint_fit_stands_beside_it(crossover: Cli) -> None:
    base = "A=520.8253,B=1487.7134,E=1.869143,alpha=0.3526596,beta=0.3526596"
    source = (PUBLISHED / "datablations_fit182.csv", "--law", "data_constrained")
    found = read(crossover, "fit", *source, "--fix", base, "--joint", "--interval", "profile")
    assert set(found["diagnostics"]["frozen"]) == {"A", "B", "E", "alpha", "beta"}
    assert found["parameters"]["R_D"]["unbounded"] and found["parameters"]["R_D"]["high"] is None
    assert not found["joint"]["diagnostics"]["frozen"] and found["joint"]["objective"] < found["objective"]


def test_all_estimands_side_by_side_flag_their_spread(crossover: Cli) -> None:
    found = read(crossover, "fit", *CHINCHILLA, "--estimand", "all", "--interval", "t")
    assert list(found["estimands"]) == ["huber", "lad", "log_mse", "mse", "quantile"]
    assert any(f.startswith("beta") for f in found["flags"])


def test_a_formula_is_a_law_and_the_list_shows_all(crossover: Cli, table: Callable[..., Path]) -> None:
    path = table(rows())
    own = read(crossover, "fit", path, "--law", "E + A/N**alpha + B/D**beta", "--interval", "none")
    assert own["parameters"]["alpha"]["value"] == pytest.approx(TRUTH["alpha"], abs=0.03)
    assert {"chinchilla", "data_constrained", "quokka"} <= {
        law["name"] for law in read(crossover, "fit", "--list")
    }
    assert "E + A/N**alpha" in crossover("fit", "--list").stdout
    assert "did you mean 'chinchilla'" in refused(crossover, "fit", path, "--law", "chinchila")
    assert "no function '__import__'" in refused(crossover, "fit", path, "--law", "E + __import__('os')/N")


def test_text_is_a_page(crossover: Cli, table: Callable[..., Path]) -> None:
    result = crossover("fit", table(rows()), "--interval", "t")
    assert result.exit_code == 0 and "converged:" in result.stdout and "95% interval" in result.stdout


# ---- tables as they come -------------------------------------------------------------------------------


def test_awkward_column_names(crossover: Cli, table: Callable[..., Path]) -> None:
    path = table(rows().rename(columns={"N": "size (M), #1", "D": "tokens; seen", "loss": "val = loss"}))
    mapped = ("--map", "N=size (M), #1,D=tokens; seen", "--map", "loss=val = loss", "--interval", "none")
    found = read(crossover, "fit", path, *mapped, "--where", "`tokens; seen` < 1e11")
    assert found["n"] + len(found["excluded"]) == 60
    assert "did you mean 'tokens; seen'" in refused(
        crossover, "fit", path, "--map", "N=size (M), #1,D=tokens seen!,loss=val = loss"
    )
    assert "no column for" in refused(crossover, "fit", path)


def test_a_law_of_x_and_y_reads_the_loss(crossover: Cli, table: Callable[..., Path]) -> None:
    path = table(rows().rename(columns={"loss": "val_loss"}))
    given = ("--law", "power_offset", "--interval", "none", "--map")
    found = read(crossover, "fit", path, *given, "x=D")
    assert found["diagnostics"]["columns"]["y"] == "val_loss"
    assert found["parameters"] == read(crossover, "fit", path, *given, "x=D,y=val_loss")["parameters"]


def test_missing_and_infinite_values_are_listed(crossover: Cli, table: Callable[..., Path]) -> None:
    frame = rows()
    frame.loc[3, "loss"], frame.loc[7, "N"], frame.loc[9, "D"] = np.nan, np.inf, -np.inf
    found = read(crossover, "fit", table(frame), "--interval", "none")
    assert [e["row"] for e in found["excluded"]] == [3, 7, 9]
    assert any("left out" in w for w in found["warnings"])


def test_two_points_and_equal_sizes_are_refused_with_advice(
    crossover: Cli, table: Callable[..., Path]
) -> None:
    assert "Add runs, fix parameters, or fit a smaller law" in refused(crossover, "fit", table(rows(2)))
    assert "add runs at other N" in refused(crossover, "fit", table(rows().assign(N=1e8)))
    assert "needs 4" in crossover("isoflop", table(rows(2))).stdout


def test_duplicate_rows_are_counted(crossover: Cli, table: Callable[..., Path]) -> None:
    frame = rows()
    found = read(crossover, "fit", table(pd.concat([frame, frame.iloc[:3]])), "--interval", "none")
    assert found["n"] == 63 and any("3 rows are an exact copy" in w for w in found["warnings"])


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_units_a_million_times_off(crossover: Cli, table: Callable[..., Path], unit: float) -> None:
    frame = rows()
    found = read(
        crossover, "fit", table(frame.assign(N=frame["N"] * unit, D=frame["D"] * unit)), "--interval", "none"
    )
    assert found["parameters"]["alpha"]["value"] == pytest.approx(TRUTH["alpha"], abs=0.03)


def test_negative_losses(crossover: Cli, table: Callable[..., Path]) -> None:
    path = table(rows().assign(loss=lambda f: f["loss"] - 8))
    assert "'mse' does not" in refused(crossover, "fit", path)
    own = "c + A/N**alpha + B/D**beta | real c"
    found = read(crossover, "fit", path, "--law", own, "--estimand", "mse", "--interval", "none")
    assert found["parameters"]["c"]["value"] == pytest.approx(TRUTH["E"] - 8, abs=0.05)


def test_empty_and_unreadable_files(crossover: Cli, tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("")
    assert "is empty" in refused(crossover, "fit", path)
    path.write_text("N,D,loss\n")
    assert "no rows" in refused(crossover, "fit", path)
    assert "is no file, and no sweep" in refused(
        crossover, "fit", tmp_path / "absent.csv", "--store", tmp_path
    )
    other = tmp_path / "noise.parquet"
    other.write_bytes(b"\x00\x01 not a table")
    assert "noise.parquet" in refused(crossover, "fit", other)
    (tmp_path / "folder").mkdir()
    assert "needs runs.csv and curves.csv" in refused(crossover, "fit", tmp_path / "folder")


@pytest.mark.slow
def test_a_hundred_thousand_rows(crossover: Cli, tmp_path: Path) -> None:
    path = tmp_path / "many.parquet"
    rows(100_000, noise=0.01).to_parquet(path)
    found = read(crossover, "fit", path, "--interval", "t")
    assert found["n"] == 100_000
    for name, truth in TRUTH.items():
        e = found["parameters"][name]
        assert abs(e["value"] - truth) < 4 * e["se"], name


def test_isoflop_refuses_what_has_no_interior_minimum(
    crossover: Cli, table: Callable[..., Path], tmp_path: Path
) -> None:
    figure = tmp_path / "sub" / "iso.png"
    found = read(crossover, "isoflop", table(isoflops()), "--plot", figure)
    reasons = [r["reason"] for r in found["refused"]]
    assert len(found["minima"]) == 3 and found["exponents"]["a"]["value"] == pytest.approx(
        0.6 / np.log(3), rel=0.02
    )
    assert "concave" in reasons[0] and "add smaller ones" in reasons[1] and "2 sizes" in reasons[2]
    assert (
        figure.is_file()
        and figure.with_suffix(".svg").is_file()
        and "refused" in figure.with_suffix(".csv").read_text()
    )
    assert "concave" in crossover("isoflop", table(isoflops())).stdout


def test_isoflop_of_negative_losses_and_unannealed_rows(crossover: Cli, table: Callable[..., Path]) -> None:
    shifted = isoflops().assign(loss=lambda f: f["loss"] - 5)
    assert "not positive" in refused(crossover, "isoflop", table(shifted))
    assert len(read(crossover, "isoflop", table(shifted), "--plain-loss")["minima"]) == 3
    assert "annealed end points" in refused(crossover, "isoflop", table(isoflops().assign(annealed=False)))


def test_losses_that_grow_with_size_have_no_optimum(crossover: Cli, table: Callable[..., Path]) -> None:
    path = table(rows().assign(loss=lambda f: 1 + f["N"] / 1e10))
    routes = read(crossover, "isoflop", path, "--at", "1e22")["approaches"]["routes"]
    assert [r["N"] for r in routes] == [None] * 5 and all(r["note"] for r in routes)
    assert "no interior optimum" in routes[4]["note"]


def test_the_three_routes_side_by_side(crossover: Cli) -> None:
    found = read(crossover, "isoflop", *CHINCHILLA, "--at", "5.76e23")
    names = [r["route"] for r in found["approaches"]["routes"]]
    assert names == ["1 envelope", "2 isoFLOP parabola", "2 isoFLOP cubic", "2 isoFLOP law", "3 chinchilla"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit",), "give a table"),
        (("fit", "T", "other.csv"), "one table at a time"),
        (("fit", "T", "--map", "N"), "is not NAME=VALUE"),
        (("fit", "T", "--fix", "A=big"), "is not a number"),
        (("fit", "T", "--fix", "gamma=1"), "has no parameter 'gamma'"),
        (("fit", "T", "--where", "Z > 1"), "no column 'Z'"),
        (("fit", "T", "--where", "open('x')"), "not allowed"),
        (("fit", "T", "--holdout", "N > 1e30"), "holds for no usable row"),
        (("fit", "T", "--joint"), "nothing is frozen"),
        (("fit", "T", "--predict", "N=1"), "needs N, D"),
        (("fit", "T", "--level", "2"), "between 0 and 1"),
        (("fit", "T", "--delta", "-1"), "delta > 0"),
        (("isoflop", "T", "--map", "N=nn"), "no such column"),
        (("suggest", "T", "--for", "gamma", "--budget", "1e19"), "no quantity 'gamma'"),
        (("suggest", "T", "--for", "alpha", "--budget", "1"), "no candidate run"),
        (("suggest", "T", "--for", "alpha", "--budget", "1e19", "--ladder", "giant"), "one of pocket"),
    ],
)
def test_wrong_options_exit_2_and_say_what_is_allowed(
    crossover: Cli, table: Callable[..., Path], arguments: tuple[str, ...], message: str
) -> None:
    path = str(table(rows()))
    assert message in refused(crossover, *(path if a == "T" else a for a in arguments))


def test_objectives_are_never_mixed_and_each_can_have_its_fit(
    crossover: Cli, table: Callable[..., Path], tmp_path: Path
) -> None:
    one, two = rows(), rows(seed=1).assign(loss=lambda f: 1.2 * f["loss"])
    path = table(pd.concat([one.assign(objective="ar"), two.assign(objective="mdm")], ignore_index=True))
    for command in (("fit",), ("isoflop",), ("plot", "residuals", "--to", tmp_path / "no.png")):
        said = refused(crossover, command[0], *command[1:2], path, *command[2:])
        assert "rows of 2 objectives (ar, mdm)" in said and "by: objective" in said
    chosen = read(crossover, "fit", path, "--interval", "none", "--where", "objective == 'mdm' and C > 0")
    figure = ("--plot", tmp_path / "f.png")
    found = read(crossover, "fit", path, "--interval", "none", "--by", "objective", *figure)
    assert list(found["fits"]) == ["objective=ar", "objective=mdm"]
    each = found["fits"]["objective=mdm"]
    assert each["n"] == chosen["n"] == 60 and each["parameters"] == chosen["parameters"]
    assert each["excluded"] == []
    assert (tmp_path / "f-objective-ar.png").is_file() and (tmp_path / "f-objective-mdm.png").is_file()
    page = crossover("fit", path, "--interval", "none", "--by", "objective").stdout
    assert page.startswith("== objective=ar") and "== objective=mdm" in page
    assert "no column objectiv" in refused(crossover, "fit", path, "--by", "objectiv")
    assert "no row is left" in refused(crossover, "fit", path, "--by", "objective", "--where", "N > 1e99")


# ---- suggestions, and studies as tables ----------------------------------------------------------------


def test_suggest_prints_a_sweep_that_plans(
    crossover: Cli, table: Callable[..., Path], tmp_path: Path
) -> None:
    small = rows().assign(N=lambda f: f["N"] / 300, D=lambda f: f["D"] / 1e4)
    small["loss"] = law(small["N"] * 300, small["D"] * 1e4)
    path = table(
        small.assign(loss=lambda f: f["loss"] * np.exp(np.random.default_rng(1).normal(0, 0.003, 60)))
    )
    result = crossover("suggest", path, "--for", "N_opt(C=1e16)", "--budget", "1e14", "--count", "3")
    assert result.exit_code == 0 and "standard error" in result.stderr
    sweep = tmp_path / "next.yaml"
    sweep.write_text(result.stdout)
    planned = read(crossover, "plan", sweep, "--store", tmp_path / "store")
    assert 1 <= len(planned["runs"]) <= 3
    record = read(crossover, "suggest", path, "--for", "alpha", "--budget", "1e14", "--count", "2")
    assert record["after"] < record["before"] and record["yaml"].startswith("name: next")


def test_a_sweep_is_a_table_of_its_runs(crossover: Cli, tiny: Path, finished_store: Path) -> None:
    where = ("--store", finished_store, "--map", "x=D,y=loss", "--law", "power", "--interval", "none")
    assert "rows of 2 objectives" in refused(crossover, "fit", "tiny", *where)
    assert "cannot determine" in refused(
        crossover, "fit", tiny, *where, "--where", "objective == 'autoregressive'"
    )
    one = ("--where", "objective == 'autoregressive'", "--store", finished_store)
    assert "annealed end points" in refused(crossover, "isoflop", tiny, *one)
    assert "is no file, and no sweep" in refused(crossover, "fit", "tinny", "--store", finished_store)
