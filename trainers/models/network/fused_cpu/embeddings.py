"""Embeddings of tokens, without joining the two tables."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.models.network.fused_cpu.products import Gradients


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


def embed(ids: Tensor, table: Tensor, extra: Tensor) -> Tensor:
    """See `trainers.models.network.plain.embed`."""
    return _Embed.apply(ids, table, extra)
