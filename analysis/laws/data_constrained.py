"""Laws of repeated data: Muennighoff et al. 2023 and its decay variants.

L = E + A/N'**alpha + B/D'**beta, where repeats and excess parameters saturate:

    D' = U (1 + s(D/U - 1; R_D)),    N' = U_N (1 + s(N/U_N - 1; R_N)),    s(r; R) = R (1 - exp(-r/R))

with U_N = min(N, N_opt(U)), the compute-optimal size for U tokens: N_opt**alpha = (alpha A / (beta B))
U**beta. R -> infinity is "repeats are as good as fresh data", an honest and frequent answer, so R is searched
on a logarithmic scale up to 1e9, where reaching the bound is reported as unbounded. ``1 - exp(-r/R)`` must be
``-expm1(-r/R)``: the cancellation otherwise fakes optima at R = 1e17.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.laws.base import Array, Law, Named, Parameter, register
from analysis.laws.terms import ALPHA, BETA, DATA, LEVEL, SIZE, TIED_DATA

_TINY = 1e-5


@dataclass(frozen=True)
class Saturation:
    """log(1 + s(r; R)) of repeats r = exp(m) - 1, and its derivatives by m and by log R."""

    kind: str

    def __call__(self, log_r_star: Array, m: Array) -> tuple[Array, Array, Array]:
        repeats = np.expm1(m)
        star = np.exp(log_r_star)
        if self.kind == "exponential":
            rate, d_rate = 1.0 / star, -1.0 / star
        elif self.kind == "geometric":
            rate = np.log1p(1.0 / star)
            d_rate = -1.0 / (star + 1.0)
        else:
            rate, d_rate = np.zeros_like(star), np.zeros_like(star)
        if self.kind == "hyperbolic":
            gain = star * repeats / (star + repeats)
            d_gain_r = (star / (star + repeats)) ** 2
            d_gain_star = star * (repeats / (star + repeats)) ** 2
        else:
            q = repeats * rate
            decay = np.exp(-q)
            gain = star * -np.expm1(-q)
            d_gain_r = star * rate * decay
            # d gain / d log R = R (1 - e^-q) + R e^-q r d(rate)/d(log R); the two cancel to second order in q
            slope = repeats * d_rate * decay
            exact = star * (-np.expm1(-q) + slope)
            d_gain_star = np.where(q < _TINY, star * (q + slope / decay * (1 - q) - 0.5 * q * q), exact)
        total = 1.0 + gain
        return np.log(total), d_gain_r * (repeats + 1.0) / total, d_gain_star / total


EXPONENTIAL, GEOMETRIC, HYPERBOLIC = (
    Saturation("exponential"),
    Saturation("geometric"),
    Saturation("hyperbolic"),
)


def _star(name: str, meaning: str) -> Parameter:
    return Parameter(name, start=(0.3, 1e3), bounds=(1e-3, 1e9), meaning=meaning)


class DataConstrained(Law):
    """Effective data and parameters that saturate under repetition (arXiv 2305.16264, equations 5-7).

    ``saturation`` is the form of the decay, ``data`` and ``params`` say which of the two decay. Staged, as
    published: ``fix`` the base law (A, B, E, alpha, beta) and fit R_D, R_N; the result then says frozen.
    Joint: fix nothing. The published R_D* = 15.4 is a local optimum of the staged fit (docs/fitting.md,
    "Which interval").
    """

    special_cases = ("chinchilla_tied",)
    variables = ("N", "D", "U")
    shared_units = (("D", "U"),)

    def __init__(
        self,
        name: str,
        saturation: Saturation = EXPONENTIAL,
        data: bool = True,
        params: bool = True,
        tied: bool = False,
    ) -> None:
        self.name, self.saturation, self.data, self.params, self.tied = name, saturation, data, params, tied
        beta = "alpha" if tied else "beta"
        self.formula = f"E + A/N'**alpha + B/D'**{beta}, " + ", ".join(
            ([f"D' = U(1+s(D/U-1; R_D)), {saturation.kind} s"] if data else ["D' = D"])
            + ([f"N' = U_N(1+s(N/U_N-1; R_N)), {saturation.kind} s"] if params else ["N' = N"])
        )
        self.source = (
            "Muennighoff et al. 2023, arXiv 2305.16264, eq. 5-7 and appendix; huggingface/datablations"
        )
        self.parameters = (
            SIZE,
            TIED_DATA if tied else DATA,
            LEVEL,
            ALPHA,
            *(() if tied else (BETA,)),
            *((_star("R_D", "repeats after which data has lost 1 - 1/e of its worth"),) if data else ()),
            *((_star("R_N", "the same for excess parameters"),) if params else ()),
        )

    def evaluate(self, theta: Array, x: Named, jac: bool = True) -> tuple[Array, Array | None]:
        columns = {p.name: theta[:, j : j + 1] for j, p in enumerate(self.parameters)}
        a, b, log_alpha = columns["A"], columns["B"], columns["alpha"]
        log_beta = log_alpha if self.tied else columns["beta"]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            alpha, beta = np.exp(log_alpha), np.exp(log_beta)
            unique = np.minimum(x["U"], x["D"])
            if self.data:
                gain, _, d_rd = self.saturation(columns["R_D"], np.maximum(x["D"] - unique, 0.0))
                log_data = unique + gain
            else:
                log_data = np.broadcast_to(x["D"], (len(theta), len(x["D"])))
            if self.params:
                log_opt = (log_alpha + a - log_beta - b + beta * unique) / alpha
                excess = np.maximum(x["N"] - log_opt, 0.0)
                gain_n, d_excess, d_rn = self.saturation(columns["R_N"], excess)
                log_size = x["N"] - excess + gain_n
            else:
                log_size = np.broadcast_to(x["N"], log_data.shape)
            term_n, term_d = np.exp(a - alpha * log_size), np.exp(b - beta * log_data)
            level = np.broadcast_to(np.exp(columns["E"]), term_n.shape)
            total = level + term_n + term_d
            if not jac:
                return total, None
            by_size = -alpha * term_n
            out = {"A": term_n, "B": term_d, "E": level, "alpha": by_size * log_size}
            by_beta = -beta * term_d * log_data
            if self.data:
                out["R_D"] = -beta * term_d * d_rd
            if self.params:
                out["R_N"] = by_size * d_rn
                # d log N' / d log N_opt, zero where N is not in excess
                by_opt = by_size * np.where(excess > 0, 1.0 - d_excess, 0.0)
                out["A"] = out["A"] + by_opt / alpha
                out["B"] = out["B"] - by_opt / alpha
                out["alpha"] = out["alpha"] + by_opt * (1.0 / alpha - log_opt)
                by_beta = by_beta + by_opt * (beta * unique - 1.0) / alpha
            if self.tied:
                out["alpha"] = out["alpha"] + by_beta
            else:
                out["beta"] = by_beta
        return total, np.stack([out[p.name] for p in self.parameters], axis=1)


register(DataConstrained("data_constrained"))
register(DataConstrained("data_constrained_tied", tied=True))
register(DataConstrained("data_constrained_geometric", GEOMETRIC))
register(DataConstrained("data_constrained_hyperbolic", HYPERBOLIC))
register(DataConstrained("data_constrained_data_only", params=False))
register(DataConstrained("data_constrained_params_only", data=False))
