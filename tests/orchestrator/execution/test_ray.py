"""Ray for real: one cluster for most of it, and one driver that is killed in the middle of a sweep."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.execution.backends.ray_core import RayBackend
from orchestrator.execution.capacity import Capacity, ClusterCapacity
from orchestrator.execution.scheduler import ScheduledTask
from orchestrator.failures import Failure, Outcome
from orchestrator.store.store import Store


def act(payload: dict[str, Any]) -> dict[str, Any]:
    """What the test's workers do: as the payload says."""
    import os
    import signal
    import time

    if payload.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if payload.get("exit"):
        raise SystemExit(3)
    time.sleep(payload.get("sleep", 0))
    details = {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS"), "cwd": os.getcwd()}
    details["token"] = os.environ.get("RAY_AUTH_MODE")
    outcome = {"task": payload["task"], "state": "done", "failure": None, "message": "", "traceback": ""}
    return {**outcome, "fingerprint": "", "progress": 0, "seconds": 0.0, "details": details}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayBackend]:
    store = Store(tmp_path_factory.mktemp("ray"))
    made = RayBackend(store, cpus=2, execute=act, warm=None)
    made.start()
    yield made
    made.close()


def finish(backend: RayBackend, count: int, seconds: float = 60) -> dict[str, Outcome]:
    ended: dict[str, Outcome] = {}
    end = time.monotonic() + seconds
    while len(ended) < count and time.monotonic() < end:
        ended |= {f.task: f.outcome for f in backend.wait(0.5)}
    return ended


def test_tasks_come_back_and_workers_are_used_again(backend: RayBackend) -> None:
    assert backend.capacity() == ClusterCapacity.fixed(Capacity(2, 0))
    for i in range(6):
        backend.submit(ScheduledTask(f"t{i}", "train"), {"task": f"t{i}"})
    ended = finish(backend, 6)
    assert len(ended) == 6 and {o.state for o in ended.values()} == {"done"}
    assert len({o.details["pid"] for o in ended.values()}) <= 2, "CPU workers stay warm"
    assert {o.details["threads"] for o in ended.values()} == {"1"}


def test_a_dead_worker_is_an_outcome_and_the_next_task_runs(backend: RayBackend) -> None:
    backend.submit(ScheduledTask("dies", "train"), {"task": "dies", "die": True})
    assert finish(backend, 1)["dies"].failure is Failure.PREEMPTED
    backend.submit(ScheduledTask("leaves", "train"), {"task": "leaves", "exit": True})
    assert finish(backend, 1)["leaves"].failure is Failure.PREEMPTED
    backend.submit(ScheduledTask("next", "train"), {"task": "next"})
    assert finish(backend, 1)["next"].state == "done"


def test_a_hung_task_is_ended_by_force(backend: RayBackend) -> None:
    backend.submit(ScheduledTask("hangs", "train"), {"task": "hangs", "sleep": 600})
    assert backend.wait(1.0) == []
    backend.kill("hangs")
    outcome = finish(backend, 1)["hangs"]
    assert outcome.failure is Failure.HANG


def test_what_no_node_can_hold_is_known_before_it_is_submitted(backend: RayBackend) -> None:
    assert backend.infeasible(ScheduledTask("fits", "train", resources=Capacity(2))) is None
    assert "largest nodes have 2 CPUs and 0 GPUs" in (
        backend.infeasible(ScheduledTask("g", "train", resources=Capacity(1, 1))) or ""
    )


def test_the_cluster_asks_for_the_stores_own_token(backend: RayBackend) -> None:
    backend.submit(ScheduledTask("t", "train"), {"task": "t"})
    assert finish(backend, 1)["t"].details["token"] == "token"
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(backend._store.token())


def test_a_killed_driver_loses_nothing(tiny: Path, tmp_path: Path) -> None:
    """kill -9 in the middle of a sweep; the same command finishes it, and MLflow says so."""
    sweep = tmp_path / "tiny.yaml"
    sweep.write_text(tiny.read_text().replace("steps: 40", "steps: 1500"))
    store = Store(tmp_path / "store")
    command = [sys.executable, "-m", "orchestrator", "run", str(sweep), "--store", str(store.root)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    driver = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 180
    while time.monotonic() < end and driver.poll() is None:
        if len(_positions(store)) >= 1:
            break
        time.sleep(0.1)
    # Ray's own agents take up to a minute to notice; what could go on training must be gone.
    children = [p for p in psutil.Process(driver.pid).children(recursive=True) if "Agent" not in p.name()]
    driver.send_signal(signal.SIGKILL)
    driver.communicate(timeout=30)
    assert len(_positions(store)) > 0 and sum(step >= 1500 for step in _positions(store).values()) < 4
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive, "Ray ends with its driver"

    before = _positions(store)
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert again.returncode == 0, again.stderr
    assert "report.html" in again.stdout
    assert len(_positions(store)) == 4 and set(_positions(store).values()) == {1500}
    assert all(_positions(store)[key] >= step for key, step in before.items())
    status = subprocess.run(
        [sys.executable, "-m", "orchestrator", "status", "--json", "--store", str(store.root)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(status.stdout)["totals"] == {"done": 4}

    from orchestrator.tracking.experiment import KEY_TAG, Tracker

    tracker = Tracker(store)
    runs = tracker.client.search_runs([tracker.experiment], "tags.`sweep.tiny` = 'member'")
    assert sorted(r.data.tags[KEY_TAG] for r in runs) == store.run_keys(), (
        "one MLflow run a training, for its whole life"
    )
    assert {r.info.status for r in runs} == {"FINISHED"}
    for run in runs:
        history = store.run(run.data.tags[KEY_TAG]).history()
        expected = [(e["step"], e["b"]["nll"]) for e in history if e["event"] == "evaluation"]
        logged = [(m.step, m.value) for m in tracker.client.get_metric_history(run.info.run_id, "val/nll")]
        assert sorted(logged) == expected, "every point once"


def _positions(store: Store) -> dict[str, int]:

    found = {key: store.run(key).last_commit() for key in store.run_keys()}
    return {key: commit.step for key, commit in found.items() if commit is not None and commit.step > 0}
