"""`crossover locate` on one long table, on imported curves and on a sweep; `crossover import`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import Result

Cli = Callable[..., Result]
PAIR = ("--pair", "objective=autoregressive,masked_diffusion")
BY = ("--by", "unique_tokens,size")


def crossing(unique: float) -> float:
    return 2e7 * (unique / 1e6) ** 0.5


def evaluations(
    uniques: tuple[float, ...] = (1e6, 4e6), seeds: int = 2, horizon: float = 3e8
) -> pd.DataFrame:
    """AR over-fits, MDM falls slowly and crosses it at a known place."""
    rng = np.random.default_rng(0)
    parts = []
    for unique in uniques:
        for seed in range(seeds):
            tokens = np.geomspace(1e6, horizon, 50)
            place = crossing(unique) * np.exp(rng.normal(0, 0.02))
            least = place / 3
            past = np.maximum(tokens / least, 1.0)
            falling = 3 + 0.3 * np.log(np.maximum(least / tokens, 1.0)) + 0.12 * np.log(past) ** 1.3
            there = 3 + 0.12 * np.log(3.0) ** 1.3
            for name, loss in (
                ("autoregressive", falling),
                ("masked_diffusion", there - 0.15 * np.log(tokens / place)),
            ):
                facts = {"objective": name, "unique_tokens": unique, "size": "S", "params": 1e6, "seed": seed}
                noisy = loss + rng.normal(0, 1e-3, 50)
                parts.append(pd.DataFrame({**facts, "tokens": tokens, "val_nll": noisy, "se": 1e-3}))
    return pd.concat(parts, ignore_index=True)


def read(crossover: Cli, *arguments: str | Path) -> Any:
    result = crossover(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(crossover: Cli, *arguments: str | Path) -> str:
    result = crossover(*arguments)
    assert result.exit_code == 2, result.output
    assert not result.stdout and "Traceback" not in result.stderr
    return result.stderr


def places(found: Any, definition: str = "raw", unit: str = "tokens") -> list[Any]:
    return [r for r in found["crossovers"] if r["definition"] == definition and r["unit"] == unit]


def test_known_crossings_are_found_in_a_long_table(crossover: Cli, table: Callable[..., Path]) -> None:
    kinds = ("--likelihood", "autoregressive=exact,masked_diffusion=upper_bound", "--error", "se")
    found = read(crossover, "locate", table(evaluations()), *PAIR, *BY, *kinds)
    for record, unique in zip(places(found), (1e6, 4e6), strict=True):
        assert record["value"] == pytest.approx(crossing(unique), rel=0.08) and record["robust"]
        assert record["low"] < record["value"] < record["high"] and record["replicates"] == 2
    assert "upper bound lies below" in places(found)[0]["allows"]
    assert [p["value"] for p in places(found, unit="epochs")] == pytest.approx(
        [p["value"] / u for p, u in zip(places(found), (1e6, 4e6), strict=True)]
    )
    assert found["control"] and found["laws"]


def test_the_page_says_what_was_found_and_what_was_assumed(
    crossover: Cli, table: Callable[..., Path]
) -> None:
    text = crossover("locate", table(evaluations()), *PAIR, *BY).stdout
    assert "unique_tokens=1e+06" in text and "A/A control" in text
    assert "was not said (--likelihood)" in text and "no standard errors" in text
    assert "unique data that autoregressive needs for masked diffusion's best loss" in text
    assert "never cross" not in text


def test_cells_that_never_cross_are_asked_for(crossover: Cli, table: Callable[..., Path]) -> None:
    path = table(evaluations(uniques=(1e6, 2e6, 4e6)))
    text = crossover("locate", path, *PAIR, *BY, "--cure").stdout
    assert "raw: cells that never cross: 0% [0%," in text and "not called for" in text
    found = read(crossover, "locate", path, *PAIR, *BY, "--cure")
    assert found["cure"]["raw"]["open_cells"] == 0 and not found["cure"]["raw"]["called_for"]
    early = table(evaluations(horizon=1e7))
    assert "no law of the crossing to compare" in crossover("locate", early, *PAIR, *BY, "--cure").stdout


def test_a_lead_on_best_values_is_a_verdict_by_the_rule_that_is_asked_for(
    crossover: Cli, table: Callable[..., Path]
) -> None:
    """MDM goes below AR's best, and goes on falling: its own minimum is open."""
    path = table(evaluations(horizon=1.5e8))
    asked = ("locate", path, *PAIR, *BY, "--error", "se", "--minima")
    kept = [read(crossover, *asked, rule) for rule in ("each", "passed")]
    strict, loose = (places(k, "best_so_far")[0] for k in kept)
    assert strict["censored"] == "right" and strict["ahead"] == 2
    assert loose["censored"] is None and loose["robust"]


