"""Pareto fronts and where they cross, on laws whose fronts are known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from analysis.crossover import locate
from analysis.crossover.fronts.meeting import _interval, compute_optimal
from analysis.crossover.pooling import Variance, dirichlet, pool_draws
from analysis.tables.endpoints import final_losses
from analysis.tables.tables import TableError
from tests.analysis.synthetic import SHORT

SIZES = (1e5, 4e5, 1.6e6, 6.4e6, 2.56e7)


def first_law(n, d):
    """Falls with size and data, and over-fits the earlier the larger it is."""
    rise = 0.3 * np.maximum(np.log(d / (2e7 * (n / 1e6) ** -0.8)), 0) ** 2
    return 1.2 + 40 / n**0.35 + 60 / d**0.33 + rise


def second_law(n, d):
    return 1.2 + 40 / n**0.35 + 140 / d**0.36


def tables(sizes=SIZES, replicates=2, spread=0.0, horizon=4e8, steps=60, budgets=(1e6,), **columns):
    rng = np.random.default_rng(0)
    runs, curves = [], []
    for u in budgets:
        for r in range(replicates):
            shift = rng.normal(0, spread, 2) if spread else (0.0, 0.0)
            for n in sizes:
                for k, (objective, law) in enumerate(
                    (("autoregressive", first_law), ("masked_diffusion", second_law))
                ):
                    d = np.geomspace(1e5, horizon, steps)
                    loss = law(n, d) + shift[k]
                    run = f"{objective}-{n:g}-{u:g}-{r}"
                    runs.append(
                        {
                            "run": run,
                            "objective": objective,
                            "objective_short": SHORT[objective],
                            "seed": r,
                            "model.size": f"{n:g}",
                            "data.unique_tokens": u,
                            "N": n,
                            "U": u,
                            "likelihood": "exact" if k == 0 else "upper_bound",
                            "schedule": "constant",
                            "state": "done",
                            **columns,
                        }
                    )
                    error = {"se_a": 0.001, "se_b": 0.001, "mc_se_a": 0.0, "mc_se_b": 0.0}
                    curves.append(
                        pd.DataFrame(
                            {
                                "run": run,
                                "step": np.arange(steps) + 1,
                                "tokens": d,
                                "flops": 6 * n * d,
                                "nll_a": loss,
                                "nll_b": loss,
                                **error,
                            }
                        )
                    )
    return pd.DataFrame(runs), pd.concat(curves, ignore_index=True)


def truth(sizes=SIZES):
    """FLOPs at which the true fronts of these sizes cross."""
    c = np.geomspace(1e12, 1e16, 20_000)
    n = np.array(sizes)[:, None]
    one, two = (np.minimum.accumulate(law(n, c / 6 / n).min(axis=0)) for law in (first_law, second_law))
    return c[np.flatnonzero(two <= one)[0]]


@pytest.fixture(scope="module")
def optimal():
    found = locate(*tables(spread=0.01))
    return found, compute_optimal(found)


def test_fronts_cross_where_those_of_the_laws_do():
    record = compute_optimal(locate(*tables())).records[0]
    assert record["value"] == pytest.approx(truth(), rel=0.02)
    assert record["low"] < record["value"] < record["high"]
    assert (record["refused"], record["censored"], record["no_crossing"]) == (None, None, 0.0)
    assert record["best"]["autoregressive"]["bracketed"] and record["best"]["masked_diffusion"]["bracketed"]


def test_kinds_are_told_apart_and_records_are_json(optimal):
    found, fronts = optimal
    assert {r["kind"] for r in found.records} == {"same_n"}
    assert {r["kind"] for r in fronts.records} == {"compute_optimal"}
    json.dumps(fronts.records, allow_nan=False)
    record = fronts.records[0]
    assert (
        record["unit"] == "flops" and "trunks" in record["assumption"] and "upper bound" in record["allows"]
    )


def test_a_front_whose_best_size_is_an_extreme_is_refused():
    record = compute_optimal(locate(*tables(sizes=SIZES[:3]))).records[0]
    place = truth(SIZES[:3])
    assert "not bracketed" in record["refused"] and record["envelope"] == pytest.approx(place, rel=0.02)
    # What budgets below it show, where both best sizes are inside those tried, remains: a bound.
    assert (
        record["censored"] == "right" and record["low"] == record["value"] < place and record["high"] is None
    )


def test_fronts_that_are_bracketed_nowhere_say_nothing():
    record = compute_optimal(locate(*tables(horizon=6e6))).records[0]
    assert record["value"] is None and record["censored"] is None and "at no budget" in record["refused"]


def test_no_crossing_in_the_budgets_is_a_bound_where_both_fronts_are_bracketed():
    runs, curves = tables()
    low = curves[curves["flops"] < truth() / 2]
    record = compute_optimal(locate(runs, low)).records[0]
    assert (record["censored"], record["high"], record["refused"]) == ("right", None, None)
    assert record["low"] == record["value"] == pytest.approx(truth() / 2, rel=0.15)


def test_two_sizes_make_no_front():
    fronts = compute_optimal(locate(*tables(sizes=SIZES[1:3])))
    assert not fronts.groups and "needs 3 sizes" in fronts.refused[0]["reason"]


def test_each_budget_of_unique_data_has_fronts_of_its_own():
    fronts = compute_optimal(locate(*tables(budgets=(1e6, 4e6), replicates=1)))
    assert [g.crossing.axes["data.unique_tokens"] for g in fronts.groups] == [1e6, 4e6]
    assert "one replicate" in fronts.records[0]["assumption"] and fronts.records[0]["no_crossing"] is None


def test_annealed_end_points_are_preferred_and_never_mixed_with_trunk_points():
    runs, curves = tables(annealed=True)
    annealed = compute_optimal(locate(runs, curves))
    assert annealed.groups[0].crossing.entries == "annealed"
    # One end a size: each front has as many points as sizes.
    assert all(len(f.flops) == len(SIZES) for f in annealed.groups[0].fronts)
    mixed = runs["objective"].eq("autoregressive")
    refused = compute_optimal(locate(runs.assign(annealed=mixed), curves))
    assert not refused.groups and "constant-rate runs AR has 0" in refused.refused[0]["reason"]


def test_length_of_training_and_tuned_fields_compete_inside_one_front():
    runs, curves = tables(replicates=1)
    slow = runs.assign(run=runs["run"] + "-b", **{"optimizer.lr": 2.0})
    worse = curves.assign(
        run=curves["run"] + "-b", nll_a=curves["nll_a"] + 0.05, nll_b=curves["nll_b"] + 0.05
    )
    both = pd.concat([runs.assign(**{"optimizer.lr": 1.0}), slow]), pd.concat([curves, worse])
    tuned = compute_optimal(locate(*both, pair_over=["optimizer.lr"]))
    assert len(tuned.groups) == 1 and tuned.records[0]["value"] == pytest.approx(truth(), rel=0.02)
    assert len(compute_optimal(locate(*both)).groups) == 2


def test_replicates_that_scatter_widen_the_interval(optimal):
    record, still = optimal[1].records[0], compute_optimal(locate(*tables())).records[0]
    assert record["high"] / record["low"] > still["high"] / still["low"]


def test_the_bootstrap_of_a_mean_has_the_spread_of_a_mean():
    y = np.random.default_rng(1).normal(0, 0.1, (1, 5))
    spread = pool_draws(y @ dirichlet(5, 4000).T, [5])
    assert spread.variance == pytest.approx(float(y.var(ddof=1)), rel=0.06) and spread.df == 4
    assert pool_draws(np.full((1, 400), np.inf), [5]) is None
    draws = np.append(np.zeros(900), np.full(100, np.inf))
    place = _interval(0.0, draws, 5, spread, Variance(0.0, 30.0), 0.95)
    assert place.high is None and place.low < 0 and "unbounded above" in place.assumption


@pytest.mark.parametrize(("schedule", "annealed"), [("inverse_sqrt", False), ("constant_x", True)])
def test_annealed_is_what_the_column_says_whatever_the_schedule_is_called(schedule, annealed):
    """Schedules of plug-ins: one that keeps its rate to the end, one that decays although its name begins as
    that of the constant rate."""
    runs, curves = tables(replicates=1, schedule=schedule, annealed=annealed)
    crossovers = locate(runs, curves)
    (group,) = compute_optimal(crossovers).groups
    assert group.crossing.entries == ("annealed" if annealed else "trunk")
    assert ("decaying learning rate" in crossovers.crossings[0].assumption) is annealed
    ends = final_losses(runs, curves)
    assert set(ends["annealed"]) == {annealed}


def test_a_table_that_does_not_say_so_has_no_annealed_run():
    runs, curves = tables(replicates=1, schedule="cosine")
    assert compute_optimal(locate(runs, curves)).groups[0].crossing.entries == "trunk"
    assert "annealed" not in final_losses(runs, curves), "the columns of a fit say nothing of what is unknown"
    with pytest.raises(TableError, match="column 'annealed', row 0: 'maybe' is not one of True, False"):
        locate(runs.assign(annealed="maybe"), curves)
