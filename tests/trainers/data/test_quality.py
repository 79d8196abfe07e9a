"""Corruptions and filters."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.config import DataConfig


def quality(name, **options):
    return DataConfig(quality={"name": name, **options}).quality


def test_replaced_words_are_the_subsets_own_and_a_fifth_of_them(prose):
    clean, noisy = (prose(unique_bytes=30_000, quality=q) for q in ("clean", "replace_words"))
    before, after = (x.decode(x.tokens).split() for x in (clean, noisy))
    assert set(after) <= set(before)
    assert len(after) == len(before)
    assert np.mean([a != b for a, b in zip(after, before, strict=True)]) == pytest.approx(0.2, abs=0.02)
    assert noisy.manifest["digest"] == clean.manifest["digest"], "the digest is that of the clean text"
    assert noisy.unique_bytes == clean.unique_bytes == 30_000
    assert noisy.unique_tokens != 30_000, "U is what the altered text really holds"


def test_replaced_words_keep_the_unigram_distribution(prose):
    clean, noisy = (
        prose(unique_bytes=100_000, quality=q) for q in ("clean", {"name": "replace_words", "fraction": 1})
    )
    before, after = (x.decode(x.tokens).split() for x in (clean, noisy))
    for word in ("the", "of", "and"):
        assert after.count(word) == pytest.approx(before.count(word), rel=0.1)


@pytest.mark.parametrize("name", ["replace_words", "typos", "shuffle_words"])
def test_the_same_places_change_in_nested_subsets(name):
    texts = [f"some words of document number {i}, and more of them" for i in range(50)]
    q = quality(name)
    small, large = q.alter(texts[:20], 3), q.alter(texts, 3)
    changed = [[a != b for a, b in zip(x, texts, strict=False)] for x in (small, large[:20])]
    assert np.mean(np.array(changed[0]) == np.array(changed[1])) > 0.9
    assert q.alter(texts, 3) == large != q.alter(texts, 4)


def test_shuffled_words_stay_near_and_none_is_lost():
    words = [f"w{i}" for i in range(400)]
    (text,) = quality("shuffle_words", distance=3).alter([" ".join(words)], 0)
    places = [int(w[1:]) for w in text.split()]
    assert sorted(places) == list(range(400))
    assert 0 < max(abs(i - p) for i, p in enumerate(places)) <= 3


def test_typos_use_the_subsets_letters_and_hit_the_fraction():
    text = "abc " * 5000
    (typed,) = quality("typos", fraction=0.1).alter([text], 0)
    assert set(typed) <= set(text)
    assert typed.count(" ") == 5000
    # A third are dropped and a third doubled, so the length stays.
    assert len(typed) == pytest.approx(len(text), rel=0.01)


@pytest.mark.parametrize("name", ["replace_words", "typos", "shuffle_words"])
def test_empty_documents_and_an_empty_subset_are_fine(name):
    assert quality(name).alter(["", "a"], 0)[0] == ""
    assert quality(name).alter([], 0) == []


def test_zero_fractions_change_nothing():
    texts = ["two  spaces\nand a line", " leading"]
    assert quality("replace_words", fraction=0).alter(texts, 0) == texts
    assert quality("typos", fraction=0).alter(texts, 0) == texts


GOOD = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, "
    "must be in want of a wife."
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (GOOD, True),
        ("Too few words to be of use.", False),
        ("the of and to " + "1234 5678 " * 10, False),  # words without letters
        ("that the of and be " * 12, False),  # repeated n-grams
        ("supercalifragilistic expialidocious " * 6, False),  # mean word length
        (GOOD + " # # # # #", False),
        ("\n".join(f"- {GOOD[i:]}" for i in range(3)), False),  # bullets
        ("\n".join([GOOD] * 3), False),  # repeated lines
        (
            GOOD.replace("the", "xx").replace("of", "xx").replace("be", "xx").replace("that", "xx"),
            False,
        ),  # stop words
    ],
)
def test_gopher_rules(text, kept):
    assert quality("gopher").keeps(text) is kept


def test_a_filter_acts_before_the_subset_is_cut(prose):
    data = prose(unique_bytes=10_000, quality="gopher")
    q = quality("gopher")
    documents = np.split(data.tokens, data.starts[1:])
    assert data.unique_bytes == 10_000
    assert all(q.keeps(data.decode(d)) for d in documents[:-1] if b"\n" not in bytes(d)[:-1])


def test_a_filter_that_keeps_nothing_says_so(prose):
    with pytest.raises(ValueError, match="keeps no document"):
        prose(
            quality={"name": "gopher", "min_words": 100_000},
            corpus={"name": "prose", "sources": ["factbook"]},
        )
