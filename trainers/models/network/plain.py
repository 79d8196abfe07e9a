"""The transformer's operations in plain torch: the definition that other kernels are tested against.

They also run where fusing by hand has nothing to gain: on CUDA, under torch.compile, and with a key-value
cache. Shapes: B sequences, T positions, d width, H query heads, G key (and value) heads, e head width, f
width of SwiGLU, V vocabulary. ``dtype`` is that of matrix products and of what is stored between them; the
residual stream ``x``, norms, rotations and losses keep the dtype of ``x``. Matrices are [out, in].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.models.network.operands import (
    AttentionShape,
    AttentionView,
    AttentionWeights,
    Extend,
    SwigluWeights,
)


def embed(ids: Tensor, table: Tensor, extra: Tensor) -> Tensor:
    """Rows of ``table`` [V, d] for ids below V, of ``extra`` [E, d] from V on."""
    return F.embedding(ids, torch.cat([table, extra]) if len(extra) else table)


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """RMSNorm (arXiv 1910.07467) over the last dimension."""
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * gain


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """RoPE (arXiv 2104.09864) on neighbouring pairs of [B, heads, T, e]; ``rotation`` [..., T, e/2, 2] is
    cosine, sine.
    """
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotation.unbind(-1)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)


def attend(q: Tensor, k: Tensor, v: Tensor, view: AttentionView, dropout: float = 0.0) -> Tensor:
    """Values mixed by attention [B, H, T, e], of queries [B, H, T, e], keys and values [B, G, S, e]."""
    shared = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, view.bias, dropout, view.causal, enable_gqa=shared)


def add_attention(
    x: Tensor,
    weights: AttentionWeights,
    shape: AttentionShape,
    view: AttentionView,
    dtype: torch.dtype,
    dropout: float = 0.0,
    extend: Extend | None = None,
) -> Tensor:
    """The residual stream [B, T, d] with the output of attention added.

    ``dropout`` is that of the attention weights. ``extend`` puts the keys and values of a cache before those
    of ``x``.
    """
    (H, G), eps, w = shape.heads, shape.eps, weights
    y = F.linear(rms_norm(x, w.gain, eps).to(dtype), w.qkv.to(dtype))
    q, k, v = y.unflatten(-1, (H + 2 * G, -1)).transpose(1, 2).split([H, G, G], 1)
    q, k = q.to(x.dtype), k.to(x.dtype)
    if w.q_gain is not None and w.k_gain is not None:
        q, k = rms_norm(q, w.q_gain, eps), rms_norm(k, w.k_gain, eps)
    if view.rotation is not None:
        q, k = rotate(q, view.rotation), rotate(k, view.rotation)
    q, k = q.to(dtype), k.to(dtype)
    if extend is not None:
        k, v = extend(k, v)
    o = attend(q, k, v, view, dropout)
    return x + F.linear(o.transpose(1, 2).flatten(2), w.output.to(dtype))


def add_swiglu(
    x: Tensor, weights: SwigluWeights, eps: float, dtype: torch.dtype, keep: Tensor | None = None
) -> Tensor:
    """The residual stream [B, T, d] with the output of SwiGLU (arXiv 2002.05202) added.

    ``keep`` [B, T, d] or None multiplies the output: dropout.
    """
    gate, up = F.linear(rms_norm(x, weights.gain, eps).to(dtype), weights.gate_up.to(dtype)).chunk(2, -1)
    y = F.linear(F.silu(gate) * up, weights.down.to(dtype))
    return x + (y if keep is None else y * keep)


def gelu(x: Tensor) -> Tensor:
    """GELU (arXiv 1606.08415) in its tanh form."""
    return F.gelu(x, approximate="tanh")


def linear_cross_entropy(
    hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, dtype: torch.dtype
) -> Tensor:
    """Sum over positions of weight x cross-entropy, 0-d; ``hidden`` [n, d], ``head`` [V, d], ``targets``,
    ``weights`` [n].
    """
    logits = F.linear(hidden.to(dtype), head.to(dtype)).to(hidden.dtype)
    return (F.cross_entropy(logits, targets, reduction="none") * weights).sum()
