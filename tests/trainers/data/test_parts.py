"""Hashing, cutting into pieces, shared runs of bytes, and files that appear whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.data import arrays, hashing, overlap
from trainers.data.pieces import cut


def test_hashes_are_splitmix64():
    # The first outputs of SplitMix64 seeded with 0 (Vigna's reference implementation).
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(x) for x in hashing.bits(0, np.arange(3))] == expected


def test_uniforms_are_uniform_and_streams_independent():
    a, b = (hashing.uniform(hashing.key(0, s), np.arange(100_000)) for s in ("a", "b"))
    assert a.mean() == pytest.approx(0.5, abs=0.005) and a.var() == pytest.approx(1 / 12, abs=0.002)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.02 and abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 0.02


def test_small_permutations_are_uniform():
    seen = {tuple(hashing.permutation(hashing.key(0, n), 3).tolist()): 0 for n in range(200)}
    for n in range(6000):
        seen[tuple(hashing.permutation(hashing.key(1, n), 3).tolist())] += 1
    assert len(seen) == 6 and all(abs(c - 1000) < 150 for c in seen.values())


@given(st.lists(st.text(min_size=1, max_size=200), max_size=8), st.integers(16, 64))
@settings(max_examples=150, deadline=None)
def test_pieces_are_short_whole_characters_and_lose_nothing_but_space(paragraphs, limit):
    pieces = cut([p.strip().encode() for p in paragraphs if p.strip()], limit)
    assert all(0 < len(p) <= limit and p.decode() for p in pieces)
    left = [b"".join(b"".join(x).split()) for x in (pieces, [p.encode() for p in paragraphs])]
    assert left[0] == b"".join(p.strip().encode() for p in paragraphs).translate(None, b" \t\n\r\x0b\x0c")


def test_pieces_are_cut_at_paragraphs_then_sentences_then_words():
    assert cut([b"One here.", b"Two here."], 30) == [b"One here.\nTwo here."]
    assert cut([b"First sentence. Second one. Third."], 28) == [b"First sentence. Second one.", b"Third."]
    assert cut([b"Mr. Knightley came. He went."], 20) == [b"Mr. Knightley came.", b"He went."]
    assert cut([b"no end of sentence at all"], 12) == [b"no end of", b"sentence at", b"all"]


@pytest.mark.parametrize("length", [1, 2, 3, 8, 13, 50])
def test_equal_windows_have_equal_hashes_and_others_do_not(length):
    text = hashing.integers(5, np.arange(600), 3).astype(np.uint8)
    text[400:500] = text[100:200]
    hashes = overlap.windows(text, length)
    assert len(hashes) == len(text) - length + 1
    runs = [bytes(text[i : i + length]) for i in range(len(hashes))]
    assert len(set(runs)) == len(set(hashes.tolist()))
    assert len(set(zip(runs, hashes.tolist(), strict=True))) == len(set(runs))


def test_sharing_counts_runs_inside_texts_only():
    texts = [b"a long enough shared run of bytes", b"nothing in common", b"bor", b"der"]
    joined, ends = np.frombuffer(b"".join(texts), np.uint8), np.cumsum([len(t) for t in texts])
    others = [np.frombuffer(t, np.uint8) for t in (b"with a long enough shared run in it\0border\0", b"x")]
    assert overlap.sharing(joined, ends, others, 6).tolist() == [True, False, False, False]
    assert overlap.sharing(joined, ends, [], 6).tolist() == [False] * 4


def test_streamed_arrays_equal_saved_ones_and_failures_leave_nothing(tmp_path):
    parts = [np.arange(5, dtype=np.int64), np.arange(100_000, dtype=np.int64)]
    assert arrays.stream_array(tmp_path / "x.npy", parts, np.int64) == 100_005
    assert np.array_equal(np.load(tmp_path / "x.npy"), np.concatenate(parts))

    def broken():
        yield parts[0]
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        arrays.stream_array(tmp_path / "y.npy", broken(), np.int64)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]
