from __future__ import annotations

import torch

from tests.trainers.objectives.toy_model import Even, TableModel, batch_of
from trainers.models import initialise
from trainers.models.transformer import Transformer
from trainers.noise import Noise
from trainers.objectives.autoregressive.objective import Autoregressive
from trainers.objectives.base import objectives


def chain_rule(model: TableModel, tokens: torch.Tensor) -> torch.Tensor:
    """-log p of one sequence, token by token."""
    total, bos = torch.zeros((), dtype=torch.float64), torch.tensor([model.vocab])
    for i in range(len(tokens)):
        prefix = torch.cat([bos, tokens[:i]])
        total -= model(prefix[None], "causal")[0, i].log_softmax(-1)[tokens[i]]
    return total


def test_score_is_the_chain_rule_and_probabilities_of_all_texts_sum_to_one() -> None:
    model = TableModel(vocab=3, length=4)
    texts = torch.cartesian_prod(*[torch.arange(3)] * 4)
    with torch.no_grad():
        scores = Autoregressive().score(model, batch_of(texts), range(5), micro_batch=7)
        for text, value in zip(texts[::11], scores.values[::11, 0], strict=True):
            torch.testing.assert_close(value * 4, chain_rule(model, text), rtol=0, atol=1e-12)
    assert scores.values.shape == (81, 1)
    assert abs(float((-4 * scores.values).exp().sum()) - 1) < 1e-12


def test_training_loss_is_the_score() -> None:
    model, batch = TableModel(), batch_of(torch.randint(3, (6, 4)))
    term = Autoregressive().terms(model, batch, Noise(0, batch.counters, 6), 0)["loss"]
    scores = Autoregressive().score(model, batch, range(1), 64)
    torch.testing.assert_close(term.numerator / term.denominator, scores.values.mean())


def test_padding_is_neither_scored_nor_seen() -> None:
    model = TableModel()
    real = torch.tensor([[True, True, False, False]])
    one, other = (batch_of(torch.tensor([[0, 1, x, x]]), real=real) for x in (0, 2))
    objective = Autoregressive()
    assert torch.equal(
        objective.score(model, one, range(1), 8).values, objective.score(model, other, range(1), 8).values
    )
    assert int(objective.terms(model, one, Noise(0, one.counters, 1), 0)["loss"].denominator) == 2


def test_uniform_predictor_scores_log_vocab() -> None:
    model = TableModel(uniform=True)
    score = Autoregressive().score(model, batch_of(torch.randint(3, (5, 4))), range(1), 8)
    torch.testing.assert_close(score.values, torch.full_like(score.values, torch.tensor(3.0).double().log()))


def test_input_mask_hides_context_but_never_bos_and_scores_every_position() -> None:
    objective = objectives.validate({"name": "autoregressive", "input_mask": 0.5})
    assert objective.extra_tokens == ("bos", "mask")
    assert objective.training_likelihood == "none"
    model, batch = TableModel(), batch_of(torch.randint(3, (500, 4)))
    c = objective.corrupt(model, batch, Noise(0, batch.counters, 50), 0)
    assert bool((c.inputs[:, 0] == 3).all())
    assert 0.45 < float((c.inputs[:, 1:] == 4).float().mean()) < 0.55
    assert bool(c.weights.all())
    kept = c.inputs[:, 1:] != 4
    assert torch.equal(c.inputs[:, 1:][kept], batch.tokens[:, :-1][kept])


def test_input_mask_hides_its_share_exactly() -> None:
    batch = batch_of(torch.zeros(2, 9, dtype=torch.int64))
    for share in (0.25, 0.5, 0.625):
        c = Autoregressive(input_mask=share).corrupt(TableModel(), batch, Even(batch), 0)
        assert (c.inputs == 4).sum(1).tolist() == [8 * share] * 2


@torch.no_grad()
def test_a_sequence_of_padding_alone_scores_zero_of_zero_tokens() -> None:
    real = torch.tensor([[True] * 4, [False] * 4])
    scores = Autoregressive().score(TableModel(), batch_of(torch.zeros(2, 4).long(), real=real), range(1), 8)
    assert float(scores.values[0]) > 0 == float(scores.values[1]) and scores.tokens.tolist() == [4, 0]


def test_input_mask_is_only_noise_of_training() -> None:
    model, batch = TableModel(), batch_of(torch.randint(3, (6, 4)))
    plain = Autoregressive().score(model, batch, range(1), 8)
    assert torch.equal(plain.values, Autoregressive(input_mask=0.5).score(model, batch, range(1), 8).values)


def test_the_option_adds_a_row_and_no_other_parameter() -> None:
    plain, noisy = (
        Transformer(width=16, layers=1).build(5, len(o.extra_tokens), 8)
        for o in (Autoregressive(), Autoregressive(input_mask=0.1))
    )
    for model in (plain, noisy):
        initialise(model, 0)
    for (name, a), (_, b) in zip(plain.named_parameters(), noisy.named_parameters(), strict=True):
        assert torch.equal(a, b[: len(a)]) and (name == "extra" or a.shape == b.shape)
