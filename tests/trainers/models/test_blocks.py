"""Blocks: the default's place in identity, GPT-2 against another's, and one from outside the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.trainers.models import experts  # noqa: F401
from trainers import models
from trainers.components.errors import UserError
from trainers.config import RunConfig
from trainers.data import prepare
from trainers.flops import matmul_flops
from trainers.models.transformer import Transformer
from trainers.objectives.base import Corruption
from trainers.run.learner import Learner
from trainers.run.loop import train
from trainers.state.checkpoint import read

SHAPE = {"name": "transformer", "width": 32, "layers": 2, "heads": 2, "ffn": 48}
MIXED = {**SHAPE, "block": {"name": "experts", "experts": 4, "chosen": 2}}


def config(model: dict[str, Any], **fields: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": model,
            "data": {"unique_bytes": 3000, "context": 16},
            "evaluation": {"sequences": 3, "draws": 1, "spacing": 2, "first": 6},
            "batch_size": 8,
            "steps": 12,
            **fields,
        }
    )


def corruption(vocab: int, T: int = 16) -> Corruption:
    ids = torch.arange(4 * T).view(4, T) * 7 % (vocab + 1)
    return Corruption(
        ids, ids.clamp(max=vocab - 1), torch.ones(4, T, dtype=torch.float64), torch.tensor(1.0), "causal"
    )


def test_the_default_block_is_in_no_key_and_others_are() -> None:
    assert "block" not in Transformer().identity()
    assert Transformer(block="llama") == Transformer()
    other = Transformer(block="gpt2").identity()
    assert other["block"]["name"] == "gpt2"
    assert {"qk_norm", "rope_base", "kv_heads"}.isdisjoint(other), "what a block does not read is no identity"
    assert Transformer(block="gpt2", rope_base=200).identity() == other


@pytest.mark.parametrize("block", ["gpt2", {"name": "experts", "experts": 4, "chosen": 2}])
@pytest.mark.parametrize("tied", [False, True])
def test_counts_are_those_of_the_module(block: Any, tied: bool) -> None:
    model = Transformer(width=32, layers=2, heads=2, ffn=48, tied=tied, block=block)
    counted = model.parameters(20, 1)
    sizes = {n: p.numel() for n, p in model.build(20, 1, 16).named_parameters()}
    assert counted.total + counted.extra == sum(sizes.values())
    if block == "gpt2":
        assert counted.active == counted.total
        assert counted.embedding == 20 * 32 * (1 if tied else 2) + 1024 * 32
    else:
        experts = 2 * 4 * 3 * 48 * 32
        assert counted.inactive == experts / 2
        assert counted.matrix == 2 * (4 * 32 * 32 + 4 * 32) + experts / 2 + 20 * 32


@pytest.mark.parametrize("block", ["gpt2", {"name": "experts", "experts": 4, "chosen": 2}])
def test_flops_are_those_of_a_step(block: Any) -> None:
    """Of the active matrices; attention as the convention counts it."""
    run = config({**SHAPE, "block": block}, data={"context": 16}, resources={"kernels": "plain"})
    model = models.build(run)
    model.to(torch.float64)
    with FlopCounterMode(display=False) as counter:
        model.weighted_cross_entropy(corruption(model.vocab)).backward()
    attention = 12 * 2 * 16 * 32  # which torch does not count in its CPU kernel
    assert counter.get_total_flops() == (matmul_flops(run) - attention) * 4 * 16


def test_gpt2_is_that_of_transformers() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    run = config(
        {**SHAPE, "tied": True, "norm_eps": 1e-5, "ffn": None, "block": {"name": "gpt2", "positions": 16}}
    )
    ours = models.build(run)
    ours.to(torch.float64)
    V = ours.vocab
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=V + 1, n_positions=16, n_embd=32, n_layer=2, n_head=2,
            resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
        )
    ).double()  # fmt: skip
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for parameter in ours.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator).double())
        their = theirs.transformer
        their.wte.weight.copy_(torch.cat([ours.embedding, ours.extra]))
        their.wpe.weight.copy_(ours.positions)
        their.ln_f.weight.copy_(ours.norm), their.ln_f.bias.copy_(ours.norm_bias)
        for mine, layer in zip(ours.layers, their.h, strict=True):
            for norm, name in ((layer.ln_1, "attention_norm"), (layer.ln_2, "mlp_norm")):
                norm.weight.copy_(getattr(mine, name)), norm.bias.copy_(getattr(mine, f"{name}_bias"))
            maps = {
                "qkv": layer.attn.c_attn,
                "output": layer.attn.c_proj,
                "up": layer.mlp.c_fc,
                "down": layer.mlp.c_proj,
            }
            for name, linear in maps.items():
                linear.weight.copy_(getattr(mine, name).t()), linear.bias.copy_(getattr(mine, f"{name}_bias"))
    c = corruption(V)
    loss = ours.weighted_cross_entropy(c)
    loss.backward()
    logits = theirs(input_ids=c.inputs).logits[..., :V]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), c.targets.flatten(), reduction="sum")
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(
        ours.layers[0].qkv.grad, their.h[0].attn.c_attn.weight.grad.t(), rtol=0, atol=1e-4
    )
    torch.testing.assert_close(ours.positions.grad, their.wpe.weight.grad, rtol=0, atol=1e-4)


def test_a_context_longer_than_the_learned_positions_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.context: 16 tokens do not fit the 8 positions"):
        models.build(config({**SHAPE, "block": {"name": "gpt2", "positions": 8}}))


def test_learned_positions_and_the_cache_agree() -> None:
    run = config({**SHAPE, "block": "gpt2"})
    model = models.build(run)
    model.to(torch.float64).eval()
    ids = corruption(model.vocab).inputs
    with torch.no_grad():
        whole, cache = model(ids, "causal"), model.new_cache()
        parts = [model(ids[:, a:b], "causal", cache=cache) for a, b in ((0, 5), (5, 16))]
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("block", ["gpt2", MIXED["block"]])
@pytest.mark.parametrize("objective", ["autoregressive", "masked_diffusion"])
def test_a_block_trains_and_resumes_bit_for_bit(
    block: Any, objective: str, tmp_path: Path, data_root: Path
) -> None:
    run = config({**SHAPE, "block": block}, objective=objective, resources={"micro_batch": 4})
    whole = train(run, tmp_path / "whole", data_root=data_root)
    calls = iter(range(1000))
    train(run, tmp_path / "parts", data_root=data_root, stop=lambda: next(calls) >= 7)
    parts = train(run, tmp_path / "parts", data_root=data_root)
    assert parts.history == whole.history
    one, other = (read(r.folder, r.folder.last_commit(), run.steps).weights for r in (whole, parts))
    assert all(torch.equal(one[n], other[n]) for n in one)


def test_the_models_own_term_is_trained_and_logged(tmp_path: Path, data_root: Path) -> None:
    events = [e for e in train(config(MIXED), tmp_path, data_root=data_root).history if e["event"] == "train"]
    for event in events:
        assert event["terms"].keys() == {"loss", "model.balance"}
        assert event["loss"] == pytest.approx(sum(event["terms"].values()))
        assert 0.01 <= event["terms"]["model.balance"] <= 0.04, "between even and a single expert of 4"
        assert 0.25 <= event["metrics"]["busiest"] <= 0.5, "k = 2 of 4: at most half go to one"


@pytest.mark.parametrize("resources", [{"micro_batch": 3}, {"checkpoint_activations": True}])
def test_the_models_own_terms_do_not_depend_on_how_a_batch_is_divided(
    resources: dict[str, Any], data_root: Path
) -> None:
    learners = []
    for how in ({}, resources):
        run = config(MIXED, resources=how)
        learner = Learner(run, prepare(run.data, data_root), torch.device("cpu"), torch.float64)
        learner.update()
        learners.append(learner)
    one, other = learners
    for name, value in one.window.sums.items():
        torch.testing.assert_close(other.window.sums[name], value, rtol=1e-9, atol=1e-12)
    for name, parameter in one.parameters.items():
        torch.testing.assert_close(other.parameters[name], parameter, rtol=1e-9, atol=1e-10)


def test_experts_start_from_their_own_names() -> None:
    four, five = (
        dict(models.build(config({**SHAPE, "block": {"name": "experts", "experts": n}})).logical_parameters())
        for n in (4, 5)
    )
    for name, tensor in four.items():
        if "router" not in name:
            assert torch.equal(five[name], tensor), name
