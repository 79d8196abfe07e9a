"""What a scaling law is: named parameters, units, and a batched prediction with its derivatives.

Coordinates ----------- A law is evaluated in *internal coordinates*: the logarithm of every positive
parameter, the value itself of the others, and the logarithm of every variable. Variables are divided by a
unit (their geometric mean) before a fit, which centres ``log N`` and ``log D``: in raw units the correlation
of ``log A`` with ``alpha`` is .999, after centring the condition number of J'J falls a thousandfold
on Chinchilla's points. A law's amplitudes are *covariant*: ``Parameter.units`` says how each changes
when a unit does, so that the same fit is read in anybody's units.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: arrays are float64 unless a docstring says otherwise (indices, masks)
Array = NDArray[Any]
Named = Mapping[str, Array]
#: d log(parameter) / d log(unit of a variable), from the natural values of the dimensionless parameters
UnitPower = Callable[[Named], Array | float]


@dataclass(frozen=True)
class Parameter:
    """One named parameter.

    ``role`` tells the start generator what the parameter is, and ``start`` overrides the range it implies
    (natural values, in centred units): ``level`` an irreducible loss, a fraction of the lowest one seen;
    ``term`` the size of a reducible term at the centre of the data; ``exponent``; ``scale:X`` a place along
    variable X; ``ratio`` a dimensionless positive number of any size.
    """

    name: str
    role: str = "ratio"
    positive: bool = True
    units: Mapping[str, UnitPower] = field(default_factory=dict)
    start: tuple[float, float] | None = None
    bounds: tuple[float, float] | None = None
    meaning: str = ""

    def limits(self) -> tuple[float, float]:
        """Bounds in internal coordinates and centred units. Reaching one is reported, never hidden."""
        if self.bounds is not None:
            low, high = self.bounds
            if not self.positive:
                return low, high
            return (math.log(low) if low > 0 else -60.0), math.log(high)
        if not self.positive:
            return -1e6, 1e6
        if self.role == "exponent":
            return math.log(1e-4), math.log(20.0)
        if self.role == "term":  # small enough to vanish under the steepest exponent over eight decades
            return -200.0, 45.0
        if self.role == "level" or self.role.startswith("scale:"):
            return -45.0, 45.0
        return math.log(1e-6), math.log(1e9)


class Law(ABC):
    """A law: subclasses give the class attributes and ``evaluate``.

    ``variables`` are columns of a table under their standard names (N parameters, D tokens seen, U unique
    tokens, C FLOPs, Q quality in (0, 1]); all positive and passed to ``evaluate`` as logarithms, but for
    those in ``raw_variables``. ``target`` is the column predicted, ``interval`` the recommended interval,
    ``special_cases`` the laws that this one contains. ``separable`` laws depend on N and D through
    A/N**alpha + B/D**beta alone (one exponent, if there is no parameter ``beta``), so that the best N at a
    budget has a closed form.
    """

    name: str
    formula: str
    source: str
    variables: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    target: str = "loss"
    raw_variables: frozenset[str] = frozenset()
    special_cases: tuple[str, ...] = ()
    shared_units: tuple[tuple[str, ...], ...] = ()
    interval: str = "profile"
    separable: bool = False

    @abstractmethod
    def evaluate(self, theta: Array, x: Named, jac: bool = True) -> tuple[Array, Array | None]:
        """Predictions and their derivatives for a batch of parameter vectors.

        ``theta``: (S, P) internal coordinates. ``x``: name -> (n,) logarithms (raw for ``raw_variables``).
        Returns values (S, n), and their derivatives by theta (S, P, n) or None.
        """

    # ---- names and coordinates -------------------------------------------------------------------------

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of the columns of ``theta``."""
        return tuple(p.name for p in self.parameters)

    def index(self, name: str) -> int:
        """Position of a parameter; ValueError names the parameters there are."""
        names = self.parameter_names
        if name not in names:
            raise ValueError(f"law {self.name!r} has no parameter {name!r}; it has {', '.join(names)}")
        return names.index(name)

    def _log_shift(self, natural: Named, log_units: Mapping[str, float], size: int) -> Array:
        """(S, P) log(value in original units) - log(value in centred units)."""
        shift = np.zeros((size, len(self.parameters)))
        for j, p in enumerate(self.parameters):
            for variable, power in p.units.items():
                unit = log_units.get(variable, 0.0)
                if unit:
                    shift[:, j] += unit * np.asarray(power(natural), dtype=float)
        return shift

    def to_natural(self, theta: Array, log_units: Mapping[str, float] | None = None) -> Array:
        """Internal, centred coordinates (S, P) -> parameter values in original units (S, P)."""
        theta = np.atleast_2d(np.asarray(theta, dtype=float))
        values = self._exponentiate(theta)
        if log_units:
            named = {p.name: values[:, j] for j, p in enumerate(self.parameters)}
            shift = self._log_shift(named, log_units, len(theta))
            for j, p in enumerate(self.parameters):
                if p.units:
                    with np.errstate(over="ignore"):
                        values[:, j] = (
                            np.exp(theta[:, j] + shift[:, j])
                            if p.positive
                            else theta[:, j] * np.exp(shift[:, j])
                        )
        return values

    def to_internal(self, values: Array, log_units: Mapping[str, float] | None = None) -> Array:
        """Parameter values in original units (S, P) -> internal, centred coordinates (S, P)."""
        values = np.atleast_2d(np.asarray(values, dtype=float))
        theta = values.copy()
        named = {p.name: values[:, j] for j, p in enumerate(self.parameters)}
        shift = self._log_shift(named, log_units or {}, len(values))
        for j, p in enumerate(self.parameters):
            if p.positive:
                with np.errstate(divide="ignore", invalid="ignore"):
                    theta[:, j] = np.log(values[:, j]) - shift[:, j]
            else:
                theta[:, j] = values[:, j] * np.exp(-shift[:, j])
        return theta

    def _exponentiate(self, theta: Array) -> Array:
        values = theta.copy()
        with np.errstate(over="ignore"):
            for j, p in enumerate(self.parameters):
                if p.positive:
                    values[:, j] = np.exp(theta[:, j])
        return values

    # ---- data ------------------------------------------------------------------------------------------

    def inputs(
        self,
        data: Mapping[str, Sequence[float] | Array | float],
        log_units: Mapping[str, float] | None = None,
    ) -> dict[str, Array]:
        """Columns under standard names -> what ``evaluate`` takes (logarithms less ``log_units``).

        Raises ValueError for a variable that is missing or not positive.
        """
        missing = [v for v in self.variables if v not in data]
        if missing:
            raise ValueError(
                f"law {self.name!r} needs {', '.join(self.variables)}; missing: {', '.join(missing)} "
                f"(given: {', '.join(map(str, data)) or 'nothing'})"
            )
        columns = {v: np.atleast_1d(np.asarray(data[v], dtype=float)) for v in self.variables}
        size = max((len(c) for c in columns.values()), default=1)
        out: dict[str, Array] = {}
        for v, column in columns.items():
            column = np.broadcast_to(column, (size,)).astype(float)
            if v in self.raw_variables:
                out[v] = column
                continue
            if not np.all(column > 0):
                raise ValueError(f"law {self.name!r}: {v} must be positive, got {float(np.nanmin(column)):g}")
            out[v] = np.log(column) - (log_units or {}).get(v, 0.0)
        return out

    def centre(self, data: Mapping[str, Array]) -> dict[str, float]:
        """Units that centre the logarithm of each variable. Variables that are compared with one another
        (``shared_units``: D with U) share one."""
        units = {v: float(np.mean(np.log(data[v]))) for v in self.variables if v not in self.raw_variables}
        for group in self.shared_units:
            present = [v for v in group if v in units]
            if present:
                for v in present:
                    units[v] = units[present[0]]
        covariant = {v for p in self.parameters for v in p.units}
        covariant |= {v for group in self.shared_units if covariant & set(group) for v in group}
        return {v: (u if v in covariant else 0.0) for v, u in units.items()}

    def predict(
        self, parameters: Mapping[str, float], data: Mapping[str, Sequence[float] | Array | float]
    ) -> Array:
        """Prediction (n,) at natural parameter values; ``data`` holds the columns in the same units.

        Raises ValueError for parameters that are missing, unknown or not positive where they must be.
        """
        self._check_names(parameters)
        values = np.array([[float(parameters[n]) for n in self.parameter_names]])
        for p, v in zip(self.parameters, values[0], strict=True):
            if p.positive and not v > 0:
                raise ValueError(f"law {self.name!r}: parameter {p.name} must be positive, got {v:g}")
        with np.errstate(over="ignore"):
            return self.evaluate(self.to_internal(values), self.inputs(data), jac=False)[0][0]

    def _check_names(self, parameters: Mapping[str, float]) -> None:
        names = self.parameter_names
        wrong = [n for n in parameters if n not in names] + [n for n in names if n not in parameters]
        if wrong:
            raise ValueError(
                f"law {self.name!r} takes parameters {', '.join(names)}; wrong or missing: {', '.join(wrong)}"
            )

    def canonical(self, theta: Array) -> Array:
        """The same curves (S, P) with exchangeable parts in one order; most laws have none."""
        return theta

    # ---- starts ----------------------------------------------------------------------------------------

    def start_ranges(self, x: Named, y: Array) -> Array:
        """(P, 2) ranges of starts, in internal coordinates and centred units, from the data's own scale."""
        magnitude = np.abs(y[np.isfinite(y) & (y != 0)])
        low, mid = (float(magnitude.min()), float(np.median(magnitude))) if len(magnitude) else (1.0, 1.0)
        ranges = np.empty((len(self.parameters), 2))
        for j, p in enumerate(self.parameters):
            if p.start is not None:
                a, b = p.start
                ranges[j] = (math.log(a), math.log(b)) if p.positive else (a, b)
                continue
            kind, _, variable = p.role.partition(":")
            if kind == "level":
                pair = (math.log(0.02 * low), math.log(0.99 * low))
            elif kind == "term":
                pair = (math.log(3e-3 * mid), math.log(3.0 * mid))
            elif kind == "exponent":
                pair = (math.log(0.03), math.log(2.0))
            elif kind == "scale":
                pair = (float(np.min(x[variable])) - 1.0, float(np.max(x[variable])) + 1.0)
            else:
                pair = (math.log(0.1), math.log(1e3))
            ranges[j] = pair if p.positive else (-math.exp(pair[1]), math.exp(pair[1]))
        return ranges


_REGISTRY: dict[str, Law] = {}


def register(law: Law) -> Law:
    """Make a law available by name. Raises ValueError if another kind of law has that name."""
    if law.name in _REGISTRY and type(_REGISTRY[law.name]) is not type(law):
        raise ValueError(f"a law named {law.name!r} is registered already: {_REGISTRY[law.name].formula}")
    _REGISTRY[law.name] = law
    return law


def registered() -> dict[str, Law]:
    """Name -> law, in the order of registration."""
    return dict(_REGISTRY)
