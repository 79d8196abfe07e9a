"""Nested, stratified subsets of a corpus: every prefix of one seeded order holds the corpus's mix of
sources.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainers.components.errors import UserError
from trainers.data import hashing
from trainers.data.base import Quality, Tokenizer
from trainers.data.documents import Documents

_BATCH = 512


def stratified(documents: Documents, candidates: np.ndarray, stream: int) -> Iterator[int]:
    """Indices of ``candidates`` in a seeded order, sources interleaved: the next document is of the source
    that is furthest behind its share of the corpus's training bytes, so a prefix's mix is off by about one
    document a source.

    Within a source the order is a permutation seeded by its name: leaving a source out does not move the
    others.
    """
    shares, lengths = documents.shares().tolist(), documents.lengths
    queues: dict[int, Iterator[int]] = {}
    for s in np.unique(documents.source[candidates]).tolist():
        own = candidates[documents.source[candidates] == s]
        queues[s] = iter(
            own[hashing.permutation(hashing.key(stream, documents.sources[s]), len(own))].tolist()
        )
    taken, total = dict.fromkeys(queues, 0), 0
    while queues:
        s = max(queues, key=lambda q: shares[q] * total - taken[q])
        index = next(queues[s], None)
        if index is None:
            del queues[s]
            continue
        size = int(lengths[index]) + 1
        taken[s] += size
        total += size
        yield index


@dataclass(frozen=True)
class Selection:
    """The documents of a subset in order: their indices, and the text of the last one, which the budget may
    cut short.

    ``whole``: the last document is not cut, and the newline that ends it is within the budget.
    """

    indices: list[int]
    last: str
    whole: bool = True

    def texts(self, documents: Documents) -> Iterator[str]:
        """The subset's texts, clean."""
        yield from (documents[i] for i in self.indices[:-1])
        yield self.last


def select(
    documents: Documents,
    quality: Quality,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    seed: int,
    unique_tokens: int | None,
    unique_bytes: int | None,
    whole: bool = False,
) -> Selection:
    """The prefix of the seeded order that fills the budget, its last document cut to fill it exactly.

    ``whole``: the document that does not fit is left out instead.

    The budget counts the clean text, the newline that ends each document included, so subsets of one corpus
    and seed hold the same text whatever alters it afterwards, and a smaller budget's stream is a prefix of a
    larger one's. Where the corpus holds less than the budget, the subset is all of it. Raises ValueError if
    the filter keeps nothing.
    """
    order = stratified(documents, documents.of_split("train"), hashing.key("subset", seed))
    kept = (i for i in order if quality.keeps(documents[i]))
    indices: list[int] = []
    if unique_tokens is not None:
        newline = len(tokenizer.encode(["\n"], folder)[0])
        room = unique_tokens
        while batch := list(itertools.islice(kept, _BATCH)):
            for index, ids in zip(
                batch, tokenizer.encode([documents[i] for i in batch], folder), strict=True
            ):
                indices.append(index)
                if whole and len(ids) + newline > room:
                    return _without_last(indices, documents)
                if len(ids) >= room:
                    return Selection(indices, tokenizer.decode(ids[:room].tolist(), folder), whole=False)
                room -= len(ids) + newline
                if room <= 0:
                    return Selection(indices, documents[index])
    else:
        room = unique_bytes if unique_bytes is not None else int(documents.ends[-1]) + 1
        for index in kept:
            indices.append(index)
            size = documents.lengths_at(index)
            if whole and size + 1 > room:
                return _without_last(indices, documents)
            if size >= room:
                return Selection(
                    indices, documents[index].encode()[:room].decode(errors="ignore"), whole=False
                )
            room -= size + 1
            if room <= 0:
                break
    if not indices:
        raise UserError(f"data.quality: {quality.name!r} keeps no document of the corpus")
    return Selection(indices, documents[indices[-1]])


def _without_last(indices: list[int], documents: Documents) -> Selection:
    if len(indices) < 2:
        raise UserError("data: unique_tokens or unique_bytes holds no whole example of the corpus")
    return Selection(indices[:-1], documents[indices[-2]])
