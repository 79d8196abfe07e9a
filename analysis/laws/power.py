"""Power laws in one variable, with and without an offset, and loss saturation in compute."""

from __future__ import annotations

import numpy as np

from analysis.laws.base import Array, Law, Named, Parameter, register


class PowerLaw(Law):
    """y(x) = A x**-alpha; ``alpha`` of either sign (Hestness et al. 2017, arXiv 1712.00409)."""

    name = "power"
    formula = "A*x**-alpha"
    source = (
        "Hestness et al. 2017, arXiv 1712.00409, eq. 1; Kaplan et al. 2020, arXiv 2001.08361, eq. 1.1-1.3"
    )
    variables = ("x",)
    target = "y"
    parameters = (
        Parameter("A", "term", units={"x": lambda p: p["alpha"]}, meaning="value at x = 1"),
        Parameter("alpha", positive=False, start=(-2.0, 2.0), meaning="exponent"),
    )

    def evaluate(self, theta: Array, x: Named, jac: bool = True) -> tuple[Array, Array | None]:
        (variable,) = self.variables
        with np.errstate(over="ignore"):
            y = np.exp(theta[:, 0:1] - theta[:, 1:2] * x[variable])
        return y, np.stack((y, -y * x[variable]), axis=1) if jac else None


def _above_a_level(variable: str) -> tuple[Parameter, ...]:
    return (
        Parameter(
            "A", "term", units={variable: lambda p: p["alpha"]}, meaning=f"reducible part at {variable} = 1"
        ),
        Parameter("E", "level", meaning="irreducible level"),
        Parameter("alpha", "exponent", meaning=f"exponent of {variable}"),
    )


class PowerLawOffset(Law):
    """y(x) = E + A x**-alpha: a power law above an irreducible level (Henighan et al. 2020, arXiv
    2010.14701)."""

    name = "power_offset"
    formula = "E + A*x**-alpha"
    source = "Henighan et al. 2020, arXiv 2010.14701, eq. 1.1"
    special_cases: tuple[str, ...] = ("power",)
    variables = ("x",)
    target = "y"
    parameters = _above_a_level("x")

    def evaluate(self, theta: Array, x: Named, jac: bool = True) -> tuple[Array, Array | None]:
        variable = self.variables[0]
        with np.errstate(over="ignore", invalid="ignore"):
            slope = -np.exp(theta[:, 2:3]) * x[variable]
            term = np.exp(theta[:, 0:1] + slope)
            level = np.broadcast_to(np.exp(theta[:, 1:2]), term.shape)
            return level + term, np.stack((term, level, term * slope), axis=1) if jac else None


class LossSaturation(PowerLawOffset):
    """L(C) = E + A/C**alpha along the compute-optimal front.

    Porian et al. 2024 (arXiv 2406.19146) fit it weighted, but passed a variance for a standard deviation:
    9 of the 15 weighted fits they published equal their own starting point.
    """

    name = "loss_saturation"
    formula = "E + A/C**alpha"
    source = "Porian et al. 2024, arXiv 2406.19146, section 4; with E = 0 arXiv 2001.08361, eq. 1.3"
    special_cases = ()
    variables = ("C",)
    target = "loss"
    parameters = _above_a_level("C")


register(PowerLaw())
register(PowerLawOffset())
register(LossSaturation())
