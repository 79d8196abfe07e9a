"""The transformer's operations with their backward passes written out, for the CPU.

Torch's own autograd of the forms in `plain` is right, but sends every intermediate through memory several
times. Here a sublayer is one Function that works on a few sequences at a time, so that what lies between its
matrix products stays in the core's cache; a norm's gain is folded into the matrix behind it, residual sums
into matrix products, RoPE is one complex product.
Each has the shapes and meaning of its namesake in `plain`, and is tested against it.
"""

from __future__ import annotations

import functools
import itertools
import platform
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from trainers.models.network import plain
from trainers.models.transformer import EXPLICIT_CONTEXT, PIECE_VALUES

ONEDNN = torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")
"""Whether float32 products go to oneDNN."""

Gradients = tuple[Tensor | None, ...]


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    """[..., 1]: 1 / sqrt(mean(x^2) + eps)."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def _norm_backward(grad: Tensor, normed: Tensor) -> Tensor:
    """Gradient before a norm without gain, less the factor `_inverse_rms`; overwrites ``grad``."""
    along = (grad * normed).sum(-1, keepdim=True).div_(-normed.shape[-1])
    return grad.addcmul_(normed, along)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x @ weight.T of matrices. oneDNN's float32 product is a tenth faster than the one behind ``torch.mm``
    on x86.
    """
    if ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu":
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return x @ weight.t()


