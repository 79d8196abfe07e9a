from __future__ import annotations

import json
import math

import pytest
import torch

from trainers.batch import Batch
from trainers.config import EvaluationConfig
from trainers.evaluation.scoring import Half, evaluate, to_precision
from trainers.models import initialise
from trainers.models.transformer import Transformer
from trainers.noise import Noise
from trainers.objectives.autoregressive.objective import Autoregressive
from trainers.objectives.base import Scores
from trainers.objectives.masked_diffusion.objective import MaskedDiffusion

VOCAB = 11


class Texts:
    """Random sequences, the last of each half half padding."""

    def __init__(self, length: int, vocab: int) -> None:
        self.length, self.vocab = length, vocab

    def validation(self, half: str, sequences: int) -> Batch:
        g = torch.Generator().manual_seed(ord(half))
        tokens = torch.randint(self.vocab, (sequences, self.length), generator=g)
        real = torch.ones_like(tokens, dtype=torch.bool)
        real[-1, self.length // 2 :] = False
        return Batch(tokens, real, torch.arange(sequences))


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    built = Transformer(width=32, layers=2, dropout_mlp=0.5).build(VOCAB, 1, 32)
    initialise(built, 0)
    with torch.no_grad():
        for p in built.parameters():
            if p.ndim > 1:
                p.mul_(8)
    return built


@pytest.mark.parametrize("objective", [Autoregressive(), MaskedDiffusion()], ids=lambda o: o.name)
def test_batch_size_moves_a_value_by_less_than_1e_6(model: torch.nn.Module, objective) -> None:
    config = EvaluationConfig(sequences=24, draws=2)
    found = [evaluate(model, objective, Texts(32, VOCAB), config, micro_batch=m) for m in (1, 5, 64)]
    for half in ("a", "b"):
        values = [getattr(f, half).nll for f in found]
        assert max(values) - min(values) < 1e-6
    assert model.training


def test_half_weighs_sequences_by_their_tokens_and_tells_its_errors() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 5.0], [2.0, 2.0]], dtype=torch.float64)
    half = Half.of(Scores(values, torch.tensor([4, 2, 2])), exact=False)
    assert half.nll == pytest.approx((4 * 1.5 + 2 * 4 + 2 * 2) / 8)
    draws = [(4 * 1 + 2 * 3 + 2 * 2) / 8, (4 * 2 + 2 * 5 + 2 * 2) / 8]
    assert half.mc_se == pytest.approx(abs(draws[0] - draws[1]) / 2)
    equal = Half.of(Scores(values, torch.tensor([8, 8, 8])), exact=False)
    assert equal.se == pytest.approx(float(values.mean(1).std()) / 3**0.5)
    assert Half.of(Scores(values[:, :1], torch.tensor([1, 1, 1])), exact=False).mc_se is None
    assert Half.of(Scores(values[:, :1], torch.tensor([1, 1, 1])), exact=True).mc_se == 0


def test_standard_error_over_draws_covers_the_spread_of_fresh_draws(model: torch.nn.Module) -> None:
    config = EvaluationConfig(sequences=12)
    found = evaluate(model, MaskedDiffusion(), Texts(32, VOCAB), config, draws=64).a
    blocks = found.scores.values[:11].mean(0).view(8, 8).mean(1)
    predicted = found.scores.values[:11].mean(0).std() / 8**0.5
    assert 0.4 < float(blocks.std() / predicted) < 1.7


def test_to_precision_adds_draws_until_it_is_precise(model: torch.nn.Module) -> None:
    config, texts = EvaluationConfig(sequences=8), Texts(32, VOCAB)
    rough = evaluate(model, MaskedDiffusion(), texts, config, draws=16)
    target = rough.b.mc_se / 2
    fine = to_precision(model, MaskedDiffusion(), texts, config, target)
    assert fine.b.mc_se <= target and 40 < fine.draws < 200
    assert torch.equal(fine.b.scores.values[:, :16], rough.b.scores.values)
    assert fine.a.nll == evaluate(model, MaskedDiffusion(), texts, config).a.nll, "half A only selects"
    again = evaluate(model, MaskedDiffusion(), texts, config, draws=fine.draws)
    assert fine.b.nll == again.b.nll and fine.b.mc_se == again.b.mc_se


def test_to_precision_stops_at_its_cap_and_tells(model: torch.nn.Module) -> None:
    found = to_precision(
        model, MaskedDiffusion(), Texts(32, VOCAB), EvaluationConfig(sequences=4), 1e-9, maximum=20
    )
    assert found.draws == 20 and found.b.mc_se > 1e-9


