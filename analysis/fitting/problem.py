"""A fitting problem: a law on data, with some parameters fixed, as a function of the free coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from analysis.fitting.estimands import Estimand
from analysis.laws.base import Array, Law


@dataclass(frozen=True)
class FitProblem:
    """Residuals of ``law`` on ``x`` (centred by ``log_units``) and ``y``, with ``fixed`` parameters frozen.

    Vectors ``phi`` (S, F) hold the free parameters in internal coordinates. ``weights`` (n,) multiply the
    loss.
    """

    law: Law
    x: Mapping[str, Array]
    y: Array
    weights: Array
    estimand: Estimand
    log_units: Mapping[str, float] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = self.law.parameter_names
        free = np.array([j for j, n in enumerate(names) if n not in self.fixed], dtype=int)
        template = np.zeros(len(names))
        if self.fixed:
            natural = np.array([[self.fixed.get(n, 1.0) for n in names]])
            template = self.law.to_internal(natural, self.log_units)[0]
        limits = np.array([self.law.parameters[j].limits() for j in free]).reshape(-1, 2)
        object.__setattr__(self, "free", free)
        object.__setattr__(self, "_template", template)
        object.__setattr__(self, "lower", limits[:, 0])
        object.__setattr__(self, "upper", limits[:, 1])
        object.__setattr__(self, "target", np.log(self.y) if self.estimand.log else self.y)

    free: Array = field(init=False, repr=False)
    lower: Array = field(init=False, repr=False)
    upper: Array = field(init=False, repr=False)
    target: Array = field(init=False, repr=False)
    _template: Array = field(init=False, repr=False)

    @property
    def free_names(self) -> tuple[str, ...]:
        """Names of the parameters that are not frozen, in the order of ``phi``."""
        return tuple(self.law.parameter_names[j] for j in self.free)

    def theta(self, phi: Array) -> Array:
        """Free coordinates (S, F) -> all internal coordinates (S, P)."""
        phi = np.atleast_2d(phi)
        theta = np.repeat(self._template[None], len(phi), axis=0)
        theta[:, self.free] = phi
        return theta

    def natural(self, phi: Array) -> Array:
        """Free coordinates (S, F) -> all parameters in original units (S, P)."""
        return self.law.to_natural(self.theta(phi), self.log_units)

    def phi(self, natural: Array) -> Array:
        """Parameters in original units (S, P) -> free coordinates (S, F)."""
        return self.law.to_internal(natural, self.log_units)[:, self.free]

    def canonical(self, phi: Array) -> Array:
        """The same curves with exchangeable parts of the law in one order, where no frozen part tells them
        apart."""
        theta = self.theta(phi)
        ordered = self.law.canonical(theta)
        frozen = [j for j, n in enumerate(self.law.parameter_names) if n in self.fixed]
        same = np.all(ordered[:, frozen] == theta[:, frozen], axis=1)
        return np.where(same[:, None], ordered, theta)[:, self.free]

    def exact(self) -> float:
        """Objective of residuals the size of rounding (1e-10 of the data): below it, a fit is exact."""
        size = (
            1e-10 * np.maximum(1.0, np.abs(self.target)) if self.estimand.log else 1e-10 * np.abs(self.target)
        )
        return float(np.sum(self.weights * self.estimand.rho(size)))

    def fitted(self, phi: Array) -> Array:
        """(S, n) predictions on the scale of residuals: log predictions for log estimands."""
        with np.errstate(all="ignore"):
            value, _ = self.law.evaluate(self.theta(phi), self.x, jac=False)
            return np.log(value) if self.estimand.log else value

    def residuals(self, phi: Array, targets: Array | None = None) -> Array:
        """(S, n) residuals; infinite where the law has no (positive) value. ``targets`` (S, n) replace the
        data."""
        r = (self.target if targets is None else targets) - self.fitted(phi)
        return np.where(np.isfinite(r), r, np.inf)

    def linearised(self, phi: Array, targets: Array | None = None) -> tuple[Array, Array]:
        """Residuals (S, n) and the derivative of the *prediction* (log prediction) by phi (S, F, n).

        Raises ValueError if the law gives no derivatives.
        """
        observed = self.target if targets is None else targets
        with np.errstate(all="ignore"):
            value, jac = self.law.evaluate(self.theta(phi), self.x, jac=True)
            if jac is None:
                raise ValueError(f"law {self.law.name!r} gave no derivatives")
            slopes = jac if len(self.free) == jac.shape[1] else jac[:, self.free]
            if self.estimand.log:
                return observed - np.log(value), slopes / value[:, None, :]
            return observed - value, slopes

    def objective(
        self,
        phi: Array,
        weights: Array | None = None,
        estimand: Estimand | None = None,
        targets: Array | None = None,
    ) -> Array:
        """(S,) weighted sum of losses; infinite where the law has no value. ``weights`` (n,), (1, n) or (S,
        n)."""
        w = self.weights if weights is None else weights
        rho = (estimand or self.estimand).rho
        with np.errstate(all="ignore"):
            value = np.sum(w * rho(self.residuals(phi, targets)), axis=1)
        return np.where(np.isfinite(value), value, np.inf)

    def gradient(self, phi: Array, weights: Array | None = None, estimand: Estimand | None = None) -> Array:
        """(S, F) derivative of ``objective``."""
        w = self.weights if weights is None else weights
        r, jac = self.linearised(phi)
        with np.errstate(all="ignore"):
            return -np.einsum("sfn,sn->sf", jac, w * (estimand or self.estimand).psi(r))

    def subset(self, rows: Array) -> FitProblem:
        """The same problem on some rows (indices or mask)."""
        return FitProblem(
            self.law,
            {k: v[rows] for k, v in self.x.items()},
            self.y[rows],
            self.weights[rows],
            self.estimand,
            self.log_units,
            self.fixed,
        )

    def with_data(self, y: Array) -> FitProblem:
        """The same problem with other observed values (n,)."""
        return FitProblem(self.law, self.x, y, self.weights, self.estimand, self.log_units, self.fixed)
