"""Where everything is: the layout of a store, which owns one storage and through it all that is kept.

::

    runs/<key>/         run folders (`trainers.state.folder`)
    data/               prepared data, by digest; a machine that lacks some fetches it from here
    sweeps/<name>/      a sweep as last run, its plan, its report
    leases/             who trains what (`orchestrator.store.leases`)
    control/            short-lived objects by which drivers, workers and commands talk
    failures/, logs/    how runs failed
    format.json         the version of this layout
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.store.comparison import differences
from orchestrator.store.leases import Session
from trainers.components.component import digest
from trainers.components.errors import UserError
from trainers.components.files import cache_folder, create_file
from trainers.state.folder import RunFolder
from trainers.state.storage import Chunks, LocalStorage, Storage, open_storage, within

if TYPE_CHECKING:
    from trainers.config import DataConfig

DEFAULT = "store"
ENVIRONMENT = "CROSSOVER_STORE"
FORMAT = 1
"""The version of the layout. Raise it when an older program would misread what a newer one writes."""


class UnknownRun(UserError):
    """No run of the store, or more than one, has a key that starts so."""


class Unwritable(UserError):
    """A folder that cannot be made, or written to."""


class NewerStore(UserError):
    """A newer version of this program has written the store."""


def writable(folder: Path) -> Path:
    """The folder, made where it is not there. Raises :class:`Unwritable`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(f"{folder}: cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise Unwritable(f"{folder}: cannot be written to")
    return folder


class Folder:
    """A folder of a store: small objects by name, and whole trees of files for those who need paths."""

    def __init__(self, storage: Storage, name: str) -> None:
        self.storage, self.name = within(storage, name), name

    def read(self, name: str) -> bytes | None:
        """The bytes of an object; None if it is not there."""
        try:
            return self.storage.get(name)
        except FileNotFoundError:
            return None

    def read_json(self, name: str) -> Any:
        """The content of a JSON object; None if it is not there."""
        content = self.read(name)
        return None if content is None else json.loads(content)

    def write(self, name: str, data: Chunks | str) -> None:
        """Write an object, whole or not at all."""
        self.storage.put(name, data.encode() if isinstance(data, str) else data)

    def delete(self, name: str) -> None:
        self.storage.delete(name)

    def names(self, folder: str = "") -> list[str]:
        """Names of the objects directly in a folder, sorted; temporary files and folders left out."""
        names = self.storage.list(folder)
        return sorted(n for n in names if not n.startswith(".") and not n.endswith("/"))

    def has(self, name: str) -> bool:
        folder, _, last = name.rpartition("/")
        return last in self.storage.list(folder)

    def size(self, folder: str = "") -> int:
        """Bytes of everything in a folder, however deep."""
        sizes = self.storage.list(folder)
        prefix = f"{folder}/" if folder else ""
        return sum(self.size(prefix + n[:-1]) if n.endswith("/") else size for n, size in sizes.items())

    def files(self, folder: str = "") -> Iterator[str]:
        """Names of all objects in a folder, however deep."""
        prefix = f"{folder}/" if folder else ""
        for name in sorted(self.storage.list(folder)):
            if name.endswith("/"):
                yield from self.files(prefix + name[:-1])
            elif not name.startswith("."):
                yield prefix + name

    @contextlib.contextmanager
    def reading(self) -> Iterator[Path]:
        """The folder as files: itself on a disk, else a copy that is gone afterwards."""
        if isinstance(self.storage, LocalStorage):
            yield self.storage.root
            return
        with tempfile.TemporaryDirectory() as scratch:
            self.copy_to(Path(scratch))
            yield Path(scratch)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Path]:
        """A path to write files to, which are in the folder afterwards."""
        if isinstance(self.storage, LocalStorage):
            yield writable(self.storage.root)
            return
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
            self.copy_from(Path(scratch))

    def copy_to(self, path: Path) -> None:
        """Write the files that ``path`` lacks; JSON files last, for they say that the others are there."""
        for name in sorted(self.files(), key=lambda n: n.endswith(".json")):
            create_file(path / name, self.storage.get(name), sync=False)

    def copy_from(self, path: Path) -> None:
        """Take in the files below ``path``, JSON files last."""
        files = [f for f in path.rglob("*") if f.is_file() and not f.name.startswith(".")]
        for file in sorted(files, key=lambda f: f.suffix == ".json"):
            self.storage.put(file.relative_to(path).as_posix(), file.read_bytes())


