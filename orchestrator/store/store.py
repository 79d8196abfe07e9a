"""Where everything is: the layout of a store."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.components.errors import UserError
from trainers.components.files import create_file, read_json, write_json

DEFAULT = "store"
ENVIRONMENT = "CROSSOVER_STORE"


class UnknownRun(UserError):
    """No run of the store, or more than one, has a key that starts so."""


class Unwritable(UserError):
    """A folder that cannot be made, or written to."""


def writable(folder: Path) -> Path:
    """The folder, made where it is not there. Raises :class:`Unwritable`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(f"{folder}: cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise Unwritable(f"{folder}: cannot be written to")
    return folder


@dataclass(frozen=True)
class Store:
    """A folder that holds runs, prepared data, sweeps and the MLflow database. Paths inside are never written
    anywhere but in MLflow (whose artifact root is absolute), so a store can be moved or copied."""

    root: Path

    @classmethod
    def at(cls, root: str | Path | None = None) -> Store:
        """The store at ``root``, else at $CROSSOVER_STORE, else ``store`` in the current directory."""
        return cls(Path(root or os.environ.get(ENVIRONMENT) or DEFAULT).expanduser().absolute())

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def sweeps(self) -> Path:
        return self.root / "sweeps"

    @property
    def leases(self) -> Path:
        return self.root / "leases"

    @property
    def control(self) -> Path:
        """Short-lived files by which drivers, workers and commands talk: stop flags, progress."""
        return self.root / "control"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def run(self, key: str) -> Path:
        """Folder of the run with this training key."""
        return self.runs / key

    def sweep(self, name: str) -> Path:
        """Folder of a sweep: its YAML as last run, its plan, its report."""
        return self.sweeps / name

    def run_keys(self) -> list[str]:
        """Training keys of all runs, sorted."""
        return (
            sorted(p.name for p in self.runs.iterdir() if (p / "config.json").exists())
            if self.runs.is_dir()
            else []
        )

    def sweep_names(self) -> list[str]:
        return sorted(p.name for p in self.sweeps.iterdir() if p.is_dir()) if self.sweeps.is_dir() else []

    def find(self, prefix: str) -> str:
        """The training key that starts with ``prefix`` (an end-point key will do). Raises
        :class:`UnknownRun`."""
        prefix = prefix.split("-")[0]
        matches = [key for key in self.run_keys() if key.startswith(prefix)] if prefix else []
        if len(matches) != 1:
            what = (
                f"{len(matches)} runs start with it: {', '.join(matches[:5])}"
                if matches
                else "no run starts with it"
            )
            raise UnknownRun(f"run {prefix!r}: {what} (store {self.root})")
        return matches[0]

    def token(self) -> Path:
        """File of the store's own token for Ray's authentication, made on first use, readable by its owner
        alone."""
        path = self.root / "ray_token"
        if not path.exists():
            create_file(path, secrets.token_hex(32), mode=0o600)
        return path

    # ------------------------------------------------------------------ what failed, and who was told to stop

    def failures(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(training key, record) of every run whose last attempt failed."""
        for path in sorted((self.root / "failures").glob("*.json")):
            record = read_json(path)
            if record is not None:
                yield path.stem, record

    def failure(self, key: str) -> dict[str, Any] | None:
        return read_json(self.root / "failures" / f"{key}.json")

    def record_failure(self, key: str, record: dict[str, Any] | None) -> None:
        """Keep how a run failed, beside the runs; None once it is past."""
        path = self.root / "failures" / f"{key}.json"
        if record is None:
            path.unlink(missing_ok=True)
        else:
            write_json(path, record, sync=True)

    def cancelled(self, name: str) -> Path:
        """Flag by which `crossover cancel` tells the driver of a sweep, or of a run by its key, to stop."""
        return self.control / f"cancel-{name}"
