"""Twins see the same sequences, in the same order, and are scored on the same positions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from trainers.config import RunConfig
from trainers.data import prepare
from trainers.noise import Noise
from trainers.run.learner import Learner

Tiny = Callable[..., RunConfig]
ARMS = ("autoregressive", "masked_diffusion")


def fed(config: RunConfig, data_root: Path, steps: int) -> list[torch.Tensor]:
    """Everything that a run is fed: tokens, loss mask and counters of each step."""
    dataset = prepare(config.data, data_root)
    batches = [dataset.batch(step, config.batch_size, config.seed) for step in range(steps)]
    return [tensor for b in batches for tensor in (b.tokens, b.loss_mask, b.counters)]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("data", [{}, {"order": "shuffle_all"}, {"crop": "random"}, {"repack": True}])
def test_twins_are_fed_the_same(data: dict[str, object], tiny: Tiny, data_root: Path) -> None:
    one, other = (tiny(objective=objective, data=data) for objective in ARMS)
    assert same(fed(one, data_root, 60), fed(other, data_root, 60))


def test_one_document_more_is_noticed(tiny: Tiny, data_root: Path) -> None:
    base = tiny().data
    more = base.model_copy(update={"unique_bytes": 3400})
    assert prepare(more, data_root).manifest["digest"] != prepare(base, data_root).manifest["digest"]
    one, other = tiny(), tiny(objective="masked_diffusion", data={"unique_bytes": 3400})
    assert not same(fed(one, data_root, 60), fed(other, data_root, 60))


def test_twins_start_equal_and_have_equal_counts(tiny: Tiny, data_root: Path) -> None:
    learners = [
        Learner(config, prepare(config.data, data_root), torch.device("cpu"))
        for config in (tiny(objective=objective) for objective in ARMS)
    ]
    shared = [{n: p for n, p in learner.parameters.items() if n != "extra"} for learner in learners]
    assert shared[0].keys() == shared[1].keys()
    assert all(torch.equal(p, shared[1][n]) for n, p in shared[0].items())


def test_twins_are_scored_on_the_same_positions(tiny: Tiny, data_root: Path) -> None:
    counts = []
    for objective in ARMS:
        config = tiny(objective=objective)
        learner = Learner(config, prepare(config.data, data_root), torch.device("cpu"))
        batch = learner.dataset.validation("b", 6)
        with torch.no_grad():
            counts.append(config.objective.score(learner.model.eval(), batch, range(1), 4).tokens)
    assert torch.equal(counts[0], counts[1])
    config = tiny()
    batch = prepare(config.data, data_root).batch(0, 4, 0)
    learner = Learner(config, prepare(config.data, data_root), torch.device("cpu"))
    scored = config.objective.corrupt(learner.model, batch, Noise(0, batch.counters, 4), 0)
    assert torch.equal(scored.weights > 0, batch.loss_mask), "the first token too, after BOS"
    assert torch.equal(scored.targets, batch.tokens)


def test_a_sequence_gets_another_mask_in_another_epoch(tiny: Tiny, data_root: Path) -> None:
    config = tiny(objective="masked_diffusion", data={"order": "fixed"})
    learner = Learner(config, prepare(config.data, data_root), torch.device("cpu"))
    epoch = learner.dataset.sequences
    masks = []
    for counter in (0, epoch):
        batch = learner.dataset.batch(counter // 4, 4, 0)
        row = int((batch.counters == counter).nonzero()[0, 0])
        noise = Noise(config.seed, batch.counters, 4)
        masked = config.objective.corrupt(learner.model, batch, noise, counter // 4).weights > 0
        masks.append((batch.tokens[row], masked[row]))
    np.testing.assert_array_equal(masks[0][0], masks[1][0])
    assert not torch.equal(masks[0][1], masks[1][1])
