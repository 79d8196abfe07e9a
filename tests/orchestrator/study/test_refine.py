"""Evaluations inside a bracket: where they are asked for, and that weights come back for them exactly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import Result

from analysis.crossover import locate
from orchestrator.results.records import RunRecord
from orchestrator.store.store import Store
from orchestrator.study import refinement as refine
from orchestrator.study.refinement import inside

Cli = Callable[..., Result]


@pytest.mark.parametrize("spacing", [1.01, 1.05, 1.3])
@pytest.mark.parametrize(("low", "high"), [(1, 2), (8, 9), (10, 13), (100, 110), (997, 1096), (500, 5000)])
def test_no_gap_inside_a_bracket_is_wider_than_asked(low: int, high: int, spacing: float) -> None:
    steps = [low, *inside(low, high, spacing), high]
    assert steps == sorted(set(steps))
    assert all(b <= a * spacing or b == a + 1 for a, b in itertools.pairwise(steps))


def test_a_bracket_of_the_usual_grid_takes_one_evaluation_and_a_narrow_one_none() -> None:
    assert inside(1000, 1100) == [1049] and inside(1000, 1049) == []
    with pytest.raises(ValueError, match="above 1"):
        inside(1, 2, 1.0)


def test_both_arms_are_asked_for_inside_each_bracket() -> None:
    steps = [100, 130, 169, 220, 286, 372, 484]
    curves = [
        {
            "run": run,
            "step": s,
            "tokens": s * 100.0,
            "epochs": s / 10,
            "flops": s * 1e6,
            "nll_a": nll,
            "nll_b": nll,
        }
        | {"se_a": 0.01, "se_b": 0.01, "mc_se_a": 0.0, "mc_se_b": 0.0}
        for run, slope in (("ar", 0.1), ("mdm", -0.2))
        for s in steps
        for nll in [2.5 + slope * math.log(s / 200)]
    ]
    names = {"ar": ("autoregressive", "exact"), "mdm": ("masked_diffusion", "upper_bound")}
    runs = [
        {"run": run, "objective": objective, "likelihood": kind, "seed": 0, "N": 1e5, "U": 1e4, "steps": 484}
        | {"unigram_entropy": 3.4, "state": "done"}
        for run, (objective, kind) in names.items()
    ]
    found = locate(pd.DataFrame(runs), pd.DataFrame(curves))
    assert found.records[0]["censored"] is None
    expected = inside(169, 220) + inside(220, 286)  # the raw crossing, and that of best values behind it
    assert refine.unscored(found) == [(run, step) for run in ("ar", "mdm") for step in expected]
    assert refine.unscored(found, spacing=1.31) == []


def test_added_evaluations_are_those_that_training_would_have_made(
    crossover: Cli,
    tiny: Path,
    store_copy: Path,
    empty_store: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = Store(store_copy).run_keys()
    monkeypatch.setattr(
        "orchestrator.study.refinement.unscored", lambda found, spacing: [(key, 33) for key in keys]
    )
    arguments: tuple[Any, ...] = ("--local", "--no-mlflow", "-q", "--store", store_copy)
    result = crossover("refine", tiny, "--spacing", "1.05", *arguments)
    assert result.exit_code == 0, result.output
    commits = [record.commit for key in keys if (record := RunRecord(Store(store_copy), key))]
    assert all(commit is not None and 33 not in commit.checkpoints for commit in commits), "33 was replayed"
    sweep = yaml.safe_load(tiny.read_text())
    sweep["base"]["evaluation"] |= {"first": 33}  # trained anew with an evaluation there
    other = tmp_path / "tiny.yaml"
    other.write_text(yaml.safe_dump(sweep))
    fresh = empty_store(tmp_path / "fresh")
    assert (
        crossover("run", other, "--local", "--no-mlflow", "--no-report", "-q", "--store", fresh).exit_code
        == 0
    )
    for key in keys:
        (added,) = [e for e, _ in RunRecord(Store(store_copy), key).evaluations() if e["step"] == 33]
        own = next(e for e, _ in RunRecord(Store(fresh), key).evaluations() if e["step"] == 33)
        assert added["tokens"] == own["tokens"]
        if own["kind"] == "exact":
            assert added["b"] == own["b"]
        for few, many in zip(own["scores"]["b"], added["scores"]["b"], strict=True):
            assert few == many[: len(few)], "more draws, the first of them the same"
    again = [p for p in (store_copy / "runs").rglob("scores/*.json")]
    assert crossover("refine", tiny, *arguments).exit_code == 0
    assert sorted(again) == sorted((store_copy / "runs").rglob("scores/*.json")), "asked twice, scored once"
