"""Checkpoints: safetensors that the library reads, retention, and the rhythm of commits."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

import trainers
from trainers.components.errors import Corrupt, Superseded
from trainers.config import RunConfig
from trainers.state.checkpoint import (
    CheckpointPolicy,
    CheckpointWriter,
    Snapshot,
    decode,
    encode,
    read,
    resumable,
)
from trainers.state.folder import Checkpoint, RunFolder
from trainers.state.retention import RetentionPolicy

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
    """No module of the three packages names a reader that unpickles (torch's distributed checkpoint among
    them); `test_loop` sees that a run calls none.
    """
    root = Path(trainers.__file__).parents[1]
    sources = [
        path for name in ("trainers", "orchestrator", "analysis") for path in (root / name).rglob("*.py")
    ]
    assert [found for path in sources for found in unpickling(path.read_text())] == []
    for source in UNPICKLING:
        assert unpickling(source), source


UNPICKLING = [
    "import pickle",
    "from cloudpickle import loads",
    "torch.load(path)",
    "from torch import load",
    "import torch.distributed.checkpoint as dcp",
    "from torch.distributed import checkpoint",
    "yaml.load(text)",
    "pd.read_pickle(path)",
    "np.load(path, allow_pickle=True)",
    "torch.hub.load_state_dict_from_url(url, weights_only=False)",
]


def unpickling(source: str) -> list[str]:
    """What in a module's source may unpickle."""
    modules = {"pickle", "cloudpickle", "dill", "shelve", "joblib", "torch.distributed.checkpoint"}
    names = {f"torch.{n}" for n in ("load", "save")} | {"yaml.load", "read_pickle", "to_pickle"}
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if {a.name, a.name.split(".")[0]} & modules]
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            full = {module, module.split(".")[0], *(f"{module}.{a.name}" for a in node.names)}
            found += sorted(full & (modules | names))
        if isinstance(node, ast.Attribute):
            called = f"{node.value.id}.{node.attr}" if isinstance(node.value, ast.Name) else ""
            found += sorted({called, node.attr} & names)
        if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only"):
            safe = isinstance(node.value, ast.Constant) and node.value.value is (node.arg == "weights_only")
            found += [] if safe else [node.arg]
    return found


@pytest.mark.parametrize(
    ("keep", "weights", "states"),
    [("last", {12}, {12}), ("branches", {7, 12}, {7, 12}), ("evals", {4, 7, 8, 12}, {4, 7, 12})],
)
def test_retention(keep: str, weights: set[int], states: set[int]) -> None:
    policy = RetentionPolicy.of(keep, {4, 8}, {4}, {7})  # type: ignore[arg-type]
    stay = policy.prune({step: Checkpoint(weights="w", state="s") for step in (4, 7, 8, 9, 12)})
    assert set(stay) == weights
    assert {step for step, kept in stay.items() if kept.state} == states


def test_weights_alone_are_never_what_training_goes_on_from() -> None:
    stay = RetentionPolicy().prune(
        {
            4: Checkpoint(weights="w", state="s"),
            8: Checkpoint(weights="w", state="s"),
            12: Checkpoint(weights="w"),
        }
    )
    assert {step: checkpoint.state for step, checkpoint in stay.items()} == {8: ("s",), 12: None}


def test_rhythm() -> None:
    policy = CheckpointPolicy(seconds=10, share=0.02)
    assert not policy.due(9, 0.0, evaluated=True)
    assert policy.due(10, 0.0, evaluated=True)
    assert not policy.due(10, 1.0, evaluated=True), "a checkpoint of a second is made once in fifty"
    assert policy.due(50, 1.0, evaluated=True)
    assert not policy.due(39, 0.0, evaluated=False)
    assert policy.due(40, 0.0, evaluated=False)


def snapshot(step: int) -> Snapshot:
    return Snapshot(step, {"model.w": torch.full((2,), float(step))}, {"m": torch.ones(1)}, {"step": step})


def test_the_newest_undamaged_checkpoint_is_found(tmp_path: Path, tiny: Callable[..., RunConfig]) -> None:
    folder = RunFolder(tmp_path / "run")
    policy = RetentionPolicy(frozenset({4, 8}), frozenset({4, 8}))
    with CheckpointWriter(folder.begin(tiny()), policy, CheckpointPolicy()) as writer:
        writer.write(lambda: snapshot(4))
        writer.commit(8, lambda: snapshot(8), "running")
        writer.drain()
    commit = folder.last_commit()
    assert commit is not None and set(commit.checkpoints) == {4, 8}
    found = resumable(folder, commit, 100)
    assert found is not None and found.step == 8 and found.weights["model.w"].tolist() == [8.0, 8.0]
    path = tmp_path / "run" / commit.checkpoints[8].weights[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Corrupt):
        read(folder, commit, 8)
    found = resumable(folder, commit, 100)
    assert found is not None and found.step == 4
    assert resumable(folder, commit, 3) is None


def test_a_checkpoint_of_several_objects_is_one(tmp_path: Path, tiny: Callable[..., RunConfig]) -> None:
    attempt = RunFolder(tmp_path / "run").begin(tiny())
    parts = [{"model.a": torch.ones(2)}, {"model.b": torch.zeros(3)}]
    names = tuple(
        attempt.put(f"objects/{attempt.name}-00000004.{i}.weights.safetensors", encode(part, {"step": 4}))
        for i, part in enumerate(parts)
    )
    attempt.commit(step=4, checkpoints={4: Checkpoint(weights=names)})
    folder = RunFolder(tmp_path / "run")
    commit = folder.last_commit()
    assert commit is not None and commit.checkpoints[4].objects == names and commit.names() == set(names)
    whole = read(folder, commit, 4)
    assert whole.weights.keys() == {"model.a", "model.b"} and whole.counters == {"step": 4}
    manifest = folder.get("commits/00000002.json").decode()
    assert f'"weights":["{names[0]}","{names[1]}"]' in manifest
    single = Checkpoint(weights=names[0]).model_dump_json()
    assert single == f'{{"weights":"{names[0]}","state":null}}', "as before there could be several"


def test_an_error_while_writing_reaches_training(tmp_path: Path, tiny: Callable[..., RunConfig]) -> None:
    folder = RunFolder(tmp_path / "run")
    with CheckpointWriter(folder.begin(tiny()), RetentionPolicy(), CheckpointPolicy()) as writer:
        folder.begin(tiny())
        writer.commit(3, lambda: snapshot(3), "running")
        with pytest.raises(Superseded):
            writer.drain()
