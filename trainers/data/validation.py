"""A corpus's validation data: sequences of its held-out documents, the same for every run of corpus,
tokenizer and context.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainers.batch import Batch
from trainers.components.errors import UserError
from trainers.components.lazy import torch
from trainers.data.examples import marked

HalfName = Literal["a", "b"]

HALF_B_COUNTER = 1 << 20
"""Validation position of half B's first sequence, so that the two halves never share a mask."""


@dataclass(frozen=True)
class HeldOut:
    """The sequences of one half: ``tokens`` [sequences, context]; ``lengths`` [sequences], tokens that are no
    padding; ``starts`` [documents], where each begins over all sequences; ``marks`` [sequences, context,
    MARKS], for examples.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    starts: np.ndarray
    marks: np.ndarray | None = None

    def documents(self) -> Iterator[np.ndarray]:
        """The token ids of each document that lies within the sequences, the last one perhaps cut short."""
        context = self.tokens.shape[1]
        stream = np.concatenate([row[:n] for row, n in zip(self.tokens, self.lengths, strict=True)])
        starts = self.starts[self.starts < len(self.tokens) * context]
        if self.marks is not None:  # an example a sequence: starts count padding
            starts = np.cumsum([0, *self.lengths[:-1]])
        yield from np.split(stream, starts[(starts > 0) & (starts < len(stream))])


@dataclass(frozen=True)
class ValidationSet:
    """Both halves of a corpus's validation data. ``unigram_entropy``: nats a scored token, of both."""

    halves: dict[str, HeldOut]
    unigram_entropy: float
    attend: Literal["across", "within"] = "across"

    def validation(self, half: HalfName, sequences: int) -> Batch:
        """The first ``sequences`` sequences of a half.

        Counters are validation positions (those of B from ``HALF_B_COUNTER``). Raises ``UserError`` where
        there are fewer.
        """
        data = self.halves[half]
        context = data.tokens.shape[1]
        if sequences > len(data.tokens):
            raise UserError(
                f"evaluation.sequences: {sequences} asked, and half {half!r} of the validation data "
                f"holds {len(data.tokens)} sequences of {context} tokens"
            )
        mask = np.arange(context) < data.lengths[:sequences, None]
        counters = np.arange(sequences, dtype=np.int64) + (HALF_B_COUNTER if half == "b" else 0)
        documents = None
        if self.attend == "within" and data.marks is None:
            positions = np.arange(sequences * context).reshape(sequences, context)
            documents = document_ids(data.starts, positions)
        batch = Batch(
            torch.from_numpy(data.tokens[:sequences].astype(np.int64)),
            torch.from_numpy(mask),
            torch.from_numpy(counters),
            documents,
        )
        return batch if data.marks is None else marked(batch, data.marks[:sequences])


def document_ids(starts: np.ndarray, positions: np.ndarray) -> torch.Tensor:
    """Which document each position is of; ``starts`` is where each begins."""
    return torch.from_numpy(np.searchsorted(starts, positions, side="right") - 1)
