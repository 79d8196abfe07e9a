"""Matrix products, and the pieces that they work on."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import torch
from torch import Tensor

Gradients = tuple[Tensor | None, ...]
"""What the backward pass of an autograd Function returns."""

ONEDNN = torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")
"""Whether float32 products go to oneDNN."""


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x @ weight.T of matrices. oneDNN's float32 product is a tenth faster than the one behind ``torch.mm``
    on x86.
    """
    if ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu":
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return x @ weight.t()


def add_product(x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
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


def joined(pieces: list[Tensor]) -> Tensor:
    """Pieces along the first dimension as one."""
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
