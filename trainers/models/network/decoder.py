"""The transformer as a torch module."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.noise import Noise

if TYPE_CHECKING:
    from trainers.models.transformer import Transformer
    from trainers.objectives.base import Corruption


class Cache:
    """Keys and values of the positions fed so far, one pair a layer, for autoregressive sampling."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def length(self) -> int:
        """Positions held."""
        return self.layers[0][0].shape[2] if self.layers else 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values [B, H, T, e] of a layer, the new ones appended."""
        if layer in self.layers:
            old_k, old_v = self.layers[layer]
            k, v = torch.cat([old_k, k], 2), torch.cat([old_v, v], 2)
        self.layers[layer] = k, v
        return k, v


def rotary(positions: Tensor, head_width: int, base: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine [..., T, e/2] of RoPE (arXiv 2104.09864) in the half-split layout, computed in float64."""
    rate = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64, device=positions.device) / head_width)
    angle = positions.to(torch.float64)[..., None] * rate
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def dropout(x: Tensor, p: float, noise: Noise | None, name: str) -> Tensor:
    """Inverted dropout of [B, ...] from counter noise."""
    if noise is None:
        raise ValueError("dropout while training needs the batch's noise: model(..., noise=noise)")
    keep = noise.uniform(name, *x.shape[1:]) >= p
    return x * (keep * (1 / (1 - p))).to(x.dtype)


class Layer(nn.Module):
    """Attention and SwiGLU, each after a norm, added to the residual stream. Matrices are [out, in]; q, k, v are one matrix."""

    def __init__(self, config: Transformer) -> None:
        super().__init__()
        d, e, f = config.width, config.head_width, config.ffn_width
        self.heads, self.kv_heads, self.config = config.n_heads, config.n_kv_heads, config
        self.attention_norm = nn.Parameter(torch.ones(d))
        self.qkv = nn.Parameter(torch.empty((self.heads + 2 * self.kv_heads) * e, d))
        self.q_norm = nn.Parameter(torch.ones(e)) if config.qk_norm else None
        self.k_norm = nn.Parameter(torch.ones(e)) if config.qk_norm else None
        self.output = nn.Parameter(torch.empty(d, d))
        self.mlp_norm = nn.Parameter(torch.ones(d))
        self.gate_up = nn.Parameter(torch.empty(2 * f, d))
        self.down = nn.Parameter(torch.empty(d, f))

    def forward(self, x, cos, sin, mask, causal, noise, cache=None, index=0):  # type: ignore[no-untyped-def]
        c = self.config
        B, T, d = x.shape
        h, g, e = self.heads, self.kv_heads, c.head_width
        n = F.rms_norm(x, (d,), self.attention_norm, c.norm_eps)
        q, k, v = F.linear(n, self.qkv).split([h * e, g * e, g * e], -1)
        q, k, v = (t.view(B, T, -1, e).transpose(1, 2) for t in (q, k, v))
        if c.qk_norm:
            q, k = F.rms_norm(q, (e,), self.q_norm, c.norm_eps), F.rms_norm(k, (e,), self.k_norm, c.norm_eps)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            k, v = cache.extend(index, k, v)
        p = c.dropout_attention if self.training else 0.0
        o = F.scaled_dot_product_attention(q, k, v, mask, p, causal, enable_gqa=g != h)
        x = x + F.linear(o.transpose(1, 2).reshape(B, T, d), self.output)
        n = F.rms_norm(x, (d,), self.mlp_norm, c.norm_eps)
        gate, up = F.linear(n, self.gate_up).chunk(2, -1)
        y = F.linear(F.silu(gate) * up, self.down)
        if c.dropout_mlp and self.training:
            y = dropout(y, c.dropout_mlp, noise, f"dropout/mlp/{index}")
        return x + y


