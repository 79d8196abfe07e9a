"""Corruptions by word: replaced words and words out of order."""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np
from pydantic import Field

from trainers.data import hashing
from trainers.data.base import Quality, qualities

_WORD = re.compile(r"\S+")


@qualities.register
class ReplaceWords(Quality):
    """Each word replaced, with probability ``fraction``, by a word drawn from the subset's own unigram
    distribution.

    Which words are replaced, and by what, is fixed over epochs. Unigram statistics are kept and no unique
    data comes in; a draw may give the same word again. The corruption rate is the kind of quality in L(N, D,
    Q) (arXiv 2510.03313).
    """

    name: ClassVar[str] = "replace_words"

    fraction: float = Field(0.2, ge=0, le=1, description="Share of words that are replaced.")

    def alter(self, texts: list[str], seed: int) -> list[str]:
        pool = [word for text in texts for word in _WORD.findall(text)]
        return [
            self._replaced(text, pool, hashing.key(seed, "replace_words", number)) if text else text
            for number, text in enumerate(texts)
        ]

    def _replaced(self, text: str, pool: list[str], stream: int) -> str:
        pieces = re.split(r"(\S+)", text)  # white space at even places, words at odd ones
        words = np.arange(len(pieces) // 2)
        hit = np.flatnonzero(hashing.uniform(stream, 2 * words) < self.fraction)
        for word, drawn in zip(
            hit.tolist(), hashing.integers(stream, 2 * hit + 1, len(pool)).tolist(), strict=True
        ):
            pieces[2 * word + 1] = pool[drawn]
        return "".join(pieces)


@qualities.register
class ShuffleWords(Quality):
    """Words out of order locally: each moves by about ``distance`` places at most; white space stays
    where it was.
    """

    name: ClassVar[str] = "shuffle_words"

    distance: int = Field(3, ge=1, description="How far a word may move, in words.")

    def alter(self, texts: list[str], seed: int) -> list[str]:
        return [
            self._shuffled(text, hashing.key(seed, "shuffle_words", number))
            for number, text in enumerate(texts)
        ]

    def _shuffled(self, text: str, stream: int) -> str:
        pieces = re.split(r"(\S+)", text)
        words = np.arange(len(pieces) // 2)
        # Sorting i + u with u uniform in [0, distance + 1) moves no word further than distance.
        order = np.argsort(words + hashing.uniform(stream, words) * (self.distance + 1), kind="stable")
        pieces[1::2] = [pieces[2 * i + 1] for i in order.tolist()]
        return "".join(pieces)
