"""Intervals over replicates and the law of the crossing, on simulated places."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis.crossover import locate
from analysis.crossover.places.censored_law import fit_places
from analysis.crossover.pooling import pool_places
from analysis.crossover.same_n.cell_places import cell_place
from analysis.crossover.same_n.efficiency import _mean, _Ratio, by_cell, data_efficiency
from benchmarks import coverage_crossover
from tests.analysis.synthetic import study
from tests.paths import ROOT


def _replicates(values):
    return [
        SimpleNamespace(
            x={"tokens": math.exp(v)}, censored=None, seed=i, crossing=None, curve=SimpleNamespace(parts=1)
        )
        for i, v in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("replicates", "block", "noise"), [(2, 0.0, 0.08), (2, 0.08, 0.05), (3, 0.05, 0.08), (5, 0.05, 0.08)]
)
def test_intervals_over_replicates_cover(replicates, block, noise):
    """Measured at 3000 studies of 6 cells: .954, .925, .952, .954."""
    rng = np.random.default_rng(replicates)
    hits = []
    for _ in range(300):
        y = rng.normal(0, block, replicates) + rng.normal(0, noise, (6, replicates))
        spread = pool_places([{str(r): v for r, v in enumerate(row)} for row in y])
        for row in y:
            place = cell_place(_replicates(row), "tokens", spread)
            hits.append(place.low <= 0 <= place.high)
    assert 0.89 <= np.mean(hits) <= 0.985


def test_correlated_cells_leave_fewer_degrees_of_freedom():
    together = pool_places([{"0": -0.1 + s, "1": 0.1 + s} for s in (0.0, 1.0, 2.0)])
    apart = pool_places([{"0": -0.1, "1": 0.1}, {"0": 0.1, "1": -0.1}, {"0": 0.1, "1": -0.1}])
    assert (together.df, together.rho) == pytest.approx((1.0, 1.0))
    assert apart.df == pytest.approx(3.0)


def _cover(sds, replicates, sims=300):
    """[cells] shares of studies whose intervals hold the truth; medians of the widths."""
    hits, widths = np.zeros(len(sds)), np.zeros((sims, len(sds)))
    for sim in range(sims):
        rng = np.random.default_rng([17, sim])
        y = rng.normal(0, 1, (len(sds), replicates)) * np.array(sds)[:, None]
        spread = pool_places([{str(r): v for r, v in enumerate(row)} for row in y])
        for k, row in enumerate(y):
            place = cell_place(_replicates(row), "tokens", spread, group=k)
            hits[k] += place.low <= 0 <= place.high
            widths[sim, k] = place.high - place.low
    return hits / sims, np.median(widths, axis=0)


def test_unequal_variances_are_told_and_not_pooled():
    """Pooled alone, the third cell is covered in 74 of 100 studies."""
    covered, widths = _cover((0.02, 0.05, 0.15), 5)
    assert covered.min() > 0.89 and covered[0] < 0.995
    assert widths[0] < 0.3 * widths[2]
    _, alone = _cover((0.05, 0.05, 0.05), 5)
    t, pooled = 2.776, 2.179  # t of 4 and of 12 degrees of freedom
    assert alone.mean() < 1.1 * pooled / t * 2 * t * 0.05 / math.sqrt(5)


def test_the_probability_of_unequal_variances_follows_the_evidence():
    def unequal(sds):
        y = np.random.default_rng(3).normal(0, 1, (6, 5)) * np.array(sds)[:, None]
        return pool_places([{str(r): v for r, v in enumerate(row)} for row in y]).unequal

    assert unequal([0.05] * 6) < 0.5 < 0.95 < unequal([0.02, 0.02, 0.05, 0.05, 0.15, 0.15])
    flat = pool_places([{"0": 0.1, "1": 0.1}, {"0": 0.3, "1": 0.3}])
    assert (flat.variance, flat.unequal) == (0.0, 0.0)


def test_a_cell_without_two_places_takes_the_variance_of_the_others():
    spread = pool_places([{"0": 0.0}, {"0": -0.1, "1": 0.1}, {"0": 0.4, "1": 0.41}])
    (value,), (weight,) = spread.of_mean(1, 0).value, spread.of_mean(1, 0).weight
    assert (value, weight) == (spread.variance, 1.0)
    assert len(spread.of_mean(2, 1).value) > 1


def test_text_error_does_not_average_out_over_replicates():
    """Every replicate is read on the same validation text: four of them leave its error as it was."""
    halves = []
    for replicates in (2, 8):
        tables, _ = study(
            sizes=(190_000,),
            budgets=(10_000, 10_500, 11_000),
            spread=0.0,
            jitter=0.0,
            replicates=replicates,
            sequences=12,
            text=1.5,
        )
        (raw, *_) = locate(*tables).select("raw", "tokens")
        halves.append(math.log(raw.high / raw.low) / 2)
    error = [o.crossing.se_log for o in raw.outcomes]
    assert halves[1] == pytest.approx(halves[0], rel=0.25) and halves[1] > 1.9 * min(error)


def test_intervals_of_losses_know_that_subsets_are_nested():
    """Cells whose replicates move together have no more degrees of freedom than one of them."""
    rows = [
        {"cell": c, "objective": "a", "seed": r, "U": 1e4, "N": 1e6, "bracketed": True, "likelihood": "exact"}
        | {"best": 2.0 + 0.1 * r + 0.5 * c}
        for c in range(3)
        for r in range(2)
    ]
    together = by_cell(pd.DataFrame(rows), "best")
    assert (together["df"] < 1.3).all()
    rows[2]["best"], rows[3]["best"] = rows[3]["best"], rows[2]["best"]
    apart = by_cell(pd.DataFrame(rows), "best")
    assert (apart["df"] > together["df"]).all()
    lonely = by_cell(pd.DataFrame(rows[::2]), "best")
    assert lonely["low"].isna().all() and lonely["mean"].notna().all()


def _places(rng, budgets=4, replicates=3, censored=True):
    rows = []
    blocks = rng.normal(0, 0.05, replicates)
    sizes = (4e4, 1.9e5)
    middle = {
        (u, n): 13.0 + 0.6 * math.log(u / 1e4) - 0.4 * math.log(n / 1.9e5)
        for u in np.geomspace(5e3, 4e4, budgets)
        for n in sizes
    }
    horizon = float(np.quantile(list(middle.values()), 2 / 3)) if censored else math.inf
    for cell, ((u, n), mean) in enumerate(middle.items()):
        scatter = rng.normal(0, 0.06)
        for r in range(replicates):
            y = mean + scatter + blocks[r] + rng.normal(0, 0.08)
            rows.append(
                {
                    "cell": cell,
                    "seed": r,
                    "U": u,
                    "N": n,
                    "y": min(y, horizon),
                    "side": int(y > horizon),
                    "q": "clean",
                }
            )
    return pd.DataFrame(rows)


@pytest.mark.slow
def test_the_law_recovers_its_slopes_through_censoring_and_its_intervals_cover():
    """Measured at 150 studies of 10 cells, a third censored: .97 to .98 with 3 replicates, .97 to .99 with
    5."""
    rng = np.random.default_rng(0)
    hits, values = [], []
    for _ in range(40):
        law = fit_places(_places(rng))
        for name, truth in (("U", 0.6), ("N", -0.4)):
            c = law.coefficient(name)
            hits.append(c.low <= truth <= c.high)
            values.append(c.value - truth)
    assert 0.9 <= np.mean(hits) <= 1.0
    assert abs(np.mean(values)) < 0.02  # leaving the bounds out would bias the slopes towards zero


def test_bounds_matter():
    data = _places(np.random.default_rng(1), replicates=5)
    with_bounds = fit_places(data).coefficient("U").value
    without = fit_places(data[data["side"] == 0]).coefficient("U").value
    assert abs(with_bounds - 0.6) < abs(without - 0.6) + 0.05


def test_uncensored_balanced_data_give_least_squares():
    data = _places(np.random.default_rng(2), censored=False)
    law = fit_places(data)
    x = np.column_stack([np.ones(len(data)), np.log(data["U"]), np.log(data["N"])])
    slopes = np.linalg.lstsq(x, data["y"], rcond=None)[0][1:]
    assert [law.coefficient(n).value for n in ("U", "N")] == pytest.approx(slopes, abs=1e-6)


def test_a_slope_that_the_places_do_not_identify_is_dropped_and_named():
    data = _places(np.random.default_rng(3))
    small = data["N"] < 1e5
    data.loc[small, "side"] = 1
    law, large = fit_places(data), fit_places(data[~small])
    assert law.coefficient("N") is None and law.dropped == ("N: the places seen do not identify its slope",)
    # The bounds of that size leave with its slope: the law of the other size alone.
    assert (
        law.coefficient("U") == large.coefficient("U") and law.censored == (data["side"][~small] != 0).sum()
    )
    assert law.left_out == (
        "N=40k: no place was seen that its effect could be told from; 12 bounds in 4 cells left out",
    )
    assert law.covers(N=1.9e5) and not law.covers(N=4e4)


def test_cells_that_never_cross_are_told_from_cells_that_cross_late():
    """Two of eight cells are still uncrossed a factor of four beyond where the law of the others has them."""
    data = _places(np.random.default_rng(6), censored=False)
    late = data["cell"].isin([0, 3])
    data.loc[late, "y"] = data["y"].max() + 1.4
    data.loc[late, "side"] = 1
    plain, cured = fit_places(data), fit_places(data, cure=True)
    assert plain.cure is None and cured.cure.called_for
    assert cured.cure.low < 0.25 < cured.cure.high and cured.cure.fraction == pytest.approx(0.25, abs=0.03)
    assert cured.cure.open_cells == 2 and cured.cure.cells == 8
    # Forced to cross some day, the two cells bend the law; as cells that never do, they leave it alone.
    assert abs(cured.coefficient("U").value - 0.6) < 0.1 < abs(plain.coefficient("U").value - 0.6)
    assert cured.json()["cure"]["called_for"] and "may never cross" in cured.assumption


def test_bounds_that_the_law_expects_call_for_no_cure():
    law = fit_places(_places(np.random.default_rng(7)), cure=True)
    assert not law.cure.called_for and law.cure.low == 0.0 and law.cure.aicc > 0


def test_predictions_and_their_refusals():
    law = fit_places(_places(np.random.default_rng(4), replicates=5))
    value, low, high = law.predict(U=1e4, N=1.9e5)
    assert low < math.exp(13.0) < high and low < value < high
    wider = law.predict(new_cell=True, U=1e4, N=1.9e5)
    assert wider[1] < low and wider[2] > high
    with pytest.raises(ValueError, match="does not vary 'Q'"):
        law.predict(Q=1.0)


def test_data_efficiency_has_an_interval_over_replicates_that_includes_the_text():
    tables, _ = study(sizes=(190_000,), replicates=2, sequences=12, horizon=4e6)
    with_text = {r.cell: r for r in data_efficiency(locate(*tables))}
    without = {r.cell: r for r in data_efficiency(locate(*tables[:2]))}
    seen = [c for c, r in with_text.items() if r.censored is None]
    assert seen and all(r.low < r.value < r.high for c, r in with_text.items() if c in seen)
    assert all("validation text included" in with_text[c].assumption for c in seen)
    assert all("left out" in without[c].assumption for c in seen)
    single = study(sizes=(190_000,), replicates=1, sequences=12, horizon=4e6)[0]
    lonely = [r for r in data_efficiency(locate(*single)) if r.censored is None]
    assert lonely and all("error alone" in r.assumption and r.low < r.value for r in lonely)


def test_data_efficiency_of_a_known_ratio():
    """The second arm reaches, on U, what the first needs 2 U for."""
    (runs, curves, _), _ = study(sizes=(190_000,), budgets=(5_000, 10_000, 20_000), keep_scores=False)
    first = curves["run"].str.startswith("au")
    u = curves["run"].str.split("-").str[2].astype(float)
    level = 3.0 - 0.3 * np.log(u / 1e4) - np.where(first, 0.0, 0.3 * np.log(2))
    shape = 0.1 * np.log(curves["tokens"] / 2e5) ** 2
    curves["nll_a"] = curves["nll_b"] = level + shape
    ratios = {round(r.U): r for r in data_efficiency(locate(runs, curves))}
    assert ratios[5000].value == pytest.approx(2.0) and ratios[10000].value == pytest.approx(2.0)
    assert ratios[5000].low == pytest.approx(2.0) and ratios[5000].settled
    assert ratios[20000].censored == "right" and ratios[20000].value == pytest.approx(1.0)
    # An arm that is worse on any budget than the first on its smallest: the ratio is below a bound.
    curves[["nll_a", "nll_b"]] += np.where(first, 0.0, 2.0)[:, None]
    worse = {round(r.U): r for r in data_efficiency(locate(runs, curves))}
    assert {r.censored for r in worse.values()} == {"left"}
    assert worse[20000].high == worse[20000].value == pytest.approx(0.25) and worse[20000].low is None


def _level(runs, curves, best, horizon=None):
    """``best(arm is first, U)`` + a parabola in log tokens; ``horizon(arm is first, U)`` cuts runs."""
    first = curves["run"].str.startswith("au").to_numpy()
    u = curves["run"].str.split("-").str[2].astype(float).to_numpy()
    level = np.array([best(f, x) for f, x in zip(first, u, strict=True)])
    curves["nll_a"] = curves["nll_b"] = level + 0.1 * np.log(curves["tokens"] / 2e5) ** 2
    if horizon is None:
        return runs, curves
    end = np.array([horizon(f, x) for f, x in zip(first, u, strict=True)])
    return runs, curves[curves["tokens"] <= end].reset_index(drop=True)


def test_data_efficiency_takes_the_best_of_any_smaller_budget():
    """The first arm's best is worse at 10k than at 5k, by chance: 5k then does for what 10k reaches."""
    (runs, curves, _), _ = study(sizes=(190_000,), keep_scores=False)
    loss = {5_000: 2.9, 10_000: 3.1, 20_000: 2.5}
    both = _level(runs, curves, lambda first, u: loss[u] if first else 2.7)
    ratios = {round(r.U): r for r in data_efficiency(locate(*both))}
    # Half-way in loss from 2.9 to 2.5, between 10k and 20k unique tokens.
    assert ratios[10_000].value == pytest.approx(2**0.5, rel=1e-3)
    lower = _level(runs, curves, lambda first, u: loss[u] if first else 3.0)
    assert {r.censored for r in data_efficiency(locate(*lower))} == {"left"}


