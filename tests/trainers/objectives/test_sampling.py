"""Samplers against the distributions that they are meant to sample."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tests.trainers.objectives.toy_model import TableModel, batch_of
from trainers.models import initialise
from trainers.models.transformer import Transformer
from trainers.noise import Noise
from trainers.objectives.autoregressive import Autoregressive, LeftToRight
from trainers.objectives.categorical import draw, gumbel
from trainers.objectives.masked_diffusion import Ancestral, Confidence, MaskedDiffusion
from trainers.objectives.masked_diffusion.likelihood import exact_under_order
from trainers.objectives.sampler import Sampler, sampler_of

EMPTY = torch.zeros(4000, 0, dtype=torch.int64)
SAMPLERS = {"ancestral": Ancestral, "confidence": Confidence}
PAIRS = torch.cartesian_prod(torch.arange(3), torch.arange(3))


def continued(
    sampler: Sampler, model: torch.nn.Module, prompts: torch.Tensor, length: int, seed: int
) -> torch.Tensor:
    """Prompts [B, P] continued to [B, length]."""
    tokens = torch.zeros(len(prompts), length, dtype=torch.int64)
    tokens[:, : prompts.shape[1]] = prompts
    given = (torch.arange(length) < prompts.shape[1]).expand_as(tokens)
    return sampler.complete(model, tokens, given, seed)


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
    samples = continued(Ancestral(steps=200), model, EMPTY, 2, 0)
    expected = (pair_probabilities(model, (0, 1)) + pair_probabilities(model, (1, 0))) / 2
    assert chi_square(samples, expected) < 26  # 8 degrees of freedom, p = .001


@torch.no_grad()
def test_one_step_draws_positions_independently() -> None:
    model = TableModel(vocab=3, length=2)
    marginals = model(torch.full((1, 2), 3), "full")[0].softmax(-1)
    for sampler in SAMPLERS.values():
        samples = continued(sampler(steps=1), model, EMPTY, 2, 0)
        assert chi_square(samples, (marginals[0][:, None] * marginals[1]).flatten()) < 26


@torch.no_grad()
def test_greedy_confidence_takes_the_surest_token_each_step() -> None:
    model = TableModel(vocab=3, length=4, seed=3)
    found = continued(Confidence(temperature=0), model, torch.zeros(1, 0, dtype=torch.int64), 4, 0)
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
    found = continued(SAMPLERS[sampler](steps=steps), model, prompt, 9, 5)
    assert found.shape == (2, 9) and int(found.max()) < 3
    assert torch.equal(found[:, :2], prompt)
    assert torch.equal(found, continued(SAMPLERS[sampler](steps=steps), model, prompt, 9, 5))


def test_bad_options_are_errors() -> None:
    with pytest.raises(ValueError, match=r"unknown sampler 'ancestrl'.*did you mean 'ancestral'"):
        sampler_of(MaskedDiffusion(), "ancestrl")
    with pytest.raises(ValueError, match=r"'confidence' of objective 'autoregressive'. Known: left_to_right"):
        sampler_of(Autoregressive(), "confidence")
    with pytest.raises(ValueError, match="sampler 'confidence': steps: must be greater than or equal to 1"):
        sampler_of(MaskedDiffusion(), steps=0)
    with pytest.raises(ValueError, match="temperature: must be greater than or equal to 0"):
        sampler_of(Autoregressive(), temperature=-1)
    with pytest.raises(ValueError, match="did you mean 'steps'"):
        sampler_of(MaskedDiffusion(), step=2)


@pytest.mark.parametrize("sampler", [Confidence(), Ancestral(steps=3)])
def test_gaps_are_filled_and_what_is_given_stays(sampler: Sampler) -> None:
    model = Transformer(width=16, layers=1).build(3, 1, 12)
    initialise(model, 0)
    tokens = torch.randint(3, (4, 12), generator=torch.Generator().manual_seed(0))
    given = torch.rand(4, 12, generator=torch.Generator().manual_seed(1)) < 0.5
    completed = sampler.complete(model, torch.where(given, tokens, 99), given, 5)
    assert torch.equal(completed[given], tokens[given])
    assert int(completed.max()) < 3 and not torch.equal(completed, tokens)


def test_left_to_right_continues_prefixes_of_any_length_and_refuses_gaps() -> None:
    model = Transformer(width=16, layers=1).build(3, 1, 8)
    initialise(model, 0)
    tokens = torch.zeros(3, 8, dtype=torch.int64)
    given = torch.arange(8) < torch.tensor([[2], [5], [8]])
    completed = LeftToRight().complete(model, tokens, given, 1)
    assert torch.equal(completed[given], tokens[given]) and int(completed[0].sum()) > 0
    with pytest.raises(ValueError, match="cannot fill a gap"):
        LeftToRight().complete(model, tokens, ~given, 1)


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
    found = continued(LeftToRight(), decoder, prompt[None], 16, 7)[0]
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
    samples = continued(LeftToRight(), decoder, EMPTY, 2, 3)
    pairs = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    expected = (-2 * Autoregressive().score(decoder, batch_of(pairs), range(1), 64).values[:, 0]).exp()
    found = torch.bincount(samples[:, 0] * 5 + samples[:, 1], minlength=25)
    kept = expected * 4000 > 3
    rest = 4000 * float(expected[~kept].sum())
    value = float(((found - expected * 4000)[kept] ** 2 / (expected * 4000)[kept]).sum())
    assert (
        value < 52 and abs(int(found[~kept].sum()) - rest) < 5 * (rest + 1) ** 0.5
    )  # 24 degrees of freedom, p = .001


def test_gumbel_noise_is_double_with_a_long_tail() -> None:
    noise = Noise(0, torch.arange(1000), 1000)
    values = gumbel(noise, "g", 1000)
    assert values.dtype == torch.float64
    assert float(values.mean()) == pytest.approx(0.5772, abs=0.005)
    assert float(values.var()) == pytest.approx(1.6449, abs=0.02)
    assert bool(torch.isfinite(values).all())
    ones = Noise(0, torch.arange(2), 2)
    for bits, end in (
        (1 - 2.0**-24, 49 * math.log(2)),  # float32 would end at 16.6
        (0.0, -math.log(49 * math.log(2))),  # the middles of 2**48 intervals: never 0, never 1
    ):
        ones.uniform = lambda stream, *shape, bits=bits: torch.full((2, *shape), bits)  # type: ignore[method-assign]
        assert float(gumbel(ones, "g", 1).max()) == pytest.approx(end, rel=1e-3)


@torch.no_grad()
def test_greedy_decoding_order_is_the_sampler_that_the_exact_likelihood_belongs_to() -> None:
    """Left to right, every text's probability under `exact_under_order` is its frequency when sampled so."""
    model = TableModel(vocab=3, length=2)
    exact = (-2 * exact_under_order(model, 3, batch_of(PAIRS), "left_to_right").values[:, 0]).exp()
    torch.testing.assert_close(exact, pair_probabilities(model, (0, 1)))
    assert sum(float(p) for p in exact) == pytest.approx(1)
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(PAIRS, 2))
