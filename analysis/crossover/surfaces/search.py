"""Where two laws are compared: along which axis, at what values of the rest, over what range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.crossover.surfaces.surfaces import surface, tried_sizes
from analysis.fitting.result import Fit
from analysis.laws.base import Array, Law

AXES = ("D", "epochs", "C", "N", "U")
"""Axes that are not variables of a law are made from them: epochs = D / U, C = 6 N D."""

POINTS = 161


class MeetingError(ValueError):
    """Two laws cannot be compared as asked; the message says what to give."""


@dataclass(frozen=True)
class AxisSearch:
    """The axis ``along``, ``fixed`` values of the other variables, the range ``between`` with ``grid`` [K] of
    its logarithms, and ``sizes`` [M], the log N searched where N is free (None where it is fixed)."""

    along: str
    fixed: dict[str, float]
    between: tuple[float, float]
    grid: Array
    sizes: Array | None

    @classmethod
    def of(
        cls,
        fits: tuple[Fit, Fit],
        along: str,
        fixed: Mapping[str, float] | None = None,
        between: tuple[float, float] | None = None,
    ) -> AxisSearch:
        """What is to be searched for two fits; ``between`` by default the range of their data. Raises
        :class:`MeetingError`."""
        values = {k: float(v) for k, v in (fixed or {}).items()}
        free_size = along == "C" and "N" not in values
        _check(fits, along, values, free_size)
        low, high = between or span(fits, along, values)
        if not 0 < low < high:
            raise MeetingError(f"between: needs 0 < low < high, got {low:g} and {high:g}")
        return cls(
            along=along,
            fixed=values,
            between=(float(low), float(high)),
            grid=np.linspace(math.log(low), math.log(high), POINTS),
            sizes=tried_sizes(*fits) if free_size else None,
        )

    def surface(self, law: Law, natural: Array) -> tuple[Array, Array | None]:
        """[S, K] values of a law for natural parameters [S, P], and [S, K] log N of the best size where N is
        free."""
        return surface(law, natural, self.along, self.grid, self.fixed, self.sizes)

    def places(
        self, laws: tuple[Law, Law], natural: tuple[Array, Array]
    ) -> list[tuple[float, list[tuple[str, float]]]]:
        """For each of S pairs of parameters ([S, P] a law): the logarithm of the first place where the second
        law passes below the first, and the other changes of sign. +inf: it never does; -inf: it is below from
        the start, and stays."""
        one, two = (self.surface(law, values)[0] for law, values in zip(laws, natural, strict=True))
        return _places(two - one, self.grid)


def _check(fits: tuple[Fit, Fit], along: str, fixed: dict[str, float], free_size: bool) -> None:
    needed = {v for f in fits for v in f.law.variables}
    targets = {str(f.law.target) for f in fits}
    if len(targets) > 1:
        raise MeetingError(f"the laws predict different things: {' and '.join(sorted(targets))}")
    if along not in AXES and along not in needed:
        raise MeetingError(f"along: {along!r} is not one of {', '.join(dict.fromkeys((*AXES, *needed)))}")
    if along in ("C", "epochs") and "D" not in needed | {along}:
        raise MeetingError(f"along {along} needs laws of D")
    derived = {"C": {"D", "C"} | ({"N"} if free_size else set()), "epochs": {"D", "epochs"}}
    required = (needed | ({"U"} if along == "epochs" else set())) - derived.get(along, {along})
    if along not in ("C", "epochs") and "C" in required and {"N", "D"} <= set(fixed) | {along}:
        required.discard("C")
    missing = sorted(required - set(fixed))
    if missing:
        raise MeetingError(f"fixed: give {', '.join(missing)}, which the laws need beside {along}")
    bad = [k for k, v in fixed.items() if not v > 0]
    if bad:
        raise MeetingError(f"fixed: {bad[0]} = {fixed[bad[0]]:g} is not positive")
    if along in fixed:
        raise MeetingError(f"fixed: {along} = {fixed[along]:g} is the axis itself, so it cannot be fixed")


def _column(fit: Fit, along: str, fixed: Mapping[str, float]) -> Array | None:
    """The axis's values in a fit's data; None where it has none."""
    data = fit.data
    if data is None:
        return None
    if along in data:
        return np.asarray(data[along], dtype=float)
    if along == "C" and {"N", "D"} <= set(data):
        return np.asarray(6 * data["N"] * data["D"], dtype=float)
    if along == "epochs" and {"U", "D"} <= set(data):
        return np.asarray(data["D"] / data["U"], dtype=float)
    if along == "epochs" and "D" in data:
        return np.asarray(data["D"] / fixed["U"], dtype=float)
    return None


def span(fits: tuple[Fit, Fit], along: str, fixed: Mapping[str, float]) -> tuple[float, float]:
    """The axis's range in the data of either fit."""
    columns = [c for f in fits if (c := _column(f, along, fixed)) is not None]
    if not columns:
        raise MeetingError(f"between: give the range of {along}; the fits hold no data to take it from")
    every = np.concatenate(columns)
    return float(every.min()), float(every.max())


def largest(fits: tuple[Fit, Fit], along: str, fixed: Mapping[str, float]) -> float | None:
    """The largest value that both fits have data up to; None where one holds none."""
    columns = [c for f in fits if (c := _column(f, along, fixed)) is not None]
    return float(min(c.max() for c in columns)) if columns else None


def _places(d: Array, grid: Array) -> list[tuple[float, list[tuple[str, float]]]]:
    """For each row of differences (second less first) [S, K]: the first place where the second passes below,
    and the other changes of sign. +inf: it never does; -inf: it is below from the start, and stays."""
    out = []
    below = d <= 0
    for row, under in zip(d, below, strict=True):
        if not np.isfinite(row).all():
            fine = np.isfinite(row)
            row, under, x = row[fine], under[fine], grid[fine]
        else:
            x = grid
        changes = np.flatnonzero(under[1:] != under[:-1])
        places = [
            (
                "up" if under[k + 1] else "down",
                float(x[k] + (x[k + 1] - x[k]) * row[k] / (row[k] - row[k + 1])),
            )
            for k in changes
        ]
        chosen = next((p for p in places if p[0] == "up"), None)
        if chosen is not None:
            out.append((chosen[1], [p for p in places if p is not chosen]))
        elif len(under) and under[0] and not places:
            out.append((-math.inf, []))
        else:
            out.append((math.inf, places))
    return out
