"""Where two fitted laws meet, against closed forms."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import lambertw

from analysis.crossover import locate
from analysis.crossover.surfaces.fits_of_arms import arm_laws, fit_arms, points
from analysis.crossover.surfaces.law_against_law import MeetingError, meet
from analysis.fitting.fitting import fit
from analysis.laws import get_law
from tests.analysis.crossover.test_compute_optimal import tables

A, ALPHA, E = 400.0, 0.34, 1.7


def power_table(level, amplitude, exponent, seed, noise=0.001):
    rng = np.random.default_rng(seed)
    d = np.geomspace(1e6, 1e9, 48)
    return pd.DataFrame(
        {"D": d, "loss": (level + amplitude / d**exponent) * np.exp(rng.normal(0, noise, 48))}
    )


def power_fit(level, amplitude, exponent, seed, draws=200, noise=0.001):
    table = power_table(level, amplitude, exponent, seed, noise)
    return fit(table, "E + B/D**beta", estimand="mse", bootstrap=draws, seed=3, starts=64)


def exact(law, parameters, rows):
    """A fit of noiseless data: the parameters to machine precision."""
    rows = pd.DataFrame(rows)
    columns = {v: rows[v].to_numpy() for v in get_law(law).variables}
    table = rows.assign(loss=get_law(law).predict(parameters, columns))
    return fit(table, law, estimand="log_mse", interval="none", starts=[parameters])


def grid(n=6, d=6, u=None):
    sizes, tokens = (v.ravel() for v in np.meshgrid(np.geomspace(1e6, 1e9, n), np.geomspace(1e8, 1e12, d)))
    return {"N": sizes, "D": tokens, **({} if u is None else {"U": np.full(n * d, u)})}


def test_two_power_laws_of_one_level_meet_in_closed_form():
    one, two = power_fit(1.0, 30.0, 0.2, 1), power_fit(1.0, 300.0, 0.35, 2)
    place = (300.0 / 30.0) ** (1 / 0.15)
    found = meet(one, two, "D")
    assert found.value == pytest.approx(place, rel=0.05)
    assert found.low < place < found.high and found.no_crossing == 0.0 and found.paired
    assert found.json()["kind"] == "law_against_law" and found.json()["unit"] == "tokens"
    json.dumps(found.json(), allow_nan=False)
    assert "bootstrap frequency of no crossing in range 0.0% of 200" in str(found)


def test_compute_optimal_laws_meet_in_closed_form():
    """With one E, alpha and beta, L*(C) - E is K C^(-ab/(a+b)): no meeting unless exponents differ; with
    separate betas the meeting solves K1 C^-g1 = K2 C^-g2."""

    def front(b, beta):
        ratio = (ALPHA * A / (beta * b)) ** (1 / (ALPHA + beta))
        k = A * ratio**-ALPHA + b * ratio**beta
        return k, ALPHA * beta / (ALPHA + beta)

    (k1, g1), (k2, g2) = front(410.0, 0.28), front(900.0, 0.32)
    place = 6 * (k2 / k1) ** (1 / (g2 - g1))
    laws = [
        exact("chinchilla", {"A": A, "B": b, "E": E, "alpha": ALPHA, "beta": beta}, grid())
        for b, beta in ((410.0, 0.28), (900.0, 0.32))
    ]
    found = meet(*laws, "C", between=(1e15, 1e25))
    assert found.value == pytest.approx(place, rel=2e-3)
    size = (ALPHA * A / (0.28 * 410.0)) ** (1 / (ALPHA + 0.28)) * (place / 6) ** (0.28 / (ALPHA + 0.28))
    assert found.best[0]["N"] == pytest.approx(size, rel=0.01)
    assert found.no_crossing is None and "no interval" in found.assumption


def test_repeated_data_against_data_that_does_not_wear_out():
    """D' = U (1 + R (1 - exp(-r/R))) against D' = D with B2 = k^beta B1: 1 + r = k (1 + R) - k R exp(-r/R),
    solved by Lambert's W."""
    repeats, k, unique, beta = 4.0, 3.0, 1e8, 0.3
    common = {"A": A, "E": E, "alpha": ALPHA, "beta": beta, "R_N": 1e3}
    rows = grid(u=unique)
    one = exact("data_constrained", {**common, "B": 400.0, "R_D": repeats}, rows)
    two = exact("data_constrained", {**common, "B": 400.0 * k**beta, "R_D": 1e7}, rows)
    fixed = {"N": 1e6, "U": unique}
    w = lambertw(-k * math.exp(-(k * (1 + repeats) - 1) / repeats)).real
    r = k * (1 + repeats) - 1 + repeats * w
    found = meet(one, two, "epochs", fixed=fixed, between=(1.5, 100.0))
    assert found.value == pytest.approx(1 + r, rel=1e-4)
    tokens = meet(one, two, "D", fixed=fixed, between=(1.5e8, 1e10))
    assert tokens.value == pytest.approx(found.value * unique, rel=1e-6)


