"""The fingerprint of a store is that of its weights and histories, and of nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.fingerprint import fingerprints
from tests.paths import ROOT
from trainers.config import RunConfig
from trainers.run.loop import train
from trainers.state.checkpoint import CheckpointPolicy


def test_equal_runs_have_equal_lines_however_they_were_committed(
    tiny: Callable[..., RunConfig], tmp_path: Path, data_root: Path
) -> None:
    config = tiny()
    for store, policy in (("a", CheckpointPolicy()), ("b", CheckpointPolicy(0, float("inf")))):
        train(
            config,
            tmp_path / store / "runs" / config.training_key,
            data_root=data_root,
            checkpoint_policy=policy,
        )
    (line,) = fingerprints(tmp_path / "a")
    assert line.startswith(f"{config.training_key} step=40 weights=")
    assert [line] == list(fingerprints(tmp_path / "b"))
    other = tiny(seed=1)
    train(other, tmp_path / "c" / "runs" / other.training_key, data_root=data_root)
    (changed,) = fingerprints(tmp_path / "c")
    assert not set(changed.split()[2:]) & set(line.split()[2:])


def test_a_changed_loss_shows_in_the_history_alone(
    tiny: Callable[..., RunConfig], tmp_path: Path, data_root: Path
) -> None:
    config = tiny()
    train(config, tmp_path / "a" / "runs" / "one", data_root=data_root)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    segment = max((tmp_path / "b/runs/one/events").glob("*.history.jsonl"))
    segment.write_text(segment.read_text().replace('"nll":', '"nll": 1', 1))
    (before,), (after,) = fingerprints(tmp_path / "a"), fingerprints(tmp_path / "b")
    assert before.split()[:3] == after.split()[:3] and before.split()[3] != after.split()[3]


def test_it_imports_none_of_the_packages() -> None:
    probe = "import sys, runpy; runpy.run_path('benchmarks/fingerprint.py'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not {"trainers", "orchestrator", "analysis", "numpy"} & set(done.stdout.split())
