"""Settings and fixtures that every test shares."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def _need(condition: bool, what: str) -> None:
    if condition:
        return
    if os.environ.get("CROSSOVER_REQUIRE_ALL") == "1":
        pytest.fail(f"{what} is needed (CROSSOVER_REQUIRE_ALL=1)")
    pytest.skip(f"{what} is not here")


@pytest.fixture(scope="session")
def need() -> Callable[[bool, str], None]:
    """``need(condition, what)``: skip where it is false; in CI, which sets CROSSOVER_REQUIRE_ALL, fail
    instead."""
    return _need


def _crossover(*arguments: str | Path) -> Result:
    from orchestrator import cli

    return CliRunner().invoke(cli.crossover, [str(a) for a in arguments])


@pytest.fixture(scope="session")
def crossover() -> Callable[..., Result]:
    """The command line, in this process."""
    return _crossover


@pytest.fixture(scope="session")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a parallel test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def data_root(shared_root: Path) -> Path:
    """Where prepared data is kept. The prose pack is split already, which takes seconds: one process of a
    parallel test run does it, the others wait."""
    from trainers.config import DataConfig
    from trainers.data.documents import open_documents

    root = shared_root / "prepared"
    with FileLock(shared_root / "prepared.lock"):
        open_documents(DataConfig().corpus, root)
    return root


@pytest.fixture(scope="session")
def empty_store(data_root: Path) -> Callable[[Path], Path]:
    """``empty_store(path)``: a store at ``path`` that holds the split prose pack and nothing else."""

    def make(path: Path) -> Path:
        shutil.copytree(data_root / "corpora", path / "data" / "corpora", copy_function=os.link)
        return path

    return make


@pytest.fixture(autouse=True)
def subnormals() -> None:
    """Training lets the processor flush subnormal numbers to zero; no later test of the process runs so."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
