"""SwiGLU behind its norm, a few rows at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from trainers.models.network.fused_cpu.norms import inverse_rms, norm_backward
from trainers.models.network.fused_cpu.products import (
    Gradients,
    accumulate,
    add_product,
    joined,
    pieces,
    product,
)
from trainers.models.network.limits import PIECE_VALUES
from trainers.models.network.operands import SwigluWeights


class _Swiglu(torch.autograd.Function):
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
        scale = inverse_rms(rows, eps)
        w_gate, w_up = (gate_up * gain).to(dtype).chunk(2)
        w_down = down.to(dtype)
        ctx.size = max(1, PIECE_VALUES // len(w_gate))
        saved, outs = [], []
        for at in pieces(len(rows), ctx.size):
            normed = (rows[at] * scale[at]).to(dtype)
            gate, up = product(normed, w_gate), product(normed, w_up)
            h = F.silu(gate).mul_(up)
            if keep is None:
                outs.append(add_product(rows[at], h, w_down))
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
            dn = add_product(product(d_gate, w_gate), d_up, w_up).to(x.dtype)
            dxs.append(torch.addcmul(grads[at], norm_backward(dn, normed), scale[at]))
        d_gate_up = d_gate_up.t().contiguous()
        d_gain = (d_gate_up * gate_up).sum(0)
        return joined(dxs).view_as(x), d_gain, d_gate_up.mul_(gain), d_down, None, None, None


def add_swiglu(
    x: Tensor, weights: SwigluWeights, eps: float, dtype: torch.dtype, keep: Tensor | None = None
) -> Tensor:
    """See `trainers.models.network.plain.add_swiglu`."""
    return _Swiglu.apply(x, weights.gain, weights.gate_up, weights.down, keep, eps, dtype)
