"""Kaplan et al. 2020: the joint law of parameters and data."""

from __future__ import annotations

import numpy as np

from analysis.laws.base import Array, Law, Named, Parameter, register


class KaplanJoint(Law):
    """L(N, D) = ((N_c/N)**(alpha_N/alpha_D) + D_c/D)**alpha_D  (arXiv 2001.08361, equation 1.5).

    No irreducible loss; Kaplan's N leaves out embeddings. Published values: N_c 8.8e13, D_c 5.4e13,
    alpha_N .076, alpha_D .095.
    """

    name = "kaplan"
    formula = "((N_c/N)**(alpha_N/alpha_D) + D_c/D)**alpha_D"
    source = "Kaplan et al. 2020, arXiv 2001.08361, eq. 1.5"
    variables = ("N", "D")
    parameters = (
        Parameter(
            "N_c",
            units={"N": lambda p: 1.0},
            start=(1e-2, 1e12),
            bounds=(1e-20, 1e60),
            meaning="parameter scale",
        ),
        Parameter(
            "D_c", units={"D": lambda p: 1.0}, start=(1e-2, 1e12), bounds=(1e-20, 1e60), meaning="data scale"
        ),
        Parameter("alpha_N", "exponent", meaning="exponent of parameters"),
        Parameter("alpha_D", "exponent", meaning="exponent of data"),
    )

    def evaluate(self, theta: Array, x: Named, jac: bool = True) -> tuple[Array, Array | None]:
        log_nc, log_dc = theta[:, 0:1], theta[:, 1:2]
        with np.errstate(over="ignore", invalid="ignore"):
            alpha_d = np.exp(theta[:, 3:4])
            ratio = np.exp(theta[:, 2:3] - theta[:, 3:4])
            u, v = ratio * (log_nc - x["N"]), log_dc - x["D"]
            log_sum = np.logaddexp(u, v)
            y = np.exp(alpha_d * log_sum)
            if not jac:
                return y, None
            share = np.exp(u - log_sum)
            by_u = y * alpha_d * share
            by_v = y * alpha_d * np.exp(v - log_sum)
            by_alpha_d = y * alpha_d * log_sum - by_u * u
        return y, np.stack((by_u * ratio, by_v, by_u * u, by_alpha_d), axis=1)


register(KaplanJoint())
