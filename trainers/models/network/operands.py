"""What the kernels work on: the weights of a sublayer, the shape of its heads, and who attends to whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.models.attention import Attention

Extend = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From the keys and values [B, G, T, e] of new positions to those of all positions, a cache's first."""


@dataclass(frozen=True)
class AttentionWeights:
    """Parameters of an attention sublayer.

    ``gain`` [d] is that of the norm before ``qkv`` [(H + 2 G) e, d], which stacks queries, keys and values;
    ``output`` is [d, H e]. ``q_gain`` and ``k_gain`` [e] are those of QK-norm, None without it.
    """

    gain: Tensor
    qkv: Tensor
    output: Tensor
    q_gain: Tensor | None = None
    k_gain: Tensor | None = None


@dataclass(frozen=True)
class AttentionShape:
    """``heads`` is (H, G): H / G neighbouring query heads share a key head. ``eps`` is that of the norms."""

    heads: tuple[int, int]
    eps: float


@dataclass(frozen=True)
class AttentionView:
    """Where the positions of one forward pass stand, and who attends to whom.

    ``rotation`` [..., T, e/2, 2] holds cosine and sine of RoPE's angles, None without RoPE. ``bias`` [B or 1,
    1, T, S] is added to the scores. ``causal``: positions attend to those up to themselves; ``bias`` is then
    None.
    """

    rotation: Tensor | None
    bias: Tensor | None = None
    causal: bool = False

    @classmethod
    def of(
        cls,
        attention: Attention,
        rotation: Tensor | None,
        length: int,
        past: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> AttentionView:
        """The view of ``length`` positions that stand after ``past`` cached ones.

        Causal and full attention stay names, which every kernel knows. The rest becomes a bias of ``dtype``.
        """
        if attention.simple and (attention.pattern == "full" or past == 0):
            return cls(rotation, causal=attention.pattern == "causal")
        allowed = attention.dense(length, device, past)
        bias = torch.zeros(allowed.shape, dtype=dtype, device=device)
        return cls(rotation, bias.masked_fill_(~allowed, forbidden(dtype)))


def forbidden(dtype: torch.dtype) -> float:
    """What is added to a score where attention is not allowed; finite, so that a position which may attend to
    nothing attends evenly to everything instead of becoming NaN.
    """
    return torch.finfo(dtype).min / 2


@dataclass(frozen=True)
class SwigluWeights:
    """Parameters of SwiGLU: ``gain`` [d] of the norm before ``gate_up`` [2 f, d], and ``down`` [d, f]."""

    gain: Tensor
    gate_up: Tensor
    down: Tensor
