"""Checkpoints: safetensors that the library reads, retention, and the rhythm of commits."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

import trainers
from trainers.checkpoint import (
    Keeper,
    Retention,
    Rhythm,
    Snapshot,
    decode,
    encode,
    read,
    resumable,
    resume_points,
)
from trainers.config import RunConfig
from trainers.folder import Corrupt, Kept, RunFolder, Superseded

TENSORS = {
    "matrix": torch.arange(6, dtype=torch.float32).view(2, 3),
    "transposed": torch.arange(6, dtype=torch.float32).view(2, 3).T,
    "scalar": torch.tensor(0.1, dtype=torch.float64),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
    "count": torch.tensor([2**40]),
    "empty": torch.zeros(0, 4),
}


def test_the_library_reads_what_is_written() -> None:
    data = b"".join(bytes(chunk) for chunk in encode(TENSORS, {"step": 3}))
    for found in (safetensors.torch.load(data), decode(data)[0]):
        assert found.keys() == TENSORS.keys()
        for name, tensor in TENSORS.items():
            assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
    assert decode(data)[1] == {"step": 3}


def test_no_byte_of_a_store_reaches_pickle() -> None:
    banned = {"pickle", "cloudpickle", "dill", "shelve", "joblib"}
    for path in Path(trainers.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {a.name.split(".")[0] for a in node.names} & banned, path
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in banned, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called = f"{node.value.id}.{node.attr}"
                assert called not in ("torch.load", "torch.save", "yaml.load"), path
            if isinstance(node, ast.keyword):
                allowed = isinstance(node.value, ast.Constant) and node.value.value is False
                assert node.arg not in ("allow_pickle", "weights_only") or allowed, path


def test_resume_points_are_spaced_whatever_the_horizon() -> None:
    grid = [8, 9, 10, 11, 12, 14, 18, 26, 30, 45]
    assert sorted(resume_points(grid)) == [8, 12, 18, 30, 45]
    assert resume_points(grid[:5]) == {8, 12}


@pytest.mark.parametrize(
    ("keep", "weights", "states"),
    [("last", {12}, {12}), ("branches", {7, 12}, {7, 12}), ("evals", {4, 7, 8, 12}, {4, 7, 12})],
)
def test_retention(keep: str, weights: set[int], states: set[int]) -> None:
    policy = Retention(keep, frozenset({4, 8}), frozenset({7}), frozenset({4}))  # type: ignore[arg-type]
    stay = policy.prune({step: Kept(weights="w", state="s") for step in (4, 7, 8, 9, 12)})
    assert set(stay) == weights
    assert {step for step, kept in stay.items() if kept.state} == states


def test_weights_alone_are_never_what_training_goes_on_from() -> None:
    policy = Retention("last", frozenset({12}))
    stay = policy.prune({8: Kept(weights="w", state="s"), 12: Kept(weights="w")})
    assert set(stay) == {8}


def test_rhythm() -> None:
    rhythm = Rhythm(seconds=10, share=0.02)
    assert not rhythm.due(9, 0.0, evaluated=True)
    assert rhythm.due(10, 0.0, evaluated=True)
    assert not rhythm.due(10, 1.0, evaluated=True), "a checkpoint of a second is made once in fifty"
    assert rhythm.due(50, 1.0, evaluated=True)
    assert not rhythm.due(39, 0.0, evaluated=False)
    assert rhythm.due(40, 0.0, evaluated=False)


def snapshot(step: int) -> Snapshot:
    return Snapshot(step, {"model.w": torch.full((2,), float(step))}, {"m": torch.ones(1)}, {"step": step})


def test_the_newest_undamaged_checkpoint_is_found(tmp_path: Path, tiny: Callable[..., RunConfig]) -> None:
    folder = RunFolder(tmp_path / "run")
    policy = Retention("evals", frozenset({4, 8}), states=frozenset({4, 8}))
    with Keeper(folder.begin(tiny()), policy, Rhythm()) as keeper:
        keeper.write(lambda: snapshot(4))
        keeper.commit(8, lambda: snapshot(8), "running")
        keeper.drain()
    commit = folder.last_commit()
    assert commit is not None and set(commit.checkpoints) == {4, 8}
    found = resumable(folder, commit, 100)
    assert found is not None and found.step == 8 and found.weights["model.w"].tolist() == [8.0, 8.0]
    path = tmp_path / "run" / commit.checkpoints[8].weights
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Corrupt):
        read(folder, commit, 8)
    found = resumable(folder, commit, 100)
    assert found is not None and found.step == 4
    assert resumable(folder, commit, 3) is None


def test_an_error_while_writing_reaches_training(tmp_path: Path, tiny: Callable[..., RunConfig]) -> None:
    folder = RunFolder(tmp_path / "run")
    with Keeper(folder.begin(tiny()), Retention("last", frozenset()), Rhythm()) as keeper:
        folder.begin(tiny())
        keeper.commit(3, lambda: snapshot(3), "running")
        with pytest.raises(Superseded):
            keeper.drain()
