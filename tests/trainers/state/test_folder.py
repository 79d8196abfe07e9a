"""The run folder: commits decide what counts, and only the newest attempt can make one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from trainers.components.errors import Corrupt, Superseded, WrongRun
from trainers.config import RunConfig
from trainers.state.folder import (
    Attempt,
    Checkpoint,
    RunFolder,
    collect,
    differences,
    garbage,
    json_line,
    object_name,
    segment_name,
)
from trainers.state.storage import LocalStorage, MemoryStorage, Storage, within


def write(attempt: Attempt, step: int, state: str = "running", start: int = 0) -> None:
    """Commit a checkpoint and a history segment of one event."""
    weights = attempt.put(object_name(attempt.name, step, "weights"), b"w%d" % step)
    moments = attempt.put(object_name(attempt.name, step, "state"), [b"s", b"%d" % step])
    name = segment_name(attempt.name, start, step, "history")
    segment = attempt.put(name, json_line({"event": "train", "step": step}))
    kept = {step: Checkpoint(weights=weights, state=moments)}
    attempt.commit(step=step, state=state, checkpoints=kept, history=(*attempt.newest.history, segment))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "a")


@pytest.mark.parametrize("kind", ["disk", "memory", "a folder of it"])
def test_storage_puts_whole_objects_and_refuses_a_second_of_a_name(kind: str, tmp_path: Path) -> None:
    storage: Storage = LocalStorage(tmp_path) if kind == "disk" else MemoryStorage()
    storage = within(storage, "runs/x") if kind == "a folder of it" else storage
    storage.put("a/x", b"one")
    storage.put("a/x", [b"t", b"wo"])
    assert storage.get("a/x") == b"two"
    assert storage.put_if_absent("a/y", b"1")
    assert not storage.put_if_absent("a/y", b"2")
    assert storage.get("a/y") == b"1"
    assert storage.list("a") == {"x": 3, "y": 1}
    assert storage.list("") == {"a/": 0}
    assert storage.list("nowhere") == {}
    storage.delete("a/y")
    storage.delete("a/y")
    with pytest.raises(FileNotFoundError):
        storage.get("a/y")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing():  # type: ignore[no-untyped-def]
        yield b"half"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        LocalStorage(tmp_path).put("a/x", failing())
    assert LocalStorage(tmp_path).list("a") == {}


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_one_of_many_wins_a_name(kind: str, tmp_path: Path) -> None:
    storage: Storage = LocalStorage(tmp_path) if kind == "disk" else MemoryStorage()
    won: list[int] = []
    barrier = threading.Barrier(8)

    def contend(i: int) -> None:
        barrier.wait()
        if storage.put_if_absent("commits/1", b"%d" % i):
            won.append(i)

    threads = [threading.Thread(target=contend, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.get("commits/1") == b"%d" % won[0]
    assert list(storage.list("commits")) == ["1"]


def test_an_unopened_folder_holds_nothing(folder: RunFolder, tmp_path: Path) -> None:
    assert folder.last_commit() is None
    assert folder.history() == []
    assert folder.record() is None
    assert garbage(folder) == {}
    assert not (tmp_path / "runs").exists()


def test_readers_see_only_what_is_committed(folder: RunFolder, tiny: Callable[..., RunConfig]) -> None:
    config = tiny()
    attempt = folder.begin(config)
    attempt.put(segment_name(attempt.name, 0, 5, "history"), json_line({"event": "train", "step": 5}))
    assert folder.history() == []
    write(attempt, 7)
    assert folder.history() == [{"event": "train", "step": 7}]
    assert folder.history(until=6) == []
    assert folder.config() == config


def test_a_superseded_attempt_cannot_commit(folder: RunFolder, tiny: Callable[..., RunConfig]) -> None:
    old = folder.begin(tiny())
    write(old, 5)
    new = folder.begin(tiny())
    assert new.newest.checkpoints == old.newest.checkpoints
    with pytest.raises(Superseded):
        write(old, 9, start=5)
    write(new, 8, start=5)
    commit = folder.last_commit()
    assert commit is not None and (commit.step, commit.attempt) == (8, new.name)
    with pytest.raises(Superseded):
        write(old, 12, start=5)


def test_garbage_is_what_dead_attempts_left(folder: RunFolder, tiny: Callable[..., RunConfig]) -> None:
    old = folder.begin(tiny())
    write(old, 5)
    orphan = old.put(object_name(old.name, 9, "weights"), b"orphan")
    assert garbage(folder) == {}, "a live attempt may yet commit it"
    new = folder.begin(tiny())
    pending = new.put(object_name(new.name, 9, "weights"), b"pending")
    folder.storage.put(f"{folder.name}/objects/.{old.name}-00000009.state.safetensors.ab.tmp", b"torn")
    assert set(garbage(folder)) == {orphan, f"objects/.{old.name}-00000009.state.safetensors.ab.tmp"}
    assert collect(folder) == 10
    assert folder.get(pending) == b"pending"
    assert folder.history() == [{"event": "train", "step": 5}]


def test_commits_delete_what_nobody_can_need(folder: RunFolder, tiny: Callable[..., RunConfig]) -> None:
    attempt = folder.begin(tiny())
    write(attempt, 5)
    write(attempt, 9, start=5)
    assert len(folder.list("objects")) == 2
    assert len(folder.list("events")) == 2


def test_a_commit_cannot_name_what_was_not_written(folder: RunFolder, tiny: Callable[..., RunConfig]) -> None:
    attempt = folder.begin(tiny())
    with pytest.raises(ValueError, match="not written"):
        attempt.commit(step=3, history=("events/nothing",))


def test_damage_is_noticed(folder: RunFolder, tiny: Callable[..., RunConfig]) -> None:
    attempt = folder.begin(tiny())
    write(attempt, 5)
    name = attempt.newest.checkpoints[5].weights[0]
    folder.storage.put(f"{folder.name}/{name}", b"other")
    with pytest.raises(Corrupt, match="other content"):
        folder.verified(name, attempt.newest)
    folder.storage.delete(f"{folder.name}/{name}")
    with pytest.raises(Corrupt, match="gone"):
        folder.verified(name, attempt.newest)


def test_a_folder_holds_one_run(folder: RunFolder, tiny: Callable[..., RunConfig]) -> None:
    folder.begin(tiny())
    folder.begin(tiny(steps=80, keep="last"))
    with pytest.raises(WrongRun, match=r"differ in optimizer\.lr, seed$"):
        folder.begin(tiny(seed=1, optimizer={"name": "adamw", "lr": 0.1}))


def test_added_scores_stay(folder: RunFolder) -> None:
    assert folder.add_score("k", {"event": {"event": "evaluation", "step": 3}})
    assert not folder.add_score("k", {"event": {"event": "evaluation", "step": 4}})
    assert folder.score("k") == {"key": "k", "event": {"event": "evaluation", "step": 3}}
    assert folder.score("other") is None
    assert [s["key"] for s in folder.scores()] == ["k"]


def test_a_sibling_lies_beside(folder: RunFolder, tiny: Callable[..., RunConfig]) -> None:
    folder.begin(tiny())
    folder.sibling("b").begin(tiny(seed=2))
    assert folder.sibling("b").config().seed == 2


def test_differences() -> None:
    assert differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}}) == {"a.c", "d"}
