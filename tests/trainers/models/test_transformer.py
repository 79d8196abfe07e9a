"""The transformer: counts, initial values, attention, positions, dropout, cache."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from trainers import models
from trainers.config import RunConfig
from trainers.models.network.decoder import Decoder
from trainers.models.transformer import Transformer
from trainers.noise import Noise
from trainers.objectives.base import Corruption

V, T = 20, 12
IDS = torch.arange(4 * T).view(4, T) * 7 % (V + 1)


def build(seed: int = 0, **fields: Any) -> Decoder:
    model = Transformer(**{"width": 16, "layers": 2, "heads": 2, **fields}).build(V, 1, T)
    models.initialise(model, seed)
    return model.double()


def corruption(attention: str = "full", weights: torch.Tensor | None = None) -> Corruption:
    scored = torch.ones(4, T) if weights is None else weights
    return Corruption(IDS, IDS.clamp(max=V - 1), scored.double(), torch.tensor(1.0), attention)


SHAPES = [
    {},
    {"tied": True},
    {"qk_norm": False},
    {"heads": 4, "kv_heads": 2, "ffn": 24},
    {"width": 192, "layers": 1, "heads": None},
]


@pytest.mark.parametrize("fields", SHAPES)
def test_counts_are_those_of_the_module(fields: dict[str, Any]) -> None:
    model = build(**fields)
    counted = model.config.parameters(V, 1)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    assert counted.total + counted.extra == sum(sizes.values())
    assert counted.extra == sizes["extra"]
    assert counted.embedding == sizes["embedding"] + sizes.get("head", 0)
    matrices = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name)
    assert counted.matrix == matrices + V * model.width


def test_default_heads_divide_every_even_width() -> None:
    assert [Transformer(width=w).n_heads for w in (32, 64, 96, 128, 192, 768)] == [1, 2, 3, 2, 3, 12]
    for width in range(2, 400, 2):
        config = Transformer(width=width)
        assert config.head_width * config.n_heads == width and config.head_width % 2 == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"heads": 3}, "must divide width"), ({"heads": 64}, "even"), ({"heads": 4, "kv_heads": 3}, "kv_heads")],
)
def test_shapes_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Transformer(width=64, **fields)


def test_initial_values_depend_on_seed_and_name_alone() -> None:
    def named(**fields: Any) -> dict[str, torch.Tensor]:
        return {n: t.reshape(-1) for n, t in build(**fields).logical_parameters()}

    base = named()
    for other in (named(tied=True), named(qk_norm=False), named(layers=2, kv_heads=2)):
        assert all(torch.equal(base[name], t) for name, t in other.items())
    deeper = named(layers=3)
    assert torch.equal(base["layers.1.wq"], deeper["layers.1.wq"])
    assert not torch.equal(base["layers.0.wq"], base["layers.0.wk"])
    assert not torch.equal(base["layers.0.wq"], named(seed=1)["layers.0.wq"])
    # One key head of two: its rows are the first of the twin with two.
    grouped = named(kv_heads=1)["layers.0.wv"]
    assert torch.equal(grouped, base["layers.0.wv"][: len(grouped)])


def test_twins_start_from_equal_tensors() -> None:
    def of(objective: Any) -> dict[str, torch.Tensor]:
        return dict(models.build(RunConfig(objective=objective)).named_parameters())

    ar, mdm = of("autoregressive"), of("masked_diffusion")
    assert set(ar) == set(mdm)
    assert all(torch.equal(ar[name], mdm[name]) for name in ar)


def test_initial_spread() -> None:
    named = dict(build(width=128, layers=2).logical_parameters())
    assert float(named["layers.0.gate"].std()) == pytest.approx(0.02, rel=0.03)
    assert float(named["layers.0.down"].std()) == pytest.approx(0.02 / 2, rel=0.03)
    assert torch.equal(named["norm"], torch.ones(128).double())


def test_extra_modules_start_from_their_names() -> None:
    class Extra(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)

    first, second = Extra(), Extra()
    for module in (first, second):
        models.initialise(module, 0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert (
        first.norm.weight.eq(1).all() and first.linear.bias.eq(0).all() and first.linear.weight.std() > 0.005
    )


@pytest.mark.parametrize("qk_norm", [True, False])
def test_causal_attention_sees_no_later_token_and_full_sees_all(qk_norm: bool) -> None:
    model = build(qk_norm=qk_norm)
    changed = IDS.clone()
    changed[:, 7] = (changed[:, 7] + 1) % V
    causal = (model(IDS, "causal") - model(changed, "causal")).abs().amax((0, 2))
    assert causal[:7].eq(0).all() and causal[7:].gt(0).all()
    assert (model(IDS, "full") - model(changed, "full")).abs().amax((0, 2)).gt(0).all()


def test_masks_say_the_same_as_names() -> None:
    model = build()
    for name, mask in (("causal", torch.ones(T, T).tril()), ("full", torch.ones(T, T))):
        given = mask.bool().expand(4, 1, T, T)
        torch.testing.assert_close(model(IDS, given), model(IDS, name), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="sideways"):
        model(IDS, "sideways")


def test_only_differences_of_positions_matter() -> None:
    model = build()
    base = model(IDS, "full")
    shifted = torch.arange(T).expand(4, -1) + torch.tensor([[0], [5], [100], [3]])
    torch.testing.assert_close(model(IDS, "full", shifted), base, rtol=1e-8, atol=1e-10)
    assert (model(IDS, "full", 2 * shifted) - base).abs().max() > 1e-6


def test_embeddings_and_conditioning_can_be_fed() -> None:
    model = build()
    torch.testing.assert_close(model(model.embed(IDS), "full"), model(IDS, "full"))
    shift = torch.randn(4, 16, generator=torch.Generator().manual_seed(0)).double()
    fed = model(model.embed(IDS) + shift[:, None], "full")
    torch.testing.assert_close(model(IDS, "full", conditioning=shift), fed)


def test_extra_tokens_are_fed_and_never_predicted() -> None:
    model = build()
    assert torch.equal(model.embed(torch.tensor([V])), model.extra)
    assert model.logits(model(IDS, "full")).shape == (4, T, V)


def test_loss_is_the_weighted_sum_of_scored_positions() -> None:
    model = build()
    weights = (torch.arange(4 * T).view(4, T) % 3).double()
    nll = model.token_nll(model(IDS, "full"), IDS.clamp(max=V - 1))
    total = model.weighted_cross_entropy(corruption(weights=weights))
    torch.testing.assert_close(total, (nll * weights).sum(), rtol=1e-12, atol=0)


def test_cache_continues_where_it_stopped() -> None:
    model = build(kv_heads=1).eval()
    with torch.no_grad():
        whole = model(IDS, "causal")
        cache = model.new_cache()
        parts = [model(IDS[:, a:b], "causal", cache=cache) for a, b in ((0, 5), (5, 6), (6, T))]
    assert cache.length == T
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-10, atol=1e-12)


def test_long_contexts_take_another_kernel_to_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    for attention in ("causal", "full", torch.ones(T, T).tril(2).bool()[None, None]):
        short = model(IDS, attention)
        with monkeypatch.context() as patched:
            patched.setattr("trainers.models.network.fused_cpu.attention.EXPLICIT_CONTEXT", T - 1)
            torch.testing.assert_close(model(IDS, attention), short, rtol=1e-10, atol=1e-12)


def test_dropout_comes_from_the_counter() -> None:
    model = build(dropout_embedding=0.2, dropout_mlp=0.3)
    noise = Noise(0, torch.arange(4), 4)
    whole = model(IDS, "full", noise=noise)
    assert torch.equal(whole, model(IDS, "full", noise=noise))
    torch.testing.assert_close(model(IDS[2:], "full", noise=noise.rows(2, 4)), whole[2:])
    assert (model(IDS, "full", noise=Noise(1, torch.arange(4), 4)) - whole).abs().max() > 0
    with pytest.raises(ValueError, match="noise"):
        model(IDS, "full")
    torch.testing.assert_close(model.eval()(IDS, "full"), build().eval()(IDS, "full"))


def test_attention_dropout_is_off_in_evaluation() -> None:
    model = build(dropout_attention=0.5)
    assert (model(IDS, "full") - model.eval()(IDS, "full")).abs().max() > 0
    torch.testing.assert_close(model(IDS, "full"), build()(IDS, "full"))


def test_recomputed_activations_give_the_same_gradients() -> None:
    def gradients(recompute: bool) -> list[torch.Tensor]:
        model = build(dropout_mlp=0.1)
        model.checkpoint_activations = recompute
        model.weighted_cross_entropy(corruption(), Noise(0, torch.arange(4), 4)).backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    for kept, again in zip(gradients(False), gradients(True), strict=True):
        assert torch.equal(kept, again)


def test_autocast_lowers_products_and_keeps_weights_and_loss() -> None:
    model = build().float()
    exact = model.weighted_cross_entropy(corruption())
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.weighted_cross_entropy(corruption())
    loss.backward()
    assert loss.dtype == torch.float32 and model.embedding.grad is not None
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in model.parameters())
    assert loss.item() == pytest.approx(exact.item(), rel=2e-3)
    assert loss.item() != exact.item()


def test_a_compiler_gets_the_plain_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    value = model(IDS, "causal")
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(model(IDS, "causal"), value, rtol=1e-10, atol=1e-12)


def test_importing_models_needs_no_torch() -> None:
    names = "trainers.models.transformer, trainers.flops, trainers.machine.memory"
    code = f"import sys, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
