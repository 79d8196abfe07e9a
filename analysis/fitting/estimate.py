"""One number with its uncertainty: the only type of interval in the house."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

Bound = Literal["lower", "upper"]


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error, its interval, and what the interval assumes.

    Attributes:
        value: the estimate; None where there is none. Parameters are in the table's units, places of
            crossings are logarithms; whoever makes one says which.
        se: its standard error on the same scale; None where it is infinite or unknown.
        low, high: the interval's ends. None is an end that nothing bounds, or that is unknown because there
            is no interval.
        bound: "lower" if the true value is known only to be at least ``value`` (right-censored), "upper" if
            at most (left-censored), None if ``value`` is an estimate proper.
        assumption: what the interval assumes. Empty means that there is no interval.
        method: how the interval was computed, such as "profile"; empty where that needs no name.
        level: coverage that the interval claims.
        df: degrees of freedom of a Student's t interval, where one was used.
    """

    value: float | None = None
    se: float | None = None
    low: float | None = None
    high: float | None = None
    bound: Bound | None = None
    assumption: str = ""
    method: str = ""
    level: float = 0.95
    df: float | None = None

    @property
    def unbounded(self) -> bool:
        """Whether there is an interval of which an end is open."""
        return bool(self.assumption) and (self.low is None or self.high is None)

    def around(self, value: float, se: float | None) -> Estimate:
        """The same interval with its ``value`` and standard error. What may be infinite has no ``se``."""
        known = se is not None and math.isfinite(se) and not self.unbounded
        return replace(self, value=float(value), se=float(se) if known and se is not None else None)

    def as_dict(self) -> dict[str, Any]:
        """The columns of tables and fields of JSON: value, se, low, high, unbounded."""
        return {
            "value": self.value,
            "se": self.se,
            "low": self.low,
            "high": self.high,
            "unbounded": self.unbounded,
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any], assumption: str = "") -> Estimate:
        """``as_dict`` read back; ``assumption`` is that of the fit which the record belongs to."""
        value, se, low, high = (record.get(k) for k in ("value", "se", "low", "high"))
        interval = record.get("unbounded") or low is not None or high is not None
        return cls(value, se, low, high, assumption=(assumption or "not recorded") if interval else "")

    def __str__(self) -> str:
        def end(v: float | None, infinite: str) -> str:
            return infinite if v is None else f"{v:.5g}"

        interval = f"[{end(self.low, '-inf')}, {end(self.high, 'inf')}]"
        if self.value is None:
            return interval if self.assumption else "-"
        return f"{self.value:.5g} {interval}" if self.assumption else f"{self.value:.5g}"
