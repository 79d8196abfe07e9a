"""Evaluations that are wanted later: from kept checkpoints, and by training again where those are gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from orchestrator.language.loading import load
from orchestrator.planning.standing import Standing
from orchestrator.results.tables import of_sweep
from orchestrator.store.store import Store

Cli = Callable[..., Result]
WIDER = ("--set", "base.evaluation.sequences=6", "--only", "seed=0")


def plan(crossover: Cli, tiny: Path, store: Path) -> dict[str, Any]:
    result = crossover("plan", tiny, *WIDER, "--store", store, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def values(tiny: Path, store: Path) -> list[tuple[str, int, float, float]]:
    from orchestrator.language.expansion import expand

    (spec,) = load([tiny], ["base.evaluation.sequences=6"], ["seed=0"])
    curves = of_sweep(Store(store), expand(spec)).curves
    return sorted(curves[["run", "step", "nll_a", "nll_b"]].itertuples(index=False, name=None))


@pytest.fixture(scope="module")
def undisturbed(
    crossover: Cli, tiny: Path, empty_store: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store in which the wider evaluations were asked for from the start."""
    root: Path = empty_store(tmp_path_factory.mktemp("undisturbed") / "store")
    run = crossover("run", tiny, *WIDER, "--local", "--no-mlflow", "--no-report", "-q", "--store", root)
    assert run.exit_code == 0, run.output
    return root


@pytest.mark.parametrize("lost", ["dropped by gc", "all weights but the last", "a file deleted"])
def test_what_is_gone_is_trained_again_and_gives_the_same_values(
    crossover: Cli, tiny: Path, store_copy: Path, undisturbed: Path, lost: str
) -> None:
    store = Store(store_copy)
    if lost == "dropped by gc":
        assert crossover("gc", "--keep", "last", "--store", store_copy).exit_code == 0
    else:
        for key in store.run_keys():
            folder = store.run(key)
            commit = folder.last_commit()
            assert commit is not None
            for step, kept in commit.checkpoints.items():
                if step != commit.step and (lost != "a file deleted" or step == 13):
                    (store_copy / "runs" / key / kept.weights[0]).unlink()
    before = plan(crossover, tiny, store_copy)
    assert {row["state"] for row in before["runs"]} == {
        Standing.CHECKPOINT_GONE if lost == "dropped by gc" else "partial"
    }
    assert all(row["seconds"] > 0 for row in before["runs"])
    done = crossover(
        "run", tiny, *WIDER, "--local", "--no-mlflow", "--no-report", "-q", "--store", store_copy
    )
    assert done.exit_code == 0, done.output
    assert {row["state"] for row in plan(crossover, tiny, store_copy)["runs"]} == {"cached"}
    assert values(tiny, store_copy) == values(tiny, undisturbed)
