"""Separable laws in parameters and tokens: Hoffmann et al. 2022 and its relatives."""

from __future__ import annotations

from itertools import product

import numpy as np

from analysis.laws.base import Array, Law, Named, Parameter, register, sum_of_powers


class Chinchilla(Law):
    """L(N, D) = E + A/N**alpha + B/D**beta (arXiv 2203.15556, equation 2).

    Compute-optimal at C = 6ND: N* = G (C/6)**a, with a = beta/(alpha+beta) and
    G = (alpha A / (beta B))**(1/(alpha+beta)).
    """

    name = "chinchilla"
    formula = "E + A/N**alpha + B/D**beta"
    source = (
        "Hoffmann et al. 2022, arXiv 2203.15556, eq. 2; replication Besiroglu et al. 2024, arXiv 2404.10102"
    )
    special_cases = ("chinchilla_tied",)
    variables = ("N", "D")
    parameters = (
        Parameter(
            "A", "term", units={"N": lambda p: p["alpha"]}, meaning="size of the parameter term at N = 1"
        ),
        Parameter("B", "term", units={"D": lambda p: p["beta"]}, meaning="size of the data term at D = 1"),
        Parameter("E", "level", meaning="irreducible loss"),
        Parameter("alpha", "exponent", meaning="exponent of parameters"),
        Parameter("beta", "exponent", meaning="exponent of data"),
    )

    def evaluate(self, theta: Array, x: Named, jac: bool = True) -> tuple[Array, Array | None]:
        a, b, e = theta[:, 0:1], theta[:, 1:2], theta[:, 2:3]
        with np.errstate(over="ignore"):
            slope_n, slope_d = -np.exp(theta[:, 3:4]) * x["N"], -np.exp(theta[:, 4:5]) * x["D"]
            total, (term_n, term_d) = sum_of_powers(e, [(a, slope_n), (b, slope_d)])
        if not jac:
            return total, None
        out = np.empty((len(theta), 5, total.shape[1]))
        out[:, 0], out[:, 1], out[:, 2] = term_n, term_d, np.exp(e)
        with np.errstate(invalid="ignore", over="ignore"):
            np.multiply(term_n, slope_n, out=out[:, 3])
            np.multiply(term_d, slope_d, out=out[:, 4])
        return total, out


class ChinchillaTied(Law):
    """L(N, D) = E + A/N**alpha + B/D**alpha: one exponent for both.

    The base law of Muennighoff et al. 2023; Gadre et al. 2024 (arXiv 2403.08540) write it in compute and
    tokens per parameter M: L = E + (a M**eta + b M**-eta) C**-eta with alpha = 2 eta.
    """

    name = "chinchilla_tied"
    formula = "E + A/N**alpha + B/D**alpha"
    source = (
        "Muennighoff et al. 2023, arXiv 2305.16264, section 3; Gadre et al. 2024, arXiv 2403.08540, eq. 4"
    )
    variables = ("N", "D")
    parameters = (
        Parameter(
            "A", "term", units={"N": lambda p: p["alpha"]}, meaning="size of the parameter term at N = 1"
        ),
        Parameter("B", "term", units={"D": lambda p: p["alpha"]}, meaning="size of the data term at D = 1"),
        Parameter("E", "level", meaning="irreducible loss"),
        Parameter("alpha", "exponent", meaning="exponent of parameters and data"),
    )

    def evaluate(self, theta: Array, x: Named, jac: bool = True) -> tuple[Array, Array | None]:
        a, b, e = theta[:, 0:1], theta[:, 1:2], theta[:, 2:3]
        with np.errstate(over="ignore"):
            alpha = np.exp(theta[:, 3:4])
            slope_n, slope_d = -alpha * x["N"], -alpha * x["D"]
            total, (term_n, term_d) = sum_of_powers(e, [(a, slope_n), (b, slope_d)])
        if not jac:
            return total, None
        with np.errstate(invalid="ignore", over="ignore"):
            columns = (
                term_n,
                term_d,
                np.broadcast_to(np.exp(e), total.shape),
                term_n * slope_n + term_d * slope_d,
            )
        return total, np.stack(columns, axis=1)


def hoffmann_grid() -> Array:
    """The 4500 starts of Hoffmann et al. (appendix D.3), as natural parameter values (4500, 5) in the order
    A, B, E, alpha, beta. Exponents of zero are moved to 1e-3: the law there has no slope to descend."""
    exponents = (1e-3, 0.5, 1.0, 1.5, 2.0)
    rows = product((-1.0, -0.5, 0.0, 0.5, 1.0), range(0, 30, 5), range(0, 30, 5), exponents, exponents)
    return np.array([[np.exp(a), np.exp(b), np.exp(e), al, be] for e, a, b, al, be in rows])


register(Chinchilla())
register(ChinchillaTied())
