"""A coupling of the parameter and data terms: the separable law raised to a power."""

from __future__ import annotations

import numpy as np

from analysis.laws.base import Array, Law, Named, Parameter, register
from analysis.laws.terms import SEPARABLE, slopes


class Coupled(Law):
    """L(N, D) = E + (A/N**alpha + B/D**beta)**gamma (Beck et al. 2025, arXiv 2510.02228; Skaling).

    gamma = 1 is the separable law, and the nested test of it; Chinchilla's points prefer gamma near .77.
    """

    name = "coupled"
    formula = "E + (A/N**alpha + B/D**beta)**gamma"
    source = (
        "Beck et al. 2025 (xLSTM scaling laws), arXiv 2510.02228; nests arXiv 2203.15556 eq. 2 at gamma = 1"
    )
    special_cases = ("chinchilla", "chinchilla_tied")
    separable = True
    variables = ("N", "D")
    parameters = (
        *SEPARABLE,
        Parameter("gamma", start=(0.3, 2.0), bounds=(1e-3, 50.0), meaning="coupling; 1 is separable"),
    )

    def evaluate(self, theta: Array, x: Named, jac: bool = True) -> tuple[Array, Array | None]:
        slope_n, slope_d = slopes(theta, x)
        with np.errstate(over="ignore", invalid="ignore"):
            u, v = theta[:, 0:1] + slope_n, theta[:, 1:2] + slope_d
            log_sum = np.logaddexp(u, v)
            gamma = np.exp(theta[:, 5:6])
            term = np.exp(gamma * log_sum)
            level = np.broadcast_to(np.exp(theta[:, 2:3]), term.shape)
            if not jac:
                return level + term, None
            by_u = term * gamma * np.exp(u - log_sum)
            by_v = term * gamma * np.exp(v - log_sum)
            columns = (by_u, by_v, level, by_u * slope_n, by_v * slope_d, term * gamma * log_sum)
        return level + term, np.stack(columns, axis=1)


register(Coupled())
