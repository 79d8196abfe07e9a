"""From a data config to a :class:`Dataset`: every stage is stored under the digest of what decides it, and
done once.

::

    root/corpora/<digest>/      documents, split (text.npy, ends.npy, source.npy, split.npy, corpus.json)
    root/tokenizers/<digest>/   what a tokenizer learned
    root/validation/<digest>/   validation sequences of corpus, tokenizer and context
    root/subsets/<digest>/      tokens.npy, starts.npy and manifest.json of one subset

A folder is complete once its JSON file, written last, is there. Stored data needs no file of the corpus any
more.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from functools import cache as cached
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.components.component import digest
from trainers.components.errors import UserError
from trainers.components.files import read_json, write_json
from trainers.data import arrays, hashing
from trainers.data.base import Corpus, Quality, Tokenizer
from trainers.data.dataset import Dataset
from trainers.data.documents import Documents, open_documents
from trainers.data.examples import MARKS, encoded
from trainers.data.subset import Selection, select, stratified
from trainers.data.validation import HeldOut, ValidationSet

if TYPE_CHECKING:
    from trainers.config import DataConfig

HALVES = ("a", "b")
VALIDATION_SEQUENCES = 1024
"""Validation sequences kept of each half, at most."""
_BATCH = 512


def prepare(data: DataConfig, root: Path | str) -> Dataset:
    """The dataset of a config, prepared under ``root`` where it is not there yet. Safe to call from several
    processes at once.

    Raises ValueError for a corpus without text, a filter that keeps nothing, or too little validation text.
    """
    root = Path(root)
    if data.corpus.digest().startswith("pending-"):
        data.corpus.resolve()
    if not data.corpus.packed and (data.crop != "fixed" or data.quality.alters):
        raise UserError(
            f"data: {data.corpus.name!r} holds examples of several parts, which neither crop: random nor a "
            f"quality that alters text ({data.quality.name!r}) leaves whole"
        )
    documents = cached(partial(open_documents, data.corpus, root))
    fitted, _, subset = (root / name for name in folders(data))
    if read_json(fitted / "tokenizer_done.json") is None:
        _fit(data.tokenizer, documents(), fitted)
    held_out = prepare_validation(data, root)
    manifest = read_json(subset / "manifest.json")
    if manifest is None:
        manifest = _cut(documents(), data, fitted, subset)
    dataset = Dataset(
        tokens=arrays.read_array(subset / "tokens.npy"),
        starts=arrays.read_array(subset / "starts.npy"),
        marks=None if data.corpus.packed else arrays.read_array(subset / "marks.npy"),
        validation_set=held_out,
        manifest=manifest,
        tokenizer=data.tokenizer,
        tokenizer_folder=fitted,
        context=data.context,
        order=data.order,
        repack=data.repack,
        crop=data.crop,
        attend=data.attend,
    )
    if dataset.marks is not None:
        _check_length(data, np.diff(dataset.starts, append=len(dataset.tokens)).max())
    return dataset


def prepare_validation(data: DataConfig, root: Path | str, corpus: Corpus | None = None) -> ValidationSet:
    """The validation data of a config, or of another ``corpus`` in the tokens of the config's own, whose
    tokenizer has been fitted. Prepared under ``root`` where it is not there yet; raises as :func:`prepare`.
    """
    root = Path(root)
    fitted, folder, _ = (root / name for name in folders(data))
    if corpus is None or corpus == data.corpus:
        corpus = data.corpus
    else:
        if corpus.digest().startswith("pending-"):
            corpus.resolve()
        folder = folder.with_name(digest([folder.name, corpus.identity()]))
    record = read_json(folder / "validation.json")
    if record is None or "documents" not in record["a"]:  # a store from before they were told apart
        record = _hold_out(open_documents(corpus, root), data, fitted, folder)

    def half(name: str) -> HeldOut:
        names = ["", "_lengths", "_starts", *([] if corpus.packed else ["_marks"])]
        return HeldOut(*(arrays.read_array(folder / f"{name}{part}.npy") for part in names))

    return ValidationSet({h: half(h) for h in HALVES}, record["unigram_entropy"], data.attend)


def folders(data: DataConfig) -> tuple[str, str, str]:
    """The folders below a data root that a dataset lies in: its tokenizer's, its validation sequences', its
    subset's.
    """
    corpus, tokenizer = data.corpus.identity(), data.tokenizer.identity()
    return (
        f"tokenizers/{digest([corpus, tokenizer])}",
        f"validation/{digest([corpus, tokenizer, data.context])}",
        f"subsets/{subset_digest(data)}",
    )


def subset_digest(data: DataConfig) -> str:
    """Digest of everything that decides a subset's tokens; context, order, repacking and crops do not."""
    parts = [data.corpus, data.tokenizer, data.quality]
    return digest([*(p.identity() for p in parts), data.unique_tokens, data.unique_bytes, data.subset_seed])


