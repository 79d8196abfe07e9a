"""Backward passes written by hand, against finite differences and against plain torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from trainers import models
from trainers.components.errors import UserError
from trainers.config import Resources, RunConfig
from trainers.data import prepare
from trainers.machine.numerics import describe
from trainers.models.network import chunked_loss, decoder
from trainers.models.network.fused_cpu import activations as fused_activations
from trainers.models.network.fused_cpu import attention as fused_attention
from trainers.models.network.fused_cpu import swiglu as fused_swiglu
from trainers.models.network.kernels import CHUNKED, EDITION, FUSED, PLAIN, Kernels, kernels_for
from trainers.models.network.operands import (
    AttentionShape,
    AttentionView,
    AttentionWeights,
    SwigluWeights,
    forbidden,
)
from trainers.objectives.base import Corruption
from trainers.run.learner import Learner, Window

B, T, D, F, V = 3, 5, 8, 6, 7


def value(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.fixture(params=[1 << 20, 1], ids=["whole", "pieces"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one piece, and one sequence (or row) at a time."""
    for module in (fused_attention, fused_swiglu):
        monkeypatch.setattr(module, "PIECE_VALUES", request.param)
    monkeypatch.setattr(chunked_loss, "LOGITS_VALUES", 2 * V if request.param == 1 else 1 << 20)


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


def attention(kernels: Kernels) -> Any:
    """`add_attention` as a function of its tensors."""

    def add(x: Tensor, gain: Tensor, qkv: Tensor, output: Tensor, q: Any, k: Any, *rest: Any) -> Tensor:
        return kernels.add_attention(x, AttentionWeights(gain, qkv, output, q, k), *rest)

    return add


def swiglu(kernels: Kernels) -> Any:
    """`add_swiglu` as a function of its tensors."""
    return lambda x, gain, gate_up, down, *rest: kernels.add_swiglu(
        x, SwigluWeights(gain, gate_up, down), *rest
    )


def test_embeddings_of_extra_tokens_come_from_their_own_rows() -> None:
    ids, table, extra = torch.tensor([[0, V - 1, V], [V + 1, 3, V]]), value(V, D), value(2, D)
    torch.testing.assert_close(PLAIN.embed(ids, table, extra), torch.cat([table, extra])[ids])
    assert torch.equal(PLAIN.embed(ids.clamp(max=V - 1), table, value(0, D)), table[ids.clamp(max=V - 1)])


def test_rms_norm() -> None:
    agree(FUSED.rms_norm, PLAIN.rms_norm, [value(B, T, D), value(D)], (1e-2,))


@pytest.mark.parametrize("dropped", [False, True])
def test_mlp(pieces: None, dropped: bool) -> None:
    keep = (torch.rand(B, T, D, generator=torch.Generator().manual_seed(0)) > 0.3).double() / 0.7
    inputs = [value(B, T, D), value(D), value(2 * F, D), value(D, F)]
    agree(swiglu(FUSED), swiglu(PLAIN), inputs, (1e-2, torch.float64, keep if dropped else None))


@pytest.mark.parametrize("kind", ["causal", "full", "mask", "mask of each"])
@pytest.mark.parametrize("heads", [(2, 2), (2, 1), (1, 1), (4, 2)])
@pytest.mark.parametrize("qk_norm", [True, False])
def test_attention(pieces: None, kind: str, heads: tuple[int, int], qk_norm: bool) -> None:
    H, G = heads
    e = D // H
    gains = [value(e, seed=1), value(e, seed=2)] if qk_norm else [None, None]
    inputs = [value(B, T, D), value(D), value((H + 2 * G) * e, D), value(D, D), *gains]
    positions = torch.arange(T)
    if kind == "mask of each":
        positions = torch.stack([positions, positions.flip(0), positions + 3])[:, None]
    rotation = decoder._rotation(positions, e, 100.0, torch.float64)
    bias = None
    if kind.startswith("mask"):
        allowed = (
            torch.rand(B if "each" in kind else 1, 1, T, T, generator=torch.Generator().manual_seed(0)) > 0.4
        )
        allowed |= torch.eye(T, dtype=torch.bool)
        bias = torch.zeros(allowed.shape, dtype=torch.float64).masked_fill(~allowed, forbidden(torch.float64))
    view = AttentionView(rotation, bias, kind == "causal")
    agree(attention(FUSED), attention(PLAIN), inputs, (AttentionShape(heads, 1e-2), view, torch.float64))


def test_a_position_that_may_attend_to_nothing_attends_to_everything() -> None:
    closed = torch.full((1, 1, T, T), forbidden(torch.float64), dtype=torch.float64)
    view = AttentionView(decoder._rotation(torch.arange(T), D, 100.0, torch.float64), closed)
    inputs = [value(B, T, D), value(D), value(3 * D, D), value(D, D), value(D), value(D)]
    for kernels in (FUSED, PLAIN):
        y = attention(kernels)(*inputs, AttentionShape((1, 1), 1e-2), view, torch.float64)
        assert y.isfinite().all()


