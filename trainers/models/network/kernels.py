"""The transformer's operations with their backward passes written out, for the CPU.

Torch's own autograd of the forms in `plain` is right but reads and writes memory three to four times as often. Here a norm's
gain is folded into the next matrix, residual sums into matrix products (beta = 1), RoPE is one complex product, attention runs
in pieces that stay in the cache, and the loss turns its logits into their gradient in place. Each Function has the signature,
shapes and meaning of its namesake in `plain`, and is tested against it by gradcheck.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.models.network import plain

CACHE_VALUES = 1 << 18
"""Attention scores worked on at a time, about 1 MB: a core's own cache."""
LOGITS_VALUES = 1 << 22
"""Logits held at a time."""
EXPLICIT_CONTEXT = 256
"""Contexts up to this keep the attention weights of the forward pass; longer ones use torch's flash attention."""


def _matmul_add(x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    """x + h @ weight in one pass where dtypes agree."""
    if x.dtype == h.dtype:
        return torch.addmm(x.flatten(0, -2), h.flatten(0, -2), weight).view_as(x)
    return x + (h.flatten(0, -2) @ weight).view_as(x)


def _weight_grad(gy: Tensor, inputs: Tensor, like: Tensor) -> Tensor:
    """gy.T @ inputs over all positions, in the dtype of the weight."""
    return (gy.flatten(0, -2).t() @ inputs.flatten(0, -2)).to(like.dtype)


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    """[..., 1]: 1 / sqrt(mean(x^2) + eps)."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def _norm_backward(grad: Tensor, x: Tensor, scale: Tensor) -> Tensor:
    """Gradient at x of x * scale, where scale = `_inverse_rms(x)`; overwrites ``grad``."""
    along = (grad * x).sum(-1, keepdim=True).mul_(scale.pow(3)).div_(-x.shape[-1])
    return grad.mul_(scale).addcmul_(x, along)


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
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
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
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, scale = ctx.saved_tensors
        gain_grad = (x * scale).mul_(grad).flatten(0, -2).sum(0)
        return _norm_backward(grad * gain, x, scale), gain_grad, None


class _NormLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, weight: Tensor, eps: float, parts: int, dtype: torch.dtype
    ) -> Tensor:
        scale = _inverse_rms(x, eps)
        ctx.save_for_backward(x, gain, weight, scale)
        ctx.dtype = dtype
        normed = (x * scale).to(dtype).flatten(0, -2)
        y = normed.new_empty(parts, len(normed), len(weight) // parts)
        for part, w in zip(y, (weight * gain).to(dtype).chunk(parts), strict=True):
            torch.mm(normed, w.t(), out=part)
        return y.view(parts, *x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, weight, scale = ctx.saved_tensors
        normed = (x * scale).to(ctx.dtype).flatten(0, -2)
        scaled = (weight * gain).to(ctx.dtype)
        grad = grad.flatten(1, -2)
        parts = list(zip(grad, scaled.chunk(len(grad)), strict=True))
        dn = parts[0][0] @ parts[0][1]
        for gy, w in parts[1:]:
            dn.addmm_(gy, w)
        dw = torch.cat([gy.t() @ normed for gy in grad]).to(weight.dtype)
        dx = _norm_backward(dn.to(x.dtype).view_as(x), x, scale)
        return dx, (dw * weight).sum(0), dw.mul_(gain), None, None, None


class _LinearAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(h, weight)
        return _matmul_add(x, h, weight.to(h.dtype).t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        h, weight = ctx.saved_tensors
        gy = grad.to(h.dtype)
        return grad, gy @ weight.to(h.dtype), _weight_grad(gy, h, weight)


class _SwiGLULinearAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate_up: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up, weight)
        gate, up = gate_up
        h = torch.nn.functional.silu(gate).mul_(up)
        return _matmul_add(x, h, weight.to(h.dtype).t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gate_up, weight = ctx.saved_tensors
        gate, up = gate_up
        gy = grad.to(gate.dtype)
        activated = torch.nn.functional.silu(gate)
        dw = _weight_grad(gy, activated * up, weight)
        dh = gy @ weight.to(gate.dtype)
        d_gate_up = torch.empty_like(gate_up)
        torch.mul(dh, activated, out=d_gate_up[1])
        torch.ops.aten.silu_backward.grad_input(dh.mul_(up), gate, grad_input=d_gate_up[0])
        return grad, d_gate_up, dw


def _turn(x: Tensor, gain: Tensor | None, factor: float, rotation: Tensor, eps: float) -> tuple[Tensor, Tensor | None]:
    """Heads [B, h, T, e] normed, times gain and factor, rotated, in contiguous memory; and the norm's scale."""
    out = x.new_empty(x.shape, dtype=rotation.dtype)
    if gain is None:
        scale = None
        torch.mul(x, factor, out=out)
    else:
        scale = _inverse_rms(x.to(rotation.dtype), eps)
        torch.mul(x, scale, out=out).mul_(_rows(gain * factor, x.shape[2]))
    _pairs(out).mul_(torch.view_as_complex(rotation))
    return out.to(x.dtype), scale


def _turn_backward(
    grad: Tensor, x: Tensor, gain: Tensor | None, scale: Tensor | None, factor: float, rotation: Tensor, out: Tensor
) -> Tensor | None:
    """Write the gradient at ``x`` of `_turn` to ``out``; return that of the gain."""
    g = _unturn(grad, rotation)
    if gain is None or scale is None:
        out.copy_(g.mul_(factor))
        return None
    normed = x.new_empty(x.shape, dtype=g.dtype)
    torch.mul(x, scale, out=normed)
    product = (g * normed).mul_(factor)
    along = (product @ gain.to(g.dtype)).div_(-x.shape[-1])[..., None]
    g.mul_(_rows(gain * factor, x.shape[2])).addcmul_(normed, along)
    out.copy_(g.mul_(scale))
    return product.sum(0).sum((0, 1))


def _pairs(x: Tensor) -> Tensor:
    """Neighbouring pairs of [..., e] as complex numbers [..., e/2]."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


def _unturn(grad: Tensor, rotation: Tensor) -> Tensor:
    """The gradient before the rotation: turned back, in the dtype of the rotation."""
    back = _pairs(grad.to(rotation.dtype)) * torch.view_as_complex(rotation).conj()
    return torch.view_as_real(back).flatten(-2)


def _rows(gain: Tensor, length: int) -> Tensor:
    """[T, e], a gain at every position: products with it then run over long contiguous stretches."""
    return gain.expand(length, -1).contiguous()


class _SplitHeads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        qkv: Tensor,
        q_gain: Tensor | None,
        k_gain: Tensor | None,
        rotation: Tensor,
        heads: tuple[int, int],
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.heads = heads
        q, k, v = _cut(qkv, heads)
        q_out, q_scale = _turn(q, q_gain, q.shape[-1] ** -0.5, rotation, eps)
        k_out, k_scale = _turn(k, k_gain, 1.0, rotation, eps)
        ctx.save_for_backward(qkv, q_gain, k_gain, q_scale, k_scale, rotation)
        return q_out, k_out, v.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor | None, ...]:
        qkv, q_gain, k_gain, q_scale, k_scale, rotation = ctx.saved_tensors
        grad = torch.empty_like(qkv)
        q, k, _ = _cut(qkv, ctx.heads)
        at_q, at_k, at_v = _cut(grad, ctx.heads)
        dq_gain = _turn_backward(dq, q, q_gain, q_scale, q.shape[-1] ** -0.5, rotation, at_q)
        dk_gain = _turn_backward(dk, k, k_gain, k_scale, 1.0, rotation, at_k)
        at_v.copy_(dv)
        return grad, dq_gain, dk_gain, None, None, None


def _cut(qkv: Tensor, heads: tuple[int, int]) -> tuple[Tensor, ...]:
    """Views [B, H, T, e], [B, G, T, e], [B, G, T, e] of [B, T, (H + 2 G) e]."""
    H, G = heads
    return qkv.unflatten(-1, (H + 2 * G, -1)).transpose(1, 2).split([H, G, G], 1)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        B, H, T, e = q.shape
        ctx.piece = max(1, CACHE_VALUES // (H * T * T))
        q, k, v = _grouped(q, k, v)
        weights = q.new_empty(*q.shape[:2], T)
        o = torch.empty_like(q)
        for b, i in _pieces(B, len(k) // B, ctx.piece):
            s = torch.bmm(q[i], k[i].transpose(1, 2), out=weights[i])
            if bias is not None:
                s.view(-1, H, T, T).add_(bias[b] if len(bias) > 1 else bias)
            torch.softmax(s, -1, out=s)
            torch.bmm(s, v[i], out=o[i])
        ctx.save_for_backward(q, k, v, weights)
        return o.view(B, H, T, e).transpose(1, 2).flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights = ctx.saved_tensors
        B, T = grad.shape[:2]
        go = grad.unflatten(-1, (-1, q.shape[-1])).transpose(1, 2).reshape(q.shape)
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        buffer = weights.new_empty(ctx.piece * (len(k) // B), *weights.shape[1:])
        for _, i in _pieces(B, len(k) // B, ctx.piece):
            p = weights[i]
            ds = buffer[: len(p)]
            torch.bmm(p.transpose(1, 2), go[i], out=dv[i])
            torch.bmm(go[i], v[i].transpose(1, 2), out=ds)
            torch.ops.aten._softmax_backward_data.out(ds, p, -1, p.dtype, grad_input=ds)
            torch.bmm(ds, k[i], out=dq[i])
            torch.bmm(ds.transpose(1, 2), q[i], out=dk[i])
        return dq.view(B, -1, T, q.shape[-1]), *(t.view(B, -1, T, q.shape[-1]) for t in (dk, dv)), None


def _grouped(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[B G, R T, e], [B G, T, e], [B G, T, e]: the R query heads that share a key head as one longer query."""
    B, G, T, e = k.shape
    return q.reshape(B * G, -1, e), k.reshape(B * G, T, e), v.reshape(B * G, T, e)


def _pieces(samples: int, groups: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Consecutive pieces of ``size`` samples: their slice, and that of their key heads."""
    for start in range(0, samples, size):
        stop = min(start + size, samples)
        yield slice(start, stop), slice(start * groups, stop * groups)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, dtype: torch.dtype, learn: bool
    ) -> Tensor:
        rows = weights.nonzero()[:, 0]
        total = hidden.new_zeros(())
        dh, dw = (torch.zeros_like(hidden), torch.zeros_like(head)) if learn else (None, None)
        cast = head.to(dtype)
        for at in rows.split(max(1, LOGITS_VALUES // len(head))):
            whole = len(at) == len(hidden)
            h = (hidden if whole else hidden.index_select(0, at)).to(dtype)
            target, weight = targets[at, None], weights[at, None].to(hidden.dtype)
            logits = (h @ cast.t()).to(hidden.dtype)
            top, at_target = logits.amax(1, keepdim=True), logits.gather(1, target)
            # -log p of the target is lse - logit, and lse = top - log(p of the top), which never underflows.
            p = torch.softmax(logits, 1, out=logits)
            nll = top - p.amax(1, keepdim=True).log_() - at_target
            total += (nll * weight).sum()
            if dh is not None and dw is not None:
                p.mul_(weight).scatter_add_(1, target, -weight)
                p = p.to(dtype)
                dh.index_copy_(0, at, (p @ cast).to(dh.dtype)) if not whole else torch.mm(p, cast, out=dh)
                dw.addmm_(p.t(), h) if dw.dtype == dtype else dw.add_(p.t() @ h)
        ctx.save_for_backward(dh, dw)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dh, dw = ctx.saved_tensors
        return dh * grad, dw * grad, None, None, None, None


@functools.lru_cache(maxsize=8)
def _causal_bias(length: int, dtype: torch.dtype) -> Tensor:
    """[1, 1, T, T]: zero up to the diagonal, very negative above."""
    return torch.full((1, 1, length, length), plain.forbidden(dtype), dtype=dtype).triu_(1)


embed = _Embed.apply
rms_norm = _RMSNorm.apply
norm_linear = _NormLinear.apply
linear_add = _LinearAdd.apply
swiglu_linear_add = _SwiGLULinearAdd.apply
split_heads = _SplitHeads.apply


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, dropout: float = 0.0) -> Tensor:
    """See `plain.attend`, which serves long contexts, caches and dropout."""
    T = q.shape[2]
    if dropout or T > EXPLICIT_CONTEXT or k.shape[2] != T:
        return plain.attend(q, k, v, bias, causal, dropout)
    return _Attend.apply(q, k, v, _causal_bias(T, q.dtype) if causal else bias)


def linear_cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, dtype: torch.dtype) -> Tensor:
    """See `plain.linear_cross_entropy`. Only positions with a weight are scored; logits are held a piece at a time."""
    learn = torch.is_grad_enabled() and (hidden.requires_grad or head.requires_grad)
    return _LinearCrossEntropy.apply(hidden, head, targets, weights, dtype, learn)