class Alternating(MaskedDiffusion):
    """Every sequence scores 2 nats in even draws, none in odd ones: the error of n draws is 1 / sqrt(n - 1)
    where n is even.
    """

    name = "alternating"

    def score(self, model: torch.nn.Module, batch: Batch, draws: range, micro_batch: int) -> Scores:
        values = torch.tensor([2.0 * (draw % 2 == 0) for draw in draws], dtype=torch.float64)
        return Scores(values.expand(len(batch), -1), batch.loss_mask.sum(1))


def test_to_precision_asks_for_the_draws_that_an_error_of_one_over_root_n_needs(
    model: torch.nn.Module,
) -> None:
    def drawn(target: float | None, precise: float = 0.05) -> int:
        config = EvaluationConfig(sequences=4, precise=precise)
        return to_precision(model, Alternating(), Texts(8, VOCAB), config, target).draws

    config = EvaluationConfig(sequences=4)
    reached = evaluate(model, Alternating(), Texts(8, VOCAB), config, draws=16).b.mc_se
    assert reached == pytest.approx(15**-0.5) and drawn(reached) == 16, (
        "an error that is the target is enough"
    )
    assert drawn(0.1) == math.ceil(16 * (15**-0.5 / 0.1) ** 2) == 107
    assert drawn(None, precise=0.1) == 107 and drawn(None, precise=0.2) == 27


def test_one_sequence_has_no_standard_error() -> None:
    with pytest.raises(ValueError, match="needs 2 validation sequences or more, not 1"):
        Half.of(Scores(torch.ones(1, 3), torch.tensor([4])), exact=False)
    assert Half.of(Scores(torch.tensor([[1.0], [3.0]]), torch.tensor([4, 4])), exact=True).se == 1


@torch.no_grad()
def test_weights_are_float32_in_evaluation_whatever_training_casts(model: torch.nn.Module) -> None:
    config, texts = EvaluationConfig(sequences=4), Texts(32, VOCAB)
    batch = texts.validation("b", 4)
    plain = Autoregressive().score(model.eval(), batch, range(1), 64).values
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(evaluate(model, Autoregressive(), texts, config).b.scores.values, plain)


def test_exact_scores_need_one_draw(model: torch.nn.Module) -> None:
    found = to_precision(model, Autoregressive(), Texts(32, VOCAB), EvaluationConfig(sequences=4))
    assert (found.kind, found.draws, found.a.mc_se) == ("exact", 1, 0.0)


def test_event_is_json_and_carries_every_score(model: torch.nn.Module) -> None:
    found = evaluate(model, MaskedDiffusion(), Texts(32, VOCAB), EvaluationConfig(sequences=4, draws=3))
    event = json.loads(json.dumps(found.event(), allow_nan=False))
    assert event["kind"] == "upper_bound" and event["draws"] == 3
    assert set(event["a"]) == {"nll", "se", "mc_se"}
    assert len(event["scores"]["b"]) == 4 and len(event["scores"]["b"][0]) == 3
    assert event["sequence_tokens"]["a"] == [32, 32, 32, 16]
    assert math.isclose(Half.of(found.a.scores, False).nll, event["a"]["nll"])


def test_training_variant_does_not_change_the_score(model: torch.nn.Module) -> None:
    config, texts = EvaluationConfig(sequences=4), Texts(32, VOCAB)
    variants = [
        {},
        {"weight": "none"},
        {"weight": "realised", "forced_mask": True},
        {"random_length": 0.5, "epsilon": 0.1},
    ]
    values = [evaluate(model, MaskedDiffusion(**v), texts, config).b.nll for v in variants]
    assert len(set(values)) == 1


def test_twins_are_fed_the_same_tokens_and_scored_on_the_same_positions(model: torch.nn.Module) -> None:
    batch = Texts(32, VOCAB).validation("a", 6)
    noise = Noise(0, batch.counters, 6)
    ar, mdm = Autoregressive(), MaskedDiffusion()
    fed = [objective.corrupt(model, batch, noise, 0) for objective in (ar, mdm)]
    assert torch.equal(fed[0].targets, fed[1].targets)
    assert (
        int(fed[0].normaliser)
        == int(fed[1].normaliser)
        == int(ar.fed(batch, noise, 0))
        == int(mdm.fed(batch, noise, 0))
    )
    config = EvaluationConfig(sequences=6)
    scored = [evaluate(model, objective, Texts(32, VOCAB), config).b.scores.tokens for objective in (ar, mdm)]
    assert torch.equal(*scored)
