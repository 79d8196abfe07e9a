"""The crossing's law against a brute-force integral of the same posterior."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from analysis.crossover.places.censored_law import GRID, SCALE, SHRINK, fit_places


def _brute(data: pd.DataFrame, points: int = 161) -> np.ndarray:
    """Quantiles 2.5, 50 and 97.5 % of the slope on U: intercept and slope over a grid, cells integrated in
    closed form where all their places were seen, and over 400 quantiles of it where all are bounds."""
    x = np.log(data["U"]) - np.log(data["U"]).mean()
    data = data.assign(x=x)
    level = data.loc[data["side"] == 0, "y"].mean()
    intercept = level + np.linspace(-1.2, 1.2, points)
    slope = np.linspace(-1.5, 3.5, 3 * points)
    middle = np.linspace(-20, 20, 1601)  # of a cell, relative to its bound
    effects = special.ndtri((np.arange(400) + 0.5) / 400)
    logs, weights = [], []
    for cell_sd, sd in itertools.product(GRID, GRID):
        total = np.zeros((len(intercept), len(slope)))
        for _, rows in data.groupby("cell"):
            n, at = len(rows), float(rows["x"].iloc[0])
            mean = intercept[:, None] + slope[None] * at
            if (rows["side"] == 0).all():
                y = rows["y"].to_numpy()
                within = float(((y - y.mean()) ** 2).sum())
                total -= (n - 1) * math.log(sd) + within / sd**2 / 2
                total += stats.norm.logpdf(y.mean() - mean, scale=math.hypot(cell_sd, sd / math.sqrt(n)))
            else:
                assert (rows["side"] == 1).all() and rows["y"].nunique() == 1
                beyond = special.log_ndtr((middle[:, None] + cell_sd * effects) / sd) * n
                curve = special.logsumexp(beyond, axis=1) - math.log(len(effects))
                total += np.interp(mean - rows["y"].iloc[0], middle, curve)
        prior = sum(-0.5 * (s / SCALE) ** 2 + (1 - SHRINK) * math.log(s) for s in (cell_sd, sd))
        logs.append(special.logsumexp(total, axis=0) + prior)
        weights.append(logs[-1].max())
    density = np.exp(np.array(logs) - max(weights)).sum(axis=0)
    cumulative = (np.cumsum(density) - density / 2) / density.sum()
    return np.interp((0.025, 0.5, 0.975), cumulative, slope)


@pytest.mark.slow
@pytest.mark.parametrize("censored", [0, 1])
def test_the_law_is_the_brute_force_integral(censored):
    """Four cells of two replicates, of which the last has not crossed."""
    rng = np.random.default_rng(5)
    rows = []
    for cell, u in enumerate((1e4, 2e4, 4e4, 8e4)):
        scatter = rng.normal(0, 0.1)
        for _ in range(2):
            y = 0.6 * math.log(u / 1e4) + scatter + rng.normal(0, 0.08)
            late = censored and cell == 3
            rows.append(
                {"cell": cell, "seed": 0, "U": u, "N": 1e6, "y": 0.9 if late else y, "side": int(late)}
            )
    data = pd.DataFrame(rows)
    slope = fit_places(data).coefficient("U")
    low, value, high = _brute(data)
    # Exact without bounds. With few cells and a bound the posterior is skewed, and Laplace's normals are not.
    width, slack = high - low, 0.2 if censored else 0.02
    assert slope.value == pytest.approx(value, abs=0.04 * width)
    assert (slope.low, slope.high) == pytest.approx((low, high), abs=slack * width)
