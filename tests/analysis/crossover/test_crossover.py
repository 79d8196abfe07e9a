"""``locate`` on curves whose crossings are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from analysis.crossover import locate, wanted_precision
from analysis.crossover.places.censored_law import crossing_law
from analysis.crossover.same_n.aa_control import control
from analysis.crossover.same_n.efficiency import data_efficiency, losses
from analysis.crossover.same_n.zeros import _slope
from analysis.crossover.verdict import Verdict, headline
from analysis.tables.tables import TableError
from tests.analysis.synthetic import study

FIELDS = [
    "cell",
    "axes",
    "metric",
    "definition",
    "unit",
    "value",
    "low",
    "high",
    "censored",
    "replicates",
    "assumption",
]


def one(**changes):
    """One cell of two replicates; returns the tables and the true places."""
    settings = {"sizes": (190_000,), "budgets": (10_000,), "spread": 0.03, **changes}
    return study(**settings)


@pytest.fixture(scope="module")
def found():
    tables, truth = study(budgets=(5_000, 20_000))
    return locate(*tables), truth, tables


def test_records_have_the_fields_of_the_schema(found):
    records = found[0].records
    assert len(records) == 4 * 2 * 3
    assert all(list(r)[: len(FIELDS)] == FIELDS for r in records)
    json.dumps(records, allow_nan=False)


def test_places_are_recovered_per_replicate(found):
    result, truth, _ = found
    for r in result.select("raw", "tokens"):
        if r.censored is None:
            for o in r.outcomes:
                assert o.x["tokens"] == pytest.approx(truth[r.N.__round__(), round(r.U), o.seed], rel=0.04)


def test_units_agree(found):
    tokens, epochs, flops = (found[0].select("raw", u) for u in ("tokens", "epochs", "flops"))
    for t, e, f in zip(tokens, epochs, flops, strict=True):
        assert e.value == pytest.approx(t.value / t.U, rel=1e-6)
        assert f.value == pytest.approx(6 * t.N * t.value, rel=1e-6)


def test_a_run_that_ends_before_its_crossing_is_a_bound(found):
    r = next(r for r in found[0].select("raw", "tokens") if r.censored)
    assert (r.censored, r.high, r.robust) == ("right", None, False)
    assert r.value == r.low == max(found[2][1]["tokens"])


def test_headline_where_raw_crosses_and_best_so_far_does_not(found):
    expected = "MDM passes an over-fitted AR; it has not passed an early-stopped AR within this budget"
    assert headline(found[0]) == expected
    assert all(r.censored == "right" for r in found[0].select("best_so_far", "tokens"))


def test_the_two_by_two_table_says_how_the_place_moves(found):
    result = found[0]
    laws = {(d, u): crossing_law(result, d, u) for d in ("raw", "best_so_far") for u in ("tokens", "epochs")}
    v = Verdict.of(result, laws, control(result))
    table = {(q.definition, q.unit): q for q in v.table}
    # With three cells that crossed and three coefficients the law decides nothing; it still leans the right
    # way.
    assert "earlier" in table["raw", "tokens"].less_data and "later" in table["raw", "epochs"].less_data
    assert "earlier" in table["raw", "tokens"].larger_model
    assert table["best_so_far", "tokens"].less_data == "unknown: only bounds"
    assert "A/A control" in v.control


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
        "MDM passes an over-fitted AR; on best values it leads in 1 of 1 cells"
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
    """Same curves, independent small noise, no text effect: nothing robust may be found."""
    result = locate(*one(replicates=4, spread=0.0, jitter=0.0)[0])
    controls = control(result)
    assert {c.pairs for c in controls} == {6}
    assert all(c.robust == 0 and c.high < 0.5 for c in controls)
    assert all(c.apart < 0.02 for c in controls)


def test_a_cell_with_one_censored_replicate_is_a_bound_from_both():
    tables, _ = one(budgets=(10_000, 20_000), spread=0.0, crossing=lambda N, U: 6e5)
    runs = tables[0].copy()
    cut = (runs["seed"] == 1) & (runs["U"] == 10_000)
    runs.loc[cut, "steps"] = int(5e5 / 4096)
    r = next(r for r in locate(runs, *tables[1:]).select("raw", "tokens") if r.crossed == 1)
    assert r.censored == "right" and r.high is None and 4e5 < r.low < r.value < 6e5
    assert "1 of 2 replicates censored" in r.assumption


def test_one_replicate_gives_an_interval_that_says_what_it_is_conditional_on():
    (raw,) = locate(*one(replicates=1)[0]).select("raw", "tokens")
    assert raw.low < raw.value < raw.high
    assert "conditional on this data subset and seed" in raw.assumption


def test_tuned_fields_pair_across_their_values_and_are_selected_on_half_a():
    tables, _ = one(replicates=1, keep_scores=False)
    runs, curves = tables[0].assign(**{"optimizer.lr": [1e-3, 2e-3]}), tables[1]
    worse_run = runs.iloc[[1]].assign(run="worse", **{"optimizer.lr": 4e-3})
    worse = curves[curves["run"] == runs["run"][1]].assign(run="worse", nll_a=lambda c: c["nll_a"] + 0.5)
    result = locate(pd.concat([runs, worse_run]), pd.concat([curves, worse]), pair_over=["optimizer.lr"])
    (raw,) = result.select("raw", "tokens")
    assert raw.tuned == {
        "autoregressive": {"optimizer.lr": 1e-3},
        "masked_diffusion": {"optimizer.lr": 2e-3},
    }
    assert {"run": "worse", "reason": "no autoregressive twin in its cell and replicate"} in result.excluded
    assert locate(runs, curves).records == []
    with pytest.raises(TableError, match="pair_over"):
        locate(runs, curves, pair_over=["optimizer.rl"])


def test_an_option_of_one_objective_pairs_every_value_with_the_other():
    tables, _ = one(replicates=1, keep_scores=False)
    runs, curves = tables[0].assign(**{"objective.t": [None, "iid"]}), tables[1]
    other = runs.iloc[[1]].assign(run="other", **{"objective.t": "stratified"})
    more = curves[curves["run"] == runs["run"][1]].assign(run="other")
    result = locate(pd.concat([runs, other]), pd.concat([curves, more]))
    assert [r.axes["objective.t"] for r in result.select("raw", "tokens")] == ["iid", "stratified"]


def test_what_is_no_likelihood_or_failed_enters_no_crossover_and_is_listed():
    (runs, curves, _), _ = one(keep_scores=False)
    runs.loc[1, "likelihood"] = "pseudo"
    runs.loc[2, "state"] = "diverged"
    result = locate(runs, curves)
    assert result.records == []
    reasons = {e["run"]: e["reason"] for e in result.excluded}
    assert "no likelihood" in reasons[runs["run"][1]] and "diverged" in reasons[runs["run"][2]]
    assert "could be compared" in headline(result)


def test_twins_scored_on_different_sequences_are_not_compared():
    runs, curves, scores = one(replicates=1)[0]
    fewer = scores[scores["run"].str.startswith("au") | (scores["sequence"] < 40)]
    result = locate(runs, curves, fewer)
    assert result.records == []
    assert {"twins are scored on different validation sequences (48 and 40 of half B)"} == {
        e["reason"] for e in result.excluded
    }


def test_different_vocabularies_are_not_compared():
    (runs, curves, _), _ = one(keep_scores=False)
    runs.loc[runs["objective"] == "autoregressive", "vocab"] = 1000
    assert any("vocabularies" in e["reason"] for e in locate(runs, curves).excluded)


def test_costs_that_differ_give_flops_from_curves_at_equal_flops():
    (runs, curves, _), _ = one(keep_scores=False, replicates=1, jitter=0.0)
    second = curves["run"].str.startswith("ma")
    curves.loc[second, "flops"] *= 2
    tokens, flops = (locate(runs, curves).select("raw", u)[0].value for u in ("tokens", "flops"))
    assert (
        flops > 1.2 * 6 * 190_000 * tokens
    )  # at equal FLOPs the dearer arm has seen half the tokens: it passes later


def test_other_metrics_cross_too():
    (runs, curves, _), _ = one(keep_scores=False)
    for half in "ab":
        curves[f"accuracy_{half}"] = 1 - curves[f"nll_{half}"] / 10
        curves[f"accuracy_se_{half}"] = 0.001
    nll = locate(runs, curves).select("raw", "tokens")[0].value
    accuracy = locate(runs, curves, metric="accuracy", better="higher").select("raw", "tokens")[0]
    assert accuracy.value == pytest.approx(nll, rel=1e-6) and accuracy.metric == "accuracy"
    with pytest.raises(TableError, match="bleu"):
        locate(runs, curves, metric="bleu")


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


def test_likelihood_kinds_say_what_may_be_concluded(found):
    words = found[0].records[0]["allows"]
    assert words.startswith("where MDM's upper bound lies below AR's exact loss, MDM is the better model")


def test_a_wsd_run_is_read_from_its_trunk():
    (runs, curves, _), _ = one(keep_scores=False)
    tails = (
        curves.groupby("run")
        .tail(1)
        .assign(run=lambda c: c["run"] + "-end", nll_b=lambda c: c["nll_b"] - 0.2)
    )
    ends = runs.assign(trunk=runs["run"], run=runs["run"] + "-end", annealed=True)
    result = locate(ends, pd.concat([curves, tails]))
    assert result.select("raw", "tokens")[0].value == locate(runs, curves).select("raw", "tokens")[0].value
    assert len(result.cells[0].annealed) == 4
    # The trunks have no rows of their own, and their branches' kinds of likelihood.
    kinds = [arm.likelihood for arm in result.cells[0].arms[0]]
    assert kinds == ["exact", "upper_bound"]
    assert {run for run, _ in wanted_precision(result)} <= {
        run for run in runs["run"] if run.startswith("ma")
    }


def _shaped(leads):
    """One cell of one replicate whose second arm's loss less the first's is ``leads`` (K values)."""
    (runs, curves, _), _ = one(keep_scores=False, replicates=1, jitter=0.0)
    curves = curves.groupby("run").head(len(leads)).reset_index(drop=True)
    first = curves["run"].str.startswith("au").to_numpy()
    curves.loc[first, ["nll_a", "nll_b"]] = 2.5
    curves.loc[~first, ["nll_a", "nll_b"]] = 2.5 + np.repeat(np.array(leads)[:, None], 2, axis=1)
    curves[["se_a", "se_b", "mc_se_a", "mc_se_b"]] = 0.005
    return runs, curves


def test_further_crossings_stand_beside_the_one_that_is_reported():
    runs, curves = _shaped([0.2] * 4 + [-0.2] * 4 + [0.2] * 4 + [-0.2] * 4)
    (raw,) = locate(runs, curves).select("raw", "tokens")
    (replicate,) = raw.replicate_values  # the rows of JSON
    assert raw.censored is None and raw.robust
    assert [(o["direction"], o["robust"]) for o in replicate["others"]] == [("down", True), ("up", True)]
    places = [raw.value, *(o["tokens"] for o in replicate["others"])]
    tokens = np.sort(curves["tokens"].unique())
    assert all(tokens[4 * k - 1] < p < tokens[4 * k] for k, p in zip((1, 2, 3), places, strict=True))


def test_a_a_control_counts_replicates_that_change_places():
    """Two AR replicates of which each leads for a time: one false crossing in one pair of AR, none of MDM."""
    (runs, curves, _), _ = one(keep_scores=False, spread=0.0, jitter=0.0, sequences=400)
    swap = (
        curves["run"]
        == runs.loc[(runs["seed"] == 1) & (runs["objective"] == "autoregressive"), "run"].iloc[0]
    )
    late = curves["tokens"] > 3e5
    for half in "ab":
        curves.loc[swap, f"nll_{half}"] += np.where(late[swap], -0.3, 0.3)
    curves[["se_a", "se_b", "mc_se_a", "mc_se_b"]] = 0.01
    result = locate(runs, curves)
    raw = {c.objective: c for c in control(result) if c.definition == "raw"}
    assert (raw["autoregressive"].robust, raw["autoregressive"].pairs) == (1, 1)
    assert raw["masked_diffusion"].robust == 0
    assert raw["autoregressive"].low == pytest.approx(0.025) and raw["autoregressive"].high == 1.0
    beside = Verdict.of(result, {}, control(result))
    assert all(q.false_crossings.pairs == 2 for q in beside.table)
    assert "cross robustly in 1 of 2 pairs" in beside.control


def test_replicates_censored_on_opposite_sides_give_no_place():
    (runs, curves, _), _ = one(keep_scores=False)
    first, again = curves["run"].str.startswith("au"), curves["run"].str.endswith("-1")
    for half in "ab":
        curves[f"nll_{half}"] = np.where(first, 2.5, np.where(again, 2.7, 2.3))
    curves[["se_a", "se_b", "mc_se_a", "mc_se_b"]] = 0.01
    (raw,) = locate(runs, curves).select("raw", "tokens")
    assert [o.censored for o in raw.outcomes] == ["left", "right"]
    assert (raw.value, raw.low, raw.high) == (None, None, None) and "no place" in raw.assumption


def test_of_an_accuracy_more_is_better_all_the_way():
    (runs, curves, _), _ = one(keep_scores=False, budgets=(5_000, 20_000), horizon=4e6)
    for half in "ab":
        curves[f"accuracy_{half}"] = 1 - curves[f"nll_{half}"] / 10
        curves[f"accuracy_se_{half}"] = 0.001
    result = locate(runs, curves, metric="accuracy", better="higher")
    plain = locate(runs, curves)
    table, other = losses(result), losses(plain)
    assert (table["best"] > 0).all() and (table["best"] >= table["final"] - 0.01).all()
    assert table["best_tokens"].tolist() == other["best_tokens"].tolist()
    ratios = [[r.value for r in data_efficiency(f)] for f in (result, plain)]
    assert ratios[0] == pytest.approx(ratios[1]) and len(ratios[0]) == 2
    assert "nothing about their likelihoods" in result.crossings[0].allows
