"""How a fit ended: its local optima, and what is known of the best one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class BasinRecord:
    """One local optimum of a fit.

    Attributes:
        objective: the objective there.
        starts: followed starts that ended there.
        converged: whether a Newton step would remove less than 1e-8 of the objective.
        gap: how much worse than the best optimum, as a share of that one's objective.
        at_bounds: parameters that ended at a bound.
        parameters: parameter name -> value, in the table's units.
    """

    objective: float
    starts: int
    converged: bool
    gap: float
    at_bounds: list[str]
    parameters: dict[str, float]


@dataclass(frozen=True)
class Convergence:
    """The search for the optimum: ``starts`` tried, whether the best one ``converged``, and all local optima,
    best first."""

    starts: int
    converged: bool
    basins: tuple[BasinRecord, ...]

    def as_dict(self) -> dict[str, Any]:
        """The field ``convergence`` of a fit's JSON."""
        return {
            "starts": self.starts,
            "converged": self.converged,
            "basins": [vars(b).copy() for b in self.basins],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Convergence:
        """``as_dict`` read back."""
        basins = tuple(BasinRecord(**b) for b in record["basins"])
        return cls(int(record["starts"]), bool(record["converged"]), basins)


@dataclass(frozen=True)
class Diagnostics:
    """What is known of a fit beside its numbers. What stands below ``interval`` is None where the fit did not
    converge, or where the field has no meaning.

    Attributes:
        frozen: parameters that were fixed, and their values.
        columns: variable -> the table's column, or how it was derived.
        notes: what was assumed in reading the table.
        refined: starts that were followed to the end.
        unsettled_starts: those of them that had not settled when the iterations ran out.
        estimates: what the estimand estimates, in words.
        level: coverage of the intervals.
        interval: method of the parameters' intervals; "none" where there are none.
        scaled_gradient: share of the objective that a Newton step would still remove.
        at_bounds: parameters at a bound.
        flat_directions: directions that the design does not identify: ``parameters`` and ``se_log``.
        gap_to_second_basin: how much worse the second optimum is, as a share; None if there is one optimum.
        residual_scale: standard deviation of the residuals on the estimand's scale.
        degrees_of_freedom: rows less free parameters.
        residual_quantile: half width of the residuals' interval at ``level``.
        unequal_noise: greatest ratio of a robust standard error to a pooled one, where it was looked at.
        assumption: what the intervals assume.
        covariance: ``matrix`` of the free internal coordinates and the quantile ``t``, from which a fit read
            from JSON makes intervals of predictions.
        bootstrap: ``draws``, ``kind``, ``units`` and ``seed``, where there were draws.
    """

    frozen: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    refined: int = 0
    unsettled_starts: int = 0
    estimates: str = ""
    level: float = 0.95
    interval: str = "none"
    scaled_gradient: float | None = None
    at_bounds: list[str] | None = None
    flat_directions: list[dict[str, Any]] | None = None
    gap_to_second_basin: float | None = None
    residual_scale: float | None = None
    degrees_of_freedom: int | None = None
    residual_quantile: float | None = None
    unequal_noise: float | None = None
    assumption: str | None = None
    covariance: dict[str, Any] | None = None
    bootstrap: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The field ``diagnostics`` of a fit's JSON: what is known, in the order above."""
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        always = "gap_to_second_basin" if self.residual_scale is not None else None
        return {k: v for k, v in known.items() if v is not None or k == always}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Diagnostics:
        """``as_dict`` read back; fields of later versions are left out."""
        names = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in record.items() if k in names})
