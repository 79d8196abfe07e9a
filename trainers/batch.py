"""One batch of sequences, as the loader hands it to an objective."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Batch:
    """B sequences of T tokens.

    ``tokens`` [B, T] int64 in 0..V-1 (padding holds 0); ``loss_mask`` [B, T] bool, false on padding;
    ``counters`` [B] int64, the sample counters (step x global batch + position in it) that all noise is drawn
    from. ``documents`` [B, T] int64 are given where attention stays within documents (``data.attend:
    within``): the id of the packed document that each position belongs to. Optional, for corpora and
    objectives that have them: ``positions`` [B, T], ``modality`` [B, T], ``split`` [B] (length of the source
    before the target).
    """

    tokens: torch.Tensor
    loss_mask: torch.Tensor
    counters: torch.Tensor
    documents: torch.Tensor | None = None
    positions: torch.Tensor | None = None
    modality: torch.Tensor | None = None
    split: torch.Tensor | None = None

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return self._each(lambda t: t.to(device, non_blocking=True))

    def rows(self, start: int, stop: int) -> Batch:
        """Sequences ``start`` to ``stop``: a micro-batch. Counters travel along, so its noise is that of the
        whole.
        """
        return self._each(lambda t: t[start:stop])

    def cut(self, length: int) -> Batch:
        """The first ``length`` positions of each sequence."""
        return self._each(lambda t: t[:, :length] if t.ndim > 1 else t)

    def _each(self, f) -> Batch:  # type: ignore[no-untyped-def]
        present = {x.name: getattr(self, x.name) for x in fields(self)}
        return replace(self, **{name: f(t) for name, t in present.items() if t is not None})
