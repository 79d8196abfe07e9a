"""``locate`` on curves whose crossings are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from analysis.crossover import locate
from analysis.crossover.places.censored_law import crossing_law
from analysis.crossover.same_n.aa_control import control
from analysis.crossover.same_n.efficiency import data_efficiency, losses
from analysis.crossover.sentences import headline
from analysis.crossover.verdict import Verdict
from analysis.tables.tables import TableError
from tests.analysis.synthetic import one

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


def test_records_have_the_fields_of_the_schema(located):
    records = located[0].records
    assert len(records) == 4 * 2 * 3
    assert all(list(r)[: len(FIELDS)] == FIELDS for r in records)
    json.dumps(records, allow_nan=False)


def test_places_are_recovered_per_replicate(located):
    result, truth, _ = located
    for r in result.select("raw", "tokens"):
        if r.censored is None:
            for o in r.outcomes:
                assert o.x["tokens"] == pytest.approx(truth[r.N.__round__(), round(r.U), o.seed], rel=0.04)


def test_units_agree(located):
    tokens, epochs, flops = (located[0].select("raw", u) for u in ("tokens", "epochs", "flops"))
    for t, e, f in zip(tokens, epochs, flops, strict=True):
        assert e.value == pytest.approx(t.value / t.U, rel=1e-6)
        assert f.value == pytest.approx(6 * t.N * t.value, rel=1e-6)


def test_headline_where_raw_crosses_and_best_so_far_does_not(located):
    expected = (
        "MDM passes an over-fitted AR in 3 of 4 cells, and it has not passed AR in 1; it has not passed an "
        "early-stopped AR within this budget"
    )
    assert headline(located[0]) == expected
    assert all(r.censored == "right" for r in located[0].select("best_so_far", "tokens"))


def test_the_two_by_two_table_says_how_the_place_moves(located):
    result = located[0]
    laws = {(d, u): crossing_law(result, d, u) for d in ("raw", "best_so_far") for u in ("tokens", "epochs")}
    v = Verdict.of(result, laws, control(result))
    table = {(q.definition, q.unit): q for q in v.table}
    # With three cells that crossed and three coefficients the law decides nothing; it still leans the right
    # way.
    assert "earlier" in table["raw", "tokens"].move("U") and "later" in table["raw", "epochs"].move("U")
    assert "earlier" in table["raw", "tokens"].move("N")
    assert table["best_so_far", "tokens"].move("U") == "cannot be said (no crossing among the cells compared)"
    assert "A/A control" in v.control


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
    runs, curves = _shaped(0.2 * np.cos(2 * np.pi * (np.arange(30) + 0.5) / 20))
    (raw,) = locate(runs, curves).select("raw", "tokens")
    (replicate,) = raw.replicate_values  # the rows of JSON
    assert raw.censored is None and raw.robust
    assert [(o["direction"], o["robust"]) for o in replicate["others"]] == [("down", True), ("up", True)]
    places = [raw.value, *(o["tokens"] for o in replicate["others"])]
    tokens = np.sort(curves["tokens"].unique())
    assert all(tokens[k - 1] < p < tokens[k] for k, p in zip((5, 15, 25), places, strict=True))


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
