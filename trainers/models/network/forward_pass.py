"""What every layer of one forward pass shares, and what layers tell about themselves in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainers.models.base import Collected, Term
from trainers.models.network.operands import AttentionView, Extend

if TYPE_CHECKING:
    from trainers.models.network.kernels import Kernels
    from trainers.noise import Noise


class KeyValueCache:
    """Keys and values of the positions fed so far, one pair a layer, for autoregressive sampling."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def length(self) -> int:
        """Positions fed so far."""
        return self.layers[0][0].shape[2] if self.layers else 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values [B, G, S, e] of a layer, the new ones appended."""
        if layer in self.layers:
            old_k, old_v = self.layers[layer]
            k, v = torch.cat([old_k, k], 2), torch.cat([old_v, v], 2)
        self.layers[layer] = k, v
        return k, v


@dataclass(frozen=True)
class ForwardPass:
    """One forward pass. ``dtype`` is that of matrix products; the residual stream keeps its own."""

    kernels: Kernels
    dtype: torch.dtype
    view: AttentionView
    noise: Noise | None
    cache: KeyValueCache | None
    training: bool
    _terms: dict[tuple[str, int], Term] = field(default_factory=dict)
    _metrics: dict[tuple[str, int], Term] = field(default_factory=dict)

    def add_term(self, name: str, index: int, numerator: Tensor, denominator: Tensor) -> None:
        """Add a loss term of layer ``index``: two sums over sequences, 0-d, so that micro-batches and workers
        change nothing. Both are summed over layers, so the term is a mean over them.
        """
        self._terms[name, index] = Term(numerator, denominator)

    def observe(self, name: str, index: int, numerator: Tensor, denominator: Tensor) -> None:
        """Report a metric of layer ``index``, a ratio of sums as for `add_term`; it is not trained."""
        self._metrics[name, index] = Term(numerator.detach(), denominator)

    def collected(self) -> Collected:
        """What the layers have told. A layer that is computed again for its gradient tells it again, in
        vain.
        """
        return Collected(_summed(self._terms), _summed(self._metrics))

    def extend(self, index: int) -> Extend | None:
        """How layer ``index`` puts cached keys and values before its own; None without a cache."""
        cache = self.cache
        return None if cache is None else lambda k, v: cache.extend(index, k, v)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, index: int, dropout: float = 0.0) -> Tensor:
        """Values mixed by attention [B, H, T, e], of queries [B, H, T, e], keys and values [B, G, T, e]."""
        if self.cache is not None:
            k, v = self.cache.extend(index, k, v)
        return self.kernels.attend(q, k, v, self.view, dropout)

    def keep(self, x: Tensor, p: float, stream: str) -> Tensor | None:
        """Dropout's multiplier of [B, ...], 0 or 1 / (1 - p), from counter noise; None where nothing is
        dropped.
        """
        if not p or not self.training:
            return None
        if self.noise is None:
            raise ValueError("dropout while training needs the noise of the batch: model(..., noise=noise)")
        return (self.noise.uniform(stream, *x.shape[1:]) >= p).to(x.dtype) / (1 - p)


def _summed(terms: dict[tuple[str, int], Term]) -> dict[str, Term]:
    total: dict[str, Term] = {}
    for (name, _), term in terms.items():
        total[name] = total[name] + term if name in total else term
    return total
