"""A study so small that it trains for real in a second or two, and a store in which it has been run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result
from filelock import FileLock

Crossover = Callable[..., Result]

TINY = """\
name: tiny
description: Does anything cross in forty steps?
base:
  model: {width: 16, layers: 1}
  data: {unique_bytes: 5k, context: 32}
  steps: 40
  batch_size: 8
  evaluation: {sequences: 4, spacing: 1.5, first: 4, precise: 0.5}
axes:
  objective: [autoregressive, masked_diffusion]
seeds: [0, 1]
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep's file."""
    path = tmp_path_factory.mktemp("sweeps") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def finished_store(
    tiny: Path, crossover: Crossover, empty_store: Callable[[Path], Path], shared_root: Path
) -> Path:
    """A store in which the tiny sweep was run to its end, MLflow and report included. Do not write to it.

    One process of a parallel test run trains it; the others wait for it.
    """
    root, finished = shared_root / "finished" / "store", shared_root / "finished.txt"
    with FileLock(shared_root / "finished.lock"):
        if not finished.exists():
            result = crossover("run", tiny, "--local", "--store", empty_store(root))
            assert result.exit_code == 0, result.output + repr(result.exception)
            finished.touch()
    return root


@pytest.fixture
def store_copy(finished_store: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(finished_store, tmp_path / "store", symlinks=True))


@pytest.fixture
def table(tmp_path: Path) -> Callable[[pd.DataFrame], Path]:
    """Writes a table as CSV; its path."""

    def write(frame: pd.DataFrame) -> Path:
        path = tmp_path / "table.csv"
        frame.to_csv(path, index=False)
        return path

    return write
