"""Where everything is: the layout of a store, and the two file operations that all of it rests on."""

from __future__ import annotations

import json
import os
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.components.errors import UserError

DEFAULT = "store"
ENVIRONMENT = "CROSSOVER_STORE"


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a whole file or nothing, replacing what was there."""
    temporary = _temporary(path, data)
    os.replace(temporary, path)


def create(path: Path, data: bytes | str) -> bool:
    """Write a whole file only if there is none; False if there was one."""
    if path.exists():
        return False
    temporary = _temporary(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def _temporary(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    with open(temporary, "xb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    return temporary


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
        found = [key for key in self.run_keys() if key.startswith(prefix)] if prefix else []
        if len(found) != 1:
            what = (
                f"{len(found)} runs start with it: {', '.join(found[:5])}"
                if found
                else "no run starts with it"
            )
            raise UnknownRun(f"run {prefix!r}: {what} (store {self.root})")
        return found[0]

    def token(self) -> Path:
        """File of the store's own token for Ray's authentication, made on first use, readable by its owner
        alone."""
        path = self.root / "ray_token"
        if not path.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            temporary = self.root / f".ray_token.{uuid.uuid4().hex}"
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
            try:
                os.link(temporary, path)
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
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
            write_atomic(path, json.dumps(record, indent=1))

    def cancelled(self, name: str) -> Path:
        """Flag by which `crossover cancel` tells the driver of a sweep, or of a run by its key, to stop."""
        return self.control / f"cancel-{name}"


def read_json(path: Path) -> Any:
    """Content of a JSON file; None if it is not there."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
