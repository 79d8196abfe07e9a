"""What the places of a study identify, on tables and on whole studies."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.crossover import locate
from analysis.crossover.places.censored_law import CensoredLaw, crossing_law, fit_places, observations
from analysis.crossover.places.identification import identify
from tests.analysis.synthetic import study


def _table(cells, replicates=2, slope=0.7, sd=0.05, seed=0):
    """``cells``: (U, N, q, side), whose places are U^slope, or bounds half as far."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        [
            {"cell": i, "seed": r, "U": u, "N": n, "q": q, "side": side}
            | {"y": slope * math.log(u) + (rng.normal(0, sd) if side == 0 else math.log(0.5))}
            for i, (u, n, q, side) in enumerate(cells)
            for r in range(replicates)
        ]
    )


def test_bounds_of_a_level_that_never_crossed_leave_with_its_contrast():
    budgets = (1e4, 2e4, 4e4)
    data = _table([(u, 1e6, q, side) for u in budgets for q, side in (("clean", 0), ("noisy", 1))])
    law, clean = fit_places(data, axes=["q"]), fit_places(data[data["q"] == "clean"])
    assert law.coefficient("U") == clean.coefficient("U")
    assert law.dropped == ("q=noisy: the places seen do not identify its contrast",)
    assert law.left_out[0].startswith("q=noisy") and "6 bounds in 3 cells" in law.left_out[0]
    assert law.covers(q="clean") and not law.covers(q="noisy")


def test_a_base_level_that_never_crossed_leaves_too():
    """The first level in order is the base of contrasts only where it was seen."""
    data = _table([(u, 1e6, q, int(q == "a")) for u in (1e4, 2e4) for q in "abc"])
    law = fit_places(data, axes=["q"])
    assert law.columns == ("1", "U", "q=c") and law.levels == {"q": ["b", "c"]}
    assert law.coefficient("q=c").value == pytest.approx(0.0, abs=0.1)


def test_bounds_of_a_size_that_crossed_somewhere_stay():
    data = _table([(1e4, 1e5, "x", 0), (2e4, 1e5, "x", 1), (1e4, 1e6, "x", 0), (2e4, 1e6, "x", 0)])
    basis = identify(data, ["q"])
    assert basis.rows.all() and basis.columns == ("1", "U", "N") and not basis.left_out


def test_effects_that_vary_together_have_no_slope_of_their_own():
    data = _table([(1e4, 1e5, "x", 0), (2e4, 2e5, "x", 0), (4e4, 4e5, "x", 0)])
    law = fit_places(data)
    assert law.coefficients() == []
    assert law.dropped == ("N: the places seen do not tell its effect from that of U",)


def test_jitter_of_a_variable_is_no_variation():
    """Subsets of one size hold a few tokens more or less."""
    data = _table([(1e4, 1e5, "x", 0), (1e4, 1e6, "x", 0), (4e4, 1e6, "x", 1)])
    data["U"] *= np.exp(np.random.default_rng(0).normal(0, 0.003, len(data)))
    law = fit_places(data)
    assert law.columns == ("1", "N") and law.left_out[0].startswith("U=")


def test_an_axis_of_many_values_is_said_to_be_scatter():
    data = _table([(1e4 * 1.5**i, 1e5, f"q{i % 7}", 0) for i in range(14)])
    assert fit_places(data, axes=["q"]).dropped == (
        "q: 7 values, of which none has a contrast; they are scatter of cells",
    )


def test_a_study_whose_small_size_never_crosses_has_the_law_of_the_other():
    def crossing(n: float, u: float) -> float:
        return 5e5 * (u / 1e4) ** 0.6 if n > 1e5 else 1e8

    tables, _ = study(budgets=(5_000, 10_000, 20_000), crossing=crossing, keep_scores=False)
    both = locate(*tables)
    runs = tables[0][tables[0]["N"] > 1e5]
    one = locate(runs, tables[1][tables[1]["run"].isin(runs["run"])])
    for unit in ("tokens", "flops"):
        laws = [f.law("raw", unit) for f in (both, one)]
        assert all(isinstance(law, CensoredLaw) for law in laws)
        assert laws[0].coefficient("U") == laws[1].coefficient("U")
    law = both.law("raw", "tokens")
    assert law.left_out and law.left_out[0] in str(both)
    # The law passes through the cells that it speaks of, and the line is in their intervals.
    assert law.misses == () and law.json()["misses"] == []


def test_a_law_that_misses_a_cell_says_so():
    """Places rise with U, but for one cell far off the line: that is no scatter of replicates."""
    factor = {5_000: 1.0, 10_000: 1.0, 20_000: 2.5, 40_000: 1.0}

    def crossing(n: float, u: float) -> float:
        return 2.5e5 * (u / 5e3) ** 0.3 * factor[round(u)]

    quiet = {"spread": 0.01, "jitter": 0.001, "keep_scores": False, "horizon": 3e6}
    tables, _ = study(sizes=(190_000,), budgets=tuple(factor), crossing=crossing, **quiet)
    crossovers = locate(*tables)
    law = crossovers.law("raw", "tokens")
    assert any("20000" in m.cell and m.law < m.low for m in law.misses)
    assert all(f"misses {m}" in str(crossovers) for m in law.misses)


def test_a_cell_that_is_ahead_from_the_start_bounds_the_law_from_above():
    """Three cells cross at U^.6; one with less data had crossed before its first evaluation."""
    tables, _ = study(sizes=(190_000,), budgets=(2_500, 5_000, 10_000, 20_000), keep_scores=False)
    runs, curves = tables[:2]
    ahead = curves["run"].str.contains("-2500-") & curves["run"].str.startswith("ma")
    curves.loc[ahead, ["nll_a", "nll_b"]] = 2.0
    crossovers = locate(runs, curves)
    rows = observations(crossovers, "raw")
    assert set(rows.loc[rows["U"] == 2_500, "side"]) == {-1}
    law, without = crossing_law(crossovers), fit_places(rows[rows["side"] == 0])
    # A bound from above far under the line of the others steepens it; one from below would leave it alone.
    assert law.coefficient("U").value > without.coefficient("U").value + 0.3
    assert law.predict(U=2_500)[0] < without.predict(U=2_500)[0]
