"""Batches: epochs, orders, padding, repacking, crops, the count of D, and the validation halves."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from trainers.data.validation import HALF_B_COUNTER


def rows(data, steps, batch_size, seed=0):
    return torch.cat([data.batch(step, batch_size, seed).tokens for step in range(steps)])


def as_set(tokens) -> Counter[bytes]:
    return Counter(row.numpy().tobytes() for row in tokens)


def test_every_sequence_comes_once_an_epoch_in_a_fresh_order(small):
    data = small(unique_tokens=32 * 24)
    first, second = rows(data, 3, 8), rows(data, 6, 8)[24:]
    assert (
        as_set(first)
        == as_set(second)
        == as_set(torch.from_numpy(data.tokens.reshape(24, 32).astype(np.int64)))
    )
    assert not torch.equal(first, second)
    assert not torch.equal(first, rows(data, 3, 8, seed=1))


def test_batches_of_8_and_of_16_feed_the_same_sequences(small):
    data = small(unique_tokens=32 * 23 + 5)
    assert torch.equal(rows(data, 8, 8), rows(data, 4, 16))
    assert data.batch(3, 8, 0).counters.tolist() == list(range(24, 32))


def test_fixed_order_is_the_text_itself(small):
    data = small(unique_tokens=32 * 5, order="fixed")
    assert rows(data, 2, 5).flatten().tolist() == data.tokens.tolist() * 2


def test_shuffle_all_mixes_epochs_and_visits_all_equally_over_its_block(small):
    data = small(unique_tokens=32 * 12, order={"name": "shuffle_all", "epochs": 4})
    block = rows(data, 4, 12)
    assert set(as_set(block).values()) == {4}
    assert any(n > 1 for n in as_set(block[:12]).values()), "a sequence returns before others have come"
    assert not torch.equal(block, rows(data, 8, 12)[48:])


@pytest.mark.parametrize("order", ["shuffle", "fixed", {"name": "shuffle_all", "epochs": 3}])
def test_turns_number_the_visits_to_a_sequence(small, order):
    """Repacked data takes new neighbours by them: no visit may come twice, none be left out."""
    kind = small(unique_tokens=32 * 7, order=order).order
    counters = np.arange(7 * 6)
    visits = zip(kind.sequence(counters, 7, 3).tolist(), kind.turn(counters, 7, 3).tolist(), strict=True)
    assert sorted(visits) == [(sequence, turn) for sequence in range(7) for turn in range(6)]


def test_only_the_last_sequence_is_padded(small):
    data = small(unique_tokens=32 * 3 + 10, order="fixed")
    batch = data.batch(0, data.sequences, 0)
    assert data.sequences == 4
    assert batch.loss_mask.sum(1).tolist() == [32, 32, 32, 10]
    assert batch.tokens[3, 10:].eq(0).all()


def test_repacking_keeps_the_documents_and_changes_their_neighbours(small):
    data = small(unique_tokens=32 * 40, order="fixed", repack=True)
    epochs = rows(data, 2, data.sequences).view(2, -1)
    assert not torch.equal(epochs[0], epochs[1])
    # All but the last document, which the budget cut short, end with a newline: whole in either epoch.
    documents = bytes(data.tokens).split(b"\n")[:-1]
    for epoch in epochs:
        text = bytes(epoch.to(torch.uint8).tolist())
        assert sorted(text) == sorted(bytes(data.tokens))
        assert all(d in text for d in documents)


def test_repacked_copies_are_whole_under_shuffle_all_too(small):
    data = small(unique_tokens=32 * 10, order={"name": "shuffle_all", "epochs": 3}, repack=True)
    fed = Counter(rows(data, 3, 10).flatten().tolist())
    assert fed == Counter({t: 3 * n for t, n in Counter(data.tokens.tolist()).items()})


def test_random_crops_are_windows_anywhere(small):
    data = small(unique_tokens=32 * 10, crop="random")
    text = bytes(data.tokens)
    windows = [bytes(r) for r in rows(data, 10, 10).to(torch.uint8).numpy()]
    assert all(w in text for w in windows)
    assert len({text.index(w) % 32 for w in windows}) > 16


def test_validation_is_the_same_for_all_runs_and_nested(small):
    one, other = (
        small(unique_bytes=500),
        small(unique_bytes=3000, subset_seed=4, quality="typos", order="fixed"),
    )
    for half in ("a", "b"):
        batch = one.validation(half, 6)
        assert torch.equal(batch.tokens, other.validation(half, 6).tokens)
        assert torch.equal(batch.tokens[:3], one.validation(half, 3).tokens)
        assert torch.equal(batch.counters, one.validation(half, 6).counters)
    assert one.validation("b", 2).counters.tolist() == [HALF_B_COUNTER, HALF_B_COUNTER + 1]


def test_validation_halves_differ_and_asking_for_too_much_is_an_error(small):
    data = small(unique_bytes=500)
    halves = [as_set(data.validation(half, 10).tokens) for half in ("a", "b")]
    assert not halves[0] & halves[1]
    with pytest.raises(ValueError, match=r"evaluation\.sequences: 100000 asked"):
        data.validation("a", 100_000)


def test_unigram_entropy_is_that_of_the_validation_tokens(small):
    data = small(unique_bytes=500)
    counts = np.bincount(np.concatenate([data.validation_set.halves[h].tokens.ravel() for h in ("a", "b")]))
    p = counts[counts > 0] / counts.sum()
    assert data.unigram_entropy == pytest.approx(float(-(p * np.log(p)).sum()))
    assert data.unigram_entropy < math.log(256)


def test_prose_validation_holds_the_mix(prose):
    data = prose(unique_bytes=1000)
    text = data.decode(data.validation("a", 1024).tokens.flatten().tolist())
    assert "Macbeth" in text or "MACBETH" in text
    assert len(data.validation("b", 1024)) == 1024


def test_encode_and_decode_invert(small):
    for tokenizer in ("bytes", {"name": "bpe", "vocab_size": 300}):
        data = small(tokenizer=tokenizer, unique_bytes=500)
        text = "Naïve “quotes” — and\nlines"
        assert data.decode(data.encode(text)) == text
        assert data.encode(text).max() < data.vocab


@pytest.mark.parametrize("fields", [{}, {"repack": True}, {"crop": "random"}])
def test_documents_are_told_apart_where_attention_stays_within_them(small, fields):
    assert small(unique_tokens=32 * 40 + 5, **fields).batch(0, 4, 0).documents is None
    data = small(unique_tokens=32 * 40 + 5, attend="within", **fields)
    ends = [*data.starts[1:].tolist(), len(data.tokens)]
    texts = [data.tokens[a:b].tobytes() for a, b in zip(data.starts.tolist(), ends, strict=True)]
    seen = set()
    for step in range(6):
        batch = data.batch(step, 8, 0)
        assert torch.equal(batch.tokens, small(unique_tokens=32 * 40 + 5, **fields).batch(step, 8, 0).tokens)
        for tokens, real, documents in zip(batch.tokens, batch.loss_mask, batch.documents, strict=True):
            tokens, documents = tokens[real], documents[real]
            for document in documents.unique().tolist():
                piece = tokens[documents == document].numpy().astype(np.uint8).tobytes()
                assert piece in texts[document]
                seen.add(document)
    assert len(seen) > 3
    held = data.validation("b", 12)
    starts = held.documents.diff(dim=1, prepend=held.documents[:, :1]) != 0
    assert starts.any() and (held.tokens[:, :-1][starts[:, 1:]] == ord("\n")).all()