def test_no_crossing_is_a_bound(crossover: Cli, table: Callable[..., Path]) -> None:
    path = table(evaluations(horizon=1e7))
    assert all(
        p["censored"] == "right" and p["value"] == pytest.approx(1e7)
        for p in places(read(crossover, "locate", path, *PAIR, *BY))
    )
    assert "> 10M" in crossover("locate", path, *PAIR, *BY).stdout


def test_epochs_and_flops_become_tokens(crossover: Cli, table: Callable[..., Path]) -> None:
    base = evaluations()
    frame = base.assign(
        epochs=base["tokens"] / base["unique_tokens"], flops=6 * base["params"] * base["tokens"]
    )
    truth = [p["value"] for p in places(read(crossover, "locate", table(frame), *PAIR, *BY))]
    for x in ("epochs", "flops"):
        found = read(crossover, "locate", table(frame), *PAIR, *BY, "--x", x)
        assert found["unit"] == x and [p["value"] for p in places(found)] == pytest.approx(truth)
    lacking = table(frame.drop(columns=["params", "tokens"]))
    assert "say which column with --map N=COLUMN" in refused(
        crossover, "locate", lacking, *PAIR, *BY, "--x", "flops"
    )


def test_accuracy_is_higher_the_better(crossover: Cli, table: Callable[..., Path]) -> None:
    frame = evaluations().assign(accuracy=lambda f: 5 - f["val_nll"])
    found = read(crossover, "locate", table(frame), *PAIR, *BY, "--y", "accuracy", "--better", "higher")
    assert places(found)[0]["value"] == pytest.approx(crossing(1e6), rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--pair: say which column"),
        (("--pair", "objective"), "write COLUMN=FIRST,SECOND"),
        (("--pair", "objectiv=autoregressive,masked_diffusion"), "did you mean 'objective'"),
        (("--pair", "objective=autoregresive,masked_diffusion"), "did you mean 'autoregressive'"),
        ((*PAIR, "--by", "sise"), "did you mean 'size'"),
        ((*PAIR, "--y", "nll"), "no column 'nll'"),
        (
            (*PAIR, "--by", "size", "--replicate", "params"),
            "differ: --by or --run must name what tells them apart",
        ),
        ((*PAIR, "--likelihood", "ar=exact"), "is not one of the pair"),
        ((*PAIR, "--likelihood", "autoregressive=precise"), "it is one of exact"),
        ((*PAIR, *BY, "--where", "Z > 1"), "no column 'Z'"),
        ((*PAIR, *BY, "--where", "tokens > 1e30"), "never is"),
        ((*PAIR, *BY, "--map", "N=nn"), "no such column"),
    ],
)
def test_wrong_options_exit_2_and_say_what_is_allowed(
    crossover: Cli, table: Callable[..., Path], arguments: tuple[str, ...], message: str
) -> None:
    assert message in refused(crossover, "locate", table(evaluations()), *arguments)


def test_hard_tables(crossover: Cli, table: Callable[..., Path], tmp_path: Path) -> None:
    frame = evaluations()
    frame.loc[5, "val_nll"], frame.loc[60, "val_nll"] = np.nan, np.inf
    found = read(crossover, "locate", table(pd.concat([frame, frame.iloc[:3]])), *PAIR, *BY)
    assert len(found["excluded"]) == 2 and all(
        "without a finite loss" in e["reason"] for e in found["excluded"]
    )
    assert "no rows" in refused(crossover, "locate", table(frame.iloc[:0]), *PAIR)
    blank = frame.assign(size=np.where(frame["seed"] == 0, "S", None))
    assert "'size' is empty in" in refused(crossover, "locate", table(blank), *PAIR, *BY)
    shuffled = frame.assign(tokens=1e6)
    assert "differ" in refused(crossover, "locate", table(shuffled), *PAIR, *BY)
    alone = frame[(frame["objective"] == "autoregressive") | (frame["unique_tokens"] > 9e9)]
    assert "never is 'masked_diffusion'" in refused(crossover, "locate", table(alone), *PAIR, *BY)
    unpaired = frame[(frame["objective"] == "autoregressive") == (frame["seed"] == 0)]
    assert "no two runs could be compared" in refused(crossover, "locate", table(unpaired), *PAIR, *BY)


