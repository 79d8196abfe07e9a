"""Two real processes train what one would have."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import load_file

from tests.paths import ROOT
from trainers.components.errors import UserError
from trainers.config import Resources, RunConfig
from trainers.data import prepare
from trainers.machine.workers import Workers
from trainers.run.learner import Learner
from trainers.run.loop import train
from trainers.state.checkpoint import read
from trainers.state.folder import RunFolder

Tiny = Callable[..., RunConfig]

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ACCUMULATED: dict[str, Any] = {"batch_size": 8, "resources": {"micro_batch": 3}}
REALISED = {"name": "masked_diffusion", "weight": "realised", "epsilon": 0.0, "normaliser": "masked"}
SMALL = {"name": "transformer", "width": 16, "layers": 1, "ffn": 32}
DROPOUT = {**SMALL, "dropout_embedding": 0.1, "dropout_mlp": 0.1}
CASES: dict[str, dict[str, Any]] = {
    "ar": {"objective": "autoregressive", "ema": 0.9},
    "ar accumulated": {"objective": "autoregressive", **ACCUMULATED},
    "mdm": {"objective": {"name": "masked_diffusion", "random_length": 0.5}},
    "mdm realised accumulated": {"objective": REALISED, "model": DROPOUT, **ACCUMULATED},
}
STATEFUL: dict[str, dict[str, Any]] = {"stateful": {}, "stateful accumulated": ACCUMULATED}
OBJECTIVES = ("autoregressive", "masked_diffusion")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Path:
    """Where `sharing.py` has left what two workers made."""
    out = tmp_path_factory.mktemp("shared")
    base = {
        "model": SMALL,
        "data": {"corpus": {"name": "markov", "documents_held": 500}, "unique_bytes": 3000, "context": 16},
        "evaluation": {"sequences": 5, "draws": 2, "spacing": 1.3, "first": 4},
        "batch_size": 4,
        "steps": 40,
    }
    stateful = {name: {"objective": "stateful", **more} for name, more in STATEFUL.items()}
    loops = {f"loop/{name}": {"objective": name} for name in OBJECTIVES}
    cases = {name: {**base, **more} for name, more in {**CASES, **stateful, **loops}.items()}
    (out / "cases.json").write_text(json.dumps(cases))
    script = Path(__file__).with_name("sharing.py")
    command = [*LAUNCH, str(script), str(out / "cases.json"), str(data_root), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.mark.parametrize("name", [*CASES, *STATEFUL])
def test_two_workers_make_the_updates_of_one(shared: Path, name: str) -> None:
    alone, *workers = (load_file(shared / f"{name}.{who}.safetensors") for who in ("alone", 0, 1))
    assert {"window/loss", "window/grad_norm", "tokens"} <= alone.keys()
    for tensor in alone:
        torch.testing.assert_close(workers[0][tensor], alone[tensor], rtol=1e-10, atol=1e-10)
        assert torch.equal(workers[0][tensor], workers[1][tensor]), "workers never drift apart"
    if name in STATEFUL:
        assert alone["model.objective.seen"].sum() == 3 * (8 if "accumulated" in name else 4)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_another_number_of_workers_goes_on_with_the_run(
    objective: str, shared: Path, tiny: Tiny, tmp_path: Path, data_root: Path
) -> None:
    config = tiny(objective=objective, evaluation={"sequences": 5, "draws": 2, "spacing": 1.3, "first": 4})
    whole = train(config, tmp_path / "whole", data_root=data_root)
    for first, second in ((2, 1), (1, 2)):
        folder = RunFolder(shared / f"{objective}-{first}-{second}")
        attempts = [e for e in folder.telemetry() if e["event"] == "attempt"]
        assert [a["numerics"]["workers"] for a in attempts] == [first, second]
        assert len({a["numerics"]["class"] for a in attempts}) == 2
        assert [a["step"] for a in attempts] == [0, 13]
        assert_same_curve(folder, whole.folder)


def assert_same_curve(folder: RunFolder, whole: RunFolder) -> None:
    assert len(folder.history()) == len(whole.history())
    for mine, theirs in zip(folder.history(), whole.history(), strict=True):
        assert [mine[k] for k in ("event", "step")] == [theirs[k] for k in ("event", "step")]
        assert mine.get("tokens") == theirs.get("tokens")
        if mine["event"] == "train":
            assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
            assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)
        if mine["event"] == "evaluation":
            for half in "ab":
                np.testing.assert_allclose(mine["scores"][half], theirs["scores"][half], atol=1e-5)
                assert mine["sequence_tokens"] == theirs["sequence_tokens"]


def test_torchrun_trains_a_config(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    config = tiny(steps=6, objective="masked_diffusion")
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    module = ["-m", "trainers", str(path), "--folder", str(tmp_path / "run"), "--data", str(data_root)]
    done = subprocess.run([*LAUNCH, *module], capture_output=True, text=True, timeout=600, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("done at step 6") == 1, "only the first worker speaks"
    folder = RunFolder(tmp_path / "run")
    commit = folder.last_commit()
    assert commit is not None and (commit.state, commit.attempt) == ("done", "00000001")
    alone = train(config, tmp_path / "alone", data_root=data_root).folder
    assert_same_curve(folder, alone)
    theirs = alone.last_commit()
    assert theirs is not None
    one, other = (read(f, c, 6) for f, c in ((folder, commit), (alone, theirs)))
    for name, tensor in other.weights.items():
        torch.testing.assert_close(one.weights[name], tensor, rtol=0, atol=1e-5)


def test_a_batch_is_shared_evenly_or_not_at_all(tiny: Tiny, data_root: Path) -> None:
    with pytest.raises(ValidationError, match="workers: 3 do not divide batch_size 4"):
        tiny(resources={"workers": 3})
    config = tiny()
    with pytest.raises(ValueError, match="3 do not divide batch_size 4"):
        Learner(config, prepare(config.data, data_root), torch.device("cpu"), workers=Workers(0, 3))


def test_shares_are_contiguous_and_whole() -> None:
    for total, size in ((8, 2), (5, 2), (2, 3)):
        shares = [Workers(rank, size).rows(total) for rank in range(size)]
        assert [i for start, stop in shares for i in range(start, stop)] == list(range(total))


def test_every_worker_scores_as_many_sequences() -> None:
    """So that each forward pass of a worker meets one in the others; the rows of a share are among them."""
    for total, size in ((8, 2), (5, 2), (7, 4), (4, 4), (2, 3)):
        group = [Workers(rank, size) for rank in range(size)]
        assert len({stop - start for start, stop in (w.equal_rows(total) for w in group)}) == 1
        for worker in group:
            (first, last), (start, stop) = worker.equal_rows(total), worker.rows(total)
            assert 0 <= first <= start and stop <= last <= total


def test_a_layout_that_is_not_there_is_refused(tiny: Tiny, data_root: Path) -> None:
    config = tiny(resources={"layout": "shard"})
    assert config.training_key == tiny().training_key
    with pytest.raises(UserError, match="'shard' is not there yet; allowed: 'replicate'"):
        Learner(config, prepare(config.data, data_root), torch.device("cpu"))


@pytest.mark.parametrize(
    ("fields", "workers"), [({}, 1), ({"gpus": 0.5}, 1), ({"gpus": 8}, 8), ({"workers": 2}, 2)]
)
def test_a_run_has_a_worker_a_card(fields: dict[str, Any], workers: int) -> None:
    assert Resources(**fields).n_workers == workers


@pytest.mark.parametrize("fields", [{"gpus": 1}, {"gpus": 3}, {"device": "cuda:1", "gpus": 2}])
def test_workers_do_not_share_a_card(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="cannot be shared by 2 workers"):
        Resources(workers=2, **fields)


def test_workers_are_no_part_of_a_key(tiny: Tiny) -> None:
    assert tiny(resources={"workers": 2}).training_key == tiny().training_key
