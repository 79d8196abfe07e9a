"""Checks of a machine, an installation and a store. Each is one function; none changes anything but a probe
file."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from orchestrator.store.store import Store
from trainers.components.files import create_file
from trainers.machine.cores import usable_cores


@dataclass(frozen=True)
class Finding:
    """One check: ``ok``, ``warning`` (works, but) or ``problem``; what was seen, and what to do about it."""

    check: str
    state: Literal["ok", "warning", "problem"]
    value: str
    advice: str = ""


Check = Callable[[Store], Iterator[Finding]]
LEAST_FREE = 2 * 10**9
LEAST_MEMORY = 2 * 10**9


def examine(store: Store) -> list[Finding]:
    """Every check's findings; a check that fails itself is a problem, not an exception."""
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += check(store)
        except Exception as error:
            findings.append(Finding(check.__name__.strip("_"), "problem", f"{type(error).__name__}: {error}"))
    return findings


def _python(store: Store) -> Iterator[Finding]:
    running = ".".join(map(str, sys.version_info[:3]))
    yield Finding(
        "python", "ok" if sys.version_info >= (3, 11) else "problem", running, "crossover needs 3.11 or newer"
    )


def _packages(store: Store) -> Iterator[Finding]:
    """A folder called like one of the packages, in the directory that Python starts in, is imported in their
    place."""
    own = Path(__file__).parents[2]
    for name in ("analysis", "trainers", "orchestrator"):
        shadow = Path.cwd() / name
        if shadow.exists() and shadow.resolve() != own / name:
            advice = "Python started here imports that folder; use `import crossover`, or rename it"
            yield Finding(f"package {name}", "warning", str(shadow), advice)


def _libraries(store: Store) -> Iterator[Finding]:
    for name in ("torch", "ray", "mlflow"):
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "problem", "not installed", "make setup")


def _machine(store: Store) -> Iterator[Finding]:
    import psutil

    yield Finding("cores", "ok", str(usable_cores()))
    free = psutil.virtual_memory().available
    advice = "each run takes about 0.5 GB, Ray 0.4 GB"
    yield Finding("memory", "ok" if free >= LEAST_MEMORY else "warning", f"{free / 1e9:.1f} GB free", advice)


def _devices(store: Store) -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        yield Finding("devices", "ok", "CPU only")
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Finding(
            "devices", "ok", f"cuda:{index} {properties.name}, {properties.total_memory / 1e9:.0f} GB"
        )


def _store(store: Store) -> Iterator[Finding]:
    folder = store.root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    yield Finding(
        "disk",
        "ok" if free >= LEAST_FREE else "problem",
        f"{free / 1e9:.1f} GB free at {folder}",
        "free some space",
    )
    if not os.access(folder, os.W_OK):
        yield Finding("store", "problem", f"{folder} cannot be written", "--store DIR, or $CROSSOVER_STORE")
        return
    if not store.root.exists():
        yield Finding("store", "ok", f"{store.root} (not made yet)")
        return
    probe = store.root / "control" / f"doctor-{os.getpid()}"
    probe.unlink(missing_ok=True)
    linked = create_file(probe, b"") and not create_file(probe, b"")
    ahead = probe.stat().st_mtime - time.time()
    probe.unlink()
    advice = "the file system has no hard links; put the store on another"
    yield Finding(
        "store", "ok" if linked else "problem", f"{store.root}, {len(store.run_keys())} runs", advice
    )
    if abs(ahead) > 10:
        yield Finding(
            "clock", "warning", f"file times are {ahead:.0f} s off", "leases do not mind; make users may"
        )
    mode = (store.root / "ray_token").stat().st_mode & 0o077 if (store.root / "ray_token").exists() else 0
    if mode:
        yield Finding(
            "token", "problem", "others can read ray_token", f"chmod 600 {store.root / 'ray_token'}"
        )


def _mlflow(store: Store) -> Iterator[Finding]:
    database = store.mlflow / "mlflow.db"
    if not database.exists():
        yield Finding("mlflow database", "ok", "not made yet")
        return
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        sound = connection.execute("PRAGMA quick_check").fetchone()[0]
        count = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
    advice = "move it away and run `crossover mirror --rebuild`"
    yield Finding(
        "mlflow database",
        "ok" if sound == "ok" else "problem",
        f"{count} runs" if sound == "ok" else sound,
        advice,
    )


def _work(store: Store) -> Iterator[Finding]:
    failed = list(store.failures())
    if failed:
        advice = f"crossover logs {failed[0][0][:8]}; crossover retry"
        yield Finding("failed runs", "warning", f"{len(failed)}", advice)


CHECKS: tuple[Check, ...] = (_python, _packages, _libraries, _machine, _devices, _store, _mlflow, _work)
