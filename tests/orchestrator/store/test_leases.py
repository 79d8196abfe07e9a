"""Leases: one holder at a time, death by the observer's clock, and at once where the process is seen to be
gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.store.leases import Session
from trainers.state.storage import LocalStorage


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def session(folder: Path, clock: Clock | None = None) -> Session:
    made = Session(LocalStorage(folder), clock=clock or Clock(), dead_after=30)
    made.beat()
    return made


def elsewhere(made: Session) -> Session:
    """The session as if it were on another machine, so that only its beat tells whether it lives."""
    made._process = {**made._process, "host": "another"}
    made.beat()
    return made


def test_one_holder_until_it_gives_back(tmp_path: Path) -> None:
    a, b = session(tmp_path), session(tmp_path)
    assert a.acquire("run-x") and a.acquire("run-x")
    assert not b.acquire("run-x")
    assert b.acquire("run-y")
    assert b.holder("run-x") == a.id
    assert f"process {os.getpid()}" in b.who("run-x")
    a.release("run-x")
    assert b.holder("run-x") is None
    assert b.acquire("run-x") and not a.acquire("run-x")


def test_a_holder_elsewhere_dies_by_the_observers_clock_alone(tmp_path: Path) -> None:
    clock = Clock()
    a, b = elsewhere(session(tmp_path)), session(tmp_path, clock)
    assert a.acquire("run-x")
    for now in (0.0, 20.0, 40.0, 60.0):
        clock.now = now
        a.beat()
        assert not b.acquire("run-x"), "it beats, however its own clock stands"
    clock.now = 89.0
    assert not b.acquire("run-x")
    clock.now = 91.0
    assert b.acquire("run-x")
    assert not a.holds("run-x"), "the one that was taken for dead can see it"
    a.release("run-x")
    assert b.holds("run-x"), "and giving back what it lost changes nothing"


def test_a_killed_process_on_this_machine_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time; from orchestrator.store.leases import Session\n"
        "from trainers.state.storage import LocalStorage\n"
        "s = Session(LocalStorage(sys.argv[1])); s.beat()\n"
        "print(s.acquire('run-x'), flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline().strip() == "True"
    mine = session(tmp_path)
    assert not mine.acquire("run-x")
    process.kill()
    process.wait()
    assert mine.acquire("run-x")


def test_of_many_takers_one_gets_it(tmp_path: Path) -> None:
    sessions = [session(tmp_path) for _ in range(8)]
    got: list[str] = []
    barrier = threading.Barrier(8)

    def take(s: Session) -> None:
        barrier.wait()
        if s.acquire("run-x"):
            got.append(s.id)

    threads = [threading.Thread(target=take, args=(s,)) for s in sessions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(got) == 1


def test_leaving_gives_everything_back(tmp_path: Path) -> None:
    with Session(LocalStorage(tmp_path)) as a:
        assert a.acquire("run-x")
    assert session(tmp_path).acquire("run-x")


def test_a_process_id_used_again_is_not_the_holder(tmp_path: Path) -> None:
    a, b = session(tmp_path), session(tmp_path)
    assert a.acquire("run-x")
    file = tmp_path / ".sessions" / f"{a.id}.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps({**about, "started": about["started"] - 1000}))
    assert b.acquire("run-x")


@pytest.mark.parametrize("rounds", [3])
def test_few_files_are_left(tmp_path: Path, rounds: int) -> None:
    a = session(tmp_path)
    for _ in range(rounds):
        assert a.acquire("run-x")
        a.release("run-x")
    assert len(list((tmp_path / "run-x").iterdir())) == 1
