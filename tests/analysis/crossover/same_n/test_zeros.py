"""Where a difference changes sign, on differences written down by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.crossover.same_n.paired_difference import Difference, TrainingNoise
from analysis.crossover.same_n.zeros import EVALUATIONS, blocks, crossings


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
    wiggle = [0.3] * 10 + [0.25, -0.05, 0.2, 0.1, 0.01, -0.01, 0.02, -0.02, -0.2, -0.25] + [-0.3] * 8
    (c,) = crossings(_difference(wiggle))
    assert c.robust and c.direction == "up"
    assert c.bracket == (15, 16)


def test_several_robust_crossings_are_listed_and_the_first_upward_one_is_reported():
    d = _difference([0.2] * 4 + [-0.2] * 4 + [0.2] * 4 + [-0.2] * 4)
    assert [c.direction for c in crossings(d)] == ["up", "down", "up"]


def test_two_evaluations_on_a_side_are_not_robust():
    assert crossings(_difference([0.2] * 6 + [-0.2] * 2)) == []
    (loose,) = crossings(_difference([0.2] * 6 + [-0.2] * 2), least=1)
    assert not loose.robust and loose.after == 2


def test_the_slope_at_a_zero_is_that_of_the_curve_about_it():
    """The bracket's own two evaluations are one step of noise: here twice as steep as the curve."""
    x = np.arange(20) * 0.1
    value = 1.0 - x
    value[9], value[10] = 0.15, -0.05  # by themselves a slope of -2
    (c,) = crossings(_difference(value, se=0.01))
    step = math.log(10) / 19
    assert c.se_log == pytest.approx(0.01 * step / 0.1, rel=0.25)


def _wander(rng, n, sd, correlation):
    """A first-order autoregression."""
    out = rng.normal(0, sd, n)
    for k in range(1, n):
        out[k] = correlation * out[k - 1] + math.sqrt(1 - correlation**2) * out[k]
    return out


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_two_runs_of_one_law_do_not_cross_robustly(correlation):
    """The error of the text is as small as one likes, and says nothing of training noise."""
    both, robust = 0, 0
    for seed in range(60):
        d = _difference(_wander(np.random.default_rng(seed), 34, 0.03, correlation), se=0.004)
        both += len(blocks(d, EVALUATIONS)) > 1
        robust += any(c.robust for c in crossings(d))
    assert both > 30 and robust <= 3


def test_a_crossing_that_is_steep_for_its_noise_is_robust():
    trend = 0.6 - 0.04 * np.arange(30)
    for seed in range(20):
        noise = _wander(np.random.default_rng(seed), 30, 0.03, 0.5)
        assert any(c.robust for c in crossings(_difference(trend + noise, se=0.004)))


def test_training_noise_is_measured_about_a_trend_that_bends():
    trend = 0.5 * np.cos(np.arange(40) / 12)
    sd = []
    for s in range(20):
        noise = TrainingNoise.of(_difference(trend + _wander(np.random.default_rng(s), 40, 0.02, 0.3)))
        sd.append(math.sqrt(noise.weight @ noise.variance))
    assert np.mean(sd) == pytest.approx(0.023, rel=0.3)
    assert noise.error_of_mean(0, 9) < noise.error_of_mean(0, 0)
    assert TrainingNoise.of(_difference(trend[:7])) is None


def test_an_unknown_error_is_never_called_robust():
    (c,) = crossings(_difference([0.2] * 6 + [-0.2] * 6, se=math.nan))
    assert not c.robust