def test_figures(crossover: Cli, table: Callable[..., Path], tmp_path: Path) -> None:
    path = table(evaluations())
    found = read(crossover, "locate", path, *PAIR, *BY, "--plot", tmp_path / "out" / "map.png")
    assert [Path(f).suffix for f in found["figures"]] == [".png", ".svg", ".csv"] and all(
        Path(f).is_file() for f in found["figures"]
    )
    found = read(crossover, "locate", path, *PAIR, *BY, "--plot", tmp_path / "all")
    assert {"loss_curves.png", "crossover_map.png"} <= {Path(f).name for f in found["figures"]}


def test_a_finished_sweep_by_name(crossover: Cli, finished_store: Path) -> None:
    found = read(crossover, "locate", "tiny", "--store", finished_store)
    assert found["pair"] == ["autoregressive", "masked_diffusion"] and len(places(found)) == 1
    assert "a study's tables have columns of their own" in refused(
        crossover, "locate", "tiny", "--y", "loss", "--store", finished_store
    )
    assert "it has tiny" in refused(crossover, "locate", "tinny", "--store", finished_store)


# ---- import --------------------------------------------------------------------------------------------

NAMES = (
    "--from-name",
    r"(?P<objective>ar|mdm)-(?P<N>[0-9.]+M)",
    "--rename",
    "ar=autoregressive,mdm=masked_diffusion",
    "--set",
    "U=1e5",
    "--tokens-per-step",
    "1000",
)
STEPS = np.arange(100, 2100, 100)
CURVES = {"ar-1.3M": 3 - 0.1 * np.log(STEPS), "mdm-1.3M": 3.6 - 0.2 * np.log(STEPS)}


def test_a_wandb_chart(crossover: Cli, tmp_path: Path) -> None:
    path = tmp_path / "chart.csv"
    frame = pd.DataFrame({"Step": STEPS})
    for run, loss in CURVES.items():
        frame[f"{run} - val/loss"] = loss
        frame[f"{run} - val/loss__MIN"] = frame[f"{run} - val/loss__MAX"] = loss
    frame.to_csv(path, index=False)
    made = read(crossover, "import", path, "--to", tmp_path / "t", *NAMES)
    assert made["runs"] == 2 and made["evaluations"] == 40
    runs = pd.read_csv(tmp_path / "t" / "runs.csv")
    assert runs["objective"].tolist() == ["autoregressive", "masked_diffusion"] and runs["N"].tolist() == [
        1.3e6,
        1.3e6,
    ]
    found = read(crossover, "locate", tmp_path / "t")
    assert places(found)[0]["value"] == pytest.approx(1000 * np.exp(6), rel=1e-3)
    one = ("--where", "objective == 'autoregressive'")
    assert "in every row" in refused(
        crossover, "fit", tmp_path / "t", "--law", "power", "--map", "x=D,y=loss", "--fix", "alpha=0.1", *one
    )


def test_histories_a_file_a_run(crossover: Cli, tmp_path: Path) -> None:
    paths = []
    for run, loss in CURVES.items():
        paths.append(tmp_path / f"{run}.csv")
        train = np.where(np.arange(len(STEPS)) % 2, loss, np.nan)
        pd.DataFrame({"_step": STEPS, "_runtime": 1.0, "val/loss": train, "lr": 1e-3}).to_csv(
            paths[-1], index=False
        )
    made = read(crossover, "import", *paths, "--to", tmp_path / "t", "--parquet", *NAMES)
    assert made["evaluations"] == 20 and any("20 rows without a loss" in n for n in made["notes"])
    assert (tmp_path / "t" / "curves.parquet").is_file()


