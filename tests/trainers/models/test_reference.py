"""Loss and gradients against somebody else's implementation: ``transformers``' Qwen3 (QK-norm) and Llama."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainers import models
from trainers.config import RunConfig
from trainers.objectives.base import Corruption
from trainers.run.exporting import transformers_config, transformers_weights

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


def rms_norm_in_place(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon)


def rotary_in_double(
    self: Any, x: torch.Tensor, position_ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    e = self.config.head_dim
    base = self.config.rope_parameters["rope_theta"]
    angle = position_ids.double()[..., None] * base ** (-torch.arange(0, e, 2).double() / e)
    angle = torch.cat([angle, angle], -1)
    return angle.cos().to(x.dtype), angle.sin().to(x.dtype)


@pytest.mark.parametrize("replaced", [False, True], ids=["as they stand", "norm and rotary in fp64"])
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["Qwen3", "Llama"])
def test_loss_and_gradients_agree(
    kind: str, tied: bool, kv_heads: int, replaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = __import__(f"transformers.models.{kind.lower()}.modeling_{kind.lower()}", fromlist=["*"])
    if replaced:
        monkeypatch.setattr(getattr(module, f"{kind}RMSNorm"), "forward", rms_norm_in_place)
        monkeypatch.setattr(getattr(module, f"{kind}RotaryEmbedding"), "forward", rotary_in_double)
    config = RunConfig(
        model={
            "name": "transformer", "width": 48, "layers": 2, "heads": 4, "kv_heads": kv_heads,
            "qk_norm": kind == "Qwen3", "tied": tied,
        }
    )  # fmt: skip
    ours = models.build(config).double()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for parameter in ours.parameters():  # away from the initial values, where many gradients are tiny
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator).double())

    theirs_config = getattr(transformers, f"{kind}Config")(**transformers_config(config))
    theirs_config._attn_implementation = "sdpa"
    theirs = getattr(transformers, f"{kind}ForCausalLM")(theirs_config).double()
    missing, unexpected = theirs.load_state_dict(dict(transformers_weights(ours)), strict=False)
    assert not unexpected and set(missing) <= ({"lm_head.weight"} if tied else set())

    V, (B, T) = ours.vocab, (3, 24)
    tokens = torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(1))
    inputs = torch.cat([torch.full((B, 1), V), tokens[:, :-1]], 1)
    loss = ours.weighted_cross_entropy(
        Corruption(inputs, tokens, torch.ones(B, T).double(), torch.tensor(1.0), "causal")
    ) / (B * T)
    loss.backward()
    logits = theirs(input_ids=inputs).logits[..., :V]
    their_loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    their_loss.backward()

    assert loss.item() == pytest.approx(their_loss.item(), abs=1e-9 if replaced else 1e-7)
    with torch.no_grad():  # our gradients take the place of our weights, and go through the same renaming
        for parameter in ours.parameters():
            parameter.copy_(parameter.grad)
        gradients = dict(transformers_weights(ours))
    for name, parameter in theirs.named_parameters():
        expected = parameter.grad
        torch.testing.assert_close(
            gradients[name], expected, rtol=0, atol=1e-9 if replaced else 1e-5, msg=name
        )
