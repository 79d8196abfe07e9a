"""A store that is on no disk: a sweep goes from its plan to its report, only prepared data touches one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.execution.backends import LocalBackend
from orchestrator.language.loading import load
from orchestrator.planning.drafting import make_plan
from orchestrator.planning.standing import Standing
from orchestrator.store.leases import Session
from orchestrator.store.store import Folder, Store
from orchestrator.study.stages import carry_out
from orchestrator.study.studies import Study
from trainers.components.errors import UserError
from trainers.data import prepare
from trainers.state.storage import MemoryStorage

SWEEP = """\
name: remote
base:
  model: {width: 16, layers: 1}
  data: {unique_bytes: 5k, context: 32}
  steps: 20
  batch_size: 8
  evaluation: {sequences: 4, spacing: 1.5, first: 4, precise: 0.5}
axes:
  objective: [autoregressive, masked_diffusion]
"""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    """A store in memory, with this machine's cache in ``tmp_path/cache``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield Store.at("memory://test")
    MemoryStorage._named.pop("test", None)


def run(store: Store, path: Path) -> int:
    result = carry_out(store, load([path]), LocalBackend(), serial=True, mlflow=False)
    assert result.reports == {"remote": "memory://test/sweeps/remote/report/report.html"}
    return result.exit_code


def test_a_sweep_from_plan_to_report(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "remote.yaml"
    path.write_text(SWEEP)
    specs = load([path])
    assert {row.state for row in make_plan(specs, store).rows} == {Standing.NEW}
    assert run(store, path) == 0
    planned = make_plan(specs, store)
    assert {row.state for row in planned.rows} == {Standing.CACHED} and not planned.tasks
    assert store.run_keys() == sorted(row.run for row in planned.rows) == store.members("remote")
    assert len(Study(store, planned).crossovers().cells) == 1
    report = store.sweep("remote").read("report/report.html")
    assert report is not None and b"</html>" in report
    assert any(name.endswith(".csv") for name in store.sweep("remote").files("report"))
    left = Session(store.leases)
    assert not any(left.holder(f"run-{key}") for key in store.run_keys()), "leases were given back"
    assert store.control.names() == []
    files = {p.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("*") if p.is_file()}
    assert files == {"remote.yaml", "cache"}, "nothing but the cache is on the disk"
    kinds = {p.relative_to(store.root).parts[0] for p in store.root.rglob("*") if p.is_file()}
    assert kinds == {"data"}


def test_a_machine_that_lacks_prepared_data_fetches_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.txt").write_text("".join(f"Sentence {i} is about {i * i}.\n\n" for i in range(2000)))
    path = tmp_path / "remote.yaml"
    corpus = f"corpus: {{name: text, files: {tmp_path / 'text.txt'}}}, unique_bytes"
    path.write_text(SWEEP.replace("unique_bytes", corpus))
    assert run(store, path) == 0
    data = store.run(store.run_keys()[0]).config().data
    (tmp_path / "text.txt").unlink()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another-machine"))
    elsewhere = Store.at("memory://test")
    root = elsewhere.fetch(data)
    assert root.is_relative_to(tmp_path / "another-machine")
    fetched, first = prepare(data, root), prepare(data, store.data)
    assert fetched.manifest == first.manifest and (fetched.tokens == first.tokens).all()


def test_a_scheme_that_nobody_knows_is_a_users_error() -> None:
    with pytest.raises(UserError, match=r"unknown scheme 's3'; give a path, or one of memory://"):
        Store.at("s3://bucket/store")


def test_folders_of_a_store_hold_objects_by_name(store: Store) -> None:
    folder = Folder(store.storage, "sweeps/x")
    folder.write("b.json", '{"a": 1}')
    folder.write("deep/er.csv", b"1")
    assert folder.read_json("b.json") == {"a": 1} and folder.read("c") is None
    assert folder.names() == ["b.json"] and list(folder.files()) == ["b.json", "deep/er.csv"]
    assert folder.has("b.json") and folder.has("deep/er.csv") and not folder.has("deep")
    assert folder.size() == 9
    with folder.reading() as path:
        assert (path / "deep" / "er.csv").read_bytes() == b"1"
    with folder.writing() as path:
        (path / "new.csv").write_text("2")
    assert folder.read("new.csv") == b"2"
