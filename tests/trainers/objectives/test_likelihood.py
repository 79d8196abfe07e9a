"""The one estimator of the bound, and exact chain rules, by enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tests.trainers.objectives.toy_model import TableModel, batch_of, mean_ce, subsets
from trainers.objectives.autoregressive import Autoregressive
from trainers.objectives.masked_diffusion import MaskedDiffusion
from trainers.objectives.masked_diffusion import likelihood as masked
from trainers.objectives.masked_diffusion.likelihood import (
    counts_at,
    elbo,
    evaluation_masks,
    exact_under_order,
    mask_counts,
)

TEXT = torch.tensor([0, 2, 1, 1, 0])


def order_nll(model: TableModel, text: torch.Tensor, order: tuple[int, ...]) -> float:
    """-log p of one sequence when it is revealed in ``order``."""
    hidden, total = torch.ones(len(text), dtype=torch.bool), 0.0
    for i in order:
        total -= float(
            model(torch.where(hidden, model.vocab, text)[None], "full")[0, i].log_softmax(-1)[text[i]]
        )
        hidden[i] = False
    return total


@torch.no_grad()
def test_enumerated_bound_is_the_mean_over_decoding_orders() -> None:
    model = TableModel(length=5)
    orders = [order_nll(model, TEXT, order) for order in itertools.permutations(range(5))]
    assert sum(orders) / len(orders) / 5 == pytest.approx(float(mean_ce(model, TEXT).mean()), abs=1e-12)


@torch.no_grad()
def test_estimator_is_the_bound_when_its_masks_are_all_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact unbiasedness: k uniform and subsets uniform give the bound; the next two tests show that the
    masks are so drawn.
    """
    model = TableModel(length=5)
    every = torch.stack(list(subsets(5)))
    monkeypatch.setattr(masked, "evaluation_masks", lambda positions, real, draw: every[positions])
    values = elbo(model, model.vocab, batch_of(TEXT.repeat(len(every), 1)), range(1), 8).values[:, 0]
    share = torch.tensor([1 / (5 * math.comb(5, int(m.sum()))) for m in every], dtype=torch.float64)
    assert float(share @ values) == pytest.approx(float(mean_ce(model, TEXT).mean()), abs=1e-12)


def test_counts_are_uniform_over_rotations() -> None:
    position, lengths = torch.tensor([0, 1, 7, 4711]), torch.tensor([5, 6, 128, 3])
    rotations = [(r << 52) - (1 << 63) for r in range(4096)]
    counts = torch.stack([counts_at(position, lengths, r) for r in rotations])
    for column, length in zip(counts.T, lengths.tolist(), strict=True):
        found = torch.bincount(column, minlength=length + 1)
        assert int(found[0]) == 0 and len(found) == length + 1
        assert int((found[1:] - 4096 / length).abs().max()) <= 1


