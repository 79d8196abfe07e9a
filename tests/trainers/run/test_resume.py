"""Kill a run at any moment: what it ends with is what it would have ended with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.paths import ROOT
from trainers.config import RunConfig
from trainers.run.loop import train
from trainers.state.checkpoint import CheckpointPolicy, read
from trainers.state.folder import RunFolder

EVERYTHING = {
    "model": {
        "width": 16,
        "layers": 1,
        "ffn": 32,
        "name": "transformer",
        "dropout_embedding": 0.1,
        "dropout_mlp": 0.1,
    },
    "ema": 0.9,
    "resources": {"micro_batch": 3},
}


def history_bytes(folder: RunFolder) -> bytes:
    commit = folder.last_commit()
    assert commit is not None
    return b"".join(folder.get(name) for name in commit.history)


def assert_same_run(a: RunFolder, b: RunFolder) -> None:
    assert history_bytes(a) == history_bytes(b)
    commits = a.last_commit(), b.last_commit()
    assert commits[0] is not None and commits[1] is not None
    assert commits[0].checkpoints.keys() == commits[1].checkpoints.keys()
    for step, kept in commits[0].checkpoints.items():
        assert (kept.state is None) == (commits[1].checkpoints[step].state is None)
        one, other = read(a, commits[0], step), read(b, commits[1], step)
        assert one.counters == other.counters
        for mine, theirs in ((one.weights, other.weights), (one.state or {}, other.state or {})):
            assert mine.keys() == theirs.keys()
            for name, tensor in mine.items():
                assert torch.equal(
                    tensor.view(-1).view(torch.uint8), theirs[name].view(-1).view(torch.uint8)
                ), name


def killed_run(config: RunConfig, tmp_path: Path, data_root: Path, kills: int) -> None:
    script = Path(__file__).parent / "killing.py"
    arguments = [
        str(tmp_path / "killed"),
        str(data_root),
        str(kills),
        "7",
        json.dumps(config.model_dump(mode="json")),
    ]
    undisturbed = train(config, tmp_path / "undisturbed", data_root=data_root)
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["killed"] == kills and len(told["writing"]) == kills // 2
    in_checkpoints = [name for name in told["writing"] if "/objects/" in name]
    assert len(in_checkpoints) >= kills // 4, told["writing"]
    assert_same_run(undisturbed.folder, RunFolder(tmp_path / "killed"))


def test_killed_runs_end_as_undisturbed_ones(
    tiny: Callable[..., RunConfig], tmp_path: Path, data_root: Path
) -> None:
    killed_run(tiny(objective="masked_diffusion", **EVERYTHING), tmp_path, data_root, kills=4)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["autoregressive", "masked_diffusion"])
def test_twenty_kills_change_no_bit(
    objective: str, tiny: Callable[..., RunConfig], tmp_path: Path, data_root: Path
) -> None:
    killed_run(tiny(objective=objective, steps=200, **EVERYTHING), tmp_path, data_root, kills=20)


def test_committing_often_or_rarely_gives_the_same_history(
    tiny: Callable[..., RunConfig], tmp_path: Path, data_root: Path
) -> None:
    config = tiny(objective="masked_diffusion", ema=0.9)
    rare = train(config, tmp_path / "rare", data_root=data_root)
    often = train(
        config, tmp_path / "often", data_root=data_root, checkpoint_policy=CheckpointPolicy(0, float("inf"))
    )
    assert_same_run(rare.folder, often.folder)
