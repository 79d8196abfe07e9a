"""The documents of a corpus on disk: one buffer of text and an index, split once and mapped ever after."""

from __future__ import annotations

import hashlib
import itertools
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainers.components.component import digest
from trainers.components.errors import UserError
from trainers.components.files import read_json, write_json
from trainers.data import arrays, overlap
from trainers.data.base import Corpus, Document
from trainers.data.examples import MARKS, Example, Part

SPLITS = ("train", "a", "b")
_BUFFER = 1 << 22
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Documents:
    """Documents of one corpus in its own order, memory-mapped.

    ``text`` [bytes] uint8, each document followed by one zero byte; ``ends`` [documents] int64, exclusive,
    the zero not counted; ``source`` [documents] uint16 into ``sources``; ``split`` [documents] uint8 into
    ``SPLITS``.
    """

    text: np.ndarray
    ends: np.ndarray
    source: np.ndarray
    split: np.ndarray
    sources: tuple[str, ...]
    parts: np.ndarray | None = None
    """[parts, 2 + MARKS] int64, of examples: document, end in bytes within it, and marks."""

    def __getitem__(self, index: int) -> str:
        end = int(self.ends[index])
        return bytes(self.text[end - self.lengths_at(index) : end]).decode()

    def example(self, index: int) -> tuple[Part, ...]:
        """The parts of one document, one scored part where it is plain text."""
        text = self[index]
        if self.parts is None:
            return (Part(text),)
        first, last = np.searchsorted(self.parts[:, 0], [index, index + 1])
        rows, data = self.parts[first:last].tolist(), text.encode()
        starts = [0, *(end for _, end, *_ in rows)]
        return tuple(
            Part(data[start:end].decode(), bool(scored), segment, modality)
            for start, (_, end, scored, segment, modality) in zip(starts, rows, strict=False)
        )

    def lengths_at(self, index: int) -> int:
        """Bytes of one document."""
        return int(self.ends[index]) - (int(self.ends[index - 1]) + 1 if index else 0)

    @property
    def lengths(self) -> np.ndarray:
        """Bytes of each document."""
        return np.diff(self.ends, prepend=-1) - 1

    def of_split(self, split: str) -> np.ndarray:
        """Indices of a split's documents, ascending."""
        return np.flatnonzero(self.split == SPLITS.index(split))

    def shares(self) -> np.ndarray:
        """The corpus's mix: each source's share of the training bytes."""
        train = self.split == 0
        total = np.bincount(self.source[train], self.lengths[train] + 1.0, minlength=len(self.sources))
        return total / max(total.sum(), 1.0)


def open_documents(corpus: Corpus, root: Path) -> Documents:
    """A corpus's documents, split and stored under ``root/corpora/<digest>`` when first asked for."""
    folder = root / "corpora" / digest(corpus.identity())
    meta = read_json(folder / "corpus.json")
    if meta is None:
        meta = _build(corpus, folder)
    text, ends, source, split = (
        arrays.read_array(folder / f"{n}.npy") for n in ("text", "ends", "source", "split")
    )
    parts = None if corpus.packed else arrays.read_array(folder / "parts.npy")
    return Documents(text, ends, source, split, tuple(meta["sources"]), parts)


def training_bytes(corpus: Corpus) -> int:
    """Bytes of the training split, with a newline after each document. Reads the whole corpus."""
    return sum(len(text) + 1 for document, text in _kept(corpus) if document.split == "train")


def _kept(corpus: Corpus) -> Iterator[tuple[Document, bytes]]:
    """The corpus's documents and their text as it is stored, exact repetitions of training text left out."""
    seen = set[bytes]()
    for document in corpus.documents():
        text = document.text.replace("\0", " ").encode()
        if corpus.distinct and document.split == "train":
            mark = hashlib.blake2b(text, digest_size=8).digest()
            if mark in seen:
                continue
            seen.add(mark)
        yield document, text


def _build(corpus: Corpus, folder: Path) -> dict[str, object]:
    ends, source, split = array("q"), array("H"), array("B")
    sources: dict[str, int] = {}
    parts: list[tuple[int, ...]] = []

    def chunks() -> Iterator[np.ndarray]:
        buffer, position = bytearray(), 0
        for document, text in _kept(corpus):
            buffer += text + b"\0"
            position += len(text) + 1
            ends.append(position - 1)
            source.append(sources.setdefault(document.source, len(sources)))
            split.append(SPLITS.index(document.split))
            if not corpus.packed:
                parts.extend(_parts(document, len(ends) - 1))
            if len(buffer) > _BUFFER:
                yield np.frombuffer(bytes(buffer), np.uint8)
                buffer.clear()
        yield np.frombuffer(bytes(buffer), np.uint8)

    arrays.stream_array(folder / "text.npy", chunks(), np.uint8)
    documents = Documents(
        arrays.read_array(folder / "text.npy"),
        np.array(ends),
        np.array(source),
        np.array(split),
        tuple(sources),
    )
    if not len(documents.of_split("train")):
        raise UserError(f"data.corpus: {corpus.name} has no training documents")
    dropped = _kept_apart(documents, corpus.apart())
    index = documents.split.copy()
    index[dropped] = len(SPLITS)
    for half in ("a", "b"):
        if not (index == SPLITS.index(half)).any():
            raise UserError(
                f"data.corpus: {corpus.name} leaves no validation documents in half {half!r} "
                f"({int((documents.split == SPLITS.index(half)).sum())} before those that repeat training "
                "text were dropped): give it more text, or hold out more"
            )
    if not corpus.packed:
        arrays.write_array(folder / "parts.npy", np.array(parts, np.int64).reshape(-1, 2 + MARKS))
    for name, value in (("ends", documents.ends), ("source", documents.source), ("split", index)):
        arrays.write_array(folder / f"{name}.npy", value)
    meta: dict[str, object] = {
        "sources": list(sources),
        "identity": corpus.identity(),
        "dropped": len(dropped),
    }
    write_json(folder / "corpus.json", meta)
    return meta


def _parts(document: Document, index: int) -> Iterator[tuple[int, ...]]:
    """Rows of `Documents.parts`."""
    end = 0
    for part in document.parts if isinstance(document, Example) else (Part(document.text),):
        end += len(part.text.encode())
        yield index, end, *part.marks


def _kept_apart(documents: Documents, length: int | None) -> np.ndarray:
    """Indices of validation documents that share ``length`` bytes with training text."""
    held_out = np.flatnonzero(documents.split > 0)
    if length is None or not len(held_out):
        return held_out[:0]
    lengths = documents.lengths
    starts = documents.ends - lengths
    text = np.concatenate([documents.text[starts[i] : documents.ends[i]] for i in held_out])
    return held_out[
        overlap.sharing(text, np.cumsum(lengths[held_out]), _training_text(documents, starts), length)
    ]


def _training_text(documents: Documents, starts: np.ndarray) -> Iterator[np.ndarray]:
    """The training documents, each with its zero byte, in chunks that end with a document."""
    cuts = np.searchsorted(documents.ends, np.arange(0, len(documents.text), _CHUNK))
    for first, last in itertools.pairwise([*np.unique(cuts).tolist(), len(documents.ends)]):
        chunk = documents.text[starts[first] : documents.ends[last - 1] + 1]
        train = documents.split[first:last] == 0
        if train.any():
            yield chunk[np.repeat(train, documents.ends[first:last] + 1 - starts[first:last])]
