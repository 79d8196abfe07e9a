"""Every training variant against its own expectation, by enumeration of all masks; and its bias against the
bound.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.trainers.objectives.toy_model import Even, TableModel, batch_of, mean_ce
from trainers.noise import Noise
from trainers.objectives.base import objectives
from trainers.objectives.masked_diffusion.objective import MaskedDiffusion

T, B = 4, 20_000


def binomial(n: int, k: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


def count_shares(epsilon: float, weight_by_rate: bool = False) -> np.ndarray:
    """P(k masked) for k = 0..T under t ~ U(0, 1), or the integral of P(k | p) / p: exact by Gauss-Legendre
    quadrature.
    """
    x, w = np.polynomial.legendre.leggauss(16)
    p = epsilon + (1 - epsilon) * (x + 1) / 2
    return np.array(
        [
            sum(
                wi / 2 * binomial(T, k, pi) / (pi if weight_by_rate else 1)
                for wi, pi in zip(w, p, strict=True)
            )
            for k in range(T + 1)
        ]
    )


def expectation(objective: MaskedDiffusion, g: np.ndarray) -> float:
    """Expected training loss per token, from g[k-1], the mean cross-entropy of a masked token when k are
    masked.
    """
    k = np.arange(T + 1)
    shares, g = count_shares(objective.epsilon), np.concatenate([[0], g])
    if objective.forced_mask:
        forced = shares.copy()
        forced[1], forced[0] = shares[0] + shares[1], 0
        shares = forced
    if objective.normaliser == "masked":  # a ratio of sums over a large batch
        return float((shares * k * g).sum() / (shares * k).sum())
    if objective.weight == "inverse_p":
        return float((count_shares(objective.epsilon, True)[1:] * k[1:] * g[1:]).sum() / T)
    if objective.weight == "realised":
        return float((shares[1:] * g[1:]).sum() / shares[1:].sum())
    return float((shares * k * g).sum() / T)


def losses(
    objective: MaskedDiffusion, model: TableModel, tokens: torch.Tensor, first: int = 0
) -> torch.Tensor:
    """Training loss of many independent copies of one sequence [B]."""
    batch = batch_of(tokens.repeat(B, 1), first)
    c = objective.corrupt(model, batch, Noise(0, batch.counters, 16), 0)
    with torch.no_grad():
        nll = model.token_nll(model(c.inputs, "full"), c.targets)
    return (nll * c.weights).sum(1) * B / float(c.normaliser)


VARIANTS = [
    {"epsilon": 0},
    {"epsilon": 0.1},
    {"t": "iid", "epsilon": 0},
    {"t": "iid", "epsilon": 0.1},
    {"weight": "realised", "epsilon": 0},
    {"weight": "realised", "epsilon": 0, "t": "iid"},
    {"weight": "realised", "epsilon": 0.1},
    {"weight": "realised", "forced_mask": True, "epsilon": 0},
    {"weight": "none"},
    {"weight": "none", "normaliser": "masked"},
    {"epsilon": 0.01, "normaliser": "sequence"},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_training_loss_has_its_enumerated_expectation(options: dict) -> None:
    objective = MaskedDiffusion(**options)
    model, tokens = TableModel(length=T), torch.tensor([0, 2, 1, 1])
    drawn = losses(objective, model, tokens)
    error = float(drawn.std()) / B**0.5
    assert abs(float(drawn.mean()) - expectation(objective, mean_ce(model, tokens).numpy())) < 4 * error


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_only_unbiased_variants_are_called_bounds(options: dict) -> None:
    """Over models, an expectation that leaves the bound by more than rounding must not bear its name."""
    objective = MaskedDiffusion(**options)
    rng = np.random.default_rng(0)
    off = max(abs(expectation(objective, g) - g.mean()) for g in rng.uniform(0, 5, (20, T)))
    assert (objective.training_likelihood == "upper_bound") == (off < 1e-9)


def test_how_far_off_a_forced_mask_is() -> None:
    g = np.array([0.8, 1.1, 1.4, 1.7])
    biased = expectation(MaskedDiffusion(weight="realised", forced_mask=True, epsilon=0), g)
    assert biased - g.mean() == pytest.approx((g[0] - g.mean()) / (T + 1), abs=1e-12)
    assert biased < g.mean()


@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
def test_how_far_off_a_finite_epsilon_is(epsilon: float) -> None:
    """e/(1-e) x (bound - mean of f below e): above the bound where context helps, by at most .001 of it at
    the default.
    """
    g = np.array([0.8, 1.1, 1.4, 1.7])
    objective = MaskedDiffusion(epsilon=epsilon)
    p = (np.arange(20_000) + 0.5) / 20_000 * epsilon
    below = np.mean(sum(binomial(T, k, p) * k / (T * p) * g[k - 1] for k in range(1, T + 1)))
    off = expectation(objective, g) - g.mean()
    assert off == pytest.approx(epsilon / (1 - epsilon) * (g.mean() - below), rel=1e-4)
    assert 0 < off <= epsilon / (1 - epsilon) * g.mean()


@pytest.mark.parametrize("t", ["stratified", "iid"])
@pytest.mark.parametrize("weight", ["inverse_p", "realised"])
def test_uniform_predictor_scores_log_vocab_under_every_bound(weight: str, t: str) -> None:
    drawn = losses(
        MaskedDiffusion(weight=weight, t=t, epsilon=0),
        TableModel(length=T, uniform=True),
        torch.tensor([0, 1, 2, 0]),
    )
    if weight == "realised":
        torch.testing.assert_close(drawn, torch.full_like(drawn, math.log(3)))
    assert abs(float(drawn.mean()) - math.log(3)) <= 4 * float(drawn.std()) / B**0.5 + 1e-6


def test_stratified_levels_and_realised_weights_vary_less() -> None:
    """At T = 128, on a profile like a language model's: 1.5 nats with full context, 3 with none, tokens
    scattered by 1.5.
    """
    length, steps, size = 128, 400, 16
    scatter = 1.5 * torch.randn(length, generator=torch.Generator().manual_seed(0))
    batch = batch_of(torch.zeros(steps * size, length, dtype=torch.int64))
    model = TableModel(length=1)

    def spread(**options: object) -> float:
        c = MaskedDiffusion(**options).corrupt(model, batch, Noise(0, batch.counters, size), 0)
        share = (c.weights > 0).float().mean(1, keepdim=True)
        by_sequence = ((1.5 + 1.5 * share + scatter) * c.weights).sum(1) / length
        return float(by_sequence.view(steps, size).mean(1).std())

    assert spread(weight="realised") < 0.7 * spread()
    assert spread() < 0.95 * spread(t="iid")


def test_published_formula() -> None:
    """The loss as written in SMDM's and LLaDA's guidelines, from the same t and mask noise."""
    objective = MaskedDiffusion(t="iid")
    model = TableModel(length=T)
    batch = batch_of(torch.randint(3, (32, T), generator=torch.Generator().manual_seed(1)))
    noise = Noise(7, batch.counters, 32)
    eps = 1e-3
    input_ids, (b, length) = batch.tokens, batch.tokens.shape
    t = noise.uniform("t")
    p_mask = ((1 - eps) * t + eps)[:, None].repeat(1, length)
    masked_indices = noise.uniform("mask", length) < p_mask
    noisy_batch = torch.where(masked_indices, model.vocab, input_ids)
    logits = model.logits(model(noisy_batch, "full"))
    token_loss = (
        torch.nn.functional.cross_entropy(logits[masked_indices], input_ids[masked_indices], reduction="none")
        / p_mask[masked_indices]
    )
    published = token_loss.sum() / (b * length)
    term = objective.terms(model, batch, noise, 0)["loss"]
    torch.testing.assert_close(term.numerator / term.denominator, published, rtol=1e-7, atol=0)


def test_same_sequence_gets_another_mask_in_another_epoch_and_the_same_in_another_micro_batch() -> None:
    objective, real = MaskedDiffusion(), torch.ones(8, 64, dtype=torch.bool)
    now, later = (Noise(0, torch.arange(8) + 8 * step, 8) for step in (0, 1))
    masked, p = objective.draw_masks(real, now)
    again, _ = objective.draw_masks(real, later)
    assert bool((masked != again).any(1).all())
    part, part_p = objective.draw_masks(real[3:5], now.rows(3, 5))
    assert torch.equal(part, masked[3:5]) and torch.equal(part_p, p[3:5])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight": "realised"},
        {"normaliser": "masked"},
        {"normaliser": "sequence"},
        {"random_length": 1.0},
    ],
    ids=str,
)
def test_accumulation_does_not_move_the_loss(options: dict) -> None:
    objective, model = MaskedDiffusion(**options), TableModel(length=T)
    real = torch.ones(8, T, dtype=torch.bool)
    real[2, 2:] = False
    batch = batch_of(torch.randint(3, (8, T)), first=16, real=real)
    whole = objective.terms(model, batch, Noise(0, batch.counters, 8), 2)["loss"]
    parts = [
        objective.terms(model, batch.rows(i, i + 2), Noise(0, batch.counters[i : i + 2], 8), 2)["loss"]
        for i in range(0, 8, 2)
    ]
    torch.testing.assert_close(whole.numerator, sum(p.numerator for p in parts), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(whole.denominator, sum(p.denominator for p in parts))


def test_padding_is_never_masked_scored_or_seen() -> None:
    model = TableModel(length=T)
    real = torch.tensor([[True, True, True, False]]).repeat(64, 1)
    values = []
    for filler in (0, 2):
        batch = batch_of(torch.tensor([[0, 1, 2, filler]]).repeat(64, 1), real=real)
        for options in ({}, {"weight": "realised"}, {"weight": "realised", "forced_mask": True}):
            objective = MaskedDiffusion(**options)
            c = objective.corrupt(model, batch, Noise(0, batch.counters, 64), 0)
            assert not bool(c.weights[:, 3].any()) and int(c.normaliser) == 192
            values.append(model.weighted_cross_entropy(c))
    torch.testing.assert_close(values[:3], values[3:], rtol=0, atol=0)


def test_a_sequence_of_padding_alone_is_harmless() -> None:
    model, real = TableModel(length=T), torch.zeros(2, T, dtype=torch.bool)
    batch = batch_of(torch.zeros(2, T, dtype=torch.int64), real=real)
    for options in (
        {},
        {"weight": "realised"},
        {"weight": "realised", "forced_mask": True},
        {"normaliser": "sequence"},
    ):
        term = MaskedDiffusion(**options).terms(model, batch, Noise(0, batch.counters, 2), 0)["loss"]
        assert float(term.numerator.detach()) == 0 == float(term.denominator)


def test_random_length_cuts_whole_steps_and_is_counted() -> None:
    objective, model = MaskedDiffusion(random_length=0.5), TableModel(length=T)
    fed = []
    for step in range(200):
        batch = batch_of(torch.zeros(2, T, dtype=torch.int64), first=2 * step)
        noise = Noise(0, batch.counters, 2)
        c = objective.corrupt(model, batch, noise, step)
        assert int(c.normaliser) == c.inputs.numel() == int(objective.fed(batch, noise, step))
        fed.append(c.inputs.shape[1])
    assert set(fed) == {1, 2, 3, 4}
    assert 0.5 < np.mean(np.array(fed) == T) < 0.75


def test_random_lengths_are_uniform_up_to_the_whole_length() -> None:
    objective, length, steps = MaskedDiffusion(random_length=1.0), 8, 800
    tokens = torch.zeros(1, length, dtype=torch.int64)
    cuts = [
        int(objective.fed(batch, Noise(0, batch.counters, 1), step))
        for step in range(steps)
        for batch in [batch_of(tokens, first=step)]
    ]
    counts = np.bincount(cuts, minlength=length + 1)
    assert counts[0] == 0 and len(counts) == length + 1
    chi2 = ((counts[1:] - steps / length) ** 2 / (steps / length)).sum()
    assert chi2 < (length - 1) + 5 * math.sqrt(2 * (length - 1))


def test_an_empty_mask_is_drawn_again_with_its_level_from_the_next_stream() -> None:
    """The names of streams are part of what a run is."""
    objective, real = MaskedDiffusion(weight="realised", t="iid", epsilon=0), torch.ones(64, 2).bool()
    noise = Noise(0, torch.arange(64), 64)
    masked, p = objective.draw_masks(real, noise)
    drawn = torch.stack([n.uniform("t") for n in (noise, *(noise.derive(f"redraw/{k}") for k in range(6)))])
    draws = (drawn == p).int().argmax(0)
    assert torch.equal(drawn[draws, torch.arange(64)], p) and bool(masked.any(1).all())
    assert [int((draws == k).sum() > 0) for k in range(4)] == [1, 1, 1, 1]


def test_a_level_masks_its_share_exactly_and_weighs_it_by_the_inverse() -> None:
    batch = batch_of(torch.zeros(3, 8, dtype=torch.int64))
    for level in (0.25, 0.5, 0.875):
        objective = MaskedDiffusion(t="iid", epsilon=0)
        masked, p = objective.draw_masks(batch.loss_mask, Even(batch, t=level))
        assert masked.sum(1).tolist() == [8 * level] * 3 and p.tolist() == [level] * 3
        c = objective.corrupt(TableModel(), batch, Even(batch, t=level), 0)
        assert c.weights.sum(1).tolist() == [8.0] * 3
    least = 2.0**-24
    c = MaskedDiffusion(t="iid", epsilon=0).corrupt(TableModel(), batch, Even(batch, t=least), 0)
    assert c.weights.tolist() == [[1 / least] + [0.0] * 7] * 3, "the level next to none has its weight too"


@pytest.mark.parametrize(
    "field", [{"epsilon": -0.1}, {"epsilon": 1.0}, {"random_length": -0.1}, {"random_length": 1.1}], ids=str
)
def test_shares_are_shares(field: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(field))}\n  Input should be"):
        objectives.validate({"name": "masked_diffusion", **field})


def test_loss_is_finite_at_the_smallest_level() -> None:
    class Least(Noise):
        def uniform(self, stream: str, *shape: int) -> torch.Tensor:
            return torch.zeros(len(self.counters), *shape)

    model, batch = TableModel(length=T), batch_of(torch.zeros(2, T, dtype=torch.int64))
    for epsilon in (0, 1e-3):
        term = MaskedDiffusion(t="iid", epsilon=epsilon).terms(model, batch, Least(0, batch.counters, 2), 0)[
            "loss"
        ]
        assert bool(torch.isfinite(term.numerator))
