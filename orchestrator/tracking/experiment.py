"""MLflow: one experiment a store, one MLflow run a training run for its whole life, one summary run a sweep.

Only drivers write here. What is written is a function of run folders, with steps and timestamps that a replay
reproduces, so writing twice changes nothing (MLflow drops a point only where key, step, value and timestamp
agree), and the whole database can be made again from the folders.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from orchestrator.store.store import Store
from orchestrator.tracking.metrics import Point
from trainers.components.files import cache_folder, create_file, replacing

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "crossover"
KEY_TAG = "training_key"
KIND_TAG = "crossover.kind"
MEMBER = "member"
BATCH = 1000
TAG_LENGTH = 8000
URI_ENVIRONMENT = "MLFLOW_TRACKING_URI"


def quiet() -> None:
    """Settings that MLflow reads on import: no telemetry, no banners, no progress bars."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


def uri(store: Store) -> str:
    """Where the store's MLflow data is: $MLFLOW_TRACKING_URI, else a SQLite file inside the store."""
    return os.environ.get(URI_ENVIRONMENT) or f"sqlite:///{store.mlflow / 'mlflow.db'}"


def markers(store: Store) -> Path:
    """Folder that says how much of each run MLflow has; dropping it makes the next mirror pass write
    everything again."""
    remote = os.environ.get(URI_ENVIRONMENT)
    return store.mlflow / (
        f"mirrored-{hashlib.sha256(remote.encode()).hexdigest()[:8]}" if remote else "mirrored"
    )


def create_database(store: Store) -> None:
    """Make the store's database, whole or not at all, or bring an older one up to date. Any number of
    processes may.

    MLflow's own first use takes seconds and fails where two do it at once; so a template is made once a user
    and version, and linked into place.
    """
    if os.environ.get(URI_ENVIRONMENT):
        return
    quiet()
    database = store.mlflow / "mlflow.db"
    if not database.exists():
        shutil.rmtree(markers(store), ignore_errors=True)
        create_file(database, template().read_bytes())
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        MlflowClient(uri(store)).search_experiments(max_results=1)
    except MlflowException as error:
        if "db upgrade" not in str(error):
            raise
        shutil.copy2(database, database.with_suffix(".db.before-upgrade"))
        upgrade = [sys.executable, "-m", "mlflow", "db", "upgrade", uri(store)]
        subprocess.run(upgrade, check=True, capture_output=True, timeout=600)


def template() -> Path:
    """An empty database of the installed MLflow, made on first use in the user's cache folder."""
    quiet()
    from importlib.metadata import version

    path = cache_folder() / f"mlflow-{version('mlflow')}.db"
    if not path.exists():
        from mlflow.tracking import MlflowClient

        # alembic narrates every migration
        with replacing(path) as temporary, contextlib.redirect_stderr(open(os.devnull, "w")):
            MlflowClient(f"sqlite:///{temporary}").search_experiments(max_results=1)
    return path


