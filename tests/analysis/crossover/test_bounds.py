"""When a place is a bound: runs that end, plateaus, minima that are open."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from analysis.crossover import locate
from analysis.crossover.sentences import headline
from analysis.tables.tables import TableError
from tests.analysis.synthetic import one


def test_a_run_that_ends_before_its_crossing_is_a_bound(located):
    r = next(r for r in located[0].select("raw", "tokens") if r.censored)
    assert (r.censored, r.high, r.robust) == ("right", None, False)
    assert r.value == r.low == max(located[2][1]["tokens"])


def test_extending_the_runs_changes_nothing_that_was_read_to_the_old_horizon():
    (runs, curves, scores), _ = one(horizon=1.2e6)
    short = locate(runs, curves, scores).records
    (_, long_curves, long_scores), _ = one(horizon=3e6)
    # The first evaluations of the longer study are other draws of noise, so extend by rows beyond the horizon
    # only.
    beyond = long_curves[long_curves["step"] > curves["step"].max()]
    more = long_scores[long_scores["step"] > curves["step"].max()]
    again = locate(runs, pd.concat([curves, beyond]), pd.concat([scores, more])).records
    assert json.dumps(again) == json.dumps(short)


def test_early_stopped_crossing_counts_once_both_arms_have_shown_their_best():
    tables, _ = one(best_mdm=1.9, horizon=1.4e7)
    result = locate(*tables)
    (best,) = result.select("best_so_far", "tokens")
    (raw,) = result.select("raw", "tokens")
    assert best.censored is None and best.robust and best.value > 2 * raw.value
    assert headline(result) == "MDM passes even an early-stopped AR within this budget"


def test_a_lead_on_best_values_is_no_verdict_while_a_minimum_is_open():
    """By run.md's rule each minimum is bracketed, or the horizon eight raw crossings away; on request the
    minimum of the passed arm will do."""
    tables, _ = one(best_mdm=1.9, horizon=1.4e7)
    cut = tables[0].assign(steps=int(3.9e6 / 4096)), *tables[1:]
    strict, loose = locate(*cut), locate(*cut, minima="passed")
    (open_,), (counted,) = (f.select("best_so_far", "tokens") for f in (strict, loose))
    assert counted.censored is None and counted.ahead == 0
    assert open_.censored == "right" and open_.ahead == 2 and not open_.settled
    assert "its own minimum not bracketed" in open_.outcomes[0].why
    assert headline(loose) == "MDM passes even an early-stopped AR within this budget"
    assert headline(strict).startswith(
        "MDM passes an over-fitted AR; it leads on best values, which is not settled"
    )
    with pytest.raises(TableError, match="each, passed"):
        locate(*cut, minima="both")


def test_best_so_far_is_open_while_the_passed_arm_still_improves():
    """Both arms fall, the second faster: it leads on best values, but the first has not shown its best."""
    (runs, curves, _), _ = one(keep_scores=False)
    tokens = curves["tokens"]
    first = curves["run"].str.startswith("au")
    curves["nll_a"] = curves["nll_b"] = np.where(
        first, 3.0 - 0.1 * np.log(tokens / 4e5), 3.0 - 0.3 * np.log(tokens / 4e5)
    )
    curves[["se_a", "se_b", "mc_se_a", "mc_se_b"]] = 0.01
    result = locate(runs, curves)
    (best,) = result.select("best_so_far", "tokens")
    assert best.censored == "right" and not best.settled
    assert best.value == pytest.approx(4e5, rel=0.01)
    assert "not settled" in headline(result)


def test_a_crossing_on_the_start_up_plateau_does_not_count():
    tables, _ = one()
    runs = tables[0].assign(unigram_entropy=3.05)  # the curves cross at 3.0, within .15 of it
    result = locate(runs, *tables[1:])
    (raw,) = result.select("raw", "tokens")
    assert raw.censored == "left" and raw.low is None and raw.on_plateau
    assert raw.high == pytest.approx(5e5, rel=0.2)
    assert "on the start-up plateau: not counted" in raw.outcomes[0].why
    assert "only on the start-up plateau" in headline(result)


def test_an_arm_that_never_leaves_the_plateau_bounds_the_crossing_by_the_horizon():
    tables, _ = one(crossing=lambda N, U: 2e6)
    (raw,) = locate(tables[0].assign(unigram_entropy=1.0), *tables[1:]).select("raw", "tokens")
    assert raw.censored == "right" and raw.value == tables[1]["tokens"].max()


def test_a_second_arm_that_leads_from_the_start_is_left_censored():
    (runs, curves, _), _ = one(keep_scores=False)
    first = curves["run"].str.startswith("au")
    for half in "ab":
        curves[f"nll_{half}"] = np.where(first, 3.0, 2.5)
    (raw,) = locate(runs, curves).select("raw", "tokens")
    assert (raw.censored, raw.low, raw.high) == ("left", None, curves["tokens"].min())


def test_a_cell_with_one_censored_replicate_is_a_bound_from_both():
    tables, _ = one(budgets=(10_000, 20_000), spread=0.0, crossing=lambda N, U: 6e5)
    runs = tables[0].copy()
    cut = (runs["seed"] == 1) & (runs["U"] == 10_000)
    runs.loc[cut, "steps"] = int(5e5 / 4096)
    r = next(r for r in locate(runs, *tables[1:]).select("raw", "tokens") if r.crossed == 1)
    assert r.censored == "right" and r.high is None and 4e5 < r.low < r.value < 6e5
    assert "1 of 2 replicates censored" in r.assumption


def test_replicates_censored_on_opposite_sides_give_no_place():
    (runs, curves, _), _ = one(keep_scores=False)
    first, again = curves["run"].str.startswith("au"), curves["run"].str.endswith("-1")
    for half in "ab":
        curves[f"nll_{half}"] = np.where(first, 2.5, np.where(again, 2.7, 2.3))
    curves[["se_a", "se_b", "mc_se_a", "mc_se_b"]] = 0.01
    (raw,) = locate(runs, curves).select("raw", "tokens")
    assert [o.censored for o in raw.outcomes] == ["left", "right"]
    assert (raw.value, raw.low, raw.high) == (None, None, None) and "no place" in raw.assumption
