"""The interface is wide enough: the page's three objectives train, score and are planned with no line of the
package changed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.pages import page_code
from tests.trainers.objectives import toys  # noqa: F401
from trainers import models
from trainers.batch import Batch
from trainers.config import EvaluationConfig, RunConfig
from trainers.evaluation.scoring import evaluate
from trainers.flops import matmul_flops
from trainers.machine.memory import training_bytes
from trainers.models import initialise
from trainers.models.transformer import Transformer
from trainers.noise import Noise
from trainers.objectives.base import Objective, objectives
from trainers.objectives.sampler import sampler_of
from trainers.run.loop import train
from trainers.state.checkpoint import read

NAMES = ["uniform_noise", "two_tokens", "embedding_diffusion"]
VOCAB, LENGTH, SIZE = 7, 12, 8


def learner(name: str) -> tuple[Objective, torch.nn.Module]:
    objective = objectives.validate(name)
    config = Transformer(width=32, layers=1)
    model = config.build(VOCAB, len(objective.extra_tokens), LENGTH)
    model.objective = objective.modules(config, VOCAB)
    initialise(model, 0)
    return objective, model


def batch_at(step: int) -> Batch:
    """Sequences that count upwards modulo V from a random start."""
    counters = torch.arange(SIZE) + step * SIZE
    tokens = (Noise(1, counters, SIZE).integers("start", VOCAB, 1) + torch.arange(LENGTH)) % VOCAB
    return Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), counters)


class Counting:
    def validation(self, half: str, sequences: int) -> Batch:
        return batch_at(1000 if half == "a" else 2000).rows(0, sequences)


def loss_of(objective: Objective, model: torch.nn.Module, batch: Batch, step: int) -> torch.Tensor:
    terms = objective.terms(model, batch, Noise(0, batch.counters, SIZE), step)
    return sum(t.numerator / t.denominator for t in terms.values())


@pytest.mark.parametrize("name", NAMES)
def test_trains_and_scores(name: str) -> None:
    objective, model = learner(name)
    config = EvaluationConfig(sequences=4, draws=2)
    before = evaluate(model, objective, Counting(), config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(60):
        optimizer.zero_grad()
        loss_of(objective, model, batch_at(step), step).backward()
        optimizer.step()
    after = evaluate(model, objective, Counting(), config)
    assert after.b.nll < before.b.nll - 0.2
    assert after.kind == ("exact" if name == "two_tokens" else "none")
    assert all(p.grad is not None for p in model.parameters() if len(p))
    assert torch.equal(after.b.scores.values, evaluate(model, objective, Counting(), config).b.scores.values)


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_a_draw_do_not_depend_on_how_many_are_asked_for(name: str) -> None:
    objective, model = learner(name)
    many = evaluate(model, objective, Counting(), EvaluationConfig(sequences=6, draws=3)).a.scores.values
    few = evaluate(model, objective, Counting(), EvaluationConfig(sequences=3, draws=1)).a.scores.values
    assert torch.equal(many[:3, :1], few)


@pytest.mark.parametrize("name", NAMES)
def test_accumulation_changes_neither_loss_nor_state(name: str) -> None:
    objective, model = learner(name)
    whole = loss_of(objective, model, batch_at(3), 3)
    state = {k: v.clone() for k, v in model.named_buffers()}
    for buffer in model.buffers():
        buffer.zero_()
    parts = [
        objective.terms(model, batch_at(3).rows(i, i + 2), Noise(0, batch_at(3).counters[i : i + 2], SIZE), 3)
        for i in range(0, SIZE, 2)
    ]
    summed = sum(sum(p[k].numerator for p in parts) / sum(p[k].denominator for p in parts) for k in parts[0])
    torch.testing.assert_close(whole, summed, rtol=1e-5, atol=1e-6)
    for key, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, state[key], rtol=1e-5, atol=1e-6)


def test_state_is_in_the_checkpoint() -> None:
    objective, model = learner("embedding_diffusion")
    loss_of(objective, model, batch_at(0), 0)
    assert int(model.state_dict()["objective.seen_by_level"].sum()) == SIZE


@pytest.mark.parametrize("name", NAMES)
def test_is_a_value_of_a_run_config(name: str) -> None:
    config = RunConfig(objective={"name": name})
    assert config.objective.name == name
    assert config.identity()["objective"]["version"] == 1
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_what_cannot_be_sampled_says_so() -> None:
    objective, model = learner("uniform_noise")
    with pytest.raises(ValueError, match="no sampler"):
        sampler_of(objective)
    objective, model = learner("two_tokens")
    tokens = torch.zeros(1, 4, dtype=torch.int64)
    assert sampler_of(objective).complete(model, tokens, torch.arange(4)[None] < 1, 0).shape == (1, 4)


def test_the_page_has_all_three() -> None:
    assert all(name in objectives.names() for name in NAMES)
    assert page_code("write-your-own-objective.md").count("@objectives.register") == 3


@pytest.mark.parametrize("name", NAMES)
def test_trains_evaluates_and_resumes_as_a_run(name: str, tmp_path: Path, data_root: Path) -> None:
    """Stopped half-way and called again, a run ends with the history and the weights of one that was not."""
    config = RunConfig.model_validate(
        {
            "objective": name,
            "model": {"name": "transformer", "width": 16, "layers": 1, "ffn": 32},
            "data": {"unique_bytes": 3000, "context": 16},
            "evaluation": {"sequences": 3, "draws": 2, "spacing": 1.5, "first": 4},
            "batch_size": 4,
            "steps": 12,
            "resources": {"micro_batch": 2},
        }
    )
    whole = train(config, tmp_path / "whole", data_root=data_root)
    asked = iter(range(1000))
    first = train(config, tmp_path / "parts", data_root=data_root, stop=lambda: next(asked) >= 6)
    assert (first.state, whole.state) == ("stopped", "done")
    second = train(config, tmp_path / "parts", data_root=data_root)
    assert second.state == "done"
    assert second.history == whole.history
    ends = []
    for result in (whole, second):
        commit = result.folder.last_commit()
        assert commit is not None
        ends.append(read(result.folder, commit, config.steps))
    for one, other in zip((ends[0].weights, ends[0].state), (ends[1].weights, ends[1].state), strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
    assert whole.final["kind"] == ("exact" if name == "two_tokens" else "none")


@pytest.mark.parametrize("name", NAMES)
def test_an_objectives_own_modules_are_counted(name: str) -> None:
    """In N, memory, disk and FLOPs; a twin without modules has the backbone's alone."""
    twin, run = RunConfig(), RunConfig(objective=name)
    model = models.build(run)
    sizes = sum(p.numel() for p in model.parameters())
    own = sum(p.numel() for p in model.objective.parameters())
    assert run.counts.stored == sizes and run.counts.objective == own > 0
    assert run.counts.total - twin.counts.total == own == run.counts.active - twin.counts.active
    assert training_bytes(run) > training_bytes(twin)
    if name == "two_tokens":
        d, V = run.model.width, run.data.tokenizer.vocab
        assert matmul_flops(run) == matmul_flops(twin) + 6 * (d * d + V * d)


def test_a_run_tells_its_own_parameters(tmp_path: Path, data_root: Path) -> None:
    config = RunConfig.model_validate(
        {
            "objective": "two_tokens",
            "model": {"name": "transformer", "width": 16, "layers": 1, "ffn": 32},
            "data": {"unique_bytes": 3000, "context": 16},
            "batch_size": 4,
            "steps": 1,
        }
    )
    start = train(config, tmp_path, data_root=data_root).history[0]
    assert start["N_objective"] == 16 * 16 + 16
    assert start["N"] == config.counts.total and start["flops_per_token"] == matmul_flops(config)
