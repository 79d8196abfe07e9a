"""Who attends to whom in one forward pass: a small value that every implementation of attention lowers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from trainers.components.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Pattern = Literal["causal", "full", "blocks", "two_halves"]


@dataclass(frozen=True, eq=False)
class Attention:
    """Which positions (keys) each position (query) attends to, for B sequences of T positions.

    ``pattern`` says it by the places in the sequence alone:

    - ``causal``: keys up to the query.
    - ``full``: every key.
    - ``blocks``: keys in the query's block of ``block`` positions and in those before it.
    - ``two_halves``: the 2T layout, ``half`` (T) noisy positions before the T clean ones that they stand for.
      A noisy query sees its own block among the noisy keys, and the blocks before its own among the clean
      ones; a clean query sees clean keys up to its own block (BD3-LM, arXiv 2503.09573; with blocks of one,
      the two streams of XLNet, arXiv 1906.08237).

    The other fields narrow it. ``causal_rows`` [B] bool: these sequences are causal, whatever the pattern.
    ``segments`` [B, T]: a query sees keys of its own segment. ``visible`` [B, T] bool: keys that may be seen;
    a query always sees itself, so that none is left with nothing. ``mask`` [B or 1, 1, T, T] bool: true where
    attention is allowed.
    """

    pattern: Pattern = "full"
    block: int = 1
    half: int = 0
    causal_rows: Tensor | None = None
    segments: Tensor | None = None
    visible: Tensor | None = None
    mask: Tensor | None = None

    @classmethod
    def of(cls, value: Attention | str | Tensor) -> Attention:
        """An attention from its short forms: ``causal``, ``full``, or a mask. Raises ``ValueError``."""
        if isinstance(value, Attention):
            return value
        if not isinstance(value, str):
            return Attention(mask=value)
        if value == "causal":
            return CAUSAL
        if value == "full":
            return FULL
        raise ValueError(f"attention is 'causal', 'full', a bool mask or an Attention, not {value!r}")

    @classmethod
    def blocks(cls, size: int) -> Attention:
        """Causal over blocks of ``size`` positions, full inside them."""
        return cls("blocks", block=size)

    @classmethod
    def two_halves(cls, half: int, block: int = 1) -> Attention:
        """The 2T layout: ``half`` noisy positions, then as many clean ones."""
        return cls("two_halves", block=block, half=half)

    @classmethod
    def per_row(cls, causal: Tensor) -> Attention:
        """Sequences [B] for which ``causal`` is true are causal, the others full."""
        return cls(causal_rows=causal)

    def within(self, segments: Tensor | None) -> Attention:
        """The same inside each segment [B, T]; unchanged for None."""
        return self if segments is None else replace(self, segments=segments)

    def hiding(self, hidden: Tensor) -> Attention:
        """The same without these keys [B, T] bool, padding say."""
        return replace(self, visible=~hidden)

    @property
    def simple(self) -> bool:
        """Whether the pattern is ``causal`` or ``full`` and nothing narrows it: what needs no mask."""
        narrowed = (self.causal_rows, self.segments, self.visible, self.mask)
        return self.pattern in ("causal", "full") and all(part is None for part in narrowed)

    def allows(self, row: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """Whether queries of sequences see keys: bool, of three index tensors that broadcast.

        This is the definition. It has the form of ``mask_mod`` of torch's FlexAttention, heads left out.
        """
        allowed = _PATTERNS[self.pattern](self, query, key)
        if self.causal_rows is not None:
            allowed = allowed & (~self.causal_rows[row] | (key <= query))
        if self.segments is not None:
            allowed = allowed & (self.segments[row, query] == self.segments[row, key])
        if self.visible is not None:
            allowed = allowed & (self.visible[row, key] | (query == key))
        if self.mask is not None:
            rows = row if len(self.mask) > 1 else torch.zeros_like(row)
            allowed = allowed & self.mask[rows, 0, query, key]
        return allowed

    def dense(self, length: int, device: torch.device | str, past: int = 0) -> Tensor:
        """As a mask [B or 1, 1, T, S] bool of ``length`` queries that stand after ``past`` keys."""
        parts = (self.causal_rows, self.segments, self.visible, self.mask)
        rows = max((len(part) for part in parts if part is not None), default=1)
        row = torch.arange(rows, device=device)[:, None, None, None]
        query = torch.arange(past, past + length, device=device)[:, None]
        key = torch.arange(past + length, device=device)
        return self.allows(row, query, key).expand(rows, 1, length, past + length)


CAUSAL = Attention("causal")
FULL = Attention("full")


def _two_halves(a: Attention, query: Tensor, key: Tensor) -> Tensor:
    noisy_query, noisy_key = query < a.half, key < a.half
    own, other = query % a.half // a.block, key % a.half // a.block
    clean = torch.where(noisy_query, other < own, other <= own)
    return torch.where(noisy_key, noisy_query & (other == own), clean)


_PATTERNS: dict[Pattern, Callable[[Attention, Tensor, Tensor], Tensor]] = {
    "causal": lambda a, query, key: key <= query,
    "full": lambda a, query, key: (key >= 0) & (query >= 0),
    "blocks": lambda a, query, key: key // a.block <= query // a.block,
    "two_halves": _two_halves,
}
