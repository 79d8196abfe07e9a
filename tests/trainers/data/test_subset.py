"""Subsets: stratified, nested, rebuilt alike, and described by their manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from trainers.config import DataConfig
from trainers.data import hashing
from trainers.data.documents import Documents, open_documents
from trainers.data.subset import stratified


@pytest.mark.parametrize("seed", range(6))
def test_every_prefix_holds_the_mix_of_sources(data_root, seed):
    documents = open_documents(DataConfig().corpus, data_root)
    shares = documents.shares()
    taken = np.zeros(len(shares))
    order = stratified(documents, documents.of_split("train"), hashing.key("subset", seed))
    for index in order:
        taken[documents.source[index]] += documents.lengths_at(index) + 1
        total = taken.sum()
        if total > 1_000_000:
            break
        if total >= 5_000:
            assert np.abs(taken / total - shares).max() < 0.10
        if total >= 80_000:
            assert np.abs(taken / total / shares - 1).max() < 0.10


def test_a_newline_is_a_byte_of_its_source() -> None:
    """Half of the bytes are of documents of one letter, each with its newline; so is half of every prefix."""
    sizes = np.array([1] * 500 + [9] * 100)
    documents = Documents(
        text=np.zeros(int((sizes + 1).sum()), np.uint8),
        ends=np.cumsum(sizes + 1) - 1,
        source=np.repeat([0, 1], [500, 100]).astype(np.uint16),
        split=np.zeros(600, np.uint8),
        sources=("short", "long"),
    )
    assert documents.shares().tolist() == [0.5, 0.5]
    taken = np.zeros(2)
    for index in stratified(documents, documents.of_split("train"), hashing.key("subset", 0)):
        taken[documents.source[index]] += sizes[index] + 1
        assert abs(taken[0] - taken[1]) <= 10  # a long document and its newline


def test_manifest_describes_the_text(prose):
    data = prose(unique_bytes=20_000)
    text = bytes(data.tokens)
    assert data.manifest["bytes"] == data.unique_bytes == len(text) == 20_000
    assert data.manifest["digest"] == hashlib.sha256(text).hexdigest()
    assert sum(data.manifest["shares"].values()) == pytest.approx(1, abs=1e-4)
    assert data.manifest["documents"] == len(data.starts)


@pytest.mark.parametrize("tokenizer", ["bytes", {"name": "bpe", "vocab_size": 300}])
@pytest.mark.parametrize("unit", ["unique_tokens", "unique_bytes"])
def test_smaller_budget_is_a_prefix_of_a_larger_one(small, tokenizer, unit):
    sizes = [100, 777, 1000, 4001]
    streams = [small(tokenizer=tokenizer, **{unit: n}).tokens for n in sizes]
    longest = streams[-1]
    for n, stream in zip(sizes, streams, strict=True):
        if unit == "unique_tokens":
            assert len(stream) == n
        whole = len(stream) - (8 if unit == "unique_bytes" else 0)  # a word cut by bytes may merge otherwise
        assert np.array_equal(stream[:whole], longest[:whole])


def test_every_byte_budget_is_met_exactly(small):
    for n in range(300, 700, 13):
        data = small(unique_bytes=n)
        assert data.unique_tokens == data.unique_bytes == n


def test_a_budget_larger_than_the_corpus_gives_all_of_it(small):
    everything, asked = small(), small(unique_bytes=10**9)
    assert asked.unique_bytes == everything.unique_bytes < 10**9
    assert asked.manifest["asked"]["unique_bytes"] == 10**9


def test_subset_seeds_differ_and_the_same_seed_is_rebuilt_alike(small):
    first, again = small(unique_bytes=2000), small(root="elsewhere", unique_bytes=2000)
    assert np.array_equal(first.tokens, again.tokens) and first.manifest == again.manifest
    assert not np.array_equal(first.tokens, small(unique_bytes=2000, subset_seed=1).tokens)


def test_documents_are_short_and_distinct(data_root):
    documents = open_documents(DataConfig().corpus, data_root)
    train = documents.of_split("train")
    assert documents.lengths.max() <= 400
    texts = [documents[i] for i in train[::7].tolist()]
    assert len(set(texts)) == len(texts)


def test_leaving_a_source_out_keeps_the_order_within_the_others(data_root):
    def order(sources: list[str]) -> list[str]:
        corpus = DataConfig(corpus={"name": "prose", "sources": sources}).corpus
        documents = open_documents(corpus, data_root)
        found = stratified(documents, documents.of_split("train"), hashing.key("subset", 0))
        novels = (i for i in found if documents.sources[documents.source[i]] == "austen")
        return [documents[next(novels)] for _ in range(20)]

    assert order(["austen"]) == order(["austen", "factbook"])


def test_validation_shares_no_50_bytes_with_training(data_root: Path):
    documents = open_documents(
        DataConfig(corpus={"name": "prose", "sources": ["factbook"]}).corpus, data_root
    )

    def runs(splits: set[int]) -> set[bytes]:
        texts = (
            documents[i].encode() for i in np.flatnonzero(np.isin(documents.split, list(splits))).tolist()
        )
        return {text[i : i + 50] for text in texts for i in range(len(text) - 49)}

    assert not runs({0}) & runs({1, 2})
    assert runs({0}) & runs({3}), "some were dropped for that reason"
