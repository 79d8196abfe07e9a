"""Interactions of arm and axis, and shares of a gap: exact on toys, Fieller's ends by the closed form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.crossover import locate
from analysis.crossover.gaps.interaction import ratio_of_means
from analysis.crossover.gaps.replicates import ReplicateValue
from analysis.reporting import write

STEPS = np.arange(1, 13)
LOUDER = {("autoregressive", "noisy"), ("autoregressive", 0.1)}
SCATTER = (-0.01, 0.0, 0.013)
BEST = {("autoregressive", "clean"): 2.0, ("autoregressive", "noisy"): 2.3}
BEST |= {("masked_diffusion", "clean"): 2.4, ("masked_diffusion", "noisy"): 2.5}


def study(best=BEST, scatter=SCATTER, axis="data.quality", own=False):
    """Runs that fall to ``best``; replicates differ by ``scatter``, the first arm's by half as much again."""
    runs, curves = [], []
    for (objective, level), seed in itertools.product(best, range(len(scatter))):
        lone = own and objective == "masked_diffusion"
        run = f"{objective}-{level}-{seed}"
        wobble = scatter[seed] * (1.5 if (objective, level) in LOUDER else 1.0)
        value = best[objective, level] + wobble + 2.0 * np.exp(-STEPS / 1.5)
        row = {"run": run, "objective": objective, "seed": seed, "N": 1e5, "U": 1e6, "state": "done"}
        runs.append({**row, axis: np.nan if lone else level})
        at = {"run": run, "step": STEPS, "tokens": 1e4 * 1.5**STEPS, "nll_a": value, "nll_b": value}
        curves.append(pd.DataFrame(at))
    return pd.DataFrame(runs), pd.concat(curves, ignore_index=True)


def test_the_arm_that_loses_more_is_named_only_where_the_difference_of_differences_decides():
    (row,) = locate(*study()).interactions
    assert (row.axis, row.base, row.level, row.replicates) == ("data.quality", "clean", "noisy", 3)
    wobble = 0.5 * np.array(SCATTER)
    assert row.first.value == pytest.approx(0.3 + wobble.mean(), abs=1e-9)
    assert row.second.value == pytest.approx(0.1, abs=1e-9)
    half = stats.t.ppf(0.975, 2) * wobble.std(ddof=1) / math.sqrt(3)
    assert row.difference.value == pytest.approx(0.2 + wobble.mean(), abs=1e-9)
    assert row.difference.high - row.difference.value == pytest.approx(half)
    assert row.verdict(("AR", "MDM")) == "decided: AR is more sensitive"
    loud = locate(*study(scatter=(-0.3, 0.0, 0.39))).interactions[0]
    assert loud.verdict(("AR", "MDM")) == "not decided"
    swapped = {**BEST, ("autoregressive", "noisy"): 2.05, ("masked_diffusion", "noisy"): 2.9}
    assert locate(*study(swapped)).interactions[0].verdict(("AR", "MDM")) == "decided: MDM is more sensitive"
    opposite = {**BEST, ("masked_diffusion", "noisy"): 2.1}
    assert "opposite directions" in locate(*study(opposite)).interactions[0].verdict(("AR", "MDM"))


def test_an_axis_of_one_arm_closes_a_share_of_the_gap():
    best = {("autoregressive", 0.0): 2.6, ("autoregressive", 0.1): 2.5, ("masked_diffusion", 0.0): 2.2}
    tables = study({k: v for k, v in best.items()}, axis="objective.dropout", own=True)
    (row,) = locate(*tables).interactions
    assert row.own and row.verdict(("AR", "MDM")) == "the axis is AR's alone"
    assert row.share.value == pytest.approx((0.1 - 0.5 * np.mean(SCATTER)) / 0.4)
    assert row.share.low < row.share.value < row.share.high


def fieller(y, x, level=0.95):
    """Both ends for paired samples, by the quadratic."""
    n, t2 = len(y), stats.t.ppf(0.5 + level / 2, len(y) - 1) ** 2
    (vy, cxy), (_, vx) = np.cov(y, x) / n
    a, b, c = x.mean() ** 2 - t2 * vx, x.mean() * y.mean() - t2 * cxy, y.mean() ** 2 - t2 * vy
    root = math.sqrt(b * b - a * c)
    return (b - root) / a, (b + root) / a


def groups(y, x):
    return ([{str(s): ReplicateValue(float(v)) for s, v in enumerate(values)}] for values in (y, x))


def test_fiellers_interval_is_the_closed_form_and_opens_where_the_gap_is_not_decided():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(40):
        x = rng.normal(1.0, 0.15, 4)
        y = 0.3 * x + rng.normal(0, 0.1, 4)
        low, high = fieller(y, x)
        share = ratio_of_means(*groups(y, x), 0, 0.95)
        if share.low is not None:
            assert (share.low, share.high) == pytest.approx((low, high), abs=1e-4)
            inside += share.low <= 0.3 <= share.high
        else:
            assert abs(x.mean()) < stats.t.ppf(0.975, 3) * x.std(ddof=1) / 2
            inside += 1
    assert inside >= 34  # 95 % of 40, less two and a half standard errors
    x = np.array([0.5, -0.4, 0.1])
    undecided = ratio_of_means(*groups(x, x), 0, 0.95)
    assert (
        undecided.low is None
        and undecided.high is None
        and "gap itself is not decided" in undecided.assumption
    )


def test_text_page_and_json_say_what_is_decided(tmp_path):
    located = locate(*study())
    text = str(located)
    assert "data.quality clean to noisy" in text and "decided: autoregressive is more sensitive" in text
    report = write(tmp_path, located)
    page = report.html.read_text()
    assert "How axes move each arm" in page and "decided: autoregressive is more sensitive" in page
    (row,) = report.data["interactions"]
    assert row["difference_low"] < 0.2 < row["difference_high"] and row["verdict"].startswith("decided")
    assert not locate(*study({k: v for k, v in BEST.items() if k[1] == "clean"})).interactions