class Store:
    """A place that holds runs, prepared data, sweeps and, on a disk, the MLflow database.

    ``address`` is a path, or ``memory://NAME``; ``root`` is the store's folder on a disk, and for a store
    elsewhere the folder of this machine for what must be files: prepared data, the MLflow database, Ray's
    token. Paths inside a store are never written anywhere but in MLflow (whose artifact root is absolute), so
    that a store can be moved or copied.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        self.address = os.fspath(address)
        self.storage = open_storage(self.address)
        self.local = isinstance(self.storage, LocalStorage)
        self.root = Path(address) if self.local else cache_folder() / "stores" / digest(self.address)
        self.leases = within(self.storage, "leases")
        self._runs = within(self.storage, "runs")

    @classmethod
    def at(cls, address: str | os.PathLike[str] | None = None) -> Store:
        """The store at ``address``, else at $CROSSOVER_STORE, else ``store`` in the current directory. Raises
        :class:`NewerStore`."""
        place = os.fspath(address or os.environ.get(ENVIRONMENT) or DEFAULT)
        store = cls(place if "://" in place else Path(place).expanduser().absolute())
        store.check_format()
        return store

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __repr__(self) -> str:
        return f"Store({self.address!r})"

    def __str__(self) -> str:
        return self.address

    # ------------------------------------------------------------------ the store itself

    def exists(self) -> bool:
        """Whether anything has been put there."""
        return bool(self.storage.list("")) or (self.local and self.root.is_dir())

    def open_for_writing(self) -> None:
        """Make the store where there is none, with its format. Raises :class:`Unwritable`,
        :class:`NewerStore`."""
        if self.local:
            writable(self.root)
        self.check_format()
        self.storage.put_if_absent("format.json", json.dumps({"format": FORMAT}).encode() + b"\n")

    def format(self) -> int:
        """The version of its layout; 1 where none is written, as none was at first."""
        try:
            return int(json.loads(self.storage.get("format.json"))["format"])
        except FileNotFoundError:
            return 1

    def check_format(self) -> None:
        """Raise :class:`NewerStore` where this program is too old for the store."""
        version = self.format()
        if version > FORMAT:
            raise NewerStore(
                f"store {self}: it has format {version}, and this version of crossover reads formats up to "
                f"{FORMAT}; install a newer one"
            )

    # ------------------------------------------------------------------ its parts

    def run(self, key: str) -> RunFolder:
        """The run folder of this training key."""
        return RunFolder(key, self._runs)

    def sweep(self, name: str) -> Folder:
        """Folder of a sweep: its YAML as last run, its plan, its report."""
        return Folder(self.storage, f"sweeps/{name}")

    @property
    def control(self) -> Folder:
        """Short-lived objects by which drivers, workers and commands talk: stop flags, progress."""
        return Folder(self.storage, "control")

    @property
    def logs(self) -> Folder:
        return Folder(self.storage, "logs")

    @property
    def data(self) -> Path:
        """Prepared data, on this machine."""
        return self.root / "data"

    @property
    def mlflow(self) -> Path:
        """The MLflow database, on this machine."""
        return self.root / "mlflow"

    def run_keys(self) -> list[str]:
        """Training keys of all runs, sorted."""
        keys = [name[:-1] for name in self._runs.list("") if name.endswith("/")]
        return sorted(key for key in keys if "config.json" in self._runs.list(key))

    def sweep_names(self) -> list[str]:
        return sorted(name[:-1] for name in self.storage.list("sweeps") if name.endswith("/"))

    def members(self, sweep: str) -> list[str]:
        """Training keys of a sweep's runs, as it was last run."""
        plan = self.sweep(sweep).read_json("plan.json") or {}
        return list(plan.get("members", []))

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
            raise UnknownRun(f"run {prefix!r}: {what} (store {self})")
        return matches[0]

    def sweeps_of(self, key: str) -> list[str]:
        """Names of the sweeps that have this run, as they were last run."""
        return [name for name in self.sweep_names() if key in self.members(name)]

    def difference(self, a: str, b: str) -> dict[str, Any]:
        """What differs between the configs of two runs (keys, or beginnings of keys).

        Plain values: ``a``, ``b``, ``same_run`` and ``differences``, a list of ``field``, ``a``, ``b`` and
        ``in_key``, which says whether the training key depends on the field. Raises :class:`UnknownRun`.
        """
        keys = [self.find(a), self.find(b)]
        records = [self.run(key).record() or {} for key in keys]
        identities, configs = ([r[part] for r in records] for part in ("identity", "config"))
        decisive = {d["field"] for d in differences(*identities)}
        return {
            "a": keys[0],
            "b": keys[1],
            "same_run": keys[0] == keys[1],
            "differences": [{**d, "in_key": d["field"] in decisive} for d in differences(*configs)],
        }

    def token(self) -> Path:
        """File of the store's own token for Ray's authentication, made on first use, readable by its owner
        alone."""
        path = self.root / "ray_token"
        if not path.exists():
            create_file(path, secrets.token_hex(32), mode=0o600)
        return path

    # ------------------------------------------------------------------ prepared data

    def fetch(self, data: DataConfig) -> Path:
        """Bring prepared data from the store to this machine, as far as it is there; the data root."""
        if not self.local:
            from trainers.data.preparation import folders

            for name in folders(data):
                Folder(self.storage, f"data/{name}").copy_to(self.data / name)
        return self.data

    def publish(self, data: DataConfig) -> None:
        """Put data that this machine has prepared where other machines fetch it."""
        if not self.local:
            from trainers.data.preparation import folders

            for name in folders(data):
                Folder(self.storage, f"data/{name}").copy_from(self.data / name)

    # ------------------------------------------------------------------ what failed, and who was told to stop

    def failures(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(training key, record) of every run whose last attempt failed."""
        failures = Folder(self.storage, "failures")
        for name in failures.names():
            record = failures.read_json(name)
            if record is not None:
                yield name.removesuffix(".json"), record

    def failure(self, key: str) -> dict[str, Any] | None:
        record: dict[str, Any] | None = Folder(self.storage, "failures").read_json(f"{key}.json")
        return record

    def record_failure(self, key: str, record: dict[str, Any] | None) -> None:
        """Keep how a run failed, beside the runs; None once it is past."""
        failures = Folder(self.storage, "failures")
        if record is None:
            failures.delete(f"{key}.json")
        else:
            failures.write(f"{key}.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")

    def log(self, key: str, text: str) -> None:
        """Add to the log of a run; one driver at a time does."""
        name = f"{key}.log"
        self.logs.write(name, (self.logs.read(name) or b"") + text.encode())

    def cancel(self, name: str, cancelled: bool = True) -> None:
        """Tell the driver of a sweep, or of a run by its key, to stop; or take that back."""
        if cancelled:
            self.control.write(cancel_flag(name), "")
        else:
            self.control.delete(cancel_flag(name))

    def stop_sweep(self, name: str) -> str | None:
        """Ask whoever runs a sweep to stop at a checkpoint; who that is, or None where nobody runs it."""
        return self._stop(name, f"sweep-{name}")

    def stop_run(self, key: str) -> str | None:
        """Ask whoever trains a run to stop at a checkpoint; who that is, or None where nobody trains it."""
        return self._stop(key, f"run-{key}")

    def _stop(self, name: str, lease: str) -> str | None:
        observer = Session(self.leases)
        if observer.holder(lease) is None:
            return None
        self.cancel(name)
        return observer.who(lease)

    def cancelled(self, name: str) -> bool:
        """Whether a sweep, or a run, was told to stop."""
        return self.control.read(cancel_flag(name)) is not None


def cancel_flag(name: str) -> str:
    """Name of the control object that tells a sweep, or a run by its key, to stop."""
    return f"cancel-{name}"
