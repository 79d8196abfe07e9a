"""Corruption by character."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from trainers.data import hashing
from trainers.data.base import Quality, qualities


@qualities.register
class Typos(Quality):
    """Each letter, with probability ``fraction``, is replaced by a letter of the subset, dropped, or doubled
    (a third each).

    Fixed over epochs. Letters that replace are drawn from the subset's own, so no unique data comes in.
    """

    name: ClassVar[str] = "typos"

    fraction: float = Field(0.05, ge=0, le=1, description="Share of letters with an error.")

    def alter(self, texts: list[str], seed: int) -> list[str]:
        pool = [c for text in texts for c in text if c.isalpha()]
        return [
            self._mistyped(text, pool, hashing.key(seed, "typos", number))
            for number, text in enumerate(texts)
        ]

    def _mistyped(self, text: str, pool: list[str], stream: int) -> str:
        letters = list(text)
        at = np.arange(len(letters))
        hit = np.flatnonzero(hashing.uniform(stream, 3 * at) < self.fraction)
        kinds = hashing.integers(stream, 3 * hit + 1, 3).tolist()
        drawn = hashing.integers(stream, 3 * hit + 2, max(len(pool), 1)).tolist()
        for place, kind, other in zip(hit.tolist(), kinds, drawn, strict=True):
            if letters[place].isalpha():
                letters[place] = (pool[other], "", letters[place] * 2)[kind]
        return "".join(letters)
