"""A synthetic corpus with a known answer: an order-1 Markov chain over 64 symbols."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import ClassVar

import numpy as np
from pydantic import Field

from trainers.components.component import digest
from trainers.data import hashing
from trainers.data.base import Amount, Corpus, Document, corpora

_SYMBOLS = ("\n", *(chr(48 + i) for i in range(63)))


@corpora.register
class Markov(Corpus):
    """An order-1 Markov chain whose entropy rate is known exactly: no model, of either paradigm, can score
    below it.

    The first of the 64 symbols is newline, and a document is what lies between two of them. Documents are
    therefore independent and identically distributed, and any order of them, joined by newlines, is the chain
    itself: with the byte tokenizer the floor of a long sequence is :attr:`entropy_rate`, whatever is shuffled
    or cut.

    Rows of the transition matrix are normalised powers of exponential variates; ``sharpness`` 0 is uniform
    noise.
    """

    name: ClassVar[str] = "markov"
    distinct: ClassVar[bool] = False

    documents_held: int = Field(
        20_000, ge=8, description="Documents in all, of about 64 symbols; one in ten is held out."
    )
    sharpness: float = Field(3.0, ge=0, le=20, description="How uneven transition probabilities are.")
    chain_seed: int = Field(0, ge=0, description="Which chain.")

    def digest(self) -> str:
        return digest(["markov", self.version, self.documents_held, self.sharpness, self.chain_seed])

    def amount(self) -> Amount:
        # A document ends where newline follows, as likely after each symbol: its length is about geometric.
        length, documents = 1 / self.stationary[0], 0.9 * self.documents_held
        return Amount(*(int(length * (documents + z * documents**0.5)) for z in (-6, 6)))

    def apart(self) -> int | None:
        return None

    @property
    def transitions(self) -> np.ndarray:
        """[64, 64]; row i: probabilities of the symbol after symbol i. Newline never follows newline."""
        return _transitions(self.sharpness, self.chain_seed)

    @property
    def stationary(self) -> np.ndarray:
        """[64]: how often each symbol occurs."""
        values = np.linalg.matrix_power(self.transitions, 4096)[0]
        return np.asarray(values / values.sum())

    @property
    def entropy_rate(self) -> float:
        """Nats per symbol: the sum over i of stationary_i x entropy of row i."""
        p = self.transitions
        return float(-(self.stationary[:, None] * p * np.log(np.where(p > 0, p, 1))).sum())

    @property
    def unigram_entropy(self) -> float:
        """Nats per symbol of the stationary distribution: the floor without context."""
        return float(-(self.stationary * np.log(self.stationary)).sum())

    def documents(self) -> Iterator[Document]:
        n = self.documents_held
        cumulative = np.cumsum(self.transitions, axis=1)
        cumulative[:, -1] = 1.0
        state, active, drawn = np.zeros(n, np.int64), np.arange(n), list[tuple[np.ndarray, np.ndarray]]()
        for place in range(1 << 16):
            u = hashing.uniform(hashing.key(self.chain_seed, "markov", place), active)
            state = (cumulative[state] <= u[:, None]).sum(axis=1)
            active, state = active[state > 0], state[state > 0]
            if not len(active):
                break
            drawn.append((active, state))
        owner, symbol = (np.concatenate(x) for x in zip(*drawn, strict=True))
        order = np.argsort(owner, kind="stable")
        ends = np.cumsum(np.bincount(owner, minlength=n))
        text = "".join(_SYMBOLS[i] for i in symbol[order].tolist())
        for number, (start, end) in enumerate(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)):
            yield Document(
                text[start:end], "markov", "a" if number % 20 == 0 else "b" if number % 20 == 1 else "train"
            )


@lru_cache(maxsize=8)
def _transitions(sharpness: float, seed: int) -> np.ndarray:
    n = len(_SYMBOLS)
    u = hashing.uniform(hashing.key(seed, "markov transitions"), np.arange(n * n)).reshape(n, n)
    weights = (-np.log1p(-u) + 1e-12) ** sharpness
    weights[:, 0] = weights.sum(axis=1) / (
        n - 1
    )  # newline follows as often as the average symbol, so documents are short
    weights[0, 0] = 0
    p = weights / weights.sum(axis=1, keepdims=True)
    p.flags.writeable = False
    return np.asarray(p)
