"""Evaluation tasks of a sweep: asked of runs that were trained without them, in tables and in metrics."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.tables.columns import CURVES, ITEMS
from analysis.tables.tables import TableError
from orchestrator.execution import worker
from orchestrator.execution.jobs import Dispatch
from orchestrator.execution.tasks import of_plan
from orchestrator.language.expansion import expand
from orchestrator.language.loading import load
from orchestrator.planning.drafting import make_plan
from orchestrator.results import tables
from orchestrator.store.store import Store
from orchestrator.study.studies import Study
from orchestrator.tracking.experiment import KEY_TAG, Tracker
from orchestrator.tracking.metrics import points
from orchestrator.tracking.mirror import MirroredRun, mirror_run

TASKS = """\
  evaluation:
    sequences: 4
    spacing: 1.5
    first: 4
    precise: 0.5
    tasks: [{name: continuation, label: next, prefix: 8, length: 4, count: 1e1, spacing: 3}]
"""


def test_tasks_are_asked_of_finished_runs_and_stand_in_their_tables(
    store_copy: Path, tiny: Path, tmp_path: Path
) -> None:
    text, store = tiny.read_text(), Store(store_copy)
    start = text.index("  evaluation:")
    asking = tmp_path / "asking.yaml"
    asking.write_text(text[:start] + TASKS + text[text.index("axes:") :])
    (plain,), (spec,) = load([tiny]), load([asking])
    assert not make_plan([plain], store).tasks, "nothing is left of the sweep without tasks"
    made = make_plan([spec], store)
    assert {task.kind for task in made.tasks} == {"rescore"}
    assert {step for task in made.tasks for step in task.steps} == {4, 13}
    before = tables.of_sweep(store, expand(plain))
    for task in of_plan(made, store):
        assert task.job is not None
        assert worker.execute(Dispatch(task=task.key, job=task.job).to_json())["state"] == "done"
    assert not make_plan([spec], store).tasks
    after = tables.of_sweep(store, expand(spec))
    metrics = [f"next_accuracy_{end}" for end in ("a", "se_a", "b", "se_b")]
    assert list(after.curves) == [*CURVES, *metrics]
    pd.testing.assert_frame_equal(after.curves[list(CURVES)], before.curves)
    assert after.curves.groupby("step")["next_accuracy_b"].count().loc[[4, 13]].tolist() == [4, 4]
    assert tables.of_sweep(store, expand(plain)).curves.equals(before.curves), "it asked for no task"
    items = after.items
    assert items is not None and tuple(items) == ITEMS and set(items["task"]) == {"next"}
    of_items = items.groupby(["run", "step", "half", "item"])["correct"].first().astype(float)
    accuracy = of_items.groupby(["run", "step", "half"]).mean().xs("b", level="half")
    curve = after.curves.dropna(subset="next_accuracy_b").set_index(["run", "step"])["next_accuracy_b"]
    pd.testing.assert_series_equal(accuracy.sort_index(), curve.sort_index(), check_names=False)
    assert after.curves.attrs["better"] == {"next_accuracy": "higher", "next_margin": "higher"}
    study = Study(store, make_plan([spec], store))
    assert study.crossovers("next_accuracy").better == "higher"
    report = study.report(metric="next_accuracy")
    assert report.data["metric"] == "next_accuracy" and report.html.parent.name == "report-next_accuracy"
    with pytest.raises(TableError, match="did you mean 'next_accuracy'"):
        study.crossovers("next_acuracy")
    tracker = Tracker(store)
    mirrored = {key: mirror_run(store, lambda: tracker, key, MirroredRun()) for key in store.run_keys()}
    assert all(mirrored.values()), "what was asked after training is new to MLflow"
    chosen = f"tags.`{KEY_TAG}` = '{next(iter(mirrored))}'"
    (run,) = tracker.client.search_runs([tracker.experiment], chosen)
    kept = tracker.client.get_metric_history(run.info.run_id, "task/next/accuracy")
    assert sorted(metric.step for metric in kept) == [4, 13]
    assert [Path(path).stem for path in tables.write(after, tmp_path / "out", "csv")][-1] == "items"


def test_metrics_of_tasks_go_to_mlflow() -> None:
    event = {"event": "task", "task": "next", "step": 7}
    event |= {"a": {"accuracy": 0.5, "accuracy_se": 0.1}, "b": {"accuracy": 0.25, "accuracy_se": 0.1}}
    named = {point.key: point.value for _, point in points([event])}
    assert named["task/next/accuracy"] == 0.25 and named["task/next/accuracy_a"] == 0.5
