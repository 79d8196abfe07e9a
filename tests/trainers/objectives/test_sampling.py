"""Samplers against the distributions that they are meant to sample."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.trainers.objectives.toy_model import TableModel, batch_of
from trainers.models import initialise
from trainers.models.transformer import Transformer
from trainers.noise import Noise
from trainers.objectives.autoregressive import sampling as autoregressive
from trainers.objectives.autoregressive.objective import Autoregressive
from trainers.objectives.categorical import draw, gumbel
from trainers.objectives.masked_diffusion import sampling as masked
from trainers.objectives.masked_diffusion.likelihood import exact_under_order
from trainers.objectives.masked_diffusion.objective import MaskedDiffusion

EMPTY = torch.zeros(4000, 0, dtype=torch.int64)
PAIRS = torch.cartesian_prod(torch.arange(3), torch.arange(3))


def chi_square(samples: torch.Tensor, probabilities: torch.Tensor) -> float:
    found = torch.bincount(samples[:, 0] * 3 + samples[:, 1], minlength=9)
    expected = probabilities * len(samples)
    return float(((found - expected) ** 2 / expected).sum())


def pair_probabilities(model: TableModel, order: tuple[int, int]) -> torch.Tensor:
    """p(x_0, x_1) when decoded in ``order``, [9]."""
    first, second = order
    mask = torch.full((1, 2), 3)
    marginal = model(mask, "full")[0, first].softmax(-1)
    joint = torch.zeros(3, 3, dtype=torch.float64)
    for token in range(3):
        seen = mask.clone()
        seen[0, first] = token
        conditional = model(seen, "full")[0, second].softmax(-1)
        joint[token] = marginal[token] * conditional
    return (joint if first == 0 else joint.T).flatten()


@torch.no_grad()
def test_ancestral_sampling_draws_from_the_mean_over_orders() -> None:
    model = TableModel(vocab=3, length=2)
    samples = masked.sample(model, EMPTY, 2, 0, mask=3, sampler="ancestral", steps=200)
    expected = (pair_probabilities(model, (0, 1)) + pair_probabilities(model, (1, 0))) / 2
    assert chi_square(samples, expected) < 26  # 8 degrees of freedom, p = .001


@torch.no_grad()
def test_one_step_draws_positions_independently() -> None:
    model = TableModel(vocab=3, length=2)
    marginals = model(torch.full((1, 2), 3), "full")[0].softmax(-1)
    for sampler in ("ancestral", "confidence"):
        samples = masked.sample(model, EMPTY, 2, 0, mask=3, sampler=sampler, steps=1)
        assert chi_square(samples, (marginals[0][:, None] * marginals[1]).flatten()) < 26


@torch.no_grad()
def test_greedy_confidence_takes_the_surest_token_each_step() -> None:
    model = TableModel(vocab=3, length=4, seed=3)
    found = masked.sample(model, torch.zeros(1, 0, dtype=torch.int64), 4, 0, mask=3, temperature=0)
    tokens = torch.full((1, 4), 3)
    for _ in range(4):
        p, best = model(tokens, "full").softmax(-1).max(-1)
        where = int(p.masked_fill(tokens != 3, -1).argmax())
        tokens[0, where] = best[0, where]
    assert torch.equal(found, tokens)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 30])
@pytest.mark.parametrize("sampler", ["confidence", "ancestral"])
def test_every_mask_is_gone_and_the_prompt_stays(sampler: str, steps: int) -> None:
    model = Transformer(width=16, layers=1).build(3, 1, 12)
    initialise(model, 0)
    prompt = torch.tensor([[0, 2], [1, 1]])
    found = masked.sample(model, prompt, 9, 5, mask=3, sampler=sampler, steps=steps)
    assert found.shape == (2, 9) and int(found.max()) < 3
    assert torch.equal(found[:, :2], prompt)
    assert torch.equal(found, masked.sample(model, prompt, 9, 5, mask=3, sampler=sampler, steps=steps))


def test_bad_options_are_errors() -> None:
    model, prompt = TableModel(), torch.zeros(1, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="length 2"):
        masked.sample(model, prompt, 2, 0, mask=3)
    with pytest.raises(ValueError, match="length 2"):
        autoregressive.sample(model, prompt, 2, 0, bos=3)
    with pytest.raises(ValueError, match="sampler"):
        masked.sample(model, prompt, 4, 0, mask=3, sampler="best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="steps"):
        masked.sample(model, prompt, 4, 0, mask=3, steps=0)
    with pytest.raises(ValueError, match="temperature"):
        masked.sample(model, prompt, 4, 0, mask=3, temperature=-1)


@pytest.fixture(scope="module")
def decoder() -> torch.nn.Module:
    model = Transformer(width=32, layers=2).build(5, 1, 16)
    initialise(model, 1)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.mul_(20)
    return model.double().eval()


@torch.no_grad()
def test_cache_gives_what_feeding_everything_gives(decoder: torch.nn.Module) -> None:
    prompt = torch.tensor([1, 4, 2])
    found = Autoregressive().sample(decoder, prompt, 16, 7)
    noise = Noise(7, torch.zeros(1, dtype=torch.int64), 1, "sample/")
    tokens = prompt[None]
    for position in range(3, 16):
        hidden = decoder(torch.cat([torch.tensor([[5]]), tokens], 1), "causal")
        tokens = torch.cat(
            [tokens, draw(decoder.logits(hidden[:, -1]), 1.0, noise, f"token/{position}")[:, None]], 1
        )
    assert torch.equal(found, tokens[0])
    assert len(set(found.tolist())) > 1


@torch.no_grad()
def test_autoregressive_samples_follow_the_chain_rule(decoder: torch.nn.Module) -> None:
    samples = autoregressive.sample(decoder, EMPTY, 2, 3, bos=5)
    pairs = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    expected = (-2 * Autoregressive().score(decoder, batch_of(pairs), range(1), 64).values[:, 0]).exp()
    found = torch.bincount(samples[:, 0] * 5 + samples[:, 1], minlength=25)
    kept = expected * 4000 > 3
    rest = 4000 * float(expected[~kept].sum())
    value = float(((found - expected * 4000)[kept] ** 2 / (expected * 4000)[kept]).sum())
    assert (
        value < 52 and abs(int(found[~kept].sum()) - rest) < 5 * (rest + 1) ** 0.5
    )  # 24 degrees of freedom, p = .001


def test_objectives_sample_one_text(decoder: torch.nn.Module) -> None:
    for objective, options in (
        (Autoregressive(), {"temperature": 0}),
        (MaskedDiffusion(), {"sampler": "ancestral", "steps": 3}),
    ):
        found = objective.sample(decoder, torch.tensor([1, 2]), 10, 0, **options)
        assert found.shape == (10,) and found[:2].tolist() == [1, 2] and int(found.max()) < 5


def test_gumbel_noise_is_double_with_a_long_tail() -> None:
    noise = Noise(0, torch.arange(1000), 1000)
    values = gumbel(noise, "g", 1000)
    assert values.dtype == torch.float64
    assert float(values.mean()) == pytest.approx(0.5772, abs=0.005)
    assert float(values.var()) == pytest.approx(1.6449, abs=0.02)
    assert bool(torch.isfinite(values).all())
    ones = Noise(0, torch.arange(2), 2)
    ones.uniform = lambda stream, *shape: torch.full((2, *shape), 1 - 2.0**-24)  # type: ignore[method-assign]
    assert float(gumbel(ones, "g", 1).max()) > 30  # float32 would end at 16.6


@torch.no_grad()
def test_greedy_decoding_order_is_the_sampler_that_the_exact_likelihood_belongs_to() -> None:
    """Left to right, every text's probability under `exact_under_order` is its frequency when sampled so."""
    model = TableModel(vocab=3, length=2)
    exact = (-2 * exact_under_order(model, 3, batch_of(PAIRS), "left_to_right").values[:, 0]).exp()
    torch.testing.assert_close(exact, pair_probabilities(model, (0, 1)))
    assert sum(float(p) for p in exact) == pytest.approx(1)
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(PAIRS, 2))
