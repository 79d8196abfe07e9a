"""Stores written before: one of the first format opens, resumes and reports; one of a later format is
refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from orchestrator.language.loading import load
from orchestrator.planning.drafting import make_plan
from orchestrator.planning.standing import Standing
from orchestrator.store.store import FORMAT, NewerStore, Store
from tests.paths import ROOT
from trainers.state.checkpoint import read

Cli = Callable[..., Result]
BEFORE = ROOT / "tests" / "data" / "store_format_1"
"""A store as commit 9c2f0af wrote it, less its reports and what names a machine: two runs of 20 steps."""


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A copy of the store, to be changed."""
    return Path(shutil.copytree(BEFORE, tmp_path / "store"))


def test_it_is_of_the_first_format_and_whole(before: Path) -> None:
    store = Store.at(before)
    assert store.format() == 1
    (sweep,) = store.sweep_names()
    planned = make_plan(load([before / "sweeps" / sweep / "sweep.yaml"]), store)
    assert {row.state for row in planned.rows} == {Standing.CACHED}, "keys and grids are the same"
    assert store.run_keys() == sorted(row.run for row in planned.rows)
    for key in store.run_keys():
        folder = store.run(key)
        commit = folder.last_commit()
        assert commit is not None and folder.config().training_key == key
        assert read(folder, commit, 20).state, "every object is what its manifest says"
        for name in commit.names():
            folder.verified(name, commit)


def test_it_resumes_and_reports(before: Path, crossover: Cli) -> None:
    store = Store.at(before)
    old = {key: store.run(key).history() for key in store.run_keys()}
    where = ("--store", before)
    report = crossover("report", "written_before", "--json", *where)
    assert report.exit_code == 0, report.output
    longer = crossover("extend", "written_before", "--to", "1.5x", "--local", "--no-mlflow", "-q", *where)
    assert longer.exit_code == 0, longer.output
    for key, events in old.items():
        history = store.run(key).history()
        assert history[: len(events)] == events and history[-1]["step"] > 20, "it went on from its checkpoint"
        assert store.run(key).last_commit().step == 30  # type: ignore[union-attr]
        starts = [event["step"] for event in store.run(key).telemetry() if event["event"] == "attempt"]
        assert starts == [0, 20]
    assert (before / "sweeps" / "written_before" / "report" / "report.html").exists()
    assert json.loads((before / "format.json").read_text()) == {"format": FORMAT}


@pytest.mark.parametrize("command", [["status"], ["run", "written_before", "--local"], ["du"]])
def test_a_newer_store_is_refused(before: Path, crossover: Cli, command: list[Any]) -> None:
    (before / "format.json").write_text(json.dumps({"format": FORMAT + 1}))
    result = crossover(*command, "--store", before)
    assert result.exit_code == 2
    assert f"has format {FORMAT + 1}" in result.output and "install a newer" in result.output
    with pytest.raises(NewerStore):
        Store.at(before)
