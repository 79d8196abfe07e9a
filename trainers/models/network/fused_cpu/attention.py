"""Attention behind its norm, with its weights kept, a few sequences at a time."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.models.network import plain
from trainers.models.network.fused_cpu.norms import inverse_rms, norm_backward
from trainers.models.network.fused_cpu.products import (
    Gradients,
    accumulate,
    add_product,
    joined,
    pieces,
    product,
)
from trainers.models.network.limits import EXPLICIT_CONTEXT, PIECE_VALUES
from trainers.models.network.operands import (
    AttentionShape,
    AttentionView,
    AttentionWeights,
    Extend,
    forbidden,
)


def _heads(y: Tensor, length: int, heads: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Views of [n T, (H + 2 G) e]: queries and keys [H + G, n, T, e], values [G, n, T, e]."""
    H, G = heads
    by_head = y.view(-1, length, H + 2 * G, y.shape[1] // (H + 2 * G)).permute(2, 0, 1, 3)
    return by_head[: H + G], by_head[H + G :]


def _gain_table(
    q_gain: Tensor | None, k_gain: Tensor | None, heads: tuple[int, int], length: int, width: int
) -> Tensor:
    """[H + G, 1, T, e]: QK-norm's gains, and 1 / sqrt(e) for queries.

    It is spread over positions so that products with it run over long contiguous stretches; without QK-norm
    it is [H + G, 1, 1, 1] in float64.
    """
    H, G = heads
    if q_gain is None or k_gain is None:
        return torch.tensor([width**-0.5] * H + [1.0] * G, dtype=torch.float64).view(-1, 1, 1, 1)
    table = torch.cat([(q_gain * width**-0.5).expand(H, width), k_gain.expand(G, width)])
    return table[:, None, None].expand(-1, 1, length, -1).contiguous()


def _by_key(x: Tensor, groups: int) -> Tensor:
    """[G, n, R T, e] of query heads [G R, n, T, e]: the R heads that share a key head as one longer query."""
    return x.unflatten(0, (groups, -1)).transpose(1, 2).flatten(2, 3)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gain: Tensor,
        qkv: Tensor,
        q_gain: Tensor | None,
        k_gain: Tensor | None,
        output: Tensor,
        rotation: Tensor,
        bias: Tensor | None,
        shape: AttentionShape,
        dtype: torch.dtype,
    ) -> Tensor:
        (B, T, d), (H, G), eps = x.shape, shape.heads, shape.eps
        scale = inverse_rms(x, eps)
        w_qkv, w_out = (qkv * gain).to(dtype), output.to(dtype)
        table = _gain_table(q_gain, k_gain, shape.heads, T, d // H).to(x.dtype)
        ctx.heads, ctx.size = shape.heads, max(1, PIECE_VALUES // (T * max(len(qkv), H * T)))
        saved, outs = [], []
        for at in pieces(B, ctx.size):
            y = product((x[at] * scale[at]).to(dtype).flatten(0, 1), w_qkv)
            qk, v = _heads(y, T, shape.heads)
            turned, normed, head_scale = x.new_empty(qk.shape), None, None
            if q_gain is None:
                torch.mul(qk, table, out=turned)
            else:
                head_scale = inverse_rms(qk.to(x.dtype), eps)
                normed = torch.mul(qk, head_scale, out=torch.empty_like(turned))
                torch.mul(normed, table, out=turned)
            _pairs(turned).mul_(_turn(rotation, at))
            turned, v = turned.to(dtype), v.contiguous()
            p, o = _mix(
                _by_key(turned[:H], G), turned[H:], v, bias if bias is None or len(bias) == 1 else bias[at]
            )
            o = o.unflatten(2, (-1, T)).permute(1, 3, 0, 2, 4).reshape(-1, d)
            outs.append(add_product(x[at].flatten(0, 1), o, w_out))
            saved.append((turned, v, p, o, normed, head_scale))
        ctx.save_for_backward(x, gain, qkv, q_gain, output, rotation, scale, table, *itertools.chain(*saved))
        return joined(outs).view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, gain, qkv, q_gain, output, rotation, scale, table, *saved = ctx.saved_tensors
        (B, T, d), (H, G), dtype = x.shape, ctx.heads, saved[0].dtype
        w_qkv, w_out = (qkv * gain).to(dtype).t().contiguous(), output.to(dtype).t().contiguous()
        d_qkv, d_output, dxs = qkv.new_zeros(qkv.shape[::-1]), torch.zeros_like(output), []
        d_gains = None if q_gain is None else x.new_zeros(H + G, d // H)
        for n, at in enumerate(pieces(B, ctx.size)):
            turned, v, p, o, normed, head_scale = saved[6 * n : 6 * n + 6]
            dy = grad[at].flatten(0, 1).to(dtype)
            accumulate(d_output, dy, o)
            do = product(dy, w_out).view(-1, T, H, d // H).permute(2, 0, 1, 3)
            d_qk, dv = _mix_backward(_by_key(do, G), _by_key(turned[:H], G), turned[H:], v, p)
            g = _pairs(d_qk.to(x.dtype)) * _turn(rotation, at).conj()
            g = torch.view_as_real(g).flatten(-2)
            d_y = dy.new_empty(len(dy), len(qkv))
            at_qk, at_v = _heads(d_y, T, ctx.heads)
            at_v.copy_(dv)
            if normed is None or d_gains is None:
                torch.mul(g, table, out=at_qk)
            else:
                d_gains += (g * normed).flatten(1, 2).sum(1)
                torch.mul(norm_backward(g.mul_(table), normed), head_scale, out=at_qk)
            flat = (x[at] * scale[at]).flatten(0, 1)
            accumulate(d_qkv, flat.to(dtype), d_y)
            dn = norm_backward(product(d_y, w_qkv).to(x.dtype), flat)
            dxs.append(torch.addcmul(grad[at].flatten(0, 1), dn, scale[at].flatten(0, 1)))
        d_qkv = d_qkv.t().contiguous()
        d_gain = (d_qkv * qkv).sum(0)
        dq_gain = dk_gain = None
        if d_gains is not None:
            dq_gain, dk_gain = d_gains[:H].sum(0).mul_((d // H) ** -0.5), d_gains[H:].sum(0)
        dx = joined(dxs).view_as(x)
        return dx, d_gain, d_qkv.mul_(gain), dq_gain, dk_gain, d_output, None, None, None, None


def _pairs(x: Tensor) -> Tensor:
    """Neighbouring pairs of [..., e] as complex numbers [..., e/2]."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


def _turn(rotation: Tensor, at: slice) -> Tensor:
    """RoPE's complex factors of some sequences, [T, e/2], or [n, T, e/2] where each has positions of its
    own."""
    return torch.view_as_complex(rotation[at, 0] if rotation.ndim == 5 else rotation)


def _chunks(groups: int, samples: int, scores: int) -> Iterator[tuple[int, slice]]:
    """Key heads and samples whose scores fit in a core's own cache (1 MB in float32)."""
    return ((g, at) for g in range(groups) for at in pieces(samples, max(1, (1 << 18) // scores)))


def _mix(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Attention weights [G, n, R T, T] and values mixed by them [G, n, R T, e]."""
    G, n, T, _ = k.shape
    p, o = q.new_empty(*q.shape[:3], T), torch.empty_like(q)
    for i in _chunks(G, n, p[0, 0].numel()):
        s = torch.bmm(q[i], k[i].transpose(1, 2))
        if bias is not None:
            s.view(len(s), -1, T, T).add_(bias[i[1]] if len(bias) > 1 else bias)
        torch.softmax(s, -1, out=p[i])
        torch.bmm(p[i], v[i], out=o[i])
    return p, o


def _mix_backward(do: Tensor, q: Tensor, k: Tensor, v: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of queries and keys [H + G, n, T, e], and of values [G, n, T, e]."""
    (G, n, T, e), R = k.shape, q.shape[2] // k.shape[2]
    d_qk, dv = q.new_empty(G * R + G, n, T, e), torch.empty_like(v)
    dk = d_qk[G * R :]
    dq = d_qk[:G] if R == 1 else torch.empty_like(q)
    for i in _chunks(G, n, p[0, 0].numel()):
        torch.bmm(p[i].transpose(1, 2), do[i], out=dv[i])
        ds = torch.bmm(do[i], v[i].transpose(1, 2))
        torch.ops.aten._softmax_backward_data.out(ds, p[i], -1, p.dtype, grad_input=ds)
        torch.bmm(ds, k[i], out=dq[i])
        torch.bmm(ds.transpose(1, 2), q[i], out=dk[i])
    if R > 1:
        d_qk[: G * R].unflatten(0, (G, R)).copy_(dq.unflatten(2, (R, T)).transpose(1, 2))
    return d_qk, dv


@functools.lru_cache(maxsize=8)
def _causal_bias(length: int, dtype: torch.dtype) -> Tensor:
    """[1, 1, T, T]: zero up to the diagonal, very negative above."""
    return torch.full((1, 1, length, length), forbidden(dtype), dtype=dtype).triu_(1)


def add_attention(
    x: Tensor,
    weights: AttentionWeights,
    shape: AttentionShape,
    view: AttentionView,
    dtype: torch.dtype,
    dropout: float = 0.0,
    extend: Extend | None = None,
) -> Tensor:
    """See `trainers.models.network.plain.add_attention`, which also serves long contexts, caches and
    dropout."""
    T = x.shape[1]
    if dropout or extend is not None or T > EXPLICIT_CONTEXT:
        return plain.add_attention(x, weights, shape, view, dtype, dropout, extend)
    bias = _causal_bias(T, dtype) if view.causal else view.bias
    w = weights
    return _Attention.apply(x, w.gain, w.qkv, w.q_gain, w.k_gain, w.output, view.rotation, bias, shape, dtype)
