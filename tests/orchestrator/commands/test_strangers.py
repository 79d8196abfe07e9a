"""`crossover fit`, `isoflop` and `locate` on tables as strangers keep them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.laws.formula import RESERVED
from tests.orchestrator.commands.test_fit import Cli, isoflops, law, read, refused, rows

WIDE = {"params": [1.05e6, 1.74e6, 4.30e6, 7.96e6, 1.8e7, 7.6e7, 8.3e8], "flops": [2.5e16] * 7}
WIDE |= {"loss": [4.500, 4.426, 4.585, 5.065, 5.806, 7.331, 9.816]}


@pytest.mark.parametrize("method", ["parabola", "cubic"])
def test_a_budget_whose_lowest_run_is_interior_is_never_refused(
    crossover: Cli, table: Callable[..., Path], method: str
) -> None:
    path = table(pd.DataFrame(WIDE))
    answer = read(crossover, "isoflop", path, "--map", "N=params,C=flops", "--method", method)
    assert not answer["refused"] and 1.05e6 < answer["minima"][0]["N"] < 4.3e6
    narrow = read(crossover, "isoflop", path, "--map", "N=params,C=flops", "--window", "6")
    assert narrow["window"] == 6.0 and [r["row"] for r in narrow["outside"]] == [4, 5, 6]
    printed = crossover("isoflop", path, "--map", "N=params,C=flops", "--window", "6").output
    assert "within a factor 6 of the lowest run" in printed and "3 runs outside: N = 1.8e+07" in printed


def test_tokens_and_their_exponent_are_the_tables_own(crossover: Cli, table: Callable[..., Path]) -> None:
    """Here C = 8 N D C**.05 / 1e19**.05, so that b is .05 less than 1 - a."""
    parts = []
    for c in (1e19, 3e19, 9e19, 27e19):
        best = 1e8 * (c / 1e19) ** 0.5
        size = best * np.geomspace(0.3, 3, 6)
        bend = 0.02 * np.log(size / best) ** 2
        parts.append(
            pd.DataFrame({"N": size, "C": c, "D": c / 8 / size * (c / 1e19) ** -0.05, "loss": 3 + bend})
        )
    path = table(pd.concat(parts))
    answer = read(crossover, "isoflop", path)
    assert answer["exponents"]["a"]["value"] == pytest.approx(0.5, abs=1e-6)
    assert answer["exponents"]["b"]["value"] == pytest.approx(0.45, abs=1e-6)
    assert answer["minima"][0]["D"] == pytest.approx(1e19 / 8 / 1e8, rel=1e-3)


def test_a_column_that_is_no_total_is_not_taken_for_compute(
    crossover: Cli, table: Callable[..., Path]
) -> None:
    frame = rows().rename(columns={"N": "params", "D": "tokens"}).assign(flops=1e12)
    path = table(frame)
    answer = read(crossover, "isoflop", path, "--map", "N=params,D=tokens")
    assert answer["n"] == 60 and any("'flops' is not taken for C" in w for w in answer["warnings"])
    near = table(frame.assign(flops=12 * frame["params"] * frame["tokens"]))
    fit = read(crossover, "fit", near, "--interval", "none")
    assert any("is 2 times 6ND in the median" in w for w in fit["warnings"])


def test_formulas_know_every_column_and_refuse_names_that_are_taken(
    crossover: Cli, table: Callable[..., Path]
) -> None:
    frame = rows(noise=0.0)
    width = 64.0 * np.tile([1, 2, 4], 20)
    path = table(frame.assign(width=width, loss=frame["loss"] + 3 / width**0.5).rename(columns={"D": "seen"}))
    mapped = ("--map", "tokens=seen", "--interval", "none", "--estimand", "mse")
    answer = read(crossover, "fit", path, "--law", "E + A/N**a + B/tokens**b + F/width**c", *mapped)
    assert answer["parameters"]["c"]["value"] == pytest.approx(0.5, rel=1e-3)
    said = refused(crossover, "fit", path, "--law", "A/N**a + B/seen**b + C", "--map", "D=seen")
    assert "C is reserved (training FLOPs)" in said and "such as E" in said and "k*C" in said
    said = refused(crossover, "fit", path, "--law", "E + width/N**a", "--map", "D=seen")
    assert "width is a column of the table" in said
    said = refused(crossover, "fit", path, "--law", "E + A/N**a + Q*N | real Q", "--map", "D=seen")
    assert "Q is reserved (quality)" in said
    listed = crossover("fit", "--list").stderr
    assert all(f"{name} (" in listed for name in RESERVED)


def test_held_out_rows_may_be_a_table_of_their_own(crossover: Cli, table: Callable[..., Path]) -> None:
    near, far = table(rows()), rows(20, seed=3).assign(N=1e11, D=1e12)
    far["loss"] = law(far["N"], far["D"])
    later = near.with_name("later.csv")
    far.to_csv(later, index=False)
    answer = read(crossover, "fit", near, "--interval", "t", "--holdout-file", later)
    assert answer["n"] == 60 and answer["holdout"]["n"] == 20 and abs(answer["holdout"]["signed"]) < 0.01


def test_several_losses_and_groups_are_fits_of_one_call(crossover: Cli, table: Callable[..., Path]) -> None:
    frame = pd.concat([rows(seed=s).assign(corpus=c) for s, c in enumerate("ab")], ignore_index=True)
    frame.loc[70, "loss"] = np.nan
    path = table(frame.assign(val_a=frame["loss"], val_b=frame["loss"] + 1).drop(columns="loss"))
    answer = read(crossover, "fit", path, "--loss", "val_*", "--by", "corpus", "--interval", "none")
    assert list(answer["fits"]) == [f"corpus={c},loss=val_{v}" for c in "ab" for v in "ab"]
    assert [e["row"] for e in answer["fits"]["corpus=b,loss=val_a"]["excluded"]] == [70]
    assert not answer["fits"]["corpus=a,loss=val_b"]["excluded"]
    assert "no column loss_*" in refused(crossover, "fit", path, "--loss", "loss_*")


def test_isoflops_have_groups_and_an_estimand(crossover: Cli, table: Callable[..., Path]) -> None:
    frame = isoflops()
    path = table(pd.concat([frame.assign(arm=a) for a in "xy"], ignore_index=True))
    answer = read(crossover, "isoflop", path, "--by", "arm", "--estimand", "huber")
    assert list(answer["isoflops"]) == ["arm=x", "arm=y"]
    each = answer["isoflops"]["arm=y"]
    assert each["estimand"] == "huber(delta=0.001)" and len(each["minima"]) == 3
    one = read(crossover, "isoflop", table(frame), "--method", "law", "--estimand", "log_mse")
    assert one["estimand"] == "log_mse"


@pytest.mark.parametrize("given", ["epochs", "epochs and D", "D and U"])
def test_epochs_are_located_with_or_without_unique_tokens(
    crossover: Cli, table: Callable[..., Path], given: str
) -> None:
    x = np.geomspace(1, 100, 25)
    arms = {"ar": 3 + 0.02 * np.log(x / 8) ** 2, "mdm": 3.4 - 0.16 * np.log(x)}
    frame = pd.concat([pd.DataFrame({"epochs": x, "val_nll": y, "arm": a}) for a, y in arms.items()])
    frame = frame.assign(D=1e6 * frame["epochs"], U=1e6)
    keep = {"epochs": ["epochs"], "epochs and D": ["epochs", "D"], "D and U": ["D", "U"]}[given]
    path = table(frame[["arm", "val_nll", *keep]])
    answer = read(crossover, "locate", path, "--pair", "arm=ar,mdm", "--x", "epochs", "--y", "val_nll")
    assert answer["unit"] == "epochs"
    printed = crossover("locate", path, "--pair", "arm=ar,mdm", "--x", "epochs", "--y", "val_nll").output
    place = next(line.split()[2] for line in printed.splitlines() if line.startswith("all   raw"))
    assert float(place.strip(",")) == pytest.approx(11.94, rel=0.01)
