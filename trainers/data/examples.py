"""Examples of several parts: what of a text is given and what is predicted.

Plain text is the special case of one part that is scored. A pair is a source, which is given, and a target,
which is scored; the newline that ends an example belongs to its last part, so that a model learns to stop.
Every token carries its part's marks from the corpus to the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from trainers.components.lazy import torch
from trainers.data.base import Document, Tokenizer

if TYPE_CHECKING:
    from trainers.batch import Batch

MARKS = 3
"""Marks of a token: whether it is scored, its segment and its modality, in this order (uint8 each)."""


@dataclass(frozen=True)
class Part:
    """A stretch of an example: ``scored`` where its tokens are predicted, else they are given. ``segment``
    and ``modality`` are numbers in 0..255 that the corpus chooses.
    """

    text: str
    scored: bool = True
    segment: int = 0
    modality: int = 0

    @property
    def marks(self) -> tuple[int, int, int]:
        """The marks of its tokens."""
        return int(self.scored), self.segment, self.modality


@dataclass(frozen=True)
class Example(Document):
    """A document of parts, whose text is theirs, one after the other."""

    parts: tuple[Part, ...] = ()

    @classmethod
    def of(cls, parts: Sequence[Part], source: str, split: Literal["train", "a", "b"]) -> Example:
        """An example of these parts; ``source`` and ``split`` as in :class:`Document`."""
        return cls("".join(part.text for part in parts), source, split, tuple(parts))

    @classmethod
    def pair(cls, given: str, target: str, source: str, split: Literal["train", "a", "b"]) -> Example:
        """A text that is given, as segment 0, and one that is predicted from it, as segment 1."""
        return cls.of([Part(given, scored=False), Part(target, segment=1)], source, split)


def encoded(
    examples: Iterable[Sequence[Part]], tokenizer: Tokenizer, folder: Path
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ids [n] and marks [n, MARKS] uint8 of each example, with those of the newline behind it. Parts are
    encoded one by one, so that no token lies in two.
    """
    newline = tokenizer.encode(["\n"], folder)[0]
    for parts in examples:
        pieces = [*tokenizer.encode([part.text for part in parts], folder), newline]
        marks = np.array([*(part.marks for part in parts), parts[-1].marks], np.uint8)
        yield np.concatenate(pieces), np.repeat(marks, [len(piece) for piece in pieces], axis=0)


def marked(batch: Batch, marks: np.ndarray) -> Batch:
    """A batch whose ``loss_mask`` is true on all real tokens, with the marks [B, T, MARKS] of each. Padding
    is of segment and modality 0.
    """
    of_tokens = torch.from_numpy(marks.astype(np.int64)) * batch.loss_mask[..., None]
    scored, segments, modality = of_tokens.unbind(-1)
    return replace(
        batch,
        loss_mask=batch.loss_mask & (scored > 0),
        given=batch.loss_mask & (scored == 0),
        segments=segments,
        modality=modality,
    )
