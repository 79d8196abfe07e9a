"""What the pages on tasks, samplers and corpora define works as they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.docs import page_corpus, page_sampler, page_task
from trainers.config import DataConfig, RunConfig
from trainers.data import prepare
from trainers.models import initialise
from trainers.models.transformer import Transformer
from trainers.objectives.masked_diffusion import MaskedDiffusion
from trainers.objectives.sampler import sampler_of
from trainers.run.loop import train

CONFIG: dict[str, Any] = {
    "model": {"name": "transformer", "width": 16, "layers": 1, "ffn": 32},
    "evaluation": {"sequences": 4, "first": 4},
    "batch_size": 4,
    "steps": 4,
}


def test_a_corpus_of_text_and_one_of_sums(tmp_path: Path) -> None:
    assert page_corpus.Squares.name == "squares"  # type: ignore[attr-defined]
    data = prepare(DataConfig.model_validate({"corpus": "squares", "context": 64}), tmp_path)
    assert "The square of " in data.decode(data.tokens[:200].tolist()) and data.marks is None
    data = prepare(DataConfig.model_validate({"corpus": "sums", "context": 12}), tmp_path)
    batch = data.batch(0, 8, 0)
    for tokens, scored, real in zip(batch.tokens, batch.loss_mask, batch.real, strict=True):
        question, answer = (data.decode(tokens[mask].tolist()) for mask in (real & ~scored, scored))
        assert eval(question.removesuffix("=")) == int(answer) and answer.endswith("\n")
    everything = {"corpus": {"name": "sums", "given": False}, "context": 12}
    batch = prepare(DataConfig.model_validate(everything), tmp_path).batch(0, 8, 0)
    assert torch.equal(batch.loss_mask, batch.real)


def test_a_sampler_that_goes_by_the_margin() -> None:
    assert page_sampler.Margin.name == "margin"  # type: ignore[attr-defined]
    model = Transformer(width=16, layers=1).build(5, 1, 12)
    initialise(model, 0)
    tokens = torch.zeros(3, 12, dtype=torch.int64)
    given = torch.arange(12).expand(3, 12) % 4 == 0
    for options in ({}, {"steps": 3, "jitter": 0.5}):
        drawn = sampler_of(MaskedDiffusion(), "margin", **options).complete(model, tokens, given, 1)
        assert torch.equal(drawn[given], tokens[given]) and int(drawn.max()) in range(1, 5)


@pytest.mark.parametrize("objective", ["autoregressive", "masked_diffusion"])
def test_tasks_by_choice_and_by_sampling(tmp_path: Path, objective: str) -> None:
    assert page_task.InOrder.name == "in_order"  # type: ignore[attr-defined]
    tasks = [{"name": "in_order", "count": 8, "length": 6}, {"name": "exact_match", "sequences": 4}]
    config = RunConfig.model_validate(
        CONFIG
        | {"objective": objective, "evaluation": {**CONFIG["evaluation"], "tasks": tasks}}
        | {"data": {"corpus": {"name": "copy", "pairs": 200, "length": 3}, "context": 8}}
    )
    result = train(config, tmp_path / "run", data_root=tmp_path / "data")
    chosen, matched = (event for event in result.history if event["event"] == "task")
    assert 0 <= chosen["b"]["accuracy"] <= 1 and len(chosen["items"]["b"]["nll"]) == 16
    assert matched["b"]["exact_match"] < 1 and len(matched["items"]["a"]["correct"]) == 4
