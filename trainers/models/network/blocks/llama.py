"""Llama's block, with the QK-norm and GQA of Qwen3: the default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from trainers.models.network.blocks.base import Block, Initial, Weight, Weights, blocks
from trainers.models.network.limits import EXPLICIT_CONTEXT, LOGITS_VALUES, PIECE_VALUES

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.models.network.forward_pass import ForwardPass
    from trainers.models.transformer import Transformer


@blocks.register
class Llama(Block):
    """Attention and SwiGLU, each behind an RMSNorm and added to the residual stream (arXiv 2302.13971).

    ``qkv`` stacks queries, keys and values; ``gate_up`` stacks SwiGLU's two inputs. Within a head of queries
    or keys, the two rows that RoPE turns together are neighbours.
    """

    name: ClassVar[str] = "llama"
    rotary: ClassVar[bool] = True

    def ffn_width(self, model: Transformer) -> int:
        """8/3 of the width, up to a multiple of 32."""
        return -(-8 * model.width // 3 // 32) * 32

    def layer(self, model: Transformer) -> dict[str, Weight]:
        d, e, f = model.width, model.head_width, model.ffn_width
        gains = {"q_norm": Weight((e,), "ones"), "k_norm": Weight((e,), "ones")} if model.qk_norm else {}
        return {
            "attention_norm": Weight((d,), "ones"),
            "qkv": Weight(((model.n_heads + 2 * model.n_kv_heads) * e, d)),
            **gains,
            "output": Weight((d, d), "residual"),
            "mlp_norm": Weight((d,), "ones"),
            "gate_up": Weight((2 * f, d)),
            "down": Weight((d, f), "residual"),
        }

    def outer(self, model: Transformer) -> dict[str, Weight]:
        return {"norm": Weight((model.width,), "ones")}

    def forward(self, model: Transformer, layer: Weights, x: Tensor, run: ForwardPass, index: int) -> Tensor:
        return self.mlp(model, layer, self.attention(model, layer, x, run, index), run, index)

    def attention(
        self, model: Transformer, layer: Weights, x: Tensor, run: ForwardPass, index: int
    ) -> Tensor:
        """The residual stream with the output of attention added."""
        from trainers.models.network.operands import AttentionShape, AttentionWeights

        gains = (layer["q_norm"], layer["k_norm"]) if model.qk_norm else (None, None)
        weights = AttentionWeights(layer["attention_norm"], layer["qkv"], layer["output"], *gains)
        shape = AttentionShape((model.n_heads, model.n_kv_heads), model.norm_eps)
        dropout = model.dropout_attention if run.training else 0.0
        return run.kernels.add_attention(x, weights, shape, run.view, run.dtype, dropout, run.extend(index))

    def mlp(self, model: Transformer, layer: Weights, x: Tensor, run: ForwardPass, index: int) -> Tensor:
        """The residual stream with the output of SwiGLU added."""
        from trainers.models.network.operands import SwigluWeights

        weights = SwigluWeights(layer["mlp_norm"], layer["gate_up"], layer["down"])
        keep = run.keep(x, model.dropout_mlp, f"dropout/mlp/{index}")
        return run.kernels.add_swiglu(x, weights, model.norm_eps, run.dtype, keep)

    def leave(self, model: Transformer, outer: Weights, x: Tensor, run: ForwardPass) -> Tensor:
        return run.kernels.rms_norm(x, outer["norm"], model.norm_eps)

    def logical(self, model: Transformer, layer: Weights) -> Iterator[tuple[str, Tensor, Initial]]:
        """Rows of wq and wk are in the order of Llama's weights, where the rows that RoPE turns together are
        half a head apart: [heads, 2, e/2, d] is that order, as a view.
        """
        H, G = model.n_heads, model.n_kv_heads
        fused = {name: layer[name].detach() for name in self.layer(model)}
        wq, wk, wv = fused["qkv"].unflatten(0, (H + 2 * G, -1)).split([H, G, G])
        yield "attention_norm", fused["attention_norm"], "ones"
        yield "wq", wq.unflatten(1, (-1, 2)).transpose(1, 2), "normal"
        yield "wk", wk.unflatten(1, (-1, 2)).transpose(1, 2), "normal"
        yield "wv", wv, "normal"
        for name in ("q_norm", "k_norm") if model.qk_norm else ():
            yield name, fused[name].unflatten(0, (-1, 2)).t(), "ones"
        yield "wo", fused["output"], "residual"
        yield "mlp_norm", fused["mlp_norm"], "ones"
        gate, up = fused["gate_up"].chunk(2)
        yield "gate", gate, "normal"
        yield "up", up, "normal"
        yield "down", fused["down"], "residual"

    def activation_bytes(
        self,
        model: Transformer,
        vocab: int,
        context: int,
        sequences: int,
        bytes_per_value: int,
        recompute: bool = False,
    ) -> int:
        low, tokens = bytes_per_value, sequences * context
        d, f, heads = model.width, model.ffn_width, model.n_heads
        keys = model.n_kv_heads * model.head_width
        turned = d + keys  # queries and keys
        normed = turned * model.qk_norm
        residual = 8 * d  # the input of each sublayer, in float32
        if context <= EXPLICIT_CONTEXT:
            kept = 4 * normed + low * (2 * d + 2 * keys + heads * context + 2 * f)
            working = min(tokens * low * max(3 * f, heads * context + 3 * d), 6 * low * PIECE_VALUES)
        else:
            kept = 4 * (2 * d + 2 * normed) + low * (4 * d + d + 2 * keys + turned + 2 * d + 4 * f)
            working = tokens * low * 4 * f
        logits = (4 + low * (low < 4)) * min(vocab * tokens, LOGITS_VALUES)
        each = kept + residual
        layers = model.layers * residual // 2 + each if recompute else model.layers * each
        return int(tokens * (layers + 16 * d) + max(working, logits))
