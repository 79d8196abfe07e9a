"""Layouts that need no new forward: noisy and clean halves side by side, and rows of two kinds in one batch.

Both objectives are written here, outside the package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic import Field

from trainers import models
from trainers.batch import Batch
from trainers.config import RunConfig
from trainers.models.attention import Attention
from trainers.noise import Noise
from trainers.objectives.base import Corruption, Objective, objectives
from trainers.run.loop import train
from trainers.state.checkpoint import read


@objectives.register
class TwoHalves(Objective):
    """Masked diffusion in blocks (arXiv 2503.09573): a level for each block, given to its positions."""

    name: ClassVar[str] = "two_halves"
    training_forwards: ClassVar[float] = 2.0
    block: int = Field(4, ge=1)

    @property
    def extra_tokens(self) -> tuple[str, ...]:
        return ("mask",)

    def modules(self, model: Any, vocab: int) -> torch.nn.Module:
        return torch.nn.Linear(1, model.width)

    def corrupt(self, model: Any, batch: Batch, noise: Noise, step: int) -> Corruption:
        (_, length), clean = batch.tokens.shape, batch.tokens
        level = noise.uniform("level", length // self.block).repeat_interleave(self.block, 1)
        masked = noise.uniform("mask", length) < level
        weights = torch.cat([masked / level.clamp_min(2.0**-24), torch.zeros_like(level)], 1)
        levels = torch.cat([level, torch.zeros_like(level)], 1)[..., None]
        return Corruption(
            inputs=torch.cat([torch.where(masked, model.vocab, clean), clean], 1),
            targets=torch.cat([clean, clean], 1),
            weights=weights,
            normaliser=batch.loss_mask.sum(),
            attention=Attention.two_halves(length, self.block),
            positions=torch.arange(length).repeat(2).expand(len(clean), -1),
            conditioning=model.objective(levels.to(model.objective.weight.dtype)),
        )


@objectives.register
class Dual(Objective):
    """Next-token prediction on some rows, masked prediction on others, in one network (arXiv 2512.14549)."""

    name: ClassVar[str] = "dual"
    causal: float = Field(0.5, ge=0, le=1)

    @property
    def extra_tokens(self) -> tuple[str, ...]:
        return ("bos", "mask")

    def corrupt(self, model: Any, batch: Batch, noise: Noise, step: int) -> Corruption:
        rows = noise.uniform("row") < self.causal
        bos = torch.full_like(batch.tokens[:, :1], model.vocab)
        shifted = torch.cat([bos, batch.tokens[:, :-1]], 1)
        masked = noise.uniform("mask", batch.tokens.shape[1]) < noise.uniform("level")[:, None]
        inputs = torch.where(masked, model.vocab + 1, batch.tokens)
        weights = torch.where(rows[:, None], batch.loss_mask, masked & batch.loss_mask).to(torch.float32)
        return Corruption(
            inputs=torch.where(rows[:, None], shifted, inputs),
            targets=batch.tokens,
            weights=weights,
            normaliser=weights.sum(),
            attention=Attention.per_row(rows),
        )


def config(name: str, **fields: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "objective": name,
            "model": {"name": "transformer", "width": 16, "layers": 2, "ffn": 32},
            "data": {"unique_bytes": 3000, "context": 16},
            "evaluation": {"sequences": 3, "draws": 1, "spacing": 2, "first": 6},
            "batch_size": 4,
            "steps": 12,
            **fields,
        }
    )


def batch(size: int = 4, length: int = 16) -> Batch:
    tokens = torch.arange(size * length).view(size, length) * 7 % 250
    return Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), torch.arange(size))


@pytest.mark.parametrize("name", ["two_halves", "dual"])
def test_trains_and_resumes_bit_for_bit(name: str, tmp_path: Path, data_root: Path) -> None:
    run = config(name)
    whole = train(run, tmp_path / "whole", data_root=data_root)
    calls = iter(range(1000))
    train(run, tmp_path / "parts", data_root=data_root, stop=lambda: next(calls) >= 7)
    parts = train(run, tmp_path / "parts", data_root=data_root)
    assert parts.history == whole.history
    ends = []
    for result in (whole, parts):
        commit = result.folder.last_commit()
        assert commit is not None
        ends.append(read(result.folder, commit, run.steps).weights)
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])
    losses = [e["loss"] for e in whole.history if e["event"] == "train"]
    assert losses[-1] < losses[0]


def test_a_noisy_block_does_not_see_its_clean_self() -> None:
    """Clean tokens of a block move the predictions of later blocks alone."""
    run = config("two_halves")
    model = models.build(run)
    model.to(torch.float64)
    c = run.objective.corrupt(model, batch(), Noise(0, torch.arange(4), 4), 0)
    changed = c.inputs.clone()
    changed[:, 16 + 4 : 16 + 8] = (changed[:, 16 + 4 : 16 + 8] + 1) % model.vocab
    with torch.no_grad():
        one, other = (model(ids, c.attention, c.positions, c.conditioning) for ids in (c.inputs, changed))
    moved = (one - other).abs().amax((0, 2))[:16]
    assert moved[:8].eq(0).all() and moved[8:].gt(0).all()


def test_rows_of_a_kind_are_those_of_a_batch_of_that_kind() -> None:
    """A causal row is what autoregression makes of it, whatever stands beside it."""
    run = config("dual")
    model = models.build(run)
    model.to(torch.float64)
    c = run.objective.corrupt(model, batch(), Noise(0, torch.arange(4), 4), 0)
    rows = c.attention.causal_rows
    assert 0 < int(rows.sum()) < 4
    with torch.no_grad():
        mixed = model(c.inputs, c.attention)
        torch.testing.assert_close(mixed[rows], model(c.inputs[rows], "causal"), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(mixed[~rows], model(c.inputs[~rows], "full"), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["two_halves", "dual"])
def test_plain_and_fused_kernels_lower_it_alike(name: str) -> None:
    losses = []
    for kernels in ("plain", "fused"):
        run = config(name, resources={"kernels": kernels})
        model = models.build(run)
        model.to(torch.float64)
        terms = run.objective.terms(model, batch(), Noise(0, torch.arange(4), 4), 0)
        losses.append(terms["loss"].numerator.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
