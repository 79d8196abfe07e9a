"""The sets of kernels that a forward pass can run on, and which one a run gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from trainers.components.errors import UserError
from trainers.models.network import chunked_loss, plain
from trainers.models.network.fused_cpu import activations, attention, norms, swiglu

Choice = Literal["auto", "plain", "fused"]
EDITION = 2
"""Of the written-out kernels: raised where they come to round differently. Part of the numerics class."""


@dataclass(frozen=True)
class Kernels:
    """One implementation of each operation. `trainers.models.network.plain` says what they compute."""

    embed: Callable[[Tensor, Tensor, Tensor], Tensor]
    rms_norm: Callable[[Tensor, Tensor, float], Tensor]
    add_attention: Callable[..., Tensor]
    add_swiglu: Callable[..., Tensor]
    attend: Callable[..., Tensor]
    gelu: Callable[[Tensor], Tensor]
    linear_cross_entropy: Callable[[Tensor, Tensor, Tensor, Tensor, torch.dtype], Tensor]


PLAIN = Kernels(
    plain.embed,
    plain.rms_norm,
    plain.add_attention,
    plain.add_swiglu,
    plain.attend,
    plain.gelu,
    plain.linear_cross_entropy,
)
"""Plain torch: the definition."""
CHUNKED = replace(PLAIN, linear_cross_entropy=chunked_loss.linear_cross_entropy)
"""Plain torch, and a loss that never holds all logits: what a card and a compiler get."""
FUSED = Kernels(
    plain.embed,
    norms.rms_norm,
    attention.add_attention,
    swiglu.add_swiglu,
    plain.attend,
    activations.gelu,
    chunked_loss.linear_cross_entropy,
)
"""Written-out kernels, for the CPU."""


def kernels_for(choice: Choice, device: torch.device) -> Kernels:
    """The kernels of a forward pass on ``device``.

    ``auto`` is fused on the CPU, and elsewhere plain with a chunked loss. A compiler writes kernels of its
    own, so it is given the plain ones. `UserError` where ``fused`` kernels are asked for on another device.
    """
    if choice == "plain":
        return PLAIN
    if device.type == "cpu":
        return CHUNKED if torch.compiler.is_compiling() else FUSED
    if choice == "fused":
        raise UserError(f"resources.kernels: fused kernels are written for the CPU, not for {device.type}")
    return CHUNKED