def test_data_efficiency_wants_equal_horizons_or_bracketed_minima():
    """The first arm at 20k is cut before its minimum, or not; the second's runs are longer."""
    (runs, curves, _), _ = study(sizes=(190_000,), keep_scores=False)

    def ratios(first_ends, second_ends):
        def ends(first, u):
            return first_ends if first and u == 20_000 else second_ends

        def loss(first, u):
            return 3.0 - 0.3 * np.log(u / 1e4) - (0.0 if first else 0.3 * np.log(2))

        crossovers = locate(*_level(runs.copy(), curves.copy(), loss, ends))
        return {round(r.U): r for r in data_efficiency(crossovers)}

    assert ratios(1e9, 1e9)[10_000].value == pytest.approx(2.0)
    cut = ratios(1.5e5, 1e9)
    assert cut[10_000].value is None and "not bracketed, and runs differ in length" in cut[10_000].assumption
    assert cut[20_000].value is None
    assert all(r.value is not None for r in ratios(1.5e5, 1.5e5).values())


def test_a_cell_of_ratios_and_bounds_is_a_bound_that_every_replicate_keeps():
    rows = [_Ratio(1.0, None, True, "0", 1e4, 1e6, None), _Ratio(0.2, "right", True, "1", 1e4, 1e6, None)]
    estimate = _mean(rows, None, 0.95, 0)
    assert (estimate.value, estimate.low, estimate.high, estimate.bound) == (0.2, 0.2, None, "lower")
    mixed = [replace(rows[1], side="left"), rows[1]]
    assert _mean(mixed, None, 0.95, 0).value is None


