"""A synthetic corpus of sources and targets: a random word, and the same word again or its reverse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from trainers.components.component import digest
from trainers.data import hashing
from trainers.data.base import Amount, Corpus, Document, corpora
from trainers.data.corpora.text import split_by_hash
from trainers.data.examples import Example

_SYMBOLS = "abcdefghijklmnopqrstuvwxyz"


@corpora.register
class Copy(Corpus):
    """Pairs such as ``dbca=dbca``: the source, up to ``=``, is given, and its copy is predicted.

    Every target follows from its source, so that a model which has learned the rule scores 0 nats, of either
    paradigm. A sequence has ``2 x length + 2`` tokens under the tokenizer ``bytes``.
    """

    name: ClassVar[str] = "copy"
    packed: ClassVar[bool] = False

    pairs: int = Field(
        20_000,
        ge=40,
        description="Pairs drawn, with repetitions; one different pair in ten is held out.",
    )
    length: int = Field(6, ge=1, le=256, description="Letters of a source.")
    letters: int = Field(8, ge=2, le=26, description="Different letters.")
    reverse: bool = Field(False, description="Predict the source backwards.")
    pair_seed: int = Field(0, ge=0, description="Which pairs.")

    def digest(self) -> str:
        return digest(["copy", self.version, *self.model_dump().values()])

    def amount(self) -> Amount:
        return Amount(0, self.pairs * (2 * self.length + 2))

    def apart(self) -> int | None:
        return None

    def documents(self) -> Iterator[Document]:
        import numpy as np

        places = np.arange(self.pairs * self.length).reshape(self.pairs, self.length)
        drawn = hashing.integers(hashing.key(self.pair_seed, "copy"), places, self.letters)
        for row in drawn.tolist():
            word = "".join(_SYMBOLS[i] for i in row)
            target = word[::-1] if self.reverse else word
            yield Example.pair(f"{word}=", target, "copy", split_by_hash(word, held_out=0.1))
