"""MLflow is a replica of run folders: found by key, written once, the same however often and in whatever
pieces."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.planning.standing import Standing
from orchestrator.planning.titles import title
from orchestrator.store.store import Store
from orchestrator.tracking import experiment as tracking
from orchestrator.tracking import metrics
from orchestrator.tracking import mirror as mirror_module
from orchestrator.tracking.mirror import Mirror, MirroredRun, mirror_run
from trainers.config import RunConfig
from trainers.state.folder import RunFolder

Rows = list[tuple[Any, ...]]


def everything(store: Store) -> dict[str, Rows]:
    """All that MLflow holds of training runs, ids left out."""
    keyed = "SELECT run_uuid FROM tags WHERE key = 'training_key'"
    tables = {
        "metrics": "SELECT t.value, m.key, m.value, m.step, m.timestamp FROM metrics m",
        "params": "SELECT t.value, m.key, m.value FROM params m",
        "tags": "SELECT t.value, m.key, m.value FROM tags m",
        "runs": "SELECT t.value, m.name, m.status, m.start_time FROM runs m",
    }
    with closing(sqlite3.connect(store.mlflow / "mlflow.db")) as connection:
        return {
            name: sorted(
                connection.execute(
                    f"{query} JOIN tags t ON t.run_uuid = m.run_uuid AND t.key = 'training_key'"
                    f" WHERE m.run_uuid IN ({keyed})"
                ),
                key=repr,
            )
            for name, query in tables.items()
        }


def replay(store: Store, sweeps: set[str] = frozenset({"tiny"})) -> int:  # type: ignore[assignment]
    tracker = tracking.Tracker(store)
    return sum(mirror_run(store, lambda: tracker, key, MirroredRun(set(sweeps))) for key in store.run_keys())


def test_one_run_a_training_key_with_its_curve(finished_store: Path) -> None:
    store = Store(finished_store)
    held = everything(store)
    names = {row[1] for row in held["runs"]}
    assert names == {"AR d16x1 U=5kB s0", "AR d16x1 U=5kB s1", "MDM d16x1 U=5kB s0", "MDM d16x1 U=5kB s1"}
    assert {row[2] for row in held["runs"]} == {"FINISHED"}
    for key in store.run_keys():
        evaluations = [e for e in store.run(key).history() if e["event"] == "evaluation"]
        logged = {row[3]: row[2] for row in held["metrics"] if row[0] == key and row[1] == "val/nll"}
        assert logged == {e["step"]: e["b"]["nll"] for e in evaluations}
        beside = {row[3]: row[2] for row in held["metrics"] if row[0] == key and row[1] == "tokens"}
        assert beside == {e["step"]: e["tokens"] for e in evaluations}
        tags = {row[1]: row[2] for row in held["tags"] if row[0] == key}
        assert tags["sweep.tiny"] == "member" and tags["likelihood"] in ("exact", "upper_bound")
        assert tags["version.torch"] and tags["numerics.class"]


def test_params_hold_the_training_key_and_nothing_else(finished_store: Path) -> None:
    store = Store(finished_store)
    for key in store.run_keys():
        record = store.run(key).record()
        assert record is not None
        expected = metrics.params(record["identity"])
        assert {r[1]: r[2] for r in everything(store)["params"] if r[0] == key} == expected
        assert not {"steps", "tokens", "D", "C", "epochs"} & set(expected)


def test_replaying_changes_nothing(store_copy: Path) -> None:
    store = Store(store_copy)
    before = everything(store)
    assert replay(store) == 0, "markers say that nothing is missing"
    shutil.rmtree(tracking.markers(store))
    assert replay(store) == 4
    assert everything(store) == before


def test_a_lost_database_is_made_again_the_same(store_copy: Path) -> None:
    store = Store(store_copy)
    before = everything(store)
    (store.mlflow / "mlflow.db").unlink()
    assert replay(store) == 4
    assert everything(store) == before


def test_a_history_mirrored_in_pieces_is_the_whole(store_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(store_copy)
    before = everything(store)
    (store.mlflow / "mlflow.db").unlink()
    whole = RunFolder.history
    for end in (1, 2, 9, 10, None):
        monkeypatch.setattr(RunFolder, "history", lambda self, until=None, end=end: whole(self, until)[:end])
        for path in tracking.markers(store).glob("*.json"):  # as if each piece had come with a commit
            path.write_text(json.dumps(json.loads(path.read_text()) | {"commit": -1}))
        assert replay(store) == 4
    assert everything(store) == before


def test_a_second_sweep_tags_the_run_it_shares(store_copy: Path) -> None:
    store = Store(store_copy)
    before = everything(store)
    assert replay(store, {"other"}) == 4
    after = everything(store)
    assert after["metrics"] == before["metrics"] and len(after["runs"]) == 4
    assert {row[1] for row in set(after["tags"]) - set(before["tags"])} == {"sweep.other"}


def test_two_drivers_may_create_the_database_at_once(tmp_path: Path) -> None:
    store, failures = Store(tmp_path), []
    tracking.template()

    def make() -> None:
        try:
            tracking.Tracker(store)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failures == []
    assert tracking.experiment_id(store) is not None


def test_runs_that_nobody_trains_any_more_are_reconciled(store_copy: Path) -> None:
    store = Store(store_copy)
    tracker = tracking.Tracker(store)
    first, second = store.run_keys()[:2]
    for key in (first, second):
        tracker.status(tracker.run(key) or "", "RUNNING")
    assert tracker.reconcile(lambda key: key == second) == [first]
    status = {row[0]: row[2] for row in everything(store)["runs"]}
    assert (status[first], status[second]) == ("KILLED", "RUNNING")


class Away:
    """A tracker that is away until told otherwise."""

    def __init__(self, store: Store) -> None:
        raise ConnectionError("no route")


def test_a_tracker_that_is_away_delays_nothing_and_is_said_once(finished_store: Path, tmp_path: Path) -> None:
    store = Store(Path(shutil.copytree(finished_store, tmp_path / "s")))
    shutil.rmtree(tracking.markers(store))
    said: list[str] = []
    mirror = Mirror(store, every=0.01, tracker=Away, warn=said.append)  # type: ignore[arg-type]
    for key in store.run_keys():
        mirror.follow(key, "tiny")
    mirror._pass()
    mirror._pass()
    assert mirror.behind == store.run_keys() and len(said) == 1 and "no route" in said[0]


def test_a_pass_opens_the_runs_that_changed_and_no_others(
    store_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, opened = Store(store_copy), list[str]()
    whole = mirror_module.mirror_run

    def mirror_run(store: Store, tracker: Any, key: str, followed: MirroredRun) -> bool:
        opened.append(key)
        return whole(store, tracker, key, followed)

    monkeypatch.setattr(mirror_module, "mirror_run", mirror_run)
    mirror, keys = Mirror(store), store.run_keys()
    for key in keys:
        mirror.follow(key, "tiny")
    mirror.follow(keys[0], None, Standing.RUNNING)
    mirror._pass()
    assert opened == keys
    mirror._pass()
    assert opened[4:] == keys[:1], "one that is trained changes"
    mirror.touch(keys[2])
    mirror._pass()
    assert sorted(opened[5:]) == sorted([keys[0], keys[2]]), "and one that was scored again"
    mirror.follow(keys[0], None, Standing.DONE)
    mirror._pass()
    mirror._pass()
    assert opened[7:] == keys[:1] and mirror.close(0) == []


def test_points_leave_out_what_is_not_finite_and_select_on_half_a() -> None:
    def evaluation(step: int, a: float, b: float, kind: str = "exact") -> dict[str, Any]:
        halves = {h: {"nll": x, "se": 0.1, "mc_se": None} for h, x in (("a", a), ("b", b))}
        return {
            "event": "evaluation",
            "step": step,
            "tokens": 10 * step,
            "epochs": 1.0,
            "flops": 2.0,
            "kind": kind,
            **halves,
        }

    history = [evaluation(1, 3.0, 3.1), evaluation(2, 2.0, 2.2), evaluation(3, 2.5, 1.9)]
    best = [p.value for _, p in metrics.points(history) if p.key == "val/best_so_far"]
    assert best == [3.1, 2.2, 2.2], "B at the step where A was least"
    diverging = [{"event": "train", "step": 1, "loss": float("nan"), "lr": 0.1, "grad_norm": float("inf")}]
    assert [p.key for _, p in metrics.points(diverging)] == ["optim/lr"]
    other = {p.key for _, p in metrics.points([evaluation(1, 3.0, 3.0, "none")])}
    assert "val/loss_not_a_likelihood" in other and "val/nll" not in other


def test_titles_tell_runs_apart_and_carry_no_state() -> None:
    base = {"data": {"unique_bytes": 10_000}}
    assert title(RunConfig(**base)) == "AR d64x3 U=10kB s0"
    noisy = RunConfig(objective="masked_diffusion", seed=1, data={**base["data"], "subset_seed": 1})
    assert title(noisy) == "MDM d64x3 U=10kB s1"
    assert title(RunConfig(seed=2, **base)).endswith("s2/0"), "a pinned subset is shown"
    assert title(RunConfig(steps=7, **base)) == title(RunConfig(**base))


def test_the_address_of_a_sweeps_page() -> None:
    address = tracking.page("http://localhost:5000/", "1", "quickstart")
    assert address.startswith(
        "http://localhost:5000/#/experiments/1/runs?compareRunsMode=CHART&searchFilter=tags."
    )
    assert " " not in address and "`" not in address


@pytest.mark.parametrize("value", ["a=b", "x[1]", "per%cent", "t@home"])
def test_keys_that_mlflow_refuses_are_made_good(value: str) -> None:
    assert not set(tracking._key(value)) & set("=[]%@")