@pytest.mark.parametrize("values", [1 << 16, 7], ids=["whole", "pieces"])
def test_gelu(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_activations, "CACHED_VALUES", values)
    agree(FUSED.gelu, PLAIN.gelu, [value(B, T, D)], ())
    agree(FUSED.gelu, PLAIN.gelu, [value(D, B).t()], ())
    wide = torch.linspace(-30, 30, 1001)
    torch.testing.assert_close(FUSED.gelu(wide), PLAIN.gelu(wide), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scored", ["all", "some", "one", "none"])
def test_linear_cross_entropy(pieces: None, scored: str) -> None:
    weights = torch.rand(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    weights = (
        weights * {"all": 1, "some": torch.arange(6) % 2, "one": torch.arange(6) == 4, "none": 0}[scored]
    )
    targets = torch.tensor([0, 6, 3, 3, 1, 2])
    agree(
        FUSED.linear_cross_entropy,
        PLAIN.linear_cross_entropy,
        [value(6, D), value(V, D)],
        (targets, weights, torch.float64),
    )


def test_cross_entropy_survives_a_target_without_probability() -> None:
    """p underflows to zero in float32; the loss is the difference of logits."""
    hidden, head = torch.tensor([[300.0]]), torch.tensor([[1.0], [-1.0]])
    value = FUSED.linear_cross_entropy(hidden, head, torch.tensor([1]), torch.ones(1), torch.float32)
    assert value.item() == 600.0


def test_no_gradient_is_prepared_where_none_is_wanted() -> None:
    with torch.no_grad():
        hidden = value(6, D)
        total = FUSED.linear_cross_entropy(
            hidden, value(V, D), torch.zeros(6).long(), torch.ones(6).double(), torch.float64
        )
    assert not total.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_is_close(pieces: None, dtype: torch.dtype) -> None:
    """float32 goes through another library; bfloat16 casts between operations."""
    inputs = [
        x.detach().float().requires_grad_() for x in (value(B, T, D), value(D), value(2 * F, D), value(D, F))
    ]
    y = swiglu(FUSED)(*inputs, 1e-2, dtype)
    torch.testing.assert_close(
        y,
        swiglu(PLAIN)(*inputs, 1e-2, torch.float32),
        rtol=0.05,
        atol=0.1 if dtype == torch.bfloat16 else 1e-4,
    )
    of = torch.autograd.grad(y.sum(), inputs)
    reference = torch.autograd.grad(swiglu(PLAIN)(*inputs, 1e-2, torch.float32).sum(), inputs)
    for got, wanted in zip(of, reference, strict=True):
        assert got.dtype == torch.float32
        assert (got - wanted).norm() <= (0.02 if dtype == torch.bfloat16 else 1e-5) * wanted.norm()


@pytest.mark.parametrize("attention", ["causal", "full"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_a_network_is_the_same_on_plain_and_fused_kernels(
    dtype: torch.dtype, tolerance: float, tied: bool, attention: str
) -> None:
    """Loss and every gradient, at a pocket shape; gradients relative to their norm."""
    results = []
    for kernels in ("plain", "fused"):
        config = RunConfig(
            model={"name": "transformer", "width": 64, "layers": 2, "tied": tied},
            resources={"kernels": kernels},
        )
        model = models.build(config)
        model.to(dtype)
        ids = torch.arange(4 * 32).view(4, 32) * 7 % (model.vocab + 1)
        weights = (torch.arange(4 * 32).view(4, 32) % 3).to(dtype)
        loss = model.weighted_cross_entropy(
            Corruption(ids, ids.clamp(max=model.vocab - 1), weights, torch.tensor(1.0), attention)
        )
        loss.backward()
        results.append((loss.item(), {n: p.grad for n, p in model.named_parameters() if p.numel()}))
    (plain_loss, plain_gradients), (fused_loss, fused_gradients) = results
    assert fused_loss == pytest.approx(plain_loss, rel=tolerance)
    for name, gradient in plain_gradients.items():
        assert (fused_gradients[name] - gradient).norm() <= tolerance * gradient.norm(), name


@pytest.mark.parametrize("block", ["llama", {"name": "gpt2", "positions": 16}])
def test_twenty_steps_are_the_same_on_plain_and_fused_kernels(block: Any, tmp_path: Path) -> None:
    """In float32: a change of kernels moves losses by no more than their rounding."""
    losses = []
    for kernels in ("plain", "fused"):
        run = RunConfig(
            model={"name": "transformer", "width": 32, "layers": 2, "block": block},
            data={"corpus": "markov", "unique_bytes": 3000, "context": 16},
            schedule={"name": "constant", "warmup": 0},
            batch_size=8,
            resources={"kernels": kernels},
        )
        learner = Learner(run, prepare(run.data, tmp_path), torch.device("cpu"))
        of_run = []
        for _ in range(20):
            learner.window = Window()
            learner.update()
            of_run.append(learner.window.mean()["loss"])
        losses.append(of_run)
    assert losses[0][-1] < 0.95 * losses[0][0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def test_each_device_gets_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert kernels_for("auto", cpu) is kernels_for("fused", cpu) is FUSED
    assert kernels_for("plain", cpu) is kernels_for("plain", cuda) is PLAIN
    assert kernels_for("auto", cuda) is CHUNKED
    with pytest.raises(UserError, match="fused kernels are written for the CPU"):
        kernels_for("fused", cuda)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert kernels_for("auto", cpu) is CHUNKED
    with pytest.raises(ValidationError, match="cannot be compiled"):
        Resources(kernels="fused", compile="on")


def test_kernels_are_recorded_and_in_no_key() -> None:
    plain_run, fused_run = (RunConfig(resources={"kernels": kind}) for kind in ("plain", "fused"))
    assert plain_run.training_key == fused_run.training_key == RunConfig().training_key
    records = [
        describe(torch.device("cpu"), run.resources, "float32", False)
        for run in (plain_run, fused_run, RunConfig())
    ]
    assert records[0]["class"] != records[1]["class"] == records[2]["class"]
    assert records[1]["kernels"].endswith(f" fused {EDITION}"), "a change of rounding is another class"