class Decoder(nn.Module):
    """Tokens or embeddings in, hidden states out; ``logits`` are over the V tokens that can be predicted."""

    objective: nn.Module | None

    def __init__(self, config: Transformer, vocab: int, extra: int) -> None:
        super().__init__()
        self.config, self.vocab, self.width = config, vocab, config.width
        self.checkpoint_activations = False
        self.objective = None
        self.embedding = nn.Parameter(torch.empty(vocab, config.width))
        self.extra = nn.Parameter(torch.empty(extra, config.width))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.Parameter(torch.ones(config.width))
        self.head = None if config.tied else nn.Parameter(torch.empty(vocab, config.width))

    def logical_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the backbone under the name that it has without fusion, as views: ``layers.0.wq``, ..."""
        e = self.config.head_width
        yield "embedding", self.embedding
        yield "extra", self.extra
        for i, layer in enumerate(self.layers):
            wq, wk, wv = layer.qkv.detach().split([self.width, layer.kv_heads * e, layer.kv_heads * e])
            gate, up = layer.gate_up.detach().chunk(2)
            named = {
                "attention_norm": layer.attention_norm, "wq": wq, "wk": wk, "wv": wv, "q_norm": layer.q_norm, "k_norm": layer.k_norm,
                "wo": layer.output, "mlp_norm": layer.mlp_norm, "gate": gate, "up": up, "down": layer.down,
            }
            yield from ((f"layers.{i}.{name}", tensor) for name, tensor in named.items() if tensor is not None)
        yield "norm", self.norm
        if self.head is not None:
            yield "head", self.head

    def initial_parameters(self) -> Iterator[tuple[str, Tensor, float | None]]:
        """Logical name, view and initial standard deviation of each tensor (None: norms, which start at one).

        Outputs to the residual stream are scaled by 1 / sqrt(2 L), as in GPT-2.
        """
        std = self.config.init_std
        residual = std / math.sqrt(2 * self.config.layers)
        for name, tensor in self.logical_parameters():
            ends = name.rpartition(".")[2]
            yield name, tensor, None if tensor.ndim == 1 else residual if ends in ("wo", "down") else std

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings [..., d] of ids, extra tokens (V, V + 1, ...) included."""
        table = torch.cat([self.embedding, self.extra]) if len(self.extra) else self.embedding
        return F.embedding(ids, table)

    def forward(
        self,
        inputs: Tensor,
        attention: str | Tensor,
        positions: Tensor | None = None,
        conditioning: Tensor | None = None,
        noise: Noise | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Hidden states [B, T, d], after the last norm.

        ``inputs`` ids [B, T] or embeddings [B, T, d]; ``attention`` ``causal``, ``full`` or a bool mask [B, 1, T, T], true where
        attention is allowed; ``positions`` [B, T]; ``conditioning`` [B, d] joins every embedding; ``noise`` drives dropout.
        With ``cache`` (causal only), inputs continue the positions that it holds, and it is extended.
        """
        c = self.config
        x = self.embed(inputs) if not inputs.is_floating_point() else inputs
        if conditioning is not None:
            x = x + conditioning[:, None, :]
        if c.dropout_embedding and self.training:
            x = dropout(x, c.dropout_embedding, noise, "dropout/embedding")
        past = cache.length if cache is not None else 0
        T = x.shape[1]
        if positions is None:
            positions = torch.arange(past, past + T, device=x.device)
            cos, sin = rotary(positions, c.head_width, c.rope_base, x.dtype)
        else:
            cos, sin = (t[:, None] for t in rotary(positions, c.head_width, c.rope_base, x.dtype))
        mask = attention if isinstance(attention, Tensor) else None
        causal = isinstance(attention, str) and attention == "causal"
        if causal and past:
            mask = torch.ones(T, past + T, dtype=torch.bool, device=x.device).tril(past)
            causal = False
        for i, layer in enumerate(self.layers):
            x = layer(x, cos, sin, mask, causal, noise, cache, i)
        return F.rms_norm(x, (self.width,), self.norm, c.norm_eps)

    def head_weight(self) -> Tensor:
        """The head's matrix [V, d]."""
        return self.embedding if self.head is None else self.head

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., V]: extra tokens cannot be predicted."""
        return F.linear(hidden, self.head_weight())

    def token_nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Nats of each target, [...], float32."""
        logits = self.logits(hidden).float()
        return logits.logsumexp(-1) - logits.gather(-1, targets[..., None])[..., 0]

    def weighted_cross_entropy(self, corruption: Corruption, noise: Noise | None = None) -> Tensor:
        """Sum over scored positions of weight x cross-entropy, 0-d. Only positions with a weight reach the head."""
        c = corruption
        hidden = self(c.inputs, c.attention, c.positions, c.conditioning, noise)
        scored = c.weights.flatten().nonzero()[:, 0]
        hidden, targets, weights = (t.flatten(0, 1)[scored] for t in (hidden, c.targets, c.weights))
        return (F.cross_entropy(self.logits(hidden), targets, reduction="none") * weights).sum()