def test_counts_change_where_the_fraction_passes_a_multiple_of_one_nth() -> None:
    """To the last of its 32 bits: at fraction j / n the count becomes j + 1."""
    for n in (3, 7, 128, 1000):
        for j in (1, n // 2, n - 1):
            edge = -(-(j << 32) // n)
            for fraction, count in ((edge - 1, j), (edge, j + 1)):
                rotation = fraction << 32
                signed = rotation - (1 << 64) if rotation >= 1 << 63 else rotation
                assert counts_at(torch.tensor([0]), torch.tensor([n]), signed).tolist() == [count]


def test_subsets_are_uniform_given_their_size() -> None:
    real = torch.ones(60_000, 4, dtype=torch.bool)
    masks = evaluation_masks(torch.arange(60_000), real, 3)
    code, size = (masks * 2 ** torch.arange(4)).sum(1), masks.sum(1)
    for k in range(1, 5):
        found = torch.bincount(code[size == k])
        found = found[found > 0]
        expected = float(found.sum()) / math.comb(4, k)
        assert len(found) == math.comb(4, k)
        assert float(((found - expected) ** 2 / expected).sum()) < 20


def test_each_draw_stratifies_the_mask_count_over_any_run_of_positions() -> None:
    for first, n, draw in ((0, 48, 0), (0, 128, 1), (1000, 100, 5)):
        k = mask_counts(torch.arange(first, first + n), torch.full((n,), 128), draw)
        ecdf = torch.arange(1, n + 1) / n
        assert float((k.sort().values / 128 - ecdf).abs().max()) < 3 / n + 1 / 128
    draws = torch.stack(
        [mask_counts(torch.arange(48), torch.full((48,), 128), draw) for draw in range(200)]
    ).double()
    means = draws.mean(1)
    assert float(means.std()) < 0.3 * float(draws.std()) / 48**0.5
    assert float(torch.corrcoef(torch.stack([means[:-1], means[1:]]))[0, 1].abs()) < 0.2


@torch.no_grad()
def test_estimate_is_unbiased_within_its_standard_error() -> None:
    model = TableModel(length=5)
    texts = torch.randint(3, (12, 5), generator=torch.Generator().manual_seed(0))
    exact = sum(float(mean_ce(model, text).mean()) for text in texts) / 12
    values = elbo(model, model.vocab, batch_of(texts), range(600), 64).values.mean(0)
    error = float(values.std()) / 600**0.5
    assert abs(float(values.mean()) - exact) < 3.5 * error
    assert error < 0.02


@torch.no_grad()
def test_masks_are_fixed_by_position_and_draw() -> None:
    real = torch.ones(20, 16, dtype=torch.bool)
    whole = evaluation_masks(torch.arange(20), real, 4)
    assert torch.equal(evaluation_masks(torch.arange(7, 9), real[7:9], 4), whole[7:9])
    assert not torch.equal(evaluation_masks(torch.arange(20), real, 5), whole)
    model, texts = TableModel(length=5), torch.randint(3, (9, 5))
    one = elbo(model, model.vocab, batch_of(texts), range(6), 64).values
    assert torch.equal(elbo(model, model.vocab, batch_of(texts), range(2, 4), 64).values, one[:, 2:4])
    assert torch.equal(elbo(model, model.vocab, batch_of(texts).rows(0, 3), range(6), 64).values, one[:3])
    assert torch.equal(elbo(model, model.vocab, batch_of(texts), range(6), 2).values, one)


@torch.no_grad()
def test_padding_is_neither_masked_scored_nor_seen() -> None:
    model = TableModel(length=5)
    real = torch.tensor([[True, True, True, False, False]]).repeat(30, 1)
    found = []
    for filler in (0, 2):
        batch = batch_of(torch.tensor([[0, 1, 2, filler, filler]]).repeat(30, 1), real=real)
        scores = elbo(model, model.vocab, batch, range(2), 8)
        assert scores.tokens.tolist() == [3] * 30
        exact = [
            exact_under_order(model, model.vocab, batch, order).values
            for order in ("left_to_right", "confidence")
        ]
        found.append((scores.values, *exact))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert set(evaluation_masks(torch.arange(30), real, 0).sum(1).tolist()) == {1, 2, 3}


@torch.no_grad()
def test_a_sequence_of_padding_alone_scores_zero() -> None:
    model = TableModel(length=5)
    real = torch.tensor([[True] * 5, [False] * 5])
    batch = batch_of(TEXT.repeat(2, 1), real=real)
    for scores in (
        elbo(model, model.vocab, batch, range(3), 8),
        *(exact_under_order(model, model.vocab, batch, o) for o in ("left_to_right", "confidence")),
    ):
        assert bool((scores.values[0] > 0).all() and (scores.values[1] == 0).all())
        assert scores.tokens.tolist() == [5, 0]


@torch.no_grad()
@pytest.mark.parametrize("order", ["left_to_right", "confidence"])
@pytest.mark.parametrize("tokens_per_step", [1, 2])
def test_a_decoding_order_is_a_distribution_over_texts(order: str, tokens_per_step: int) -> None:
    model = TableModel(vocab=3, length=4)
    texts = torch.cartesian_prod(*[torch.arange(3)] * 4)
    nll = (
        4
        * exact_under_order(
            model, 3, batch_of(texts), order, micro_batch=30, tokens_per_step=tokens_per_step
        ).values
    )
    assert float((-nll).exp().sum()) == pytest.approx(1, abs=1e-12)


@torch.no_grad()
def test_left_to_right_is_the_chain_rule() -> None:
    model = TableModel(length=5)
    value = exact_under_order(model, 3, batch_of(TEXT[None]), "left_to_right").values
    assert 5 * float(value) == pytest.approx(order_nll(model, TEXT, (0, 1, 2, 3, 4)), abs=1e-12)


@torch.no_grad()
def test_confidence_reveals_the_surest_position_first() -> None:
    model = TableModel(length=5)
    hidden, order = torch.ones(5, dtype=torch.bool), []
    while bool(hidden.any()):
        sure = (
            model(torch.where(hidden, 3, TEXT)[None], "full")[0].softmax(-1).amax(-1).masked_fill(~hidden, -1)
        )
        order.append(int(sure.argmax()))
        hidden[order[-1]] = False
    value = exact_under_order(model, 3, batch_of(TEXT[None]), "confidence").values
    assert 5 * float(value) == pytest.approx(order_nll(model, TEXT, tuple(order)), abs=1e-12)


@torch.no_grad()
def test_uniform_predictor_scores_log_vocab() -> None:
    model, batch = TableModel(length=5, uniform=True), batch_of(torch.randint(3, (9, 5)))
    found = [
        elbo(model, 3, batch, range(4), 8),
        *(exact_under_order(model, 3, batch, o) for o in ("left_to_right", "confidence")),
    ]
    for scores in found:
        torch.testing.assert_close(scores.values, torch.full_like(scores.values, math.log(3)))


def test_masks_are_the_published_ones() -> None:
    """Every run ever compared is scored under these: changing them makes old and new evaluations unpaired."""
    positions = torch.arange(3)
    assert mask_counts(positions, torch.full((3,), 128), 0).tolist() == [74, 25, 104]
    drawn = evaluation_masks(positions, torch.ones(3, 16, dtype=torch.bool), 0)
    shown = ["".join("#" if masked else "." for masked in row) for row in drawn.tolist()]
    assert shown == [".######..#.#.##.", "#.#.......#....#", "##..##########.#"]


@torch.no_grad()
def test_decoding_orders_are_exact_and_for_masked_diffusion_only() -> None:
    model, batch = (
        TableModel(length=5),
        batch_of(torch.randint(3, (6, 5), generator=torch.Generator().manual_seed(0))),
    )
    scores = MaskedDiffusion().score_in_order(model, batch, "confidence")
    assert torch.equal(scores.values, exact_under_order(model, 3, batch, "confidence").values)
    two = MaskedDiffusion().score_in_order(model, batch, "confidence", micro_batch=4, tokens_per_step=2)
    assert torch.equal(two.values, exact_under_order(model, 3, batch, "confidence", 64, 2).values)
    assert not torch.equal(two.values, scores.values)
    with pytest.raises(ValueError, match="'backwards'; allowed: left_to_right, confidence"):
        MaskedDiffusion().score_in_order(model, batch, "backwards")
    with pytest.raises(ValueError, match="'autoregressive' has no decoding orders"):
        Autoregressive().score_in_order(model, batch, "confidence")
