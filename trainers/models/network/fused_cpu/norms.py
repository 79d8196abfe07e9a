"""RMSNorm and its backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.models.network.fused_cpu.products import Gradients


def inverse_rms(x: Tensor, eps: float) -> Tensor:
    """[..., 1]: 1 / sqrt(mean(x^2) + eps)."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def norm_backward(grad: Tensor, normed: Tensor) -> Tensor:
    """Gradient before a norm without gain, less the factor `inverse_rms`; overwrites ``grad``."""
    along = (grad * normed).sum(-1, keepdim=True).div_(-normed.shape[-1])
    return grad.addcmul_(normed, along)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        scale = inverse_rms(x, eps)
        ctx.save_for_backward(x, gain, scale)
        return (x * scale).mul_(gain)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, gain, scale = ctx.saved_tensors
        normed = x * scale
        return norm_backward(grad * gain, normed).mul_(scale), (grad * normed).flatten(0, -2).sum(0), None


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """See `trainers.models.network.plain.rms_norm`."""
    return _RMSNorm.apply(x, gain, eps)
