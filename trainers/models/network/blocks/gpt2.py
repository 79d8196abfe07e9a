"""GPT-2's block: LayerNorm, GELU, biases and learned positions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from trainers.components.lazy import torch
from trainers.models.network.blocks.base import Block, Initial, Weight, Weights, blocks

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.models.network.forward_pass import ForwardPass
    from trainers.models.transformer import Transformer


@blocks.register
class Gpt2(Block):
    """Attention and a GELU MLP of 4 d, each behind a LayerNorm (Radford et al. 2019; code: openai/gpt-2).

    ``qkv`` stacks queries, keys and values. GELU is its tanh form, as there.
    """

    name: ClassVar[str] = "gpt2"
    unused: ClassVar[frozenset[str]] = frozenset({"kv_heads", "qk_norm", "rope_base"})

    positions: int = Field(1024, ge=2, description="Learned positions: the largest context.")

    def layer(self, model: Transformer) -> dict[str, Weight]:
        d, f = model.width, model.ffn_width
        return {
            "attention_norm": Weight((d,), "ones"),
            "attention_norm_bias": Weight((d,), "zeros"),
            "qkv": Weight((3 * d, d)),
            "qkv_bias": Weight((3 * d,), "zeros"),
            "output": Weight((d, d), "residual"),
            "output_bias": Weight((d,), "zeros"),
            "mlp_norm": Weight((d,), "ones"),
            "mlp_norm_bias": Weight((d,), "zeros"),
            "up": Weight((f, d)),
            "up_bias": Weight((f,), "zeros"),
            "down": Weight((d, f), "residual"),
            "down_bias": Weight((d,), "zeros"),
        }

    def outer(self, model: Transformer) -> dict[str, Weight]:
        d = model.width
        return {
            "positions": Weight((self.positions, d), embedding=True),
            "norm": Weight((d,), "ones"),
            "norm_bias": Weight((d,), "zeros"),
        }

    def longest(self) -> int:
        return self.positions

    def enter(self, outer: Weights, x: Tensor, positions: Tensor) -> Tensor:
        return x + torch.nn.functional.embedding(positions, outer["positions"]).to(x.dtype)

    def forward(self, model: Transformer, layer: Weights, x: Tensor, run: ForwardPass, index: int) -> Tensor:
        F = torch.nn.functional
        d, low, eps = model.width, run.dtype, model.norm_eps

        def normed(name: str) -> Tensor:
            return F.layer_norm(x, (d,), layer[name], layer[f"{name}_bias"], eps).to(low)

        def linear(y: Tensor, name: str) -> Tensor:
            return F.linear(y, layer[name].to(low), layer[f"{name}_bias"].to(low))

        parts = linear(normed("attention_norm"), "qkv").chunk(3, -1)  # whose gradients are joined in one copy
        q, k, v = (part.unflatten(-1, (model.n_heads, -1)).transpose(1, 2) for part in parts)
        dropout = model.dropout_attention if run.training else 0.0
        o = run.attend(q, k, v, index, dropout).transpose(1, 2).flatten(2)
        x = x + linear(o, "output")
        y = linear(run.kernels.gelu(linear(normed("mlp_norm"), "up")), "down")
        keep = run.keep(x, model.dropout_mlp, f"dropout/mlp/{index}")
        return x + (y if keep is None else y * keep)

    def leave(self, model: Transformer, outer: Weights, x: Tensor, run: ForwardPass) -> Tensor:
        norm = torch.nn.functional.layer_norm
        return norm(x, (model.width,), outer["norm"], outer["norm_bias"], model.norm_eps)

    def logical(self, model: Transformer, layer: Weights) -> Iterator[tuple[str, Tensor, Initial]]:
        for name, tensor, initial in super().logical(model, layer):
            if name == "qkv":
                yield from zip(("wq", "wk", "wv"), tensor.chunk(3), ("normal",) * 3, strict=True)  # type: ignore[misc]
            else:
                yield {"output": "wo"}.get(name, name), tensor, initial
