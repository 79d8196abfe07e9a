"""What a fit minimises, and therefore what it estimates.

The choice moves the answer more than the usual confidence interval (docs/fitting.md, "Which estimand"), so
it is always named: ``huber`` on log loss (Hoffmann et al. 2022, delta = 1e-3), ``lad`` (the median of log
loss), ``log_mse`` (the geometric mean), ``mse`` (the mean), ``quantile`` of log loss (tau = .05 is a lower
envelope).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.fitting.options import ESTIMANDS
from analysis.laws.base import Array
from analysis.tables.keywords import unknown

_MEANING = {
    "huber": "a robust centre of log loss (Huber, delta = {delta:g})",
    "lad": "the median of log loss (least absolute deviations)",
    "log_mse": "the mean of log loss (least squares on logs)",
    "mse": "the mean of loss (least squares)",
    "quantile": "the {tau:g} quantile of log loss",
}


@dataclass(frozen=True)
class Estimand:
    """A loss of residuals: rho(r), with r = log y - log prediction, or y - prediction for ``mse``.

    ``width`` is the half-width of the quadratic zone: delta for Huber, 0 for LAD and quantiles, which a
    solver approaches through ``smoothed``; None for least squares.
    """

    name: str
    delta: float = 1e-3
    tau: float = 0.5
    width: float | None = None

    @property
    def log(self) -> bool:
        """Whether residuals are of logarithms."""
        return self.name != "mse"

    @property
    def squares(self) -> bool:
        """Whether the loss is the square of the residual."""
        return self.name in ("mse", "log_mse")

    @property
    def smooth(self) -> bool:
        """Whether rho is differentiable everywhere."""
        return self.width is None or self.width > 0

    @property
    def meaning(self) -> str:
        """One phrase: what is estimated."""
        return _MEANING[self.name].format(delta=self.delta, tau=self.tau)

    @property
    def label(self) -> str:
        """Short form, such as ``huber(delta=0.001)``; ``get_estimand`` reads it back."""
        detail = {"huber": f"(delta={self.delta:g})", "quantile": f"(tau={self.tau:g})"}
        return self.name + detail.get(self.name, "")

    def smoothed(self, width: float) -> Estimand:
        """LAD or a quantile with a quadratic zone of this half-width."""
        return replace(self, width=width) if self.name in ("lad", "quantile") else self

    def _side(self, r: Array) -> Array | float:
        if self.name != "quantile":
            return 1.0
        return np.where(r >= 0, self.tau, 1.0 - self.tau)

    def rho(self, r: Array) -> Array:
        """Loss of each residual. Squares are r**2 (so that the objective is the RSS)."""
        if self.width is None:
            return r * r
        a = np.abs(r)
        if self.name == "huber":
            inner = np.minimum(a, self.width)
            return inner * (a - 0.5 * inner)
        if self.width == 0:
            return self._side(r) * a
        inner = np.minimum(a, self.width)
        return self._side(r) * inner * (a - 0.5 * inner) / self.width

    def psi(self, r: Array) -> Array:
        """Derivative of ``rho``."""
        if self.width is None:
            return 2.0 * r
        if self.name == "huber":
            return np.clip(r, -self.width, self.width)
        if self.width == 0:
            return self._side(r) * np.sign(r)
        return self._side(r) * np.clip(r / self.width, -1.0, 1.0)

    def weight(self, r: Array) -> Array:
        """psi(r)/r: the weights of the iteratively reweighted least squares that majorises the objective."""
        if self.width is None:
            return np.full_like(r, 2.0)
        if self.name == "huber":
            return self.width / np.maximum(np.abs(r), self.width)
        return self._side(r) / np.maximum(np.abs(r), max(self.width, 1e-300))


def get_estimand(spec: str | Estimand, delta: float = 1e-3, tau: float = 0.05) -> Estimand:
    """An estimand by name or label; ``delta`` is that of Huber's function, ``tau`` that of quantiles.

    Raises ValueError for another name, with the nearest and all there are.
    """
    if isinstance(spec, Estimand):
        return spec
    name, _, detail = spec.partition("(")
    if detail:
        key, _, value = detail.rstrip(")").partition("=")
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"estimand {spec!r}: {value!r} is not a number") from None
        delta, tau = (number, tau) if key == "delta" else (delta, number)
    if name not in ESTIMANDS:
        raise ValueError(unknown("estimand", name, ESTIMANDS))
    if name == "huber" and not delta > 0:
        raise ValueError(f"huber needs delta > 0, got {delta:g}; delta = 0 is 'lad'")
    if name == "quantile" and not 0 < tau < 1:
        raise ValueError(f"quantile needs 0 < tau < 1, got {tau:g}")
    width = {"huber": delta, "lad": 0.0, "quantile": 0.0}.get(name)
    return Estimand(
        name, delta=delta if name == "huber" else 1e-3, tau=tau if name == "quantile" else 0.5, width=width
    )
