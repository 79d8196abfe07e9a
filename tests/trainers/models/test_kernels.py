"""Backward passes written by hand, against finite differences and against plain torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.models.network import decoder, kernels, loss, plain

B, T, D, F, V = 3, 5, 8, 6, 7


def value(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.fixture(params=[1 << 20, 1], ids=["whole", "pieces"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one piece, and one sequence (or row) at a time."""
    monkeypatch.setattr(kernels, "PIECE_VALUES", request.param)
    monkeypatch.setattr(loss, "LOGITS_VALUES", 2 * V if request.param == 1 else 1 << 20)


def agree(ours: Any, reference: Any, inputs: list[Tensor | None], rest: tuple[Any, ...]) -> None:
    """Equal values and gradients; and gradients equal to finite differences."""
    learned = [x for x in inputs if x is not None]
    a, b = ours(*inputs, *rest), reference(*inputs, *rest)
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    weight = torch.linspace(-1, 1, a.numel(), dtype=a.dtype).view_as(a)
    of_a = torch.autograd.grad((a * weight).sum(), learned)
    of_b = torch.autograd.grad((b * weight).sum(), learned)
    torch.testing.assert_close(of_a, of_b, rtol=1e-10, atol=1e-10)

    def rebuilt(*given: Tensor) -> Tensor:
        fresh = iter(given)
        return ours(*[None if x is None else next(fresh) for x in inputs], *rest)

    assert torch.autograd.gradcheck(rebuilt, tuple(learned), fast_mode=True)


def test_embed() -> None:
    ids = torch.tensor([[0, V - 1, V], [V + 1, 3, V]])
    agree(
        lambda t, e: kernels.embed(ids, t, e),
        lambda t, e: plain.embed(ids, t, e),
        [value(V, D), value(2, D)],
        (),
    )
    known = ids.clamp(max=V - 1)
    torch.testing.assert_close(
        kernels.embed(known, value(V, D), value(0, D)), plain.embed(known, value(V, D), value(0, D))
    )


def test_rms_norm() -> None:
    agree(kernels.rms_norm, plain.rms_norm, [value(B, T, D), value(D)], (1e-2,))


@pytest.mark.parametrize("dropped", [False, True])
def test_mlp(pieces: None, dropped: bool) -> None:
    keep = (torch.rand(B, T, D, generator=torch.Generator().manual_seed(0)) > 0.3).double() / 0.7
    inputs = [value(B, T, D), value(D), value(2 * F, D), value(D, F)]
    agree(kernels.mlp, plain.mlp, inputs, (keep if dropped else None, 1e-2, torch.float64))


@pytest.mark.parametrize("attention", ["causal", "full", "mask", "mask of each"])
@pytest.mark.parametrize("heads", [(2, 2), (2, 1), (1, 1), (4, 2)])
@pytest.mark.parametrize("qk_norm", [True, False])
def test_attention(pieces: None, attention: str, heads: tuple[int, int], qk_norm: bool) -> None:
    H, G = heads
    e = D // H
    gains = [value(e, seed=1), value(e, seed=2)] if qk_norm else [None, None]
    inputs = [value(B, T, D), value(D), value((H + 2 * G) * e, D), *gains, value(D, D)]
    positions = torch.arange(T)
    if attention == "mask of each":
        positions = torch.stack([positions, positions.flip(0), positions + 3])[:, None]
    rotation = decoder._rotation(positions, e, 100.0, torch.float64)
    bias = None
    if attention.startswith("mask"):
        allowed = (
            torch.rand(B if "each" in attention else 1, 1, T, T, generator=torch.Generator().manual_seed(0))
            > 0.4
        )
        allowed |= torch.eye(T, dtype=torch.bool)
        bias = torch.zeros(allowed.shape, dtype=torch.float64).masked_fill(
            ~allowed, plain.forbidden(torch.float64)
        )
    rest = (rotation, bias, attention == "causal", heads, 1e-2, torch.float64)
    agree(kernels.attention, plain.attention, inputs, rest)


def test_a_position_that_may_attend_to_nothing_attends_to_everything() -> None:
    rest = (
        decoder._rotation(torch.arange(T), D, 100.0, torch.float64),
        None,
        False,
        (1, 1),
        1e-2,
        torch.float64,
    )
    inputs = [value(B, T, D), value(D), value(3 * D, D), value(D), value(D), value(D, D)]
    closed = torch.full((1, 1, T, T), plain.forbidden(torch.float64), dtype=torch.float64)
    for ops in (kernels, plain):
        assert ops.attention(*inputs, rest[0], closed, *rest[2:]).isfinite().all()


@pytest.mark.parametrize("scored", ["all", "some", "one", "none"])
def test_linear_cross_entropy(pieces: None, scored: str) -> None:
    weights = torch.rand(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    weights = (
        weights * {"all": 1, "some": torch.arange(6) % 2, "one": torch.arange(6) == 4, "none": 0}[scored]
    )
    targets = torch.tensor([0, 6, 3, 3, 1, 2])
    agree(
        loss.linear_cross_entropy,
        plain.linear_cross_entropy,
        [value(6, D), value(V, D)],
        (targets, weights, torch.float64),
    )


def test_cross_entropy_survives_a_target_without_probability() -> None:
    """p underflows to zero in float32; the loss is the difference of logits."""
    hidden, head = torch.tensor([[300.0]]), torch.tensor([[1.0], [-1.0]])
    value = loss.linear_cross_entropy(hidden, head, torch.tensor([1]), torch.ones(1), torch.float32)
    assert value.item() == 600.0


def test_no_gradient_is_prepared_where_none_is_wanted() -> None:
    with torch.no_grad():
        hidden = value(6, D)
        total = loss.linear_cross_entropy(
            hidden, value(V, D), torch.zeros(6).long(), torch.ones(6).double(), torch.float64
        )
    assert not total.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_is_close(pieces: None, dtype: torch.dtype) -> None:
    """float32 goes through another library; bfloat16 casts between operations."""
    inputs = [
        x.detach().float().requires_grad_() for x in (value(B, T, D), value(D), value(2 * F, D), value(D, F))
    ]
    mlp = kernels.mlp(*inputs, None, 1e-2, dtype)
    torch.testing.assert_close(
        mlp,
        plain.mlp(*inputs, None, 1e-2, torch.float32),
        rtol=0.05,
        atol=0.1 if dtype == torch.bfloat16 else 1e-4,
    )
    of = torch.autograd.grad(mlp.sum(), inputs)
    reference = torch.autograd.grad(plain.mlp(*inputs, None, 1e-2, torch.float32).sum(), inputs)
    for got, wanted in zip(of, reference, strict=True):
        assert got.dtype == torch.float32
        assert (got - wanted).norm() <= (0.02 if dtype == torch.bfloat16 else 1e-5) * wanted.norm()
