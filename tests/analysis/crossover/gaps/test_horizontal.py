"""Ratios at equal loss: exact on curves that are shifted copies, bounds beyond the range."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.crossover import locate
from analysis.crossover.gaps.level_places import Reach, log_ratio, reach, round_levels
from analysis.crossover.gaps.replicates import ReplicateValue, over_replicates, spread_of
from analysis.reporting import write
from tests.analysis.crossover.test_compute_optimal import SIZES, tables

TOKENS = np.geomspace(1e4, 1e4 * 2**16, 65)
GAP = 16.0


def fall(tokens):
    return 1.5 + 2.5 * (tokens / 1e4) ** -0.15


def shifted(gap=GAP, growth=0.0, scatter=(0.0, 0.0, 0.0), cost=1.0, seconds=False):
    """A study of one cell: the second arm is the first, ``gap`` times as late (and by ``growth`` in log token
    more so along the run), at ``cost`` times the FLOPs a token."""
    runs, curves = [], []
    for seed, shift in enumerate(scatter):
        for k, objective in enumerate(("autoregressive", "masked_diffusion")):
            run = f"{k}-{seed}"
            later = gap * math.exp(shift) * (TOKENS / 1e5) ** growth if k else 1.0
            loss = fall(TOKENS / later)
            runs.append(
                {"run": run, "objective": objective, "seed": seed, "N": 1e5, "U": 1e6, "state": "done"}
            )
            c = pd.DataFrame({"run": run, "step": np.arange(1, 66), "tokens": TOKENS})
            c["flops"] = 6e5 * TOKENS * (cost if k else 1.0)
            c["nll_a"] = c["nll_b"] = loss
            if seconds:
                c["seconds"] = TOKENS / (2e4 if k else 1e4)
            curves.append(c)
    return pd.DataFrame(runs), pd.concat(curves, ignore_index=True)


def ratios(located, resource):
    return next(h for h in located.horizontal if h.resource == resource)


def test_a_shifted_copy_needs_that_much_more_at_every_level_and_the_gap_is_constant():
    located = locate(*shifted(scatter=(-0.02, 0.0, 0.02)))
    (tokens,) = located.horizontal  # FLOPs are those of tokens
    seen = [r for r in tokens.ratios if r.censored is None]
    assert len(seen) >= 3
    for r in seen:
        assert r.value == pytest.approx(GAP, rel=0.01) and r.low < GAP < r.high
    # three replicates .02 apart: Student's t of two degrees of freedom
    half = math.log(seen[0].high / seen[0].value)
    assert half == pytest.approx(4.303 * 0.02 / math.sqrt(3), rel=0.1)
    (trend,) = tokens.trends
    assert trend.value == pytest.approx(1.0, abs=0.01) and trend.verdict == "constant"
    assert trend.start > trend.end and trend.levels == len(seen)


def test_a_gap_that_grows_is_no_one_number():
    (tokens,) = locate(*shifted(growth=0.2, scatter=(-0.02, 0.0, 0.02))).horizontal
    (trend,) = tokens.trends
    assert trend.verdict == "grows" and trend.low > 1.25


def test_flops_and_seconds_have_ratios_of_their_own():
    located = locate(*shifted(cost=2.0, seconds=True))
    values = {h.resource: h.ratios[1].value for h in located.horizontal}
    assert values["tokens"] == pytest.approx(GAP, rel=0.01)
    assert values["flops"] == pytest.approx(2 * GAP, rel=0.01)
    assert values["seconds"] == pytest.approx(GAP / 2, rel=0.01)


def test_a_level_that_one_arm_never_reaches_is_a_bound_on_that_side():
    (later,) = locate(*shifted()).horizontal
    (earlier,) = locate(*shifted(gap=1 / 64)).horizontal
    last = later.ratios[-1]
    assert last.censored == "right" and last.high is None
    reached = TOKENS[fall(TOKENS) <= last.level][0]
    assert last.value == pytest.approx(TOKENS[-1] / reached, rel=0.1) and last.value < GAP
    assert earlier.ratios[-1].censored == "left" and earlier.ratios[-1].low is None


def test_reach_interpolates_and_says_which_end_is_open():
    x, loss = np.array([0.0, 1.0, 2.0]), np.array([3.0, 2.0, 1.0])
    assert reach(x, loss, 1.5).log == 1.5 and reach(x, loss, 1.5).side is None
    assert reach(x, loss, 0.5).side == "right" and reach(x, loss, 3.5).side == "left"
    at, never, before = Reach(2.0), Reach(3.0, "right"), Reach(1.0, "left")
    assert log_ratio(Reach(0.5), at).value == 1.5
    assert log_ratio(at, never).side == "right" and log_ratio(before, at).side == "right"
    assert log_ratio(never, at).side == "left" and log_ratio(at, before).side == "left"
    assert log_ratio(never, never) is None and log_ratio(before, before) is None
    assert log_ratio(at, Reach(0.0, "open")) is None


def test_levels_are_round_and_few():
    assert round_levels(2.31, 3.29) == pytest.approx([3.2, 3.0, 2.8, 2.6, 2.4])
    assert round_levels(0.013, 0.02) == pytest.approx([0.02, 0.019, 0.018, 0.017, 0.016, 0.015, 0.014, 0.013])
    assert round_levels(1.0, 1.0) == [] and round_levels(math.nan, 1.0) == []


def test_bounds_of_replicates_are_never_a_hard_mean():
    group = {"0": ReplicateValue(1.0), "1": ReplicateValue(2.0, "right"), "2": ReplicateValue(1.2)}
    mixed = over_replicates(group, spread_of([group]), 0.95)
    assert mixed.bound == "lower" and mixed.high is None and mixed.low < mixed.value
    all_bounds = {"0": ReplicateValue(1.0, "right"), "1": ReplicateValue(2.0, "right")}
    assert over_replicates(all_bounds, None, 0.95).value == 1.0
    opposite = {"0": ReplicateValue(1.0, "right"), "1": ReplicateValue(2.0, "left")}
    assert over_replicates(opposite, None, 0.95).value is None


def test_intervals_over_replicates_cover_and_the_shared_text_does_not_average_out():
    rng = np.random.default_rng(0)
    inside, studies = 0, 400
    for _ in range(studies):
        groups = [{str(s): ReplicateValue(rng.normal(0, 0.1)) for s in range(3)} for _ in range(3)]
        estimate = over_replicates(groups[0], spread_of(groups), 0.95)
        inside += estimate.low <= 0 <= estimate.high
    assert abs(inside / studies - 0.95) < 2.5 * math.sqrt(0.95 * 0.05 / studies)
    text = rng.normal(0, 0.2, 50) / 50**0.5
    few, many = (
        over_replicates(g, spread_of([g]), 0.95)
        for g in ({str(s): ReplicateValue(s * 1e-6, None, text) for s in range(n)} for n in (2, 20))
    )
    widths = [e.high - e.low for e in (few, many)]
    assert widths[1] == pytest.approx(widths[0], rel=1e-3)


def test_text_page_and_json_show_the_ratios(tmp_path):
    located = locate(*shifted(scatter=(-0.02, 0.0, 0.02)))
    text = str(located)
    assert "tokens, and training FLOPs alike, that masked diffusion needs, times autoregressive's" in text
    assert "the ratio is constant: it changes by a factor 1" in text
    report = write(tmp_path, located)
    page = report.html.read_text()
    assert "What equal loss costs" in page and "the ratio is constant" in page
    assert {r["resource"] for r in report.data["horizontal_ratios"]} == {"tokens"}
    assert report.data["horizontal_trends"][0]["verdict"] == "constant"


def test_fronts_have_a_gap_too_and_an_unbracketed_best_size_makes_it_a_bound():
    study = tables(sizes=SIZES[:4], steps=24, spread=0.005)
    located = locate(*study)
    gaps = located.compute_gaps
    assert {g.kind for g in gaps} == {"compute_optimal"} and {g.resource for g in gaps} == {"flops"}
    seen = [g for g in gaps if g.censored is None]
    assert seen and all(g.low < g.value < g.high for g in seen)
    group = located.fronts.groups[0]
    for g in seen:  # both places read off the fronts by hand
        front, places = np.full(2, 0.5), []
        for f in group.fronts:
            c = np.linspace(*np.log(f.reach), 4000)
            places.append(c[np.flatnonzero(f.loss(front, c) <= g.level)[0]])
            assert f.bracketed(front, np.array(places[-1:]))[0]
        assert math.log(g.value) == pytest.approx(places[1] - places[0], abs=0.02)
    few = locate(*tables(sizes=SIZES[1:4], steps=24, spread=0.005)).compute_gaps
    assert any(g.censored for g in few) and all(
        (g.low is None) or (g.high is None) for g in few if g.censored
    )
