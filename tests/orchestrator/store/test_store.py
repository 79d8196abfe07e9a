"""The store: whole files or none, keys by their beginning, a token that others cannot read."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from orchestrator.store.store import ENVIRONMENT, Store, UnknownRun
from trainers.components.files import create_file, write_file


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert Store.at().root == tmp_path / "store"
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "elsewhere"))
    assert Store.at().root == tmp_path / "elsewhere"
    assert Store.at(tmp_path / "given").root == tmp_path / "given"


def test_of_many_creators_one_wins_and_the_file_is_whole(tmp_path: Path) -> None:
    barrier, won = threading.Barrier(8), []

    def make(i: int) -> None:
        barrier.wait()
        if create_file(tmp_path / "x", str(i) * 100_000):
            won.append(str(i))

    threads = [threading.Thread(target=make, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(won) == 1
    assert (tmp_path / "x").read_text() == won[0] * 100_000
    assert [p.name for p in tmp_path.iterdir()] == ["x"], "no temporary file stays"


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    write_file(tmp_path / "deep" / "x", "long text")
    write_file(tmp_path / "deep" / "x", "s")
    assert (tmp_path / "deep" / "x").read_text() == "s"


def test_keys_by_their_beginning(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for key in ("abc1", "abd2"):
        write_file(tmp_path / "runs" / key / "config.json", "{}")
    assert store.find("abc") == "abc1"
    assert store.find("abc1-200") == "abc1", "an end point's key will do"
    for wrong, message in (("ab", "2 runs start with it"), ("zz", "no run starts with it"), ("", "no run")):
        with pytest.raises(UnknownRun, match=message):
            store.find(wrong)


def test_the_token_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    token = store.token().read_text()
    assert len(token) == 64 and store.token().read_text() == token
    assert store.token().stat().st_mode & 0o077 == 0


def test_failures_are_kept_until_they_are_past(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.record_failure("k", {"failure": "hang"})
    assert dict(store.failures()) == {"k": {"failure": "hang"}}
    store.record_failure("k", None)
    store.record_failure("k", None)
    assert store.failure("k") is None