def _add_product(x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    """x + h @ weight.T, in one pass where dtypes agree."""
    if ONEDNN and x.dtype == torch.float32 == h.dtype and x.device.type == "cpu":
        return torch.ops.mkldnn._linear_pointwise.binary(h, x, weight, None, "add")
    return torch.addmm(x, h, weight.t()) if x.dtype == h.dtype else x + h @ weight.t()


def accumulate(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a.T @ b, summed in the dtype of the weight whose gradient it is. Products are faster with b
    the wider.
    """
    if total.dtype == a.dtype:
        total.addmm_(a.t(), b)
    else:
        total.add_(a.t() @ b)


def pieces(count: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover ``count``."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, table: Tensor, extra: Tensor) -> Tensor:
        V = len(table)
        ctx.save_for_backward(ids)
        ctx.sizes = (V, len(extra))
        rows = ids.flatten()
        out = table.index_select(0, rows.clamp(max=V - 1))
        special = (rows >= V).nonzero()[:, 0]
        if len(special):
            out.index_copy_(0, special, extra.index_select(0, rows[special] - V))
        return out.view(*ids.shape, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        (ids,) = ctx.saved_tensors
        total = grad.new_zeros(sum(ctx.sizes), grad.shape[-1])
        total.index_add_(0, ids.flatten(), grad.flatten(0, -2))
        return None, *total.split(ctx.sizes)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        scale = _inverse_rms(x, eps)
        ctx.save_for_backward(x, gain, scale)
        return (x * scale).mul_(gain)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, gain, scale = ctx.saved_tensors
        normed = x * scale
        return _norm_backward(grad * gain, normed).mul_(scale), (grad * normed).flatten(0, -2).sum(0), None


class _MLP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gain: Tensor,
        gate_up: Tensor,
        down: Tensor,
        keep: Tensor | None,
        eps: float,
        dtype: torch.dtype,
    ) -> Tensor:
        rows = x.flatten(0, -2)
        scale = _inverse_rms(rows, eps)
        w_gate, w_up = (gate_up * gain).to(dtype).chunk(2)
        w_down = down.to(dtype)
        ctx.size = max(1, PIECE_VALUES // len(w_gate))
        saved, outs = [], []
        for at in pieces(len(rows), ctx.size):
            normed = (rows[at] * scale[at]).to(dtype)
            gate, up = product(normed, w_gate), product(normed, w_up)
            h = F.silu(gate).mul_(up)
            if keep is None:
                outs.append(_add_product(rows[at], h, w_down))
            else:
                outs.append(torch.addcmul(rows[at], product(h, w_down).to(x.dtype), keep.flatten(0, -2)[at]))
            saved += [gate, up]
        ctx.save_for_backward(x, gain, gate_up, down, keep, scale, *saved)
        return joined(outs).view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, gain, gate_up, down, keep, scale, *saved = ctx.saved_tensors
        rows, grads, dtype, f = x.flatten(0, -2), grad.flatten(0, -2), saved[0].dtype, down.shape[1]
        w_gate, w_up = (w.t().contiguous() for w in (gate_up * gain).to(dtype).chunk(2))
        w_down = down.to(dtype).t().contiguous()
        d_gate_up, d_down, dxs = gate_up.new_zeros(gate_up.shape[::-1]), torch.zeros_like(down), []
        for at, gate, up in zip(pieces(len(rows), ctx.size), saved[::2], saved[1::2], strict=True):
            normed = rows[at] * scale[at]
            dy = (grads[at] if keep is None else grads[at] * keep.flatten(0, -2)[at]).to(dtype)
            silu = F.silu(gate)
            accumulate(d_down, dy, silu * up)
            dh = product(dy, w_down)
            d_up = silu.mul_(dh)
            d_gate = torch.ops.aten.silu_backward.grad_input(dh.mul_(up), gate, grad_input=dh)
            inputs = normed.to(dtype)
            accumulate(d_gate_up[:, :f], inputs, d_gate)
            accumulate(d_gate_up[:, f:], inputs, d_up)
            dn = _add_product(product(d_gate, w_gate), d_up, w_up).to(x.dtype)
            dxs.append(torch.addcmul(grads[at], _norm_backward(dn, normed), scale[at]))
        d_gate_up = d_gate_up.t().contiguous()
        d_gain = (d_gate_up * gate_up).sum(0)
        return joined(dxs).view_as(x), d_gain, d_gate_up.mul_(gain), d_down, None, None, None


def joined(pieces: list[Tensor]) -> Tensor:
    """Pieces along the first dimension as one."""
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _cut(qkv: Tensor, heads: tuple[int, int]) -> tuple[Tensor, ...]:
    """Views [B, H, T, e], [B, G, T, e], [B, G, T, e] of [B, T, (H + 2 G) e]."""
    H, G = heads
    return qkv.unflatten(-1, (H + 2 * G, -1)).transpose(1, 2).split([H, G, G], 1)


def _turn(
    x: Tensor, gain: Tensor | None, factor: float, rotation: Tensor, eps: float
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Heads [B, h, T, e] normed, times gain and factor, rotated, in contiguous memory; the normed heads and
    the norm's scale beside it, or None without a gain.
    """
    out = x.new_empty(x.shape, dtype=rotation.dtype)
    normed = scale = None
    if gain is None:
        torch.mul(x, factor, out=out)
    else:
        scale = _inverse_rms(x.to(rotation.dtype), eps)
        normed = torch.mul(x, scale, out=torch.empty_like(out))
        torch.mul(normed, _rows(gain * factor, x.shape[2]), out=out)
    torch.view_as_complex(out.unflatten(-1, (-1, 2))).mul_(torch.view_as_complex(rotation))
    return out.to(x.dtype), normed, scale


def _turn_backward(
    grad: Tensor,
    normed: Tensor | None,
    scale: Tensor | None,
    gain: Tensor | None,
    factor: float,
    rotation: Tensor,
    out: Tensor,
    d_gain: Tensor | None,
) -> None:
    """Write the gradient before `_turn` to ``out``; add that of the gain to ``d_gain``."""
    pairs = torch.view_as_complex(grad.to(rotation.dtype).unflatten(-1, (-1, 2)))
    g = torch.view_as_real(pairs * torch.view_as_complex(rotation).conj()).flatten(-2)
    if normed is None or scale is None or gain is None or d_gain is None:
        out.copy_(g.mul_(factor))
        return
    d_gain.add_((g * normed).flatten(0, 1).sum(0).sum(0), alpha=factor)
    g = _norm_backward(g.mul_(_rows(gain * factor, g.shape[2])), normed)
    if out.dtype == g.dtype:
        torch.mul(g, scale, out=out)
    else:
        out.copy_(g.mul_(scale))


def _rows(gain: Tensor, length: int) -> Tensor:
    """[T, e], a gain at every position: products with it then run over long contiguous stretches."""
    return gain.expand(length, -1).contiguous()


def _grouped(x: Tensor, groups: int) -> Tensor:
    """[B G, R T, e] of [B, G R, T, e]: the R query heads that share a key head as one longer query."""
    return x.reshape(len(x) * groups, -1, x.shape[-1])


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
        heads: tuple[int, int],
        eps: float,
        dtype: torch.dtype,
    ) -> Tensor:
        (B, T, d), (H, G) = x.shape, heads
        scale = _inverse_rms(x, eps)
        w_qkv, w_out = (qkv * gain).to(dtype), output.to(dtype)
        ctx.heads, ctx.size = heads, max(1, PIECE_VALUES // (T * max(len(qkv), H * T)))
        saved, outs = [], []
        for at in pieces(B, ctx.size):
            normed = (x[at] * scale[at]).to(dtype)
            turn = rotation[at] if rotation.ndim == 5 else rotation
            y = product(normed.flatten(0, 1), w_qkv)
            q, k, v = _cut(y.view(-1, T, len(qkv)), heads)
            q, q_normed, q_scale = _turn(q, q_gain, q.shape[-1] ** -0.5, turn, eps)
            k, k_normed, k_scale = _turn(k, k_gain, 1.0, turn, eps)
            q, k, v = _grouped(q, G), _grouped(k, G), _grouped(v, G)
            s = torch.bmm(q, k.transpose(1, 2))
            if bias is not None:
                s.view(-1, H, T, T).add_(bias[at] if len(bias) > 1 else bias)
            p = torch.softmax(s, -1, out=s)
            o = torch.bmm(p, v).view(-1, H, T, d // H).transpose(1, 2).reshape(-1, d)
            outs.append(_add_product(x[at].flatten(0, 1), o, w_out))
            saved.append((q, k, v, p, o, q_normed, q_scale, k_normed, k_scale))
        ctx.save_for_backward(x, gain, qkv, q_gain, k_gain, output, rotation, scale, *itertools.chain(*saved))
        return joined(outs).view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, gain, qkv, q_gain, k_gain, output, rotation, scale, *saved = ctx.saved_tensors
        (B, T, d), (H, G), dtype = x.shape, ctx.heads, saved[0].dtype
        e = d // H
        w_qkv, w_out = (qkv * gain).to(dtype).t().contiguous(), output.to(dtype).t().contiguous()
        d_qkv, d_output, dxs = qkv.new_zeros(qkv.shape[::-1]), torch.zeros_like(output), []
        dq_gain = None if q_gain is None else torch.zeros_like(q_gain)
        dk_gain = None if k_gain is None else torch.zeros_like(k_gain)
        for n, at in enumerate(pieces(B, ctx.size)):
            q, k, v, p, o, q_normed, q_scale, k_normed, k_scale = saved[9 * n : 9 * n + 9]
            turn = rotation[at] if rotation.ndim == 5 else rotation
            dy = grad[at].flatten(0, 1).to(dtype)
            accumulate(d_output, dy, o)
            do = _grouped(product(dy, w_out).view(-1, T, H, e).transpose(1, 2), G)
            dv = torch.bmm(p.transpose(1, 2), do)
            ds = torch.bmm(do, v.transpose(1, 2))
            torch.ops.aten._softmax_backward_data.out(ds, p, -1, p.dtype, grad_input=ds)
            dq = torch.bmm(ds, k).view(-1, H, T, e)
            dk = torch.bmm(ds.transpose(1, 2), q).view(-1, G, T, e)
            d_y = dy.new_empty(len(dq), T, len(qkv))
            at_q, at_k, at_v = _cut(d_y, ctx.heads)
            _turn_backward(dq, q_normed, q_scale, q_gain, e**-0.5, turn, at_q, dq_gain)
            _turn_backward(dk, k_normed, k_scale, k_gain, 1.0, turn, at_k, dk_gain)
            at_v.copy_(dv.view(at_v.shape))
            normed, d_y = (x[at] * scale[at]).flatten(0, 1), d_y.flatten(0, 1)
            accumulate(d_qkv, normed.to(dtype), d_y)
            dn = _norm_backward(product(d_y, w_qkv).to(x.dtype), normed)
            dxs.append(torch.addcmul(grad[at].flatten(0, 1), dn, scale[at].flatten(0, 1)))
        d_qkv = d_qkv.t().contiguous()
        d_gain = (d_qkv * qkv).sum(0)
        dx = joined(dxs).view_as(x)
        return dx, d_gain, d_qkv.mul_(gain), dq_gain, dk_gain, d_output, None, None, None, None, None


@functools.lru_cache(maxsize=8)
def _causal_bias(length: int, dtype: torch.dtype) -> Tensor:
    """[1, 1, T, T]: zero up to the diagonal, very negative above."""
    return torch.full((1, 1, length, length), plain.forbidden(dtype), dtype=dtype).triu_(1)


embed = _Embed.apply
rms_norm = _RMSNorm.apply
mlp = _MLP.apply


def attention(
    x: Tensor,
    gain: Tensor,
    qkv: Tensor,
    q_gain: Tensor | None,
    k_gain: Tensor | None,
    output: Tensor,
    rotation: Tensor,
    bias: Tensor | None,
    causal: bool,
    heads: tuple[int, int],
    eps: float,
    dtype: torch.dtype,
    dropout: float = 0.0,
    extend: plain.Extend | None = None,
) -> Tensor:
    """See `plain.attention`, which also serves long contexts, caches and dropout."""
    T = x.shape[1]
    if dropout or extend is not None or T > EXPLICIT_CONTEXT:
        return plain.attention(
            x, gain, qkv, q_gain, k_gain, output, rotation, bias, causal, heads, eps, dtype, dropout, extend
        )
    bias = _causal_bias(T, dtype) if causal else bias
    return _Attention.apply(x, gain, qkv, q_gain, k_gain, output, rotation, bias, heads, eps, dtype)
