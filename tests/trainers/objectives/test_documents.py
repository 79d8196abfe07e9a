"""Where attention stays within documents, a document packed beside others is what it is alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.trainers.objectives.toy_model import batch_of
from trainers.batch import Batch
from trainers.models import initialise
from trainers.models.transformer import Transformer
from trainers.noise import Noise
from trainers.objectives.autoregressive.objective import Autoregressive
from trainers.objectives.masked_diffusion.likelihood import elbo, exact_under_order, masked_nll
from trainers.objectives.masked_diffusion.objective import MaskedDiffusion

VOCAB, SIZES = 7, (5, 1, 6)
LENGTH = sum(SIZES)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """A transformer in float64 whose positions matter by their differences alone, as RoPE's do."""
    built = Transformer(width=32, layers=2, init_std=0.5).build(VOCAB, 1, LENGTH)
    initialise(built, 0)
    return built.double().eval()


@pytest.fixture(scope="module")
def packed() -> Batch:
    """Two sequences, each of three documents."""
    tokens = torch.randint(VOCAB, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    documents = torch.repeat_interleave(torch.arange(3), torch.tensor(SIZES))
    return replace(batch_of(tokens), documents=torch.stack([documents, documents + 2]))


def alone(batch: Batch) -> list[Batch]:
    """Its documents, each as a batch of its own."""
    return [batch_of(part) for part in batch.tokens.split(SIZES, 1)]


@torch.no_grad()
def test_autoregression_scores_and_trains_on_each_document_alone(
    model: torch.nn.Module, packed: Batch
) -> None:
    objective = Autoregressive()
    whole = objective.score(model, packed, range(1), 8).values[:, 0] * LENGTH
    parts = sum(
        objective.score(model, p, range(1), 8).values[:, 0] * p.tokens.shape[1] for p in alone(packed)
    )
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-9)
    across = objective.score(model, replace(packed, documents=None), range(1), 8).values[:, 0] * LENGTH
    assert not torch.allclose(across, whole, atol=1e-3)
    term = objective.terms(model, packed, Noise(0, packed.counters, 2), 0)["loss"]
    torch.testing.assert_close(term.numerator, whole.sum(), rtol=0, atol=1e-9)


@torch.no_grad()
def test_masked_diffusion_sees_each_document_alone(model: torch.nn.Module, packed: Batch) -> None:
    masked = torch.rand(2, LENGTH, generator=torch.Generator().manual_seed(1)) < 0.5
    whole = masked_nll(model, VOCAB, packed, masked)
    parts = [
        masked_nll(model, VOCAB, part, m)
        for part, m in zip(alone(packed), masked.split(SIZES, 1), strict=True)
    ]
    torch.testing.assert_close(whole, torch.cat(parts, 1), rtol=0, atol=1e-9)
    assert not torch.allclose(masked_nll(model, VOCAB, replace(packed, documents=None), masked), whole)
    c = MaskedDiffusion().corrupt(model, packed, Noise(0, packed.counters, 2), 0)
    expected = masked_nll(model, VOCAB, packed, c.weights > 0) * c.weights
    torch.testing.assert_close(model.weighted_cross_entropy(c), expected.sum(), rtol=0, atol=1e-6)


@torch.no_grad()
def test_likelihoods_of_masked_diffusion_stay_within_documents(model: torch.nn.Module, packed: Batch) -> None:
    """A token of another document changes neither the bound nor a decoder's likelihood of this one."""
    tokens = packed.tokens.clone()
    tokens[:, 0] = (tokens[:, 0] + 1) % VOCAB
    real = packed.documents != packed.documents[:, :1]  # the first document is seen, but not scored
    one, other = (replace(packed, tokens=t, loss_mask=real) for t in (packed.tokens, tokens))
    loose_one, loose_other = (replace(b, documents=None, loss_mask=packed.loss_mask) for b in (one, other))
    for score in (
        lambda b: elbo(model, VOCAB, b, range(2), 8).values,
        lambda b: exact_under_order(model, VOCAB, b, "left_to_right").values,
    ):
        torch.testing.assert_close(score(one), score(other), rtol=0, atol=1e-12)
        assert not torch.allclose(score(loose_one), score(loose_other))


def test_a_micro_batch_and_a_cut_take_their_documents_along(packed: Batch) -> None:
    assert packed.documents is not None
    assert torch.equal(packed.rows(1, 2).documents, packed.documents[1:])
    cut = packed.cut(4)
    assert cut.documents.shape == cut.tokens.shape == (2, 4) and torch.equal(cut.counters, packed.counters)
