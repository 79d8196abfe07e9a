"""A law of parameters, tokens and data quality."""

from __future__ import annotations

import numpy as np

from analysis.laws.base import Array, Law, Named, Parameter, register


class QualityAware(Law):
    """L(N, D, Q) = E + A/N**alpha + B/(D**beta Q**gamma), Q in (0, 1] (arXiv 2510.03313, equation 4).

    Q multiplies the data: Q**(gamma/beta) D tokens of clean text are worth D tokens of quality Q. ``gamma``
    may be of either sign; zero says that quality does not matter.
    """

    name = "quality"
    formula = "E + A/N**alpha + B/(D**beta*Q**gamma)"
    source = "Subramanyam et al. 2025, arXiv 2510.03313"
    special_cases = ("chinchilla", "chinchilla_tied")
    variables = ("N", "D", "Q")
    parameters = (
        Parameter(
            "A", "term", units={"N": lambda p: p["alpha"]}, meaning="size of the parameter term at N = 1"
        ),
        Parameter(
            "B",
            "term",
            units={"D": lambda p: p["beta"], "Q": lambda p: p["gamma"]},
            meaning="size of the data term at D = 1, Q = 1",
        ),
        Parameter("E", "level", meaning="irreducible loss"),
        Parameter("alpha", "exponent", meaning="exponent of parameters"),
        Parameter("beta", "exponent", meaning="exponent of data"),
        Parameter("gamma", positive=False, start=(-0.5, 2.0), meaning="exponent of quality"),
    )

    def evaluate(self, theta: Array, x: Named, jac: bool = True) -> tuple[Array, Array | None]:
        with np.errstate(over="ignore", invalid="ignore"):
            slope_n, slope_d = -np.exp(theta[:, 3:4]) * x["N"], -np.exp(theta[:, 4:5]) * x["D"]
            term_n = np.exp(theta[:, 0:1] + slope_n)
            term_d = np.exp(theta[:, 1:2] + slope_d - theta[:, 5:6] * x["Q"])
            level = np.broadcast_to(np.exp(theta[:, 2:3]), term_n.shape)
            if not jac:
                return level + term_n + term_d, None
            columns = (term_n, term_d, level, term_n * slope_n, term_d * slope_d, -term_d * x["Q"])
        return level + term_n + term_d, np.stack(columns, axis=1)


register(QualityAware())