def _fit(tokenizer: Tokenizer, documents: Documents, folder: Path) -> None:
    order = stratified(documents, documents.of_split("train"), hashing.key("tokenizer"))
    tokenizer.fit((documents[i] for i in order), folder)
    write_json(folder / "tokenizer_done.json", {"tokenizer": tokenizer.identity()})


def _hold_out(documents: Documents, data: DataConfig, fitted: Path, folder: Path) -> dict[str, Any]:
    counts = np.zeros(data.tokenizer.vocab, np.int64)
    result: dict[str, Any] = {"context": data.context}
    for half in HALVES:
        order = stratified(documents, documents.of_split(half), hashing.key("validation", half))
        pack = _packed if documents.parts is None else _apart
        sequences = pack(documents, order, data, fitted)
        real = np.arange(data.context) < sequences.lengths[:, None]
        scored = real if sequences.marks is None else real & (sequences.marks[..., 0] > 0)
        counts += np.bincount(sequences.tokens[scored], minlength=len(counts))
        arrays.write_array(folder / f"{half}.npy", sequences.tokens.astype(_token_type(data.tokenizer)))
        arrays.write_array(folder / f"{half}_lengths.npy", sequences.lengths)
        arrays.write_array(folder / f"{half}_starts.npy", sequences.starts)
        if sequences.marks is not None:
            arrays.write_array(folder / f"{half}_marks.npy", sequences.marks)
        result[half] = {
            "sequences": len(sequences.tokens),
            "tokens": int(real.sum()),
            "documents": len(sequences.starts),
        }
    p = counts[counts > 0] / counts.sum()
    result["unigram_entropy"] = float(-(p * np.log(p)).sum())
    write_json(folder / "validation.json", result)
    return result


