"""Cross-entropy of a linear head that never holds the full logits twice, for every device and vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.models.network.fused_cpu.products import Gradients, accumulate, joined, pieces, product
from trainers.models.network.limits import LOGITS_VALUES


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        targets: Tensor,
        weights: Tensor,
        dtype: torch.dtype,
        learn: bool,
    ) -> Tensor:
        total = hidden.new_zeros(())
        cast = head.to(dtype)
        transposed = cast.t().contiguous()
        d_head, d_hidden = torch.zeros_like(head), []
        for at in pieces(len(hidden), logits_rows(hidden, len(head))):
            h, target, weight = hidden[at].to(dtype), targets[at, None], weights[at, None].to(hidden.dtype)
            logits = product(h, cast).to(hidden.dtype)
            top, at_target = logits.amax(1, keepdim=True), logits.gather(1, target)
            # -log p of the target is lse - logit, and lse = top - log(p of the top), which never underflows.
            p = torch.softmax(logits, 1, out=logits)
            nll = top - p.amax(1, keepdim=True).log_() - at_target
            total += (nll * weight).sum()
            if learn:
                d_logits = p.mul_(weight).scatter_add_(1, target, -weight).to(dtype)
                d_hidden.append(product(d_logits, transposed).to(hidden.dtype))
                accumulate(d_head, d_logits, h)
        if learn:
            ctx.save_for_backward(joined(d_hidden), d_head)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        d_hidden, d_head = ctx.saved_tensors
        return d_hidden * grad, d_head * grad, None, None, None, None


class _Select(torch.autograd.Function):
    """Rows of [n, d] by distinct indices."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.count = len(x)
        return x.index_select(0, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        (rows,) = ctx.saved_tensors
        return grad.new_zeros(ctx.count, grad.shape[1]).index_copy_(0, rows, grad), None


def logits_rows(hidden: Tensor, vocab: int) -> int:
    """Rows of logits held at a time: 16 times as many on a card."""
    return max(1, LOGITS_VALUES * (1 if hidden.device.type == "cpu" else 16) // vocab)


def linear_cross_entropy(
    hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, dtype: torch.dtype
) -> Tensor:
    """See `plain.linear_cross_entropy`; for every device. Only positions with a weight reach the head, and
    only a piece of the logits is held at a time, which becomes its own gradient.
    """
    rows = weights.nonzero()[:, 0]
    if len(rows) == 0:
        return (hidden.sum() + head.sum()) * 0
    if len(rows) < len(hidden):
        hidden, targets, weights = _Select.apply(hidden, rows), targets[rows], weights[rows]
    learn = torch.is_grad_enabled() and (hidden.requires_grad or head.requires_grad)
    return _LinearCrossEntropy.apply(hidden, head, targets, weights, dtype, learn)
