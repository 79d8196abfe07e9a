"""Errors of a place, and the control of runs against their like."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.crossover import locate, wanted_precision
from analysis.crossover.same_n.aa_control import control
from analysis.crossover.same_n.zeros import _slope
from analysis.crossover.verdict import Verdict
from tests.analysis.synthetic import one


def test_paired_errors_are_smaller_than_unpaired_ones():
    tables, _ = one()
    paired, unpaired = (locate(*tables[:2], s).cells[0].outcomes["raw"][0].curve for s in (tables[2], None))
    assert paired.paired and not unpaired.paired
    assert np.median(paired.se) < 0.7 * np.median(unpaired.se)
    assert unpaired.value == pytest.approx(paired.value)


@pytest.mark.slow
def test_error_of_a_place_is_that_of_the_difference_over_its_slope():
    """Over validation texts drawn afresh, places scatter as their standard error says."""
    places, errors = [], []
    for seed in range(40):
        (runs, curves, scores), _ = one(
            seed=seed, replicates=1, spread=0.0, jitter=0.0, sequences=24, text=0.5, masks=0.25
        )
        crossing = locate(runs, curves, scores).cells[0].outcomes["raw"][0].crossing
        places.append(math.log(crossing.x["tokens"]))
        errors.append(crossing.se_log)
    assert np.std(places) == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=0.35)


def test_monte_carlo_error_uses_the_draws_covariance_from_eight_draws_on():
    """Masks are shared by both ends of a bracket: their errors add up, they do not average out."""
    few, many = (locate(*one(draws=d)[0]).cells[0].outcomes["raw"][0] for d in (4, 16))
    assert not few.curve.draws and len(many.curve.draws) == len(many.curve)
    (runs, curves, scores), _ = one(draws=16, replicates=1)
    outcome = locate(runs, curves, scores).cells[0].outcomes["raw"][0]
    k, crossing = outcome.crossing.bracket[0], outcome.crossing
    separately = np.hypot(
        (1 - crossing.weight) * np.linalg.norm(outcome.curve.draws[k]),
        crossing.weight * np.linalg.norm(outcome.curve.draws[k + 1]),
    )
    together = np.linalg.norm(
        (1 - crossing.weight) * outcome.curve.draws[k] + crossing.weight * outcome.curve.draws[k + 1]
    )
    assert together > 1.2 * separately
    assert crossing.mc_se_log == pytest.approx(together / abs(_slope(outcome.curve, k)))
    assert crossing.se_log >= crossing.mc_se_log


def test_a_a_control_counts_none_between_identical_curves():
    """Same curves, independent small noise, no text effect: nothing robust may be located."""
    result = locate(*one(replicates=4, spread=0.0, jitter=0.0)[0])
    controls = control(result)
    assert {c.pairs for c in controls} == {6}
    assert all(c.robust == 0 and c.high < 0.5 for c in controls)
    assert all(c.apart < 0.02 for c in controls)


def test_one_replicate_gives_an_interval_that_says_what_it_is_conditional_on():
    (raw,) = locate(*one(replicates=1)[0]).select("raw", "tokens")
    assert raw.low < raw.value < raw.high
    assert "conditional on this data subset and seed" in raw.assumption


def test_how_far_twins_of_one_objective_stand_apart_is_a_root_mean_square():
    """Three pairs of three replicates, of which the third is 0 and .3 off in turn: the mean square is over
    evaluations as well as over pairs."""
    (runs, curves, _), _ = one(replicates=3, keep_scores=False, jitter=0.0, spread=0.0)
    runs = runs.drop(columns="unigram_entropy")
    losses = ["nll_a", "nll_b"]
    curves[losses] = 2.5
    third = curves.index[curves["run"].str.startswith("au") & curves["run"].str.endswith("-2")]
    off = np.resize([0.0, 0.3], len(third))
    curves.loc[third, losses] = 2.5 + np.column_stack([off, off])
    apart = {c.objective: c.apart for c in control(locate(runs, curves)) if c.definition == "raw"}
    assert apart["autoregressive"] == pytest.approx(math.sqrt((off**2).mean() * 2 / 3))
    assert apart["masked_diffusion"] == 0.0


def test_a_a_control_counts_replicates_that_change_places():
    """Two AR replicates of which each leads for a time: one false crossing in one pair of AR, none of MDM."""
    (runs, curves, _), _ = one(keep_scores=False, spread=0.0, jitter=0.0, sequences=400)
    swap = (
        curves["run"]
        == runs.loc[(runs["seed"] == 1) & (runs["objective"] == "autoregressive"), "run"].iloc[0]
    )
    for half in "ab":
        curves.loc[swap, f"nll_{half}"] -= 0.3 * np.tanh(np.log(curves["tokens"][swap] / 3e5))
    curves[["se_a", "se_b", "mc_se_a", "mc_se_b"]] = 0.01
    result = locate(runs, curves)
    raw = {c.objective: c for c in control(result) if c.definition == "raw"}
    assert (raw["autoregressive"].robust, raw["autoregressive"].pairs) == (1, 1)
    assert raw["masked_diffusion"].robust == 0
    assert raw["autoregressive"].low == pytest.approx(0.025) and raw["autoregressive"].high == 1.0
    beside = Verdict.of(result, {}, control(result))
    assert all(q.false_crossings.pairs == 2 for q in beside.table)
    assert "cross robustly in 1 of 2 pairs" in beside.control


def test_wanted_precision_names_bracket_ends_and_best_values_of_bounds_only():
    tables, _ = one()
    result = locate(*tables)
    wanted = wanted_precision(result)
    crossing, curve = result.cells[0].outcomes["raw"][0].crossing, result.cells[0].outcomes["raw"][0].curve
    mdm = result.cells[0].arms[0][1].run
    assert {(mdm, int(curve.step[k])) for k in crossing.bracket} <= set(wanted)
    assert all(run.startswith("ma") for run, _ in wanted)
    precise = tables[1].assign(mc_se_a=0.001, mc_se_b=0.001)
    assert wanted_precision(tables[0], precise, tables[2]) == []
