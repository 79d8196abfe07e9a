"""One batch of sequences, as the loader hands it to an objective."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Batch:
    """B sequences of T tokens.

    ``tokens`` [B, T] int64 in 0..V-1 (padding holds 0); ``loss_mask`` [B, T] bool, the tokens that are
    predicted and scored: all but padding, in plain text. ``counters`` [B] int64, the sample counters (step x
    global batch + position in it) that all noise is drawn from. ``documents`` [B, T] int64 are there where
    attention stays within documents (``data.attend: within``): the id of the packed document that each
    position belongs to.

    Examples of several parts (`trainers.data.examples`) also have ``given`` [B, T] bool, the tokens that are
    fed as they are and never scored, such as a source before its target; ``segments`` and ``modality`` [B, T]
    int64, as the corpus numbers them. ``positions`` [B, T] are for objectives that set them.
    """

    tokens: torch.Tensor
    loss_mask: torch.Tensor
    counters: torch.Tensor
    documents: torch.Tensor | None = None
    positions: torch.Tensor | None = None
    given: torch.Tensor | None = None
    segments: torch.Tensor | None = None
    modality: torch.Tensor | None = None

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    @property
    def real(self) -> torch.Tensor:
        """[B, T] bool: the positions that hold a token, false on padding."""
        return self.loss_mask if self.given is None else self.loss_mask | self.given

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