def test_no_crossing_in_range_is_a_bound_on_the_side_where_it_lies():
    one, two = power_fit(1.0, 30.0, 0.2, 1), power_fit(1.0, 300.0, 0.35, 2)
    place = (300.0 / 30.0) ** (1 / 0.15)
    before, after = (
        meet(one, two, "D", between=(1e3, place / 3)),
        meet(one, two, "D", between=(3 * place, 1e12)),
    )
    assert (before.censored, before.value, before.low, before.high) == ("right", place / 3, place / 3, None)
    assert (after.censored, after.low, after.high) == ("left", None, 3 * place)
    assert before.no_crossing == after.no_crossing == 1.0
    assert before.json()["value"] == place / 3 and "no crossing in range" in str(before)


def test_draws_that_do_not_cross_open_the_interval_and_are_counted():
    one, two = power_fit(1.0, 30.0, 0.2, 1, noise=0.02), power_fit(1.0, 300.0, 0.35, 2, noise=0.02)
    place = meet(one, two, "D", between=(1e3, 1e12)).value
    found = meet(one, two, "D", between=(1e3, place * 1.05))
    assert 0.1 < found.no_crossing < 0.9 and found.high is None and found.low < place


def test_what_is_missing_or_impossible_is_named():
    law = exact("chinchilla", {"A": A, "B": 410.0, "E": E, "alpha": ALPHA, "beta": 0.28}, grid())
    with pytest.raises(MeetingError, match="give N, which the laws need beside D"):
        meet(law, law, "D")
    with pytest.raises(MeetingError, match="N = -1 is not positive"):
        meet(law, law, "D", fixed={"N": -1.0})
    with pytest.raises(MeetingError, match="'Q' is not one of D, epochs, C, N, U"):
        meet(law, law, "Q")
    u = np.geomspace(1e7, 1e10, 6)
    line = pd.DataFrame({"U": u, "C_crit": 191.6 * u**2.174})
    place = fit(line, "critical_compute", estimand="log_mse", interval="none")
    with pytest.raises(MeetingError, match="predict different things: C_crit and loss"):
        meet(law, place, "D")


@pytest.mark.parametrize(
    ("unique", "flops"),
    [
        (1e7, 3.2e17),
        (2.5e7, 2.3e18),
        (5e7, 1.05e19),
        (1e8, 4.7e19),
        (5e8, 1.6e21),
        (1e9, 7.1e21),
        (1e10, 1.05e24),
    ],
)
def test_published_critical_compute(unique, flops):
    """The published line (Prabhudesai et al. 2025), whose constants its authors print; their base laws are
    not published in numbers, so that the line cannot be derived from a meeting of laws."""
    law = get_law("critical_compute")
    value = law.predict({"K": 2.12 * 10**1.956, "kappa": 2.174}, {"U": [unique]})[0]
    assert value == pytest.approx(flops, rel=0.03)


def test_twins_are_drawn_together():
    found = locate(*tables(replicates=2, spread=0.002, budgets=(1e6, 4e6)))
    table = points(found)
    last = table.groupby(["objective", "N", "twins"])["D"].max()
    assert last["autoregressive"].min() < 5e7 < last["masked_diffusion"].min()  # up to the minimum only
    fits = fit_arms(table, found.pair, "E + A/N**alpha + B/D**beta", draws=60)
    assert fits[0].sampler.draws.units == fits[1].sampler.draws.units == table["twins"].nunique()
    assert meet(*fits, "D", fixed={"N": 1e6}, between=(1e5, 1e10)).paired


def test_a_study_without_sizes_says_what_it_lacks():
    laws = arm_laws(locate(*tables(sizes=(1e5, 4e5), replicates=1)))
    assert laws.fits is None and "needs at least 3 sizes and 2 budgets" in laws.why
