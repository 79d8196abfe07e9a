"""Run folders as tables: rows, real sizes, states, and precise values in place of the curve's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.tables.tables import Tables
from orchestrator.language.expansion import EndPoint, expand
from orchestrator.language.loading import load
from orchestrator.results import tables
from orchestrator.store.store import Store
from orchestrator.tracking import experiment as tracking
from trainers.config import RunConfig
from trainers.state.folder import RunFolder


@pytest.fixture(scope="module")
def points(tiny: Path) -> list[EndPoint]:
    (spec,) = load([tiny])
    return expand(spec)


@pytest.fixture(scope="module")
def found(finished_store: Path, points: list[EndPoint]) -> Tables:
    return tables.of_sweep(Store(finished_store), points)


def test_one_row_an_end_point(found: Tables, points: list[EndPoint]) -> None:
    runs = found.runs
    assert list(runs["key"]) == [p.key for p in points]
    assert set(runs["state"]) == {"done"}
    assert set(runs["likelihood"]) == {"exact", "upper_bound"}
    assert (runs["U"] == 5000).all() and (runs["U_bytes"] == 5000).all()
    assert (runs["epochs"] == runs["D"] / runs["U"]).all()
    assert runs.groupby("objective")["N"].first().nunique() == 1, "twins have equal N"
    assert runs["unigram_entropy"].nunique() == 1


def test_tables_have_the_columns_that_analysis_knows(found: Tables) -> None:
    from analysis.tables.columns import CURVES, FACTS, RUNS, SCORES

    assert set(found.runs) == {*RUNS}, "what is no fact would be taken for an axis"
    assert {*RUNS} <= FACTS and tuple(found.curves) == CURVES and tuple(found.scores) == SCORES


def test_facts_of_components_are_columns(found: Tables, points: list[EndPoint]) -> None:
    assert dict(zip(found.runs["objective"], found.runs["objective_short"], strict=True)) == {
        "autoregressive": "AR",
        "masked_diffusion": "MDM",
    }
    assert found.runs["annealed"].dtype == bool and not found.runs["annealed"].any()
    point = points[0]
    for schedule, annealed in (("wsd", True), ("cosine", True), ("constant", False)):
        config = RunConfig.model_validate({**point.config.model_dump(), "schedule": schedule})
        runs = tables.of_sweep(Store(Path("/nowhere")), [replace(point, config=config)]).runs
        assert list(runs["annealed"]) == [annealed]


def test_d_is_what_was_fed(found: Tables, finished_store: Path) -> None:
    for _, row in found.runs.iterrows():
        last = [e for e in RunFolder(finished_store / "runs" / row["run"]).history() if "tokens" in e][-1]
        assert last["step"] == row["steps"] and row["D"] == last["tokens"]


def test_curves_are_the_histories(found: Tables, finished_store: Path) -> None:
    for key, curve in found.curves.groupby("run"):
        history = [
            e for e in RunFolder(finished_store / "runs" / str(key)).history() if e["event"] == "evaluation"
        ]
        plain = curve[~curve["precise"]]
        steps = {e["step"]: e for e in history}
        assert list(curve["step"]) == sorted(steps)
        assert [steps[s]["b"]["nll"] for s in plain["step"]] == list(plain["nll_b"])


def test_means_of_scores_are_the_curve(found: Tables) -> None:
    half_b = found.scores[found.scores["half"] == "b"]
    weighted = (
        half_b.assign(x=half_b["nll"] * half_b["tokens"]).groupby(["run", "step"])[["x", "tokens"]].sum()
    )
    means = weighted["x"] / weighted["tokens"]
    curve = found.curves.set_index(["run", "step"])["nll_b"]
    np.testing.assert_allclose(means.loc[curve.index], curve, rtol=1e-5)


def test_a_precise_value_takes_the_curves_place(store_copy: Path, points: list[EndPoint]) -> None:
    store = Store(store_copy)
    key = next(p.run for p in points if p.config.objective.name == "masked_diffusion")
    for score in (store_copy / "runs" / key / "scores").glob("*.json"):
        score.unlink()
    folder = store.run(key)
    event = next(e for e in folder.history() if e["event"] == "evaluation")
    draws = {h: [[1.0, 2.0, 3.0]] * 4 for h in ("a", "b")}
    better = {**event, "draws": 3, "b": {"nll": 2.0, "se": 0.1, "mc_se": 0.001}, "scores": draws}
    asked = points[0].config.evaluation.identity()
    assert folder.add_score("precise", {"evaluation": asked, "event": better})
    found = tables.of_sweep(store, points)
    curve = found.curves[(found.curves["run"] == key) & (found.curves["step"] == event["step"])]
    assert list(curve["precise"]) == [True] and list(curve["nll_b"]) == [2.0]
    scores = found.scores[(found.scores["run"] == key) & (found.scores["step"] == event["step"])]
    assert len(scores) == 2 * 4 * 3 and set(scores["draw"]) == {0, 1, 2}


def test_states_of_what_is_not_done(store_copy: Path, points: list[EndPoint]) -> None:
    import shutil

    store = Store(store_copy)
    missing, failed, longer = points[0], points[1], points[2]
    shutil.rmtree(store_copy / "runs" / missing.run)
    shutil.rmtree(store_copy / "runs" / failed.run)
    store.record_failure(failed.run, {"failure": "code error", "message": "boom"})
    from dataclasses import replace

    extended = replace(longer, config=longer.config.model_copy(update={"steps": 80}))
    assert extended.run == longer.run
    runs = tables.of_sweep(store, [missing, failed, extended]).runs
    assert list(runs["state"]) == ["new", "failed", "partial"]
    assert list(runs["failure"])[1] == "boom"
    assert runs["D"].iloc[2] < 80 * longer.config.tokens_per_step


def test_the_whole_store_without_a_sweep(finished_store: Path) -> None:
    assert len(tables.of_store(Store(finished_store)).runs) == 4


def test_tables_from_mlflow_agree_with_those_from_folders(finished_store: Path, found: Tables) -> None:
    mirrored = tables.of_mlflow(tracking.Tracker(Store(finished_store)), "tiny")
    assert len(mirrored.runs) == 4
    plain = found.curves[~found.curves["precise"]]
    merged = plain.merge(mirrored.curves, on=["run", "step"], suffixes=("", "_mlflow"))
    assert len(merged) == len(plain)
    for column in ("nll_a", "nll_b", "tokens", "epochs", "flops"):
        np.testing.assert_allclose(merged[column], merged[f"{column}_mlflow"], rtol=1e-9)
    facts = mirrored.runs.merge(found.runs, on="run", suffixes=("", "_folder"))
    assert (facts["N"] == facts["N_folder"]).all() and (facts["U"] == facts["U_folder"]).all()


def test_fields_that_a_sweep_tunes_over_come_from_mlflow_too(finished_store: Path) -> None:
    tracker = tracking.Tracker(Store(finished_store))
    runs = tables.of_mlflow(tracker, "tiny", axes=["optimizer.weight_decay", "no.such_field"]).runs
    assert runs["optimizer.weight_decay"].notna().all() and "no.such_field" not in runs


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_written_tables_read_back(found: Tables, tmp_path: Path, form: str) -> None:
    paths = tables.write(found, tmp_path, form)
    assert [Path(p).name for p in paths] == [f"{n}.{form}" for n in ("runs", "curves", "scores")]
    back = pd.read_csv(paths[1]) if form == "csv" else pd.read_parquet(paths[1])
    np.testing.assert_array_equal(back["nll_b"], found.curves["nll_b"])


def test_folders_are_read_without_torch(finished_store: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from orchestrator.store.store import Store\n"
        "from orchestrator.results.tables import of_store\n"
        "assert len(of_store(Store.at(sys.argv[1])).runs) == 4\n"
        "import json; print(json.dumps(sorted({'torch', 'ray', 'mlflow'} & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(finished_store)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
