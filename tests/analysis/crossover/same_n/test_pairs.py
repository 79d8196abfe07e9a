"""Which runs are compared, and which are listed as left out."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.crossover import locate, wanted_precision
from analysis.crossover.same_n.pairs import text
from analysis.crossover.sentences import headline
from analysis.tables.tables import TableError
from tests.analysis.synthetic import one


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
    assert {
        "run": "worse",
        "reason": "another setting of optimizer.lr was better on half A",
    } in result.excluded
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


def test_likelihood_kinds_say_what_may_be_concluded(located):
    words = located[0].records[0]["allows"]
    assert words.startswith("where MDM's upper bound lies below AR's exact loss, MDM is the better model")


def test_values_of_an_axis_are_written_as_people_write_them() -> None:
    values = (5000.0, 0.25, 123456.0, 1234567.0, "d64", 18_000)
    assert [text(v) for v in values] == ["5000", "0.25", "123456", "1.235e+06", "d64", "18000"]
