"""The training loop: extension, branches, parents, divergence, accumulation, rescoring."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainers.components.errors import CheckpointGone, MissingParent, WrongRun
from trainers.config import EvaluationConfig, Resources, RunConfig
from trainers.data import prepare
from trainers.evaluation.grid import evaluation_grid
from trainers.objectives.base import Term
from trainers.run import loop as train_module
from trainers.run.learner import Learner
from trainers.run.loop import on_curve, train
from trainers.run.rescoring import rescore
from trainers.state.checkpoint import CheckpointPolicy, Snapshot, read
from trainers.state.folder import Commit, RunFolder, json_line

Tiny = Callable[..., RunConfig]
EVERY = CheckpointPolicy(0, float("inf"))


def lines(folder: RunFolder, until: int | None = None) -> list[bytes]:
    return [json_line(event) for event in folder.history(until)]


def last(folder: RunFolder) -> Commit:
    commit = folder.last_commit()
    assert commit is not None
    return commit


def end(folder: RunFolder) -> Snapshot:
    commit = last(folder)
    return read(folder, commit, max(commit.checkpoints))


def assert_equal(a: Snapshot, b: Snapshot) -> None:
    assert a.counters == b.counters
    for one, other in ((a.weights, b.weights), (a.state or {}, b.state or {})):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_from_a_prompt(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    config, seen = tiny(), []
    result = train(config, tmp_path / "runs" / "a", data_root=data_root, report=seen.append)
    assert (result.state, result.step, result.key) == ("done", 40, config.training_key)
    assert result.history[0]["event"] == "start"
    steps = [e["step"] for e in result.evaluations]
    assert steps == evaluation_grid(config)
    assert result.final is not None and result.final["kind"] == "exact"
    assert result.evaluations[0]["b"]["nll"] > result.final["b"]["nll"]
    assert [e for e in seen if e["event"] not in ("attempt", "speed")] == result.history
    attempt = result.folder.telemetry()[0]
    assert attempt["numerics"]["threads"] == 1 and attempt["numerics"]["class"].startswith("cpu-")
    start = result.history[0]
    assert start["N"] == config.model.parameters(256, 1).total
    final = result.history[-1]
    assert final["epochs"] == final["tokens"] / start["unique_tokens"]
    assert final["flops"] == final["tokens"] * start["flops_per_token"]


def test_a_finished_run_is_left_alone(
    tiny: Tiny, tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(tiny(), tmp_path / "run", data_root=data_root)
    monkeypatch.setattr(train_module, "prepare", None)
    again = train(tiny(), tmp_path / "run", data_root=data_root)
    assert again.history == first.history and last(again.folder) == last(first.folder)
    shorter = train(tiny(steps=20), tmp_path / "run", data_root=data_root)
    assert shorter.state == "done" and shorter.step == 20
    assert shorter.history == [e for e in first.history if e["step"] <= 20]


def test_an_extended_run_is_the_longer_run(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    train(tiny(steps=25, ema=0.9), tmp_path / "extended", data_root=data_root)
    extended = train(tiny(ema=0.9), tmp_path / "extended", data_root=data_root)
    whole = train(tiny(ema=0.9), tmp_path / "whole", data_root=data_root)
    assert lines(extended.folder) == lines(whole.folder)
    assert_equal(end(extended.folder), end(whole.folder))


def test_stop_commits_and_the_same_call_goes_on(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    asked = iter([False] * 13 + [True])
    stopped = train(tiny(), tmp_path / "run", data_root=data_root, stop=lambda: next(asked))
    assert (stopped.state, stopped.step) == ("stopped", 13)
    assert last(stopped.folder).state == "running"
    resumed = train(tiny(), tmp_path / "run", data_root=data_root)
    whole = train(tiny(), tmp_path / "whole", data_root=data_root)
    assert lines(resumed.folder) == lines(whole.folder)
    assert_equal(end(resumed.folder), end(whole.folder))


def test_a_branch_starts_from_its_trunk(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    config = tiny(schedule={"name": "wsd", "warmup": 5, "decay": 0.25})
    trunk = config.trunk()
    assert trunk is not None and trunk.steps == 30
    longer = trunk.model_copy(update={"steps": 35})
    train(longer, tmp_path / "runs" / trunk.training_key, data_root=data_root, branch_steps=[30])
    branch = train(config, tmp_path / "runs" / config.training_key, data_root=data_root)
    scratch = train(config, tmp_path / "alone" / config.training_key, data_root=data_root)
    origin = last(branch.folder).trunk
    assert origin is not None and (origin.run, origin.step) == (trunk.training_key, 30)
    assert last(scratch.folder).trunk is None
    assert lines(branch.folder) == lines(scratch.folder)
    assert_equal(end(branch.folder), end(scratch.folder))
    (shared,) = rescore(branch.folder, 11, data_root=data_root)
    assert shared == next(e for e in branch.evaluations if e["step"] == 11)


def test_a_branch_uses_what_its_trunk_has(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    config = tiny(schedule={"name": "wsd", "warmup": 5, "decay": 0.25}, ema=0.9)
    trunk = config.trunk()
    assert trunk is not None
    unfinished = trunk.model_copy(update={"steps": 17})
    train(unfinished, tmp_path / "runs" / trunk.training_key, data_root=data_root)
    branch = train(config, tmp_path / "runs" / config.training_key, data_root=data_root)
    scratch = train(config, tmp_path / "alone" / config.training_key, data_root=data_root)
    origin = last(branch.folder).trunk
    assert origin is not None and origin.step == 17
    assert lines(branch.folder) == lines(scratch.folder)
    assert_equal(end(branch.folder), end(scratch.folder))


def test_a_child_starts_from_its_parent(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    parent = tiny(steps=20)
    key, runs = parent.training_key, tmp_path / "runs"
    first = train(parent, runs / key, data_root=data_root)
    child = tiny(objective="masked_diffusion", init={"run": key, "step": 20, "load": "weights"}, steps=8)
    assert child.training_key != tiny(objective="masked_diffusion", steps=8).training_key
    begun = train(child, runs / child.training_key, data_root=data_root, stop=lambda: True)
    mine, theirs = end(begun.folder), end(first.folder)
    assert begun.step == mine.step == 0
    for name, tensor in mine.weights.items():
        assert torch.equal(tensor, theirs.weights[name]) is (name != "model.extra"), "its mask row is its own"
    result = train(child, runs / child.training_key, data_root=data_root)
    assert result.history[0]["inherited"]["tokens"] == theirs.counters["tokens"]
    assert result.history[1]["tokens"] <= 4 * 16, "its own tokens are counted apart"


def test_a_whole_child_continues_its_parent(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    parent, runs = tiny(steps=20), tmp_path / "runs"
    train(parent, runs / parent.training_key, data_root=data_root)
    child = tiny(init={"run": parent.training_key, "step": 20, "load": "all"}, steps=40)
    result = train(child, runs / child.training_key, data_root=data_root)
    whole = train(tiny(), tmp_path / "whole", data_root=data_root)
    mine, theirs = end(result.folder), end(whole.folder)
    assert all(torch.equal(mine.weights[name], tensor) for name, tensor in theirs.weights.items())
    assert mine.counters["tokens"] + mine.counters["inherited"]["tokens"] == theirs.counters["tokens"]


@pytest.mark.parametrize("load", ["weights", "all"])
def test_a_child_that_kept_nothing_is_replayed_from_its_parent(
    tiny: Tiny, tmp_path: Path, data_root: Path, load: str
) -> None:
    parent, runs = tiny(steps=20), tmp_path / "runs"
    train(parent, runs / parent.training_key, data_root=data_root)
    child = tiny(init={"run": parent.training_key, "step": 20, "load": load}, steps=40, keep="last")
    result = train(child, runs / child.training_key, data_root=data_root)
    own = result.evaluations[-2]
    assert own["step"] not in last(result.folder).checkpoints and min(last(result.folder).checkpoints) == 40
    fewer = child.evaluation.model_copy(update={"sequences": child.evaluation.sequences - 1})
    (found,) = rescore(
        result.folder, own["step"], evaluation=fewer, precise=False, replay=True, data_root=data_root
    )
    assert found["tokens"] == own["tokens"] and found["scores"]["b"] == own["scores"]["b"][:-1]


def test_a_missing_parent_is_said(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    child = tiny(init={"run": "0" * 16, "step": 20})
    with pytest.raises(MissingParent, match="no checkpoint at step 20"):
        train(child, tmp_path / "runs" / child.training_key, data_root=data_root)


def test_divergence_is_a_state(tiny: Tiny, tmp_path: Path, data_root: Path, monkeypatch: Any) -> None:
    gradients = Learner.gradients

    def explode(self: Learner, batch: Any) -> dict[str, torch.Tensor]:
        values = gradients(self, batch)
        return {name: value * (float("nan") if self.step == 22 else 1) for name, value in values.items()}

    monkeypatch.setattr(Learner, "gradients", explode)
    result = train(tiny(), tmp_path / "run", data_root=data_root, checkpoint_policy=EVERY)
    assert (result.state, result.step) == ("diverged", 23)
    assert result.history[-1] == {"event": "diverged", "step": 23}
    assert max(last(result.folder).checkpoints) <= 22
    again = train(tiny(), tmp_path / "run", data_root=data_root)
    assert again.history == result.history and again.state == "diverged"


def test_damage_costs_work_and_changes_nothing(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    train(tiny(steps=25), tmp_path / "run", data_root=data_root, checkpoint_policy=EVERY)
    newest = last(RunFolder(tmp_path / "run")).checkpoints[25]
    assert newest.state is not None
    (tmp_path / "run" / newest.state[0]).write_bytes(b"torn")
    repaired = train(tiny(), tmp_path / "run", data_root=data_root)
    whole = train(tiny(), tmp_path / "whole", data_root=data_root)
    assert lines(repaired.folder) == lines(whole.folder)
    assert_equal(end(repaired.folder), end(whole.folder))


def test_another_run_is_refused(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    train(tiny(steps=5), tmp_path / "run", data_root=data_root)
    with pytest.raises(WrongRun, match="seed"):
        train(tiny(steps=5, seed=1), tmp_path / "run", data_root=data_root)


def test_retention_keeps_what_it_says(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    kept = {}
    for keep in ("last", "branches", "evals"):
        folder = train(tiny(keep=keep), tmp_path / keep, data_root=data_root, branch_steps=[17]).folder
        kept[keep] = set(last(folder).checkpoints)
        names = {n for k in last(folder).checkpoints.values() for n in k.objects}
        assert {f"objects/{name}" for name in folder.list("objects")} == names
    grid = evaluation_grid(tiny())
    assert kept == {"last": {40}, "branches": {17, 40}, "evals": {17, 40, *grid}}


@pytest.mark.parametrize("objective", ["autoregressive", "masked_diffusion"])
def test_one_batch_of_32_equals_two_of_16(objective: str, tiny: Tiny, data_root: Path) -> None:
    found = []
    for micro_batch in (None, 16, 5):
        config = tiny(objective=objective, batch_size=32, resources={"micro_batch": micro_batch})
        learner = Learner(config, prepare(config.data, data_root), torch.device("cpu"), torch.float64)
        losses = learner.gradients(learner.dataset.batch(0, 32, 0))
        found.append((losses, {name: p.grad for name, p in learner.parameters.items()}))
    for losses, gradients in found[1:]:
        assert {n: float(v) for n, v in losses.items()} == pytest.approx(
            {n: float(v) for n, v in found[0][0].items()}, rel=1e-6
        )
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, found[0][1][name], rtol=1e-5, atol=1e-8)


def test_terms_with_denominators_of_their_own_accumulate(
    tiny: Tiny, data_root: Path, monkeypatch: Any
) -> None:
    objective = type(tiny().objective)
    plain = objective.terms

    def two(self: Any, model: Any, batch: Any, noise: Any, step: int) -> dict[str, Term]:
        (loss,) = plain(self, model, batch, noise, step).values()
        return {"loss": loss, "size": Term(model.head.square().sum() * len(batch), batch.counters.sum())}

    monkeypatch.setattr(objective, "terms", two)
    found = []
    for micro_batch in (None, 3):
        config = tiny(batch_size=8, resources={"micro_batch": micro_batch})
        learner = Learner(config, prepare(config.data, data_root), torch.device("cpu"), torch.float64)
        losses = learner.gradients(learner.dataset.batch(0, 8, 0))
        found.append(([float(v) for v in losses.values()], learner.parameters["head"].grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9)
    torch.testing.assert_close(found[0][1], found[1][1])


def test_micro_batches_do_not_move_an_evaluation(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    values = []
    for micro_batch in (None, 3):
        config = tiny(objective="masked_diffusion", steps=12, resources={"micro_batch": micro_batch})
        result = train(config, tmp_path / str(micro_batch), data_root=data_root)
        values.append([e["b"]["nll"] for e in result.evaluations])
    np.testing.assert_allclose(values[0], values[1], atol=1e-6)


def test_rescoring_reaches_the_precision_asked_for_and_is_done_once(
    tiny: Tiny, tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = {"sequences": 4, "draws": 2, "spacing": 1.3, "first": 4, "precise": 0.05}
    config = tiny(objective="masked_diffusion", evaluation=evaluation)
    folder = train(config, tmp_path / "run", data_root=data_root).folder
    events = rescore(folder, [11, 4], data_root=data_root)
    assert [e["step"] for e in events] == [11, 4]
    assert all(e[half]["mc_se"] <= 0.05 and e["draws"] >= 8 for e in events for half in "ab")
    curve = next(e for e in folder.history() if e["event"] == "evaluation" and e["step"] == 11)
    assert {k: events[0][k] for k in ("tokens", "epochs", "flops")} == {
        k: curve[k] for k in ("tokens", "epochs", "flops")
    }
    drawn = np.array(events[0]["scores"]["a"])[:, :2]
    np.testing.assert_allclose(drawn, curve["scores"]["a"], atol=1e-6, err_msg="draws are shared")
    monkeypatch.setattr("trainers.run.rescoring._Reader", None)
    assert rescore(folder, [11, 4], data_root=data_root) == events
    assert len(folder.scores()) == 2


def test_an_exact_loss_needs_no_rescoring(
    tiny: Tiny, tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train(tiny(), tmp_path / "run", data_root=data_root).folder
    monkeypatch.setattr("trainers.run.rescoring._Reader", None)
    (event,) = rescore(folder, 11, data_root=data_root)
    assert event in folder.history()


def test_replaying_reaches_steps_that_were_not_kept(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    sparse = tiny(evaluation={"sequences": 4, "draws": 2, "spacing": 1.9, "first": 4}, ema=0.9)
    dense = EvaluationConfig(sequences=4, draws=2, spacing=1.3, first=4)
    folder = train(sparse, tmp_path / "sparse", data_root=data_root).folder
    wanted = train(sparse.model_copy(update={"evaluation": dense}), tmp_path / "dense", data_root=data_root)
    with pytest.raises(CheckpointGone, match="no checkpoint at step 6"):
        rescore(folder, 6, evaluation=dense, precise=False, data_root=data_root)
    steps = [e["step"] for e in wanted.evaluations]
    found = rescore(folder, steps, evaluation=dense, precise=False, replay=True, data_root=data_root)
    assert found == wanted.evaluations


def test_a_run_outlives_the_files_that_it_was_made_of(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    text = tmp_path / "own.txt"
    text.write_text("".join(f"Line {i} says {i * i}.\n\n" for i in range(4000)))
    config = tiny(data={"corpus": {"name": "text", "files": [str(text)]}}, steps=6)
    first = train(config, tmp_path / "run", data_root=data_root)
    assert first.key == config.training_key
    text.unlink()
    kept = first.folder.config()
    assert kept.training_key == first.key
    again = train(kept.model_copy(update={"steps": 9}), tmp_path / "run", data_root=data_root)
    assert again.state == "done" and again.step == 9


def test_the_training_curve_is_on_a_fixed_grid() -> None:
    assert [s for s in range(90, 131) if on_curve(s)] == [*range(90, 101), 110, 120, 130]
    assert [s for s in range(1000, 1301) if on_curve(s)] == [1000, 1100, 1200, 1300]


def test_training_and_resuming_unpickle_nothing(
    tiny: Tiny, tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    train(tiny(steps=6), tmp_path / "run", data_root=data_root)
    assert train(tiny(steps=12), tmp_path / "run", data_root=data_root).state == "done"


def test_unknown_devices_are_named(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    config = tiny(resources=Resources(device="tpu").model_dump())
    with pytest.raises(ValueError, match=r"resources\.device: unknown device 'tpu'"):
        train(config, tmp_path / "run", data_root=data_root)


def test_events_are_strict_json(tiny: Tiny, tmp_path: Path, data_root: Path) -> None:
    folder = train(tiny(objective="masked_diffusion"), tmp_path / "run", data_root=data_root).folder
    for name in last(folder).history:
        for line in folder.get(name).splitlines():
            assert json_line(json.loads(line, parse_constant=None)) == line + b"\n"
