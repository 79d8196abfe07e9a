"""The mirror: one thread of the driver that brings MLflow up to what run folders have committed.

It works from committed state alone, remembers how far it is in small marker files, and never holds training
up: a tracker that is away is tried again, and whatever it missed is written by the next `run`, or by
`crossover mirror`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.failures import POLICIES, Failure
from orchestrator.planning.standing import Standing, standing_of
from orchestrator.planning.titles import title
from orchestrator.store.leases import Session
from orchestrator.store.origin import provenance
from orchestrator.store.store import Folder, Store
from orchestrator.tracking import experiment as tracking
from orchestrator.tracking import metrics
from trainers.components.files import read_json, write_file

STATUSES = {
    Standing.RUNNING: "RUNNING",
    Standing.DONE: "FINISHED",
    Standing.DIVERGED: "FINISHED",
    Standing.FAILED: "FAILED",
    Standing.BLOCKED: "FAILED",
    Standing.PARTIAL: "KILLED",
    Standing.NEW: "KILLED",
}
"""MLflow's word for how a run stands."""


@dataclass
class MirroredRun:
    """A run to mirror: the sweeps it is a member of, and how it stands; None: as its folder says."""

    sweeps: set[str] = field(default_factory=set)
    state: Standing | None = None
    reason: str = ""


def mirror_run(
    store: Store, tracker: Callable[[], tracking.Tracker], key: str, followed: MirroredRun
) -> bool:
    """Bring one run up to date; False where it was already, or where nothing is committed. ``tracker`` is
    called if needed."""
    folder = store.run(key)
    commit = folder.last_commit()
    if commit is None or not commit.history:
        return False
    path = tracking.markers(store) / f"{key}.json"
    marker: dict[str, Any] = read_json(path) or {"events": 0, "telemetry": 0, "scores": 0, "sweeps": []}
    state = followed.state or standing_of(None, commit)
    sweeps = sorted({*marker["sweeps"], *followed.sweeps})
    status = {"commit": commit.n, "sweeps": sweeps, "state": state, "reason": followed.reason}
    status["scores"] = len(folder.list("scores"))
    if all(marker.get(k) == v for k, v in status.items()):
        return False
    telemetry = folder.telemetry()
    created = round(1000 * next((e["time"] for e in telemetry if e["event"] == "attempt"), time.time()))
    mlflow = tracker()
    config = folder.config()
    tags = {
        "objective": config.objective.name,
        "objective_short": config.objective.short,
        "likelihood": config.objective.likelihood,
        "annealed": str(config.schedule.anneals).lower(),
    }
    params = metrics.params((folder.record() or {})["identity"])
    run_id = mlflow.find_or_create(key, title(config), created, tags, params)
    history = list(metrics.points(folder.history()))
    new = [p for index, p in history if index >= marker["events"]]
    speeds = list(metrics.speeds(telemetry))
    more = status["scores"] != marker["scores"]
    scores = [*folder.scores(), *folder.scores("task")] if more else []
    added = [p for score in scores for p in metrics.added(score["event"])]
    mlflow.log(run_id, [*new, *speeds[marker["telemetry"] :], *added], created)
    tags = {f"sweep.{name}": tracking.MEMBER for name in sweeps} | {"state": state, "reason": followed.reason}
    attempts = [e for e in telemetry if e["event"] == "attempt"]
    if attempts:
        tags |= {"attempts": str(len(attempts))}
        tags |= {f"numerics.{k}": str(v) for k, v in attempts[-1]["numerics"].items()}
    if not marker["events"]:
        tags |= provenance_tags(provenance())
    mlflow.tag(run_id, tags)
    mlflow.status(run_id, STATUSES[state])
    events = history[-1][0] + 1 if history else marker["events"]
    marker = {**status, "run_id": run_id, "events": max(events, marker["events"]), "telemetry": len(speeds)}
    write_file(path, json.dumps(marker))
    return True


def mirror_sweep(
    store: Store,
    tracker: Callable[[], tracking.Tracker],
    name: str,
    folder: Folder,
    tags: dict[str, str],
    values: dict[str, float],
) -> bool:
    """Refresh a sweep's summary run where its YAML or its results have changed; False where they have not."""
    path = tracking.markers(store) / f"sweep-{name}.json"
    parts = ["sweep.yaml", *(f for f in folder.files("report") if f.endswith(".csv"))]
    content = hashlib.sha256(json.dumps([tags, values], sort_keys=True).encode())
    for part in parts:
        content.update(folder.read(part) or b"-")
    marker = {"sha256": content.hexdigest()}
    if read_json(path) == marker:
        return False
    with folder.reading() as files:
        tracker().summarise(name, files, tags, values)
    write_file(path, json.dumps(marker))
    return True