def _packed(documents: Documents, order: Iterable[int], data: DataConfig, fitted: Path) -> HeldOut:
    """Documents joined and cut into sequences."""
    enough, parts, starts, total = VALIDATION_SEQUENCES * data.context, list[np.ndarray](), list[int](), 0
    for ids in _encoded((documents[i] for i in order), data.tokenizer, fitted):
        parts.append(ids)
        starts.append(total)
        total += len(ids)
        if total >= enough:
            break
    stream = np.concatenate(parts)[:enough]
    # An incomplete sequence is kept only where there is no other.
    whole = max(len(stream) // data.context, 1)
    stream = stream[: whole * data.context]
    lengths = np.minimum(np.full(whole, data.context), len(stream))
    padded = np.pad(stream, (0, whole * data.context - len(stream))).reshape(whole, data.context)
    return HeldOut(padded, lengths, np.array(starts, np.int64))


def _apart(documents: Documents, order: Iterable[int], data: DataConfig, fitted: Path) -> HeldOut:
    """Examples, one a sequence."""
    order = itertools.islice(order, VALIDATION_SEQUENCES)
    examples = list(encoded((documents.example(i) for i in order), data.tokenizer, fitted))
    lengths = np.array([len(ids) for ids, _ in examples])
    _check_length(data, lengths.max())
    tokens = np.zeros((len(examples), data.context), np.int64)
    marks = np.zeros((*tokens.shape, MARKS), np.uint8)
    for row, (ids, own) in enumerate(examples):
        tokens[row, : len(ids)], marks[row, : len(ids)] = ids, own
    return HeldOut(tokens, lengths, np.arange(len(examples)) * data.context, marks)


def _check_length(data: DataConfig, longest: int) -> None:
    if longest > data.context:
        raise UserError(
            f"data.context: {data.context} tokens do not hold the longest example of "
            f"{data.corpus.name!r}, which has {longest}"
        )


def _cut(documents: Documents, data: DataConfig, fitted: Path, folder: Path) -> dict[str, Any]:
    chosen = select(
        documents,
        data.quality,
        data.tokenizer,
        fitted,
        seed=data.subset_seed,
        unique_tokens=data.unique_tokens,
        unique_bytes=data.unique_bytes,
        whole=documents.parts is not None,
    )
    starts: list[int] = []
    marks: list[np.ndarray] = []
    exact = not data.quality.alters and data.unique_tokens is not None

    def examples() -> Iterator[np.ndarray]:
        position = 0
        for ids, own in encoded((documents.example(i) for i in chosen.indices), data.tokenizer, fitted):
            starts.append(position)
            marks.append(own)
            position += len(ids)
            yield ids

    def tokens() -> Iterator[np.ndarray]:
        texts = (
            (documents[i] for i in chosen.indices)
            if exact
            else _altered(chosen, documents, data.quality, data.subset_seed)
        )
        position, last = 0, None
        for ids in _encoded(texts, data.tokenizer, fitted):
            if last is not None:
                yield last
            starts.append(position)
            last = ids[: data.unique_tokens - position] if exact and data.unique_tokens is not None else ids
            position += len(last)
        if last is not None:
            newline = len(data.tokenizer.encode(["\n"], fitted)[0])
            yield last if exact or chosen.whole else last[: len(last) - newline]

    stream = tokens() if documents.parts is None else examples()
    total = arrays.stream_array(folder / "tokens.npy", stream, _token_type(data.tokenizer))
    arrays.write_array(folder / "starts.npy", np.array(starts, np.int64))
    if documents.parts is not None:
        arrays.write_array(folder / "marks.npy", np.concatenate(marks))
    manifest = {
        **describe(chosen, documents),
        "tokens": total,
        "asked": {"unique_tokens": data.unique_tokens, "unique_bytes": data.unique_bytes},
        "subset_seed": data.subset_seed,
        "corpus": data.corpus.identity(),
        "tokenizer": data.tokenizer.identity(),
        "quality": data.quality.identity(),
    }
    write_json(folder / "manifest.json", manifest)
    return manifest


def describe(chosen: Selection, documents: Documents) -> dict[str, Any]:
    """A subset's documents, bytes (newlines included), sources' shares of them, and sha256 of the clean
    text.
    """
    sha, total = hashlib.sha256(), 0
    by_source = dict.fromkeys(documents.sources, 0)
    for index, text in zip(chosen.indices, chosen.texts(documents), strict=True):
        last = index == chosen.indices[-1]
        piece = text.encode() + (b"" if last and not chosen.whole else b"\n")
        sha.update(piece)
        total += len(piece)
        by_source[documents.sources[documents.source[index]]] += len(piece)
    return {
        "documents": len(chosen.indices),
        "bytes": total,
        "digest": sha.hexdigest(),
        "shares": {s: round(n / max(total, 1), 6) for s, n in by_source.items()},
    }


def _altered(chosen: Selection, documents: Documents, quality: Quality, seed: int) -> Iterable[str]:
    texts = chosen.texts(documents)
    return quality.alter(list(texts), seed) if quality.alters else texts


def _encoded(texts: Iterable[str], tokenizer: Tokenizer, folder: Path) -> Iterator[np.ndarray]:
    """Ids of each text, those of a newline behind it."""
    newline = tokenizer.encode(["\n"], folder)[0]
    texts = iter(texts)
    while batch := list(itertools.islice(texts, _BATCH)):
        for ids in tokenizer.encode(batch, folder):
            yield np.concatenate([ids, newline])


def _token_type(tokenizer: Tokenizer) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if tokenizer.vocab <= 1 << 8 else np.uint16 if tokenizer.vocab <= 1 << 16 else np.uint32