class Tracker:
    """The store's experiment. Not thread-safe; one mirror thread owns it."""

    def __init__(self, store: Store) -> None:
        create_database(store)
        from mlflow.tracking import MlflowClient

        self.store = store
        self.client: MlflowClient = MlflowClient(uri(store))
        self.experiment = self._experiment()
        self._runs: dict[str, str] = {}

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            remote = bool(os.environ.get(URI_ENVIRONMENT))
            place = None if remote else (self.store.mlflow / "artifacts").as_uri()
            try:
                return self.client.create_experiment(EXPERIMENT, artifact_location=place)
            except MlflowException:  # another driver was first
                experiment = self.client.get_experiment_by_name(EXPERIMENT)
                if experiment is None:
                    raise
        return str(experiment.experiment_id)

    # ------------------------------------------------------------------ runs

    def run(self, key: str) -> str | None:
        """Id of the MLflow run of a training key, if there is one; the oldest, should another program have
        made more."""
        if key not in self._runs:
            runs = self.client.search_runs(
                [self.experiment],
                f"tags.{KEY_TAG} = '{key}'",
                max_results=1,
                order_by=["attributes.start_time ASC"],
            )
            if not runs:
                return None
            self._runs[key] = runs[0].info.run_id
        return self._runs[key]

    def find_or_create(
        self, key: str, name: str, created: int, tags: Mapping[str, str], params: Mapping[str, str]
    ) -> str:
        """Id of the run of a training key, made if there is none. ``created``: its start, milliseconds since
        1970."""
        known = self.run(key)
        if known is not None:
            return known
        every = {KEY_TAG: key, KIND_TAG: "run", **tags}
        run = self.client.create_run(self.experiment, start_time=created, tags=_tags(every), run_name=name)
        self._runs[key] = run.info.run_id
        self.log_params(run.info.run_id, params)
        return run.info.run_id

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Write-once values; the same again is harmless."""
        from mlflow.entities import Param

        items = [Param(_key(k), v[:6000]) for k, v in params.items()]
        for start in range(0, len(items), 100):
            self.client.log_batch(run_id, params=items[start : start + 100])

    def log(self, run_id: str, points: Sequence[Point], created: int) -> None:
        """Log points; the timestamp is the run's creation and the step in milliseconds, the same whenever it
        is replayed."""
        from mlflow.entities import Metric

        metrics = [Metric(_key(p.key), p.value, created + p.step, p.step) for p in points]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + BATCH])

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags, in one write."""
        from mlflow.entities import RunTag

        items = [RunTag(k, v) for k, v in _tags(tags).items()]
        for start in range(0, len(items), 100):
            self.client.log_batch(run_id, tags=items[start : start + 100])

    def status(self, run_id: str, status: str) -> None:
        """RUNNING, FINISHED, FAILED or KILLED; nothing is written where it is that already."""
        if self.client.get_run(run_id).info.status == status:
            return
        if status == "RUNNING":
            self.client.update_run(run_id, status=status)
        else:
            self.client.set_terminated(run_id, status)

    def reconcile(self, leased: Callable[[str], bool]) -> list[str]:
        """Runs that MLflow takes to be running but whose training key nobody holds become KILLED; their
        keys."""
        running = self.client.search_runs(
            [self.experiment], "attributes.status = 'RUNNING'", max_results=5000
        )
        ended = []
        for run in running:
            key = run.data.tags.get(KEY_TAG)
            if key is not None and not leased(key):
                self.client.set_terminated(run.info.run_id, "KILLED")
                ended.append(key)
        return ended

    # ------------------------------------------------------------------ sweeps

    def sweep(self, name: str) -> str | None:
        """Id of a sweep's summary run, if there is one."""
        runs = self.client.search_runs(
            [self.experiment], f"tags.`{KIND_TAG}` = 'sweep' AND tags.sweep = '{name}'", max_results=1
        )
        return runs[0].info.run_id if runs else None

    def summarise(
        self, name: str, folder: Path, tags: Mapping[str, str], metrics: Mapping[str, float]
    ) -> str:
        """Make or refresh a sweep's summary run from its folder (YAML, plan, report); its id."""
        run_id = self.sweep(name)
        if run_id is None:
            every = {KIND_TAG: "sweep", "sweep": name}
            run_id = self.client.create_run(self.experiment, tags=every, run_name=f"sweep {name}").info.run_id
        self.tag(run_id, tags)
        self.log(run_id, [Point(key, value, 0) for key, value in metrics.items()], created=0)
        for child in sorted(folder.iterdir()):
            if child.is_dir():
                self.client.log_artifacts(run_id, str(child), child.name)
            elif child.suffix in (".yaml", ".json"):
                self.client.log_artifact(run_id, str(child))
        self.status(run_id, "FINISHED")
        return run_id


def page(server: str, experiment: str, sweep: str | None = None) -> str:
    """Address of the page with a sweep's runs and their curves (all runs without one)."""
    address = f"{server.rstrip('/')}/#/experiments/{experiment}/runs?compareRunsMode=CHART"
    if sweep is None:
        return address
    return f"{address}&searchFilter={quote(f'tags.`sweep.{sweep}` = {json.dumps(MEMBER)}', safe='')}"


def experiment_id(store: Store) -> str | None:
    """Id of the store's experiment, read without importing MLflow where it is the store's own database; None
    if there is none. Raises ``MlflowException`` where another server does not answer."""
    import sqlite3

    if os.environ.get(URI_ENVIRONMENT):
        quiet()
        from mlflow.tracking import MlflowClient

        experiment = MlflowClient(uri(store)).get_experiment_by_name(EXPERIMENT)
        return None if experiment is None else str(experiment.experiment_id)
    database = store.mlflow / "mlflow.db"
    if not database.exists():
        return None
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        row = connection.execute(
            "SELECT experiment_id FROM experiments WHERE name = ?", (EXPERIMENT,)
        ).fetchone()
    return str(row[0]) if row else None


def _key(key: str) -> str:
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in key)[:250]


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {_key(k): str(v)[:TAG_LENGTH] for k, v in tags.items()}
