"""Trunks and annealed branches, from the sweep file to the tables: paid once, shared, kept apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import Result

from analysis.tables.tables import Tables
from orchestrator.results.tables import of_sweep
from orchestrator.store.store import Store
from trainers.state.folder import RunFolder

Cli = Callable[..., Result]

ANNEALED = """\
name: annealed
base:
  model: {width: 16, layers: 1}
  data: {unique_bytes: 5k, context: 32}
  schedule: {name: wsd, decay: 0.2, warmup: 5}
  batch_size: 8
  evaluation: {sequences: 4, spacing: 1.5, first: 4, precise: 0.5}
axes:
  objective: [autoregressive, masked_diffusion]
  budget.steps: [20, 30, 50]
"""
STEP = 8 * 32


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweeps") / "annealed.yaml"
    path.write_text(ANNEALED)
    return path


@pytest.fixture(scope="module")
def store(crossover: Cli, sweep: Path, empty_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = empty_store(tmp_path_factory.mktemp("annealed") / "store")
    result = crossover("run", sweep, "--local", "--no-mlflow", "-q", "--store", root)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return root


def plan(crossover: Cli, sweep: Path, store: Path, *options: str) -> Any:
    result = crossover("plan", sweep, "--store", store, "--json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def tables(sweep: Path, store: Path) -> Tables:
    from orchestrator.language.loading import load
    from orchestrator.planning.drafting import make_plan as make

    return of_sweep(Store(store), make(load([sweep]), store).end_points())


def test_plan_counts_a_trunk_once_and_says_what_that_saves(
    crossover: Cli, sweep: Path, tmp_path: Path
) -> None:
    made = plan(crossover, sweep, tmp_path)
    rows, totals = made["runs"], made["totals"]
    assert len({row["run"] for row in rows}) == 6 and len({row["trunk"] for row in rows}) == 2
    alone, shared = 20 + 30 + 50, 40 + 4 + 6 + 10  # trunk to 40, three decays
    assert totals["flops_saved"] / totals["flops"] == pytest.approx(1 - shared / alone)
    assert totals["flops_to_go"] == pytest.approx(totals["flops"] - totals["flops_saved"])
    assert totals["flops_trained"] == 0
    shown = crossover("plan", sweep, "--store", tmp_path).stdout
    assert "shared" in shown and "trained" in shown


def test_branches_share_their_trunks_checkpoints(store: Path) -> None:
    folders = [RunFolder(path) for path in (store / "runs").iterdir()]
    commits = {folder.name: folder.last_commit() for folder in folders}
    branches = {name: c.trunk for name, c in commits.items() if c is not None and c.trunk is not None}
    assert len(folders) == 8 and len(branches) == 6, "two trunks, and three branches of each"
    assert sorted(origin.step for origin in branches.values()) == [16, 16, 24, 24, 40, 40]
    for name, origin in branches.items():
        trunk = commits[origin.run]
        assert trunk is not None and trunk.checkpoints[origin.step].state is not None
        trained = [e for e in RunFolder(store / "runs" / name).telemetry() if e["event"] == "speed"]
        assert trained and min(e["step"] for e in trained) > origin.step, "a branch trains its own part alone"


def test_plan_prints_the_bytes_that_runs_then_take(
    crossover: Cli, sweep: Path, store: Path, tmp_path: Path
) -> None:
    planned = plan(crossover, sweep, tmp_path)["totals"]["disk_bytes"]
    taken = sum(path.stat().st_size for path in (store / "runs").rglob("*") if path.is_file())
    assert planned == pytest.approx(taken, rel=0.15)


def test_annealed_ends_and_trunk_curves_are_apart_in_the_tables(sweep: Path, store: Path) -> None:
    found = tables(sweep, store)
    assert len(found.runs) == 6 and set(found.runs["state"]) == {"done"}
    for _, row in found.runs.iterrows():
        own = found.curves[found.curves["run"] == row["run"]]
        trunk = found.curves[found.curves["run"] == row["trunk"]]
        assert len(trunk), "the trunk's curve is there, for crossovers are read from it"
        assert own["step"].max() == row["steps"] and own["tokens"].max() <= row["steps"] * STEP
        start = row["steps"] - round(0.2 * row["steps"])
        shared = pd.merge(own[own["step"] <= start], trunk, on="step")
        assert len(shared) and (shared["nll_b_x"] == shared["nll_b_y"]).all(), "one history up to the branch"
        assert not own["step"].between(start, row["steps"], inclusive="neither").any() or set(
            own[own["step"] > start]["nll_b"]
        ).isdisjoint(trunk["nll_b"])


def test_longer_branches_pay_for_what_is_new_and_gc_leaves_what_they_need(
    crossover: Cli, sweep: Path, store: Path
) -> None:
    longer = ("--set", "axes.budget.steps=[20, 30, 50, 100]")
    made = plan(crossover, sweep, store, *longer)
    new = [row for row in made["runs"] if row["state"] == "new"]
    assert len(new) == 2 and all(row["trained"] == pytest.approx(0.4) for row in new)
    assert made["totals"]["flops_to_go"] == pytest.approx(0.6 * sum(row["flops"] for row in new))
    trunks = {row["trunk"] for row in made["runs"]}

    def states_after(keep: str) -> list[list[int]]:
        before = {path: path.stat().st_size for path in (store / "runs").rglob("*.safetensors")}
        tidied = crossover("gc", "--keep", keep, "--store", store, "--json")
        assert tidied.exit_code == 0 and json.loads(tidied.stdout)["bytes"] > 0
        after = {path: path.stat().st_size for path in (store / "runs").rglob("*.safetensors")}
        assert sum(before.values()) - sum(after.values()) == json.loads(tidied.stdout)["bytes"]
        commits = [RunFolder(store / "runs" / trunk).last_commit() for trunk in trunks]
        return [[s for s, k in c.checkpoints.items() if k.state] for c in commits if c is not None]

    assert states_after("branches") == [[16, 24, 40]] * 2, "where branches start, trained or not"
    assert states_after("last") == [[40]] * 2, "the branches have checkpoints of their own"
    result = crossover("run", sweep, "--local", "--no-mlflow", "-q", "--store", store, *longer)
    assert result.exit_code == 0, result.output
    for trunk in trunks:
        steps = [e["step"] for e in RunFolder(store / "runs" / trunk).telemetry() if e["event"] == "attempt"]
        assert steps == [0, 40], "the trunk went on from its end"
