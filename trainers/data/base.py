"""What a corpus, a tokenizer, a quality and an order are. All are torch-free; text becomes arrays in
`trainers.data.prepare`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from trainers.components.component import Component, Registry

if TYPE_CHECKING:
    import numpy as np


SELECTION = 1
"""Version of how subsets and validation sets are cut (`trainers.data.subset`): raise it when the same
config gives others.
"""


@dataclass(frozen=True)
class Document:
    """One document: its text, the source it came from (subsets are stratified by it), and the split it
    belongs to.
    """

    text: str
    source: str
    split: Literal["train", "a", "b"]


@dataclass(frozen=True)
class Amount:
    """Bytes of a training split, with a newline after each document: at most ``most``, and ``least`` or more
    as far as can be told before the corpus is prepared."""

    least: int
    most: int


class Corpus(Component):
    """Where documents come from. Its identity is its content, so a moved file gives the same keys."""

    distinct: ClassVar[bool] = True
    """Drop exact repetitions of training documents, for U counts unique text."""
    packed: ClassVar[bool] = True
    """Whether documents are joined and cut into sequences. Where not, they are examples
    (`trainers.data.examples`), and each has a sequence of its own.
    """

    @abstractmethod
    def digest(self) -> str:
        """Digest of the content, without reading more than a cache and file stamps where it can.

        ``pending-...`` where the content has not been seen yet; :meth:`resolve` then makes it final.
        """

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """Every document, in a fixed order, with its split."""

    def resolve(self) -> None:
        """See the content, so that :meth:`digest` is final from now on. May download; nothing for most."""
        return None

    def amount(self) -> Amount | None:
        """How much training text there is, for plans; a function of the content alone. None where only
        preparation can tell."""
        return None

    def pinned(self) -> Corpus:
        """The same corpus with its digest declared, to be sent to a machine that may lack the files."""
        return self

    def apart(self) -> int | None:
        """Drop validation documents that share a run of so many bytes with training text; None drops none."""
        return 50

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "digest": self.digest(), "selection": SELECTION}


class Tokenizer(Component):
    """Text to ids 0..V-1 and back. Newline must have ids of its own: it joins documents."""

    @property
    @abstractmethod
    def vocab(self) -> int:
        """V: how many tokens can be predicted."""

    @property
    def bytes_per_token(self) -> float | None:
        """Bytes of text in every token; None where it varies from token to token."""
        return None

    def fit(self, documents: Iterator[str], folder: Path) -> None:
        """Learn what must be learned from the training split alone, and keep it in ``folder``; nothing for
        most.

        ``documents`` come in an order whose every prefix holds the corpus's mix of sources.
        """
        return None

    @abstractmethod
    def encode(self, texts: Sequence[str], folder: Path) -> list[np.ndarray]:
        """Token ids of each text, one integer array a text."""

    @abstractmethod
    def decode(self, ids: Sequence[int], folder: Path) -> str:
        """Text of ids; bytes that are no text are replaced."""

    def exchangeable(self, folder: Path) -> Any:
        """The same tokenizer as a ``tokenizers.Tokenizer``, for other programs; None where it has no such
        form.
        """
        return None


class Quality(Component):
    """What is done to the training documents (never to validation). The default of both methods is
    nothing.
    """

    alters: ClassVar[bool] = True
    """Whether :meth:`alter` does anything; where not, documents need not be held in memory."""

    def keeps(self, text: str) -> bool:
        """False for a document that is dropped, before the subset is cut."""
        return True

    def alter(self, texts: list[str], seed: int) -> list[str]:
        """The subset's documents altered, after it is cut, from their own material: noise brings in no unique
        data.

        Nested as far as the kind allows: what is changed in a document depends on the seed and on its place
        in the subset's order alone, though what replaces it may depend on the subset.
        """
        return texts


class Order(Component):
    """In which order sequences come. A pure function of the sample counter."""

    @abstractmethod
    def sequence(self, counters: np.ndarray, sequences: int, seed: int) -> np.ndarray:
        """Index in 0..sequences-1 of the sequence at each sample counter (int64 arrays of one shape)."""

    def turn(self, counters: np.ndarray, sequences: int, seed: int) -> np.ndarray:
        """Which visit to its sequence each counter is (0, 1, ...), up to order: repacked data differs
        between visits.
        """
        return counters // sequences


corpora: Registry[Corpus] = Registry("corpus", "trainers.data.corpora")
tokenizers: Registry[Tokenizer] = Registry("tokenizer", "trainers.data.tokenizers")
qualities: Registry[Quality] = Registry("quality", "trainers.data.qualities")
orders: Registry[Order] = Registry("order", "trainers.data.orders")
