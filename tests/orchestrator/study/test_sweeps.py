"""Sweeps from Python: a dictionary is a file, mistakes read alike, and the store's extensions count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from orchestrator import Sweep
from orchestrator.language.expansion import expand
from orchestrator.language.loading import load
from orchestrator.store.store import Store
from orchestrator.study.retries import Retry
from orchestrator.upkeep.doctor import examine
from trainers.components.errors import UserError
from trainers.components.source import SpecError
from trainers.objectives.base import objectives

Cli = Callable[..., Result]


def test_a_dictionary_gives_the_keys_of_the_file(tiny: Path) -> None:
    (spec,) = load([tiny], ["base.batch_size=16"], ["objective=autoregressive"])
    content: dict[str, Any] = yaml.safe_load(tiny.read_text())
    options = {"set": ["base.batch_size=16"], "only": ["objective=autoregressive"]}
    for sweep in (Sweep.from_dict(content, **options), Sweep.from_file(tiny, **options)):
        assert [p.key for p in sweep.end_points()] == [p.key for p in expand(spec)]
        assert sweep.name == "tiny"


def test_mistakes_of_a_dictionary_are_all_told_with_their_keys() -> None:
    with pytest.raises(SpecError) as caught:
        Sweep.from_dict({"base": {"data": {"contxt": 1}, "batch_size": "many"}, "axis": {}})
    text = str(caught.value)
    assert "base.data.contxt: unknown field 'contxt'" in text and "did you mean 'context'?" in text
    assert "base.batch_size: " in text and "many" in text
    assert "axis: unknown key 'axis'; did you mean 'axes'?" in text
    assert isinstance(caught.value, UserError), "one hierarchy: `except ValueError` catches every mistake"


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        ({"base": {"steps": -1}}, "sweep: base.steps: must be positive, not -1"),
        (
            {"axes": {"objective": ["autoregresive"]}},
            "sweep: axes.objective[0]: unknown objective 'autoregresive'; did you mean 'autoregressive'? "
            "Known: {objectives}",
        ),
        (3, "sweep: a sweep is a mapping of keys to values, not 3"),
    ],
)
def test_a_mistake_is_told_once_with_its_value(sweep: Any, told: str) -> None:
    with pytest.raises(UserError) as caught:
        Sweep.from_dict(sweep)
    assert str(caught.value) == told.format(objectives=", ".join(objectives.names()))


def test_one_text_is_no_list_of_texts() -> None:
    with pytest.raises(UserError, match=r"set: a list of texts, such as \['base.steps=3'\]"):
        Sweep.from_dict({}, set="base.steps=3")


def test_sweeps_by_name_and_their_differences(tiny: Path, store_copy: Path) -> None:
    sweep = Sweep.from_store("tiny", store_copy)
    assert sweep.difference(Sweep.from_file(tiny))["differences"] == []
    wider = Sweep.from_file(tiny, set=["base.model.width=24"], only=["objective=autoregressive"])
    difference = sweep.difference(wider)
    assert difference["differences"] == [{"field": "base.model.width", "a": 16, "b": 24}]
    assert (difference["shared"], len(difference["only_a"]), len(difference["only_b"])) == (0, 4, 2)
    with pytest.raises(UserError, match="Did you mean 'tiny'"):
        Sweep.from_store("tinny", store_copy)


def test_extending_changes_nothing_until_it_is_kept(tiny: Path, store_copy: Path) -> None:
    sweep = Sweep.from_file(tiny)
    study = sweep.study(store_copy)
    extension = study.extend("2x", only=["objective=autoregressive"])
    assert [row.steps for row in extension.rows] == [80, 80]
    assert {row.steps for row in sweep.plan(store_copy).rows} == {40}
    extension.keep()
    assert sorted(row.steps for row in sweep.plan(store_copy).rows) == [40, 40, 80, 80]
    for wrong in ({"to": "far"}, {"to": "2x", "only": ["objective"]}, {"to": "2x", "only": ["objectiv=ar"]}):
        with pytest.raises(UserError):
            study.extend(**wrong)


def test_failures_of_a_study_and_their_retry(tiny: Path, store_copy: Path) -> None:
    store, sweep = Store(store_copy), Sweep.from_file(tiny)
    study = sweep.study(store)
    key, other = (point.run for point in study.end_points()[:2])
    for run in (key, "elsewhere"):
        store.record_failure(run, {"failure": "error", "message": "no luck"})
    assert set(study.failures()) == {key} and study.describe(key[:6])["failure"]["message"] == "no luck"
    assert Retry.of(store, ["tiny"]).runs == {key} and Retry.of(store, [other]).runs == {other}
    with pytest.raises(UserError, match="no sweep of the store"):
        Retry.of(store, ["elsewhere"])
    assert sweep.run(store, only_failed=True, report=False).failures() == {}
    assert study.cancel() is None, "nobody runs it"


def test_a_sweep_in_a_store_is_as_the_store_extends_it(tiny: Path, store_copy: Path) -> None:
    sweep = Sweep.from_file(tiny)
    study = sweep.study(store_copy)
    assert {run.state for run in study.status()} == {"done"} and "4 cached" in repr(sweep.plan(store_copy))
    assert len(study.tables().runs) == 4 and study.crossovers().cells
    entry = "extend: [{match: {objective: autoregressive}, to: 2x}]\n"
    (store_copy / "sweeps" / "tiny" / "extend.yaml").write_text(entry)
    assert sorted(row.steps for row in sweep.plan(store_copy).rows) == [40, 40, 80, 80]


def test_running_trains_what_is_not_done_and_gives_the_study(tiny: Path, store_copy: Path) -> None:
    study = Sweep.from_file(tiny).run(store_copy)
    assert repr(study) == f"Study 'tiny' in {store_copy}: 4 done"
    with pytest.raises(ValueError, match="one of local, ray"):
        Sweep.from_file(tiny).run(store_copy, backend="slurm")  # type: ignore[arg-type]


def test_doctor_warns_of_a_folder_that_hides_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not [f for f in examine(Store(tmp_path / "store")) if f.check.startswith("package")]
    (tmp_path / "analysis").mkdir()
    (finding,) = [f for f in examine(Store(tmp_path / "store")) if f.check.startswith("package")]
    assert finding.state == "warning" and "crossover" in finding.advice
