"""The transformer's operations in plain torch: the definition that `kernels` is tested against.

They also run where fusing by hand has nothing to gain: on CUDA, under torch.compile, and with a key-value cache.
Shapes: B sequences, T positions, d width, H query heads, G key (and value) heads, e head width, V vocabulary. ``dtype`` is
that of matrix products and of what is stored between them; the residual stream, norms and losses keep the dtype of ``x``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def embed(ids: Tensor, table: Tensor, extra: Tensor) -> Tensor:
    """Rows of ``table`` [V, d] for ids below V, of ``extra`` [E, d] from V on."""
    return F.embedding(ids, torch.cat([table, extra]) if len(extra) else table)


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """RMSNorm (arXiv 1910.07467) over the last dimension."""
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * gain


def norm_linear(x: Tensor, gain: Tensor, weight: Tensor, eps: float, parts: int, dtype: torch.dtype) -> Tensor:
    """[parts, B, T, n/parts]: a norm, then ``weight`` [n, d], its output cut in equal parts."""
    y = F.linear(rms_norm(x, gain, eps).to(dtype), weight.to(dtype))
    return y.view(*y.shape[:-1], parts, -1).movedim(-2, 0)


def linear_add(x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    """The residual stream [B, T, d] with ``h`` [B, T, n] times ``weight`` [d, n] added."""
    return x + F.linear(h, weight.to(h.dtype))


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """RoPE (arXiv 2104.09864) on neighbouring pairs of [B, heads, T, e]; ``rotation`` [..., T, e/2, 2] is cosine and sine."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotation.unbind(-1)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)


def split_heads(
    qkv: Tensor, q_gain: Tensor | None, k_gain: Tensor | None, rotation: Tensor, heads: tuple[int, int], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [B, H, T, e] and keys [B, G, T, e], normed where there are gains, rotated, the queries times
    1 / sqrt(e); and values [B, G, T, e]. ``qkv`` [B, T, (H + 2 G) e]; ``heads`` is (H, G)."""
    H, G = heads
    q, k, v = qkv.unflatten(-1, (H + 2 * G, -1)).transpose(1, 2).split([H, G, G], 1)
    q, k = q.to(rotation.dtype), k.to(rotation.dtype)
    if q_gain is not None and k_gain is not None:
        q, k = rms_norm(q, q_gain, eps), rms_norm(k, k_gain, eps)
    q = q * q.shape[-1] ** -0.5
    return rotate(q, rotation).to(qkv.dtype), rotate(k, rotation).to(qkv.dtype), v


def forbidden(dtype: torch.dtype) -> float:
    """What a score gets where attention is not allowed; finite, so that a position which may attend to nothing
    attends evenly to everything instead of becoming NaN."""
    return torch.finfo(dtype).min / 2


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, dropout: float = 0.0) -> Tensor:
    """Attention [B, T, H e] of scaled queries [B, H, T, e] to [B, G, S, e]; H / G neighbouring query heads share a
    key head. ``bias`` [B or 1, 1, T, S] is added to the scores."""
    grouped = q.shape[1] != k.shape[1]
    o = F.scaled_dot_product_attention(q, k, v, bias, dropout, causal, scale=1.0, enable_gqa=grouped)
    return o.transpose(1, 2).flatten(2)


def swiglu_linear_add(x: Tensor, gate_up: Tensor, weight: Tensor) -> Tensor:
    """The residual stream with the output of SwiGLU (arXiv 2002.05202) added; ``gate_up`` [2, B, T, f], ``weight`` [d, f]."""
    return linear_add(x, F.silu(gate_up[0]) * gate_up[1], weight)


def linear_cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum over positions of weight x cross-entropy, 0-d; ``hidden`` [n, d], ``head`` [V, d], ``targets`` and ``weights`` [n]."""
    logits = F.linear(hidden.to(dtype), head.to(dtype)).to(hidden.dtype)
    return (F.cross_entropy(logits, targets, reduction="none") * weights).sum()
