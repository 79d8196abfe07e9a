"""A sweep is expanded once in a `run`, and each run is read once for a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from orchestrator.language import expansion
from orchestrator.language.loading import load
from orchestrator.planning.drafting import make_plan
from orchestrator.results.records import Records, RunRecord
from orchestrator.store.store import Store
from orchestrator.study.studies import Study

Cli = Callable[..., Result]


@pytest.mark.parametrize("rule", ["stop: null", "stop: {after_crossing: 1.5}"])
def test_a_run_expands_its_sweep_once(
    crossover: Cli, tiny: Path, store_copy: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    expanded: list[str] = []
    original = expansion._expanded
    monkeypatch.setattr(expansion, "_expanded", lambda spec: (expanded.append(spec.name), original(spec))[1])
    setting = f"analysis={{{rule}}}"
    result = crossover("run", tiny, "--set", setting, "--local", "--no-mlflow", "-q", "--store", store_copy)
    assert result.exit_code == 0, result.output
    assert expanded == ["tiny"]


def test_a_report_reads_each_run_once(
    tiny: Path, store_copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read: Counter[str] = Counter()
    original = RunRecord.__init__

    def counted(self: RunRecord, store: Store, key: str, *rest: object) -> None:
        read[key] += 1
        original(self, store, key, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(RunRecord, "__init__", counted)
    store = Store(store_copy)
    study = Study(store, make_plan(load([tiny]), store))
    study.report(tmp_path / "report")
    assert study.crossovers() is study.crossovers(), "what has not changed is located once"
    assert set(read.values()) == {1} and set(read) == {p.run for p in study.end_points()}


def test_a_run_is_read_again_when_it_has_changed(tiny: Path, store_copy: Path) -> None:
    store = Store(store_copy)
    (key, *_) = store.run_keys()
    records = Records(store)
    before = records.of(key)
    assert records.of(key) is before
    store.record_failure(key, {"failure": "code error", "message": "broken"})
    assert records.of(key) is not before and records.of(key).failure is not None


def test_a_study_is_of_one_sweep(tiny: Path, tmp_path: Path, finished_store: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(f"extends: {tiny}")
    store = Store(finished_store)
    plan = make_plan(load([tiny, other]), store)
    with pytest.raises(ValueError, match="tiny, other"):
        Study(store, plan)
    study = Study(store, plan, "other")
    assert {p.sweep for p in study.end_points()} == {"other"} and "4 done" in repr(study)