def mirror_store(store: Store, *, rebuild: bool = False) -> tuple[int, int]:
    """Bring MLflow up to all that run folders hold; how many runs were written, of how many.

    ``rebuild`` writes every run again, whatever MLflow is believed to have.
    """
    if rebuild:
        shutil.rmtree(tracking.markers(store), ignore_errors=True)
    members: dict[str, set[str]] = {}
    for name in store.sweep_names():
        for key in store.members(name):
            members.setdefault(key, set()).add(name)
    tracker = tracking.Tracker(store)
    observer, keys, written = Session(store.leases), store.run_keys(), 0
    for key in keys:
        leased = observer.holder(f"run-{key}") is not None
        commit, failure = store.run(key).last_commit(), store.failure(key)
        state = standing_of(None, commit, leased=leased, failure=failure)
        written += mirror_run(store, lambda: tracker, key, MirroredRun(members.get(key, set()), state))
    for name in store.sweep_names():
        with store.sweep(name).reading() as path:
            tracker.summarise(name, path, {}, {})
    return written, len(keys)


def provenance_tags(record: Mapping[str, Any]) -> dict[str, str]:
    """Code, libraries and machine as tags; the git ones under MLflow's own names, so that its pages show
    them."""
    tags = {"mlflow.source.name": "crossover", "mlflow.source.type": "LOCAL", "mlflow.user": record["user"]}
    if record["git"] is not None:
        tags |= {
            "mlflow.source.git.commit": record["git"]["commit"],
            "mlflow.source.git.branch": record["git"]["branch"] or "",
            "git.dirty": str(record["git"]["dirty"]).lower(),
        }
    tags |= {f"version.{k}": str(v) for k, v in record["versions"].items() if v}
    return tags | {f"hardware.{k}": str(v) for k, v in record["hardware"].items()}


class Mirror:
    """The thread. :meth:`follow` runs, then :meth:`close`; neither waits for MLflow, but the close does, for
    a while."""

    def __init__(
        self,
        store: Store,
        *,
        every: float = 5.0,
        tracker: Callable[[Store], tracking.Tracker] = tracking.Tracker,
        warn: Callable[[str], None] = lambda message: None,
        leased: Callable[[str], bool] | None = None,
    ) -> None:
        """``leased`` says whether a living driver holds the run of a key. With it, runs that MLflow takes to
        be running and nobody trains are set right when the mirror first connects."""
        self._store, self._every, self._make, self._warn, self._leased = store, every, tracker, warn, leased
        self._tracker: tracking.Tracker | None = None
        self._followed: dict[str, MirroredRun] = {}
        self._pending: dict[str, None] = {}
        """Runs to look at in the next pass, in order: what was followed or touched since, and what runs."""
        self._summaries: dict[str, tuple[Folder, dict[str, str], dict[str, float]]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._away = 0
        self._thread = threading.Thread(target=self._work, name="mlflow-mirror", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def behind(self) -> list[str]:
        """Runs of which MLflow may lack something."""
        with self._lock:
            return list(self._pending)

    def follow(
        self, key: str, sweep: str | None = None, state: Standing | None = None, reason: str = ""
    ) -> None:
        """Mirror this run from now on; ``state``: how it stands, where the driver knows better than the
        folder."""
        with self._lock:
            followed = self._followed.setdefault(key, MirroredRun())
            if sweep is not None:
                followed.sweeps.add(sweep)
            followed.state, followed.reason = state, reason
            self._pending[key] = None

    def touch(self, key: str) -> None:
        """Look at a run again that is followed: something was added to its folder."""
        with self._lock:
            if key in self._followed:
                self._pending[key] = None

    def summarise(self, sweep: str, folder: Folder, tags: dict[str, str], values: dict[str, float]) -> None:
        """Refresh a sweep's summary run from its folder, once the runs are up to date."""
        with self._lock:
            self._summaries[sweep] = (folder, tags, values)

    def close(self, patience: float = 60.0) -> list[str]:
        """Write what is left, for at most ``patience`` seconds; what could not be written (run keys and sweep
        names)."""
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(patience)
        with self._lock:
            return sorted({*self._pending, *self._summaries})

    def _work(self) -> None:
        while True:
            self._wake.wait(
                self._every if not self._away else POLICIES[Failure.TRACKER_AWAY].wait(self._away)
            )
            closing = self._closing
            self._pass()
            if closing and (not self.behind or self._away > 3):
                return

    def _pass(self) -> None:
        with self._lock:
            todo, self._pending = self._pending, {}
            summaries = dict(self._summaries)
        left = iter(todo)
        try:
            for key in left:
                with self._lock:
                    followed = replace(self._followed[key], sweeps=set(self._followed[key].sweeps))
                try:
                    mirror_run(self._store, self._connected, key, followed)
                except BaseException:
                    self._look_again(key, *left)
                    raise
                if followed.state is Standing.RUNNING and not self._closing:
                    self._look_again(key)
            for sweep, (folder, tags, values) in summaries.items():
                mirror_sweep(self._store, self._connected, sweep, folder, tags, values)
                with self._lock:
                    self._summaries.pop(sweep, None)
        except Exception as error:
            self._away += 1
            if self._away == 1:
                self._warn(
                    f"MLflow cannot be written just now ({type(error).__name__}: {error}); training goes on"
                )
        else:
            self._away = 0

    def _look_again(self, *keys: str) -> None:
        with self._lock:
            self._pending |= dict.fromkeys(keys)

    def _connected(self) -> tracking.Tracker:
        if self._tracker is None:
            self._tracker = self._make(self._store)
            if self._leased is not None:
                self._tracker.reconcile(self._leased)
        return self._tracker
