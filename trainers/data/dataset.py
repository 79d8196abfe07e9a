"""Prepared data, as a training loop reads it: memory-mapped tokens, and batches that are pure functions
of the step.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trainers.batch import Batch
from trainers.components.lazy import torch
from trainers.data import hashing
from trainers.data.base import Order, Tokenizer
from trainers.data.examples import marked
from trainers.data.validation import HalfName, ValidationSet, document_ids


@dataclass(frozen=True)
class Dataset:
    """A subset of a corpus as sequences of ``context`` tokens, and the corpus's validation sequences.

    ``tokens`` [U]: the subset's documents, each followed by a newline, except the last one if the budget cut
    it short; ``starts`` [documents]: where each begins; ``marks`` [U, MARKS]: those of each token, where the
    documents are examples, one a sequence. ``manifest``: asked and real size, documents, sources' shares,
    digest of the text.
    """

    tokens: np.ndarray
    starts: np.ndarray
    validation_set: ValidationSet
    manifest: dict[str, Any]
    tokenizer: Tokenizer
    tokenizer_folder: Path
    context: int
    order: Order
    repack: bool = False
    crop: Literal["fixed", "random"] = "fixed"
    attend: Literal["across", "within"] = "across"
    marks: np.ndarray | None = None
    _layouts: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_layouts", functools.lru_cache(maxsize=4)(self._layout))

    @property
    def unigram_entropy(self) -> float:
        """Nats a token of the validation data's unigram distribution."""
        return self.validation_set.unigram_entropy

    @property
    def vocab(self) -> int:
        """V, what can be predicted."""
        return self.tokenizer.vocab

    @property
    def unique_tokens(self) -> int:
        """U, tokens that the subset really holds."""
        return len(self.tokens)

    @property
    def unique_bytes(self) -> int:
        """Bytes of the subset's clean text, newlines included."""
        return int(self.manifest["bytes"])

    @property
    def sequences(self) -> int:
        """Sequences an epoch; of packed text the last one may be padded, of examples every one."""
        if self.marks is not None:
            return len(self.starts)
        return -(-len(self.tokens) // self.context)

    def batch(self, step: int, batch_size: int, seed: int) -> Batch:
        """The batch of a step (0, 1, ...): sample counters step x batch_size + 0..batch_size-1."""
        counters = np.arange(batch_size, dtype=np.int64) + step * batch_size
        positions, mask = self.positions(counters, seed)
        tokens = self.tokens[positions].astype(np.int64)
        if not mask.all():
            tokens[~mask] = 0
        documents = None
        if self.attend == "within" and self.marks is None:
            documents = document_ids(self.starts, positions)
        batch = Batch(torch.from_numpy(tokens), torch.from_numpy(mask), torch.from_numpy(counters), documents)
        return batch if self.marks is None else marked(batch, self.marks[positions])

    def positions(self, counters: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices into ``tokens`` [B, T] and loss mask [B, T] bool at sample counters [B]."""
        total = len(self.tokens)
        if self.marks is not None:
            example = self.order.sequence(counters, self.sequences, seed)
            ends = np.append(self.starts[1:], total)[example]
            positions = self.starts[example][:, None] + np.arange(self.context)
            return np.minimum(positions, total - 1), positions < ends[:, None]
        if self.crop == "random":
            start = hashing.integers(hashing.key(seed, "crop"), counters, max(total - self.context, 0) + 1)
        else:
            start = self.order.sequence(counters, self.sequences, seed) * self.context
        positions = start[:, None] + np.arange(self.context)
        mask = positions < total
        positions = np.minimum(positions, total - 1)
        if self.repack:
            turns = self.order.turn(counters, self.sequences, seed)
            for turn in np.unique(turns).tolist():
                rows = turns == turn
                positions[rows] = self._repacked(positions[rows], *self._layouts(turn, seed))
        return positions, mask

    def validation(self, half: HalfName, sequences: int) -> Batch:
        """See `ValidationSet.validation`."""
        return self.validation_set.validation(half, sequences)

    def encode(self, text: str) -> np.ndarray:
        """Token ids of a text, int64."""
        return self.tokenizer.encode([text], self.tokenizer_folder)[0].astype(np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids."""
        return self.tokenizer.decode(list(map(int, ids)), self.tokenizer_folder)

    def _layout(self, turn: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Where each document begins when the documents are shuffled for a turn, and which document that
        is.
        """
        order = hashing.permutation(hashing.key(seed, "repack", turn), len(self.starts))
        sizes = np.diff(self.starts, append=len(self.tokens))[order]
        return np.concatenate([[0], np.cumsum(sizes)[:-1]]), order

    def _repacked(self, positions: np.ndarray, begins: np.ndarray, order: np.ndarray) -> np.ndarray:
        rank = np.searchsorted(begins, positions, side="right") - 1
        return np.asarray(self.starts[order[rank]] + positions - begins[rank])
