"""Who attends to whom: patterns, what narrows them, and their lowering."""

from __future__ import annotations

import pytest
import torch

from trainers.models.attention import CAUSAL, FULL, Attention
from trainers.models.network.operands import AttentionView


def seen(attention: Attention, length: int) -> list[set[int]]:
    """Keys that each query of the first sequence sees."""
    (rows,) = attention.dense(length, "cpu")[:1, 0]
    return [set(row.nonzero()[:, 0].tolist()) for row in rows]


def test_patterns() -> None:
    assert seen(CAUSAL, 3) == [{0}, {0, 1}, {0, 1, 2}]
    assert seen(FULL, 3) == [{0, 1, 2}] * 3
    assert seen(Attention.blocks(2), 5) == [{0, 1}, {0, 1}, {0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 3, 4}]


def test_two_halves_are_those_of_block_diffusion() -> None:
    """T = 4 in blocks of 2: n0 n1 n2 n3 c0 c1 c2 c3 (arXiv 2503.09573, figure of the mask)."""
    rows = seen(Attention.two_halves(4, 2), 8)
    assert rows[:4] == [{0, 1}, {0, 1}, {2, 3, 4, 5}, {2, 3, 4, 5}]
    assert rows[4:] == [{4, 5}, {4, 5}, {4, 5, 6, 7}, {4, 5, 6, 7}]
    assert seen(Attention.two_halves(2), 4) == [{0}, {1, 2}, {2}, {2, 3}]


def test_rows_segments_and_padding_narrow_a_pattern() -> None:
    rows = Attention.per_row(torch.tensor([True, False])).dense(3, "cpu")
    assert torch.equal(rows[0], CAUSAL.dense(3, "cpu")[0]) and bool(rows[1].all())
    segments = torch.tensor([[0, 0, 1], [0, 1, 1]])
    assert seen(CAUSAL.within(segments), 3) == [{0}, {0, 1}, {2}]
    assert FULL.within(None) is FULL
    hidden = torch.tensor([[False, False, True]])
    assert seen(FULL.hiding(hidden), 3) == [{0, 1}, {0, 1}, {0, 1, 2}], "a query sees itself"
    assert seen(Attention.of(torch.eye(3, dtype=torch.bool)[None, None]), 3) == [{0}, {1}, {2}]


def test_short_forms() -> None:
    assert Attention.of("causal") is CAUSAL and Attention.of(FULL) is FULL
    with pytest.raises(ValueError, match="'sideways'"):
        Attention.of("sideways")


def test_what_kernels_know_by_name_becomes_no_mask() -> None:
    rotation = torch.zeros(3, 1, 2)

    def view(attention: Attention, past: int = 0) -> AttentionView:
        return AttentionView.of(attention, rotation, 3, past, torch.float32)

    assert view(CAUSAL).causal and view(CAUSAL).bias is None
    assert not view(FULL).causal and view(FULL).bias is None
    cached = view(CAUSAL, past=2).bias
    assert cached is not None and cached.shape == (1, 1, 3, 5)
    assert (cached[0, 0] == 0).sum(1).tolist() == [3, 4, 5]
    assert view(Attention.blocks(1)).bias is not None
