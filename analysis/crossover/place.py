"""A place where one paradigm passes another: its interval, or the bound that stands in for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from analysis.fitting.estimate import Estimate
from analysis.tables.json_values import plain

Side = Literal["left", "right"]

_SIDES: dict[str, Side] = {"lower": "right", "upper": "left"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place (or a ratio) in its own unit. Every kind of crossover is one.

    Attributes:
        estimate: the value with its interval. Where ``estimate.bound`` is set, the value is a bound.
        columns: the names of this kind's public columns, in their order; :func:`record` reads them.
    """

    columns: ClassVar[tuple[str, ...]] = ("value", "low", "high", "censored", "assumption", "confidence")

    estimate: Estimate

    @property
    def value(self) -> float | None:
        """The place, or its bound where it is censored; None where there is neither."""
        return self.estimate.value

    @property
    def low(self) -> float | None:
        """The interval's lower end; None where nothing bounds it."""
        return self.estimate.low

    @property
    def high(self) -> float | None:
        """The interval's upper end; None where nothing bounds it."""
        return self.estimate.high

    @property
    def censored(self) -> Side | None:
        """``right``: it had not happened by ``value``; ``left``: it had before; None: it was seen."""
        return None if self.estimate.bound is None else _SIDES[self.estimate.bound]

    @property
    def assumption(self) -> str:
        """What the interval or the bound assumes."""
        return self.estimate.assumption

    @property
    def confidence(self) -> float:
        """The coverage that the interval claims."""
        return self.estimate.level

    @property
    def df(self) -> float | None:
        """Degrees of freedom of a Student's t interval."""
        return self.estimate.df


def record(place: Place) -> dict[str, Any]:
    """The flat row of a place, for tables and JSON: its kind's public columns as plain values."""
    return {column: plain(getattr(place, column)) for column in place.columns}


def natural(logarithm: Estimate, digits: int | None = 10) -> Estimate:
    """The estimate whose logarithm is given, to so many significant digits (None: all)."""

    def exp(value: float | None) -> float | None:
        if value is None or not math.isfinite(value):
            return None
        return math.exp(value) if digits is None else float(f"{math.exp(value):.{digits}g}")

    return replace(
        logarithm, value=exp(logarithm.value), se=None, low=exp(logarithm.low), high=exp(logarithm.high)
    )
