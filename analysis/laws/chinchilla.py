"""Separable laws in parameters and tokens: Hoffmann et al. 2022 and its relatives."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from analysis.laws.base import Array, Law, Named, register
from analysis.laws.terms import ALPHA, LEVEL, SEPARABLE, SIZE, TIED_DATA, separable


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
    separable = True
    variables = ("N", "D")
    parameters = SEPARABLE

    def evaluate(self, theta: Array, x: Named, jac: bool = True) -> tuple[Array, Array | None]:
        terms = separable(theta, x)
        return terms.total, terms.derivatives() if jac else None


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
    separable = True
    variables = ("N", "D")
    parameters = (SIZE, TIED_DATA, LEVEL, replace(ALPHA, meaning="exponent of parameters and data"))

    def evaluate(self, theta: Array, x: Named, jac: bool = True) -> tuple[Array, Array | None]:
        terms = separable(theta, x, beta=3)
        if not jac:
            return terms.total, None
        out = terms.derivatives()
        with np.errstate(invalid="ignore", over="ignore"):
            out[:, 3] += out[:, 4]
        return terms.total, out[:, :4]


def hoffmann_grid() -> Array:
    """The 4500 starts of Hoffmann et al. (appendix D.3), as natural parameter values (4500, 5) in the order
    A, B, E, alpha, beta. Exponents of zero are moved to 1e-3: the law there has no slope to descend."""
    exponents = (1e-3, 0.5, 1.0, 1.5, 2.0)
    rows = product((-1.0, -0.5, 0.0, 0.5, 1.0), range(0, 30, 5), range(0, 30, 5), exponents, exponents)
    return np.array([[np.exp(a), np.exp(b), np.exp(e), al, be] for e, a, b, al, be in rows])


register(Chinchilla())
register(ChinchillaTied())