def test_event_files(crossover: Cli, tmp_path: Path, need: Callable[[bool, str], None]) -> None:
    import importlib.util

    need(importlib.util.find_spec("tensorboard") is not None, "tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for run, loss in CURVES.items():
        writer = EventFileWriter(str(tmp_path / "tb" / run))
        for step, value in zip(STEPS, loss, strict=True):
            writer.add_event(
                Event(
                    step=int(step), summary=Summary(value=[Summary.Value(tag="val/loss", simple_value=value)])
                )
            )
        writer.close()
    made = read(crossover, "import", tmp_path / "tb", "--to", tmp_path / "t", *NAMES)
    assert made["runs"] == 2 and made["evaluations"] == 40
    assert "no tag 'eval'" in refused(
        crossover, "import", tmp_path / "tb", "--y", "eval", "--to", tmp_path / "t"
    )
    (tmp_path / "none").mkdir()
    assert "holds no event files" in refused(crossover, "import", tmp_path / "none", "--to", tmp_path / "t")


def test_a_plain_table_with_a_table_of_runs(crossover: Cli, tmp_path: Path) -> None:
    path, about = tmp_path / "c.csv", tmp_path / "r.csv"
    pd.concat([pd.DataFrame({"run": r, "tokens": STEPS * 1e3, "loss": v}) for r, v in CURVES.items()]).to_csv(
        path, index=False
    )
    pd.DataFrame({"run": list(CURVES), "objective": ["a", "b"], "N": ["1.3M", "0.9B"]}).to_csv(
        about, index=False
    )
    made = read(crossover, "import", path, "--runs", about, "--to", tmp_path / "t")
    runs = pd.read_csv(tmp_path / "t" / "runs.csv")
    assert runs["N"].tolist() == [1.3e6, 9e8] and any("no U known" in n for n in made["notes"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --tokens-per-step"),
        (("--tokens-per-step", "10", "--y", "acc"), "no column of losses 'acc'"),
        (("--tokens-per-step", "10", "--from-name", "("), "is no regular expression"),
        (("--tokens-per-step", "10", "--from-name", "(?P<objective>zz)"), "does not match run"),
        (("--tokens-per-step", "10", "--set", "N=many"), "is not a count"),
        (("--tokens-per-step", "10", "--map", "U=uu"), "there is no such column"),
    ],
)
def test_imports_that_cannot_be_say_what_is_missing(
    crossover: Cli, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "ar-1.3M.csv"
    pd.DataFrame({"step": STEPS, "loss": CURVES["ar-1.3M"]}).to_csv(path, index=False)
    assert message in refused(crossover, "import", path, "--to", tmp_path / "t", *arguments)
    assert "no such file" in refused(crossover, "import", tmp_path / "absent.csv", "--to", tmp_path / "t")


def test_a_metric_of_a_task_is_located_in_a_folder_of_tables(crossover: Cli, tmp_path: Path) -> None:
    """Accuracies are 5 less the loss: they cross where the losses do, if higher ones are better."""
    long = evaluations()
    long["run"] = long["objective"] + long["unique_tokens"].astype(str) + long["seed"].astype(str)
    runs = long.rename(columns={"params": "N"}).assign(U=long["unique_tokens"]).drop_duplicates("run")
    runs[["run", "objective", "seed", "unique_tokens", "U", "N"]].to_csv(tmp_path / "runs.csv", index=False)
    curves = long[["run", "tokens"]].assign(nll_b=long["val_nll"])
    curves = curves.assign(copy_accuracy_a=5 - curves["nll_b"], copy_accuracy_b=5 - curves["nll_b"])
    curves.to_csv(tmp_path / "curves.csv", index=False)
    metric = ("locate", tmp_path, "--metric", "copy_accuracy")
    found = read(crossover, *metric, "--better", "higher")
    assert found["metric"] == "copy_accuracy" and found["better"] == "higher"
    assert places(found)[0]["value"] == pytest.approx(crossing(1e6), rel=0.05)
    assert "which values are better? Give better='lower'" in refused(crossover, *metric)
    assert "did you mean 'copy_accuracy'" in refused(
        crossover, "locate", tmp_path, "--metric", "copy_acuracy"
    )
    assert "no start-up plateau is known" in crossover(*metric, "--better", "higher").stdout