def _measured(name):
    text = (ROOT / "docs" / "crossovers.md").read_text(encoding="utf-8")
    return text, pd.read_csv(ROOT / "benchmarks" / "results" / f"{name}.csv")


def test_the_documented_coverage_is_the_measured_one():
    text, measured = _measured("coverage_crossover")
    assert coverage_crossover.table() in text
    assert not measured.duplicated(["shape", "quantity", "replicates"]).any()
    # Within twice the Monte-Carlo error of what is promised.
    slack = 2 * measured["error_pp"] / 100
    places = (measured["quantity"] == "place") & measured["shape"].isin([*coverage_crossover.SHAPES])
    many = measured["replicates"] >= 5
    low, high = np.where(many, 0.93, 0.90) - slack, np.where(many, 0.97, 0.98) + slack
    assert measured["coverage"].between(low, high)[places].all()
    false = measured["quantity"] == "robust crossings"
    assert not ((measured["coverage"] - slack)[false] > 0.05).any()


def test_the_documented_worth_of_suggestions_is_the_measured_one():
    text, measured = _measured("suggest")
    rivals = measured[measured["way"] != "suggest"]
    own = measured[measured["way"] == "suggest"].iloc[0]
    assert (rivals["suggest_over_this"] <= 0.8).all() and own["coverage"] >= 0.93
    assert measured["truths"].min() >= 200 and measured["flops"].min() > 0.95 * measured["flops"].max()
    assert all(f"{100 * c:.1f} %" in text for c in measured["coverage"])
    assert all(f"| {w:.2f} |".replace("0.", ".") in text for w in rivals["suggest_over_this"])


def test_an_axis_that_is_no_number_shifts_the_law_by_a_contrast():
    """Lower quality, of two: everything crosses e^.3 times later."""
    data = _places(np.random.default_rng(8), replicates=5, censored=False)
    noisy = data.assign(q="noisy", y=data["y"] + 0.3, cell=data["cell"] + 8)
    law = fit_places(pd.concat([data, noisy]), axes=("q",))
    contrast = law.coefficient("q=noisy")
    assert contrast.low < 0.3 < contrast.high and contrast.decided() == 1
    places = [law.predict(q=q, U=1e4, N=1.9e5)[0] for q in ("clean", "noisy")]
    assert places[1] / places[0] == pytest.approx(math.exp(contrast.value), rel=1e-6)
    with pytest.raises(ValueError, match="'dirty' is not one of clean, noisy"):
        law.predict(q="dirty")
