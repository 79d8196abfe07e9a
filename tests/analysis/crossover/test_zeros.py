"""Where a difference changes sign, on differences written down by hand."""

from __future__ import annotations

import math

import numpy as np

from analysis.crossover.same_n.paired_difference import Difference
from analysis.crossover.same_n.zeros import crossings


def _difference(value, se=0.01) -> Difference:
    n = len(value)
    tokens = np.geomspace(1e5, 1e6, n)
    value = np.asarray(value, dtype=float)
    return Difference(
        x={u: tokens for u in ("tokens", "epochs", "flops")},
        step=np.arange(n),
        value=value,
        se=np.full(n, se),
        mc_se=np.zeros(n),
        parts=None,
        draws={},
        counted=np.ones(n, dtype=bool),
        first=3 + 0 * value,
        second=3 + value,
        paired=False,
        threshold=math.nan,
    )


def test_flickers_do_not_make_crossings_and_the_middle_zero_is_the_place():
    wiggle = [0.3, 0.3, 0.3, 0.3, -0.05, 0.2, 0.1, 0.01, -0.01, 0.02, -0.02, -0.2, -0.3, -0.3]
    (c,) = crossings(_difference(wiggle))
    assert c.robust and c.direction == "up"
    assert c.bracket == (8, 9)


def test_several_robust_crossings_are_listed_and_the_first_upward_one_is_reported():
    d = _difference([0.2] * 4 + [-0.2] * 4 + [0.2] * 4 + [-0.2] * 4)
    assert [c.direction for c in crossings(d)] == ["up", "down", "up"]


def test_two_evaluations_on_a_side_are_not_robust():
    assert crossings(_difference([0.2] * 6 + [-0.2] * 2)) == []
    (loose,) = crossings(_difference([0.2] * 6 + [-0.2] * 2), least=1)
    assert not loose.robust and loose.after == 2


def test_an_unknown_error_is_never_called_robust():
    (c,) = crossings(_difference([0.2] * 6 + [-0.2] * 6, se=math.nan))
    assert not c.robust
