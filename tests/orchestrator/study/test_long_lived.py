"""What a study needs after its first run: use, extend, refine, tidy up; by the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

Cli = Callable[..., Result]


def read(crossover: Cli, *arguments: str | Path) -> Any:
    """A command's JSON."""
    result = crossover(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_sample_and_export_weights(crossover: Cli, finished_store: Path, tmp_path: Path) -> None:
    where = ("--store", finished_store)
    for run in read(crossover, "status", *where)["runs"][:3:2]:
        text = read(crossover, "sample", run["run"][:8], "Th", "--length", "5", *where)
        assert text["text"].startswith("Th") and text["step"] == 40
        told = read(crossover, "export", "weights", run["run"][:8], "--to", tmp_path / run["run"], *where)
        assert (tmp_path / run["run"] / "model.safetensors").exists()
        assert told["layout"] == (
            "qwen3" if "autoregressive" in run["name"] or "AR" in run["name"] else "crossover"
        )
    too_long = crossover("sample", run["run"][:8], "--length", "500", *where)
    assert too_long.exit_code == 2 and "allowed: 1 to 32" in too_long.stderr
    assert "weights" in crossover("export", "--help").output


def steps(rows: list[dict[str, Any]]) -> set[int]:
    return {int(row["key"].split("-")[1]) for row in rows}


def test_censored_cells_train_on_and_the_sweep_never_shrinks(
    crossover: Cli, tiny: Path, store_copy: Path
) -> None:
    where = ("--store", store_copy)
    found = read(crossover, "report", tiny, *where)["crossovers"]
    assert all(r["censored"] == "right" for r in found)
    before = {r["low"] for r in found if r["unit"] == "tokens"}
    priced = read(crossover, "extend", tiny, "--censored", "--to", "1.5x", *where)
    assert len(priced["extended"]) == 4 and {round(r["trained"], 3) for r in priced["runs"]} == {
        round(2 / 3, 3)
    }
    totals = priced["totals"]
    assert abs(totals["flops_trained"] / totals["flops"] - 2 / 3) < 1e-9 and totals["flops_saved"] == 0
    assert not (store_copy / "sweeps" / "tiny" / "extend.yaml").exists(), (
        "asking for the price records nothing"
    )
    done = crossover("extend", tiny, "--censored", "--to", "1.5x", "--local", "--no-mlflow", "-q", *where)
    assert done.exit_code == 0, done.output
    for named in (tiny, "tiny"):  # by its file, which knows nothing of it, and by name
        rows = read(crossover, "plan", named, *where)["runs"]
        assert steps(rows) == {60} and {r["state"] for r in rows} == {"cached"}
    again = crossover("run", tiny, "--local", "--no-mlflow", "-q", *where)
    assert again.exit_code == 0 and {r["steps"] for r in read(crossover, "status", tiny, *where)["runs"]} == {
        60
    }
    found = read(crossover, "report", tiny, *where)["crossovers"]
    after = {r["low"] for r in found if r["unit"] == "tokens"}
    assert min(after) > max(before), "the report reads the runs to their new ends"
    same = crossover("extend", tiny, "--censored", "--to", "1.5x", *where)
    assert same.exit_code == 0 and "nothing to extend" in same.stderr
    shorter = read(crossover, "extend", tiny, "--to", "0.5x", *where)
    assert not shorter["extended"] and steps(shorter["runs"]) == {60}, "no end moves back"


def test_extend_by_tokens_and_by_cell(crossover: Cli, tiny: Path, store_copy: Path) -> None:
    where = ("--store", store_copy)
    priced = read(crossover, "extend", tiny, "--to", "20.48k", "--only", "objective=masked_diffusion", *where)
    ends = {(r["objective"], r["steps"]) for r in priced["runs"]}
    assert ends == {("masked_diffusion", 80), ("autoregressive", 40)}
    for wrong in ("4.5", "-1x", "x"):
        assert crossover("extend", tiny, "--to", wrong, *where).exit_code == 2


def test_a_cosine_sweep_cannot_be_extended(crossover: Cli, tiny: Path, tmp_path: Path) -> None:
    options = ("--set", "base.schedule=cosine", "--set", "extend=[{to: 2x}]", "--store", tmp_path)
    result = crossover("plan", tiny, *options)
    assert result.exit_code == 2 and "a cosine run cannot be extended" in result.stderr


def test_du_accounts_for_every_byte(crossover: Cli, finished_store: Path) -> None:
    found = read(crossover, "du", "--store", finished_store)
    assert found["bytes"] == sum(found["kinds"].values())
    on_disk = sum(p.stat().st_size for p in (finished_store / "runs").rglob("*") if p.is_file())
    of_runs = sum(run["bytes"] for run in found["runs"])
    assert of_runs == on_disk == found["sweeps"]["tiny"]
    run = found["runs"][0]
    assert run["kinds"]["weights"] > 0 and run["kinds"]["states"] > 0 and not run["kinds"]["garbage"]
    assert "weights" in crossover("du", "--store", finished_store).output


def checkpoints(store: Path) -> dict[str, dict[int, bool]]:
    """Run -> step -> whether training can go on from there."""
    from trainers.state.folder import RunFolder

    commits = {path.name: RunFolder(path).last_commit() for path in (store / "runs").iterdir()}
    return {
        key: {step: kept.state is not None for step, kept in commit.checkpoints.items()}
        for key, commit in commits.items()
        if commit is not None
    }


def test_gc_drops_checkpoints_that_nobody_needs(crossover: Cli, tiny: Path, store_copy: Path) -> None:
    where = ("--store", store_copy)
    full = checkpoints(store_copy)
    report = read(crossover, "report", tiny, *where)["crossovers"]
    assert read(crossover, "gc", *where)["bytes"] == 0, "without --keep there is nothing to remove"
    planned = read(crossover, "gc", "--keep", "evals", "--dry-run", *where)
    assert planned["bytes"] > 0 and checkpoints(store_copy) == full
    used = read(crossover, "du", *where)
    freed = read(crossover, "gc", "--keep", "evals", *where)
    assert freed["bytes"] == planned["bytes"]
    for key, kept in checkpoints(store_copy).items():
        assert set(kept) == set(full[key]), "every evaluation's weights stay"
        assert [step for step, whole in kept.items() if whole] == [max(kept)]
    left = read(crossover, "du", *where)
    assert left["kinds"]["weights"] + left["kinds"]["states"] == (
        used["kinds"]["weights"] + used["kinds"]["states"] - freed["bytes"]
    )
    assert read(crossover, "gc", "--keep", "last", *where)["bytes"] > 0
    assert all(len(kept) <= 2 for kept in checkpoints(store_copy).values()), "the newest, and the best"
    assert {r["state"] for r in read(crossover, "plan", tiny, *where)["runs"]} == {"cached"}
    assert read(crossover, "report", tiny, *where)["crossovers"] == report
    longer = crossover("extend", tiny, "--to", "1.5x", "--local", "--no-mlflow", "--quiet", *where)
    assert longer.exit_code == 0, "and the runs can go on"


def test_a_verdict_for_ar_names_the_decoder_that_it_beats(crossover: Cli, finished_store: Path) -> None:
    found = read(crossover, "report", "tiny", "--store", finished_store)
    evaluated = [(d["decoder"], d["sequences"]) for d in found["decoding"]]
    assert evaluated == [("confidence, 1 a step", 4), ("left to right, 1 a step", 4)]
