"""The separable law with an additive penalty for over-fitting repeated data."""

from __future__ import annotations

import numpy as np

from analysis.laws.base import Array, Law, Named, Parameter, register


class OverfitPenalty(Law):
    """L = E + A/N**alpha + B/D**beta + P (D/U - 1)**kappa (N/U)**lambda.

    The loss rises with the number of repeats and with parameters per unique token, so that it has a minimum
    in D at given N and U. The one-coefficient form (arXiv 2605.01640) is this with ``kappa`` and ``lambda``
    fixed, e.g. ``fix={"kappa": 1, "lambda": 1}``.
    """

    name = "overfit_penalty"
    formula = "E + A/N**alpha + B/D**beta + P*max(0, D/U-1)**kappa*(N/U)**lambda"
    source = "Lovelace et al. 2026, arXiv 2605.01640 (additive penalty, a power of repeats and of N/U)"
    special_cases = ("chinchilla", "chinchilla_tied")
    variables = ("N", "D", "U")
    shared_units = (("D", "U"),)
    parameters = (
        Parameter(
            "A", "term", units={"N": lambda p: p["alpha"]}, meaning="size of the parameter term at N = 1"
        ),
        Parameter("B", "term", units={"D": lambda p: p["beta"]}, meaning="size of the data term at D = 1"),
        Parameter("E", "level", meaning="irreducible loss"),
        Parameter("alpha", "exponent", meaning="exponent of parameters"),
        Parameter("beta", "exponent", meaning="exponent of data"),
        Parameter(
            "P",
            "term",
            units={"N": lambda p: -p["lambda"], "U": lambda p: p["lambda"]},
            start=(1e-5, 1.0),
            meaning="penalty at one repeat and N = U",
        ),
        Parameter("kappa", start=(0.2, 3.0), bounds=(1e-3, 20.0), meaning="growth with repeats"),
        Parameter(
            "lambda", start=(0.1, 2.0), bounds=(1e-4, 20.0), meaning="growth with parameters per unique token"
        ),
    )

    def evaluate(self, theta: Array, x: Named, jac: bool = True) -> tuple[Array, Array | None]:
        with np.errstate(divide="ignore"):
            log_repeats = np.log(np.maximum(np.expm1(x["D"] - x["U"]), 0.0))
        crowding = x["N"] - x["U"]
        with np.errstate(over="ignore", invalid="ignore"):
            slope_n, slope_d = -np.exp(theta[:, 3:4]) * x["N"], -np.exp(theta[:, 4:5]) * x["D"]
            total, (term_n, term_d) = sum_terms(theta, slope_n, slope_d)
            kappa, lam = np.exp(theta[:, 6:7]), np.exp(theta[:, 7:8])
            penalty = np.exp(theta[:, 5:6] + kappa * log_repeats + lam * crowding)
            total = total + penalty
            if not jac:
                return total, None
            repeats = np.where(np.isfinite(log_repeats), log_repeats, 0.0)
            columns = (
                term_n,
                term_d,
                np.broadcast_to(np.exp(theta[:, 2:3]), total.shape),
                term_n * slope_n,
                term_d * slope_d,
                penalty,
                penalty * kappa * repeats,
                penalty * lam * crowding,
            )
        return total, np.stack(columns, axis=1)


def sum_terms(theta: Array, slope_n: Array, slope_d: Array) -> tuple[Array, tuple[Array, Array]]:
    """E + A/N**alpha + B/D**beta from the first three internal coordinates and the slopes."""
    term_n, term_d = np.exp(theta[:, 0:1] + slope_n), np.exp(theta[:, 1:2] + slope_d)
    return np.exp(theta[:, 2:3]) + term_n + term_d, (term_n, term_d)


register(OverfitPenalty())
