"""Likelihoods that go with the estimands, for comparisons of laws and tests of published values."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from analysis.fitting.estimands import Estimand, get_estimand
from analysis.laws.base import Array


def log_likelihood(
    residuals: Array, estimand: str | Estimand = "huber", weights: Array | None = None
) -> float:
    """Log-likelihood of residuals under the error density that belongs to an estimand, at its best scale.

    ``log_mse`` and ``mse``: normal. ``lad``: Laplace; ``quantile``: asymmetric Laplace. ``huber``: the
    density proportional to exp(-Huber(r/sigma; delta)) with sigma free (Besiroglu et al. 2024, arXiv
    2404.10102), which for small delta is the Laplace density.
    """
    aim = get_estimand(estimand)
    r = np.asarray(residuals, dtype=float)
    w = np.ones_like(r) if weights is None else np.asarray(weights, dtype=float)
    n = float(np.sum(w))
    if aim.squares:
        variance = float(np.sum(w * r * r) / n)
        return -0.5 * n * (math.log(2 * math.pi * max(variance, 1e-300)) + 1.0)
    if aim.name in ("lad", "quantile"):
        scale = max(float(np.sum(w * aim.rho(r)) / n), 1e-300)
        mass = 2.0 if aim.name == "lad" else 1.0 / (aim.tau * (1 - aim.tau))
        return -n * (math.log(mass * scale) + 1.0)
    delta = aim.delta
    log_mass = math.log(
        math.sqrt(2 * math.pi) * (1 - 2 * norm.sf(delta)) + 2 * math.exp(-0.5 * delta**2) / delta
    )
    magnitude = np.abs(r)
    centre = math.log(max(float(np.sum(w * magnitude) / n) * delta, 1e-300))

    def negative(log_sigma: float) -> float:
        x = magnitude / math.exp(log_sigma)
        inner = np.minimum(x, delta)
        return float(np.sum(w * inner * (x - 0.5 * inner)) + n * (log_mass + log_sigma))

    best = minimize_scalar(
        negative, bounds=(centre - 5, centre + 10), method="bounded", options={"xatol": 1e-10}
    )
    return -float(best.fun)
