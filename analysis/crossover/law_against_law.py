"""Law against law: where two fitted surfaces meet along an axis, the rest held.

Its records say ``kind: law_against_law``. It is a statement about the laws: it may lie beyond every run
(``extrapolates`` says how far), and it is as good as both fits. The interval comes from the fits' bootstrap
draws, paired where the same units were drawn for both; beside it stands the *bootstrap frequency of no
crossing in range*, which is not a probability: a law that cannot bend will cross in every draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import optimize, stats

from analysis.crossover.surfaces import surface, tried_sizes
from analysis.laws.base import Array, Law
from analysis.result import Fit
from analysis.uncertainty import MIN_UNITS, PERCENTILE_UNITS

AXES = ("D", "epochs", "C", "N", "U")
"""Axes that are not variables of a law are made from them: epochs = D / U, C = 6 N D."""

POINTS = 161


class MeetingError(ValueError):
    """Two laws cannot be compared as asked; the message says what to give."""


@dataclass(frozen=True)
class Meeting:
    """Where the second law passes below the first along ``along``, at ``held`` values of the rest.

    ``value`` the place, or None with ``censored`` ``right`` (not by the end of ``between``) or ``left``
    (before its start), and ``low``/``high`` then the bound; None ends are open. ``no_crossing``: bootstrap
    frequency of draws whose laws do not cross in range, ``draws`` of them, ``paired`` or not. ``best``: each
    law's N and D there, where N is free. ``extrapolates``: the place over the largest in the data of either
    fit. ``refused``: why a place is no compute-optimal one. ``others``: further crossings (direction,
    place).
    """

    along: str
    held: dict[str, float]
    between: tuple[float, float]
    value: float | None
    low: float | None
    high: float | None
    censored: str | None
    no_crossing: float | None
    draws: int
    paired: bool
    assumption: str
    laws: tuple[str, str]
    extrapolates: float | None
    best: tuple[dict[str, float], dict[str, float]] | None = None
    refused: str | None = None
    others: tuple[tuple[str, float], ...] = ()
    confidence: float = 0.95
    notes: tuple[str, ...] = field(default_factory=tuple)

    def json(self) -> dict[str, Any]:
        """A record in the report's schema."""
        unit = {"D": "tokens", "C": "flops"}.get(self.along, self.along)
        bound = self.low if self.censored == "right" else self.high
        return {
            "kind": "law_against_law",
            "cell": ", ".join(f"{k}={v:g}" for k, v in self.held.items()) or "all",
            "axes": dict(self.held),
            "metric": "nll",
            "definition": "law",
            "unit": unit,
            "value": bound if self.censored else self.value,
            "low": self.low,
            "high": self.high,
            "censored": self.censored,
            "assumption": self.assumption,
            "confidence": self.confidence,
            "refused": self.refused,
            "no_crossing": self.no_crossing,
            "draws": self.draws,
            "paired": self.paired,
            "laws": list(self.laws),
            "between": list(self.between),
            "extrapolates": self.extrapolates,
            "best": None if self.best is None else list(self.best),
            "others": [{"direction": way, unit: place} for way, place in self.others],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        at = ", ".join(f"{k} = {v:.4g}" for k, v in self.held.items())
        head = f"{self.laws[1]} against {self.laws[0]} along {self.along}" + (f" at {at}" if at else "")
        if self.refused:
            where = f"refused: {self.refused}"
        elif self.censored:
            end = self.between[1] if self.censored == "right" else self.between[0]
            where = f"{'>' if self.censored == 'right' else '<'} {end:.4g}: no crossing in range"
        else:
            ends = ["-" if e is None else f"{e:.4g}" for e in (self.low, self.high)]
            where = f"{self.value:.4g} [{ends[0]}, {ends[1]}]"
        frequency = (
            ""
            if self.no_crossing is None
            else f"; bootstrap frequency of no crossing in range {self.no_crossing:.1%} of {self.draws}"
        )
        return f"{head}: {where}{frequency}\n  assumes {self.assumption}"


def meet(
    first: Fit,
    second: Fit,
    along: str = "C",
    *,
    held: Mapping[str, float] | None = None,
    between: tuple[float, float] | None = None,
    confidence: float = 0.95,
) -> Meeting:
    """Where the second fitted law passes below the first along ``along`` (D, epochs, C, N, U or any variable
    of both laws).

    ``held``: values of the laws' other variables. Along C, N may be left out: each law is then at its own
    best N for each budget C = 6ND, and at its best budget up to C. ``between``: the range searched (default:
    that of both fits' data). Raises :class:`MeetingError`.
    """
    fixed = {k: float(v) for k, v in (held or {}).items()}
    free_size = along == "C" and "N" not in fixed
    _check((first, second), along, fixed, free_size)
    low, high = between or _range(first, second, along, fixed)
    if not 0 < low < high:
        raise MeetingError(f"between: needs 0 < low < high, got {low:g} and {high:g}")
    grid = np.linspace(math.log(low), math.log(high), POINTS)
    sizes = tried_sizes(first, second) if free_size else None
    natural = [np.array([[f.values[n] for n in f.law.parameter_names]]) for f in (first, second)]
    surfaces = [
        surface(f.law, v, along, grid, fixed, sizes) for f, v in zip((first, second), natural, strict=True)
    ]
    places = _places(surfaces[1][0] - surfaces[0][0], grid)
    place, others = places[0]
    if math.isfinite(place):
        place = _polished(first.law, second.law, natural, along, grid, place, fixed, sizes)
    sampled, paired, why = _sampled(first, second, along, grid, fixed, sizes)
    best, refused = None, None
    if sizes is not None and math.isfinite(place):
        best, refused = _at_best(first, second, natural, place, fixed, sizes)
    ends, words = _ends(place, sampled, first, second, confidence, why)
    largest = _largest((first, second), along, fixed)
    bound = None if math.isfinite(place) else (high if place > 0 else low)
    if bound is not None:
        ends = (bound, None) if place > 0 else (None, bound)
    return Meeting(
        along,
        fixed,
        (float(low), float(high)),
        None if bound is not None or refused else math.exp(place),
        None if refused else ends[0],
        None if refused else ends[1],
        None if bound is None else ("right" if place > 0 else "left"),
        None if sampled is None else float(np.mean(~np.isfinite(sampled))),
        0 if sampled is None else len(sampled),
        paired,
        words,
        (first.law.name, second.law.name),
        None if largest is None or bound is not None else math.exp(place) / largest,
        best,
        refused,
        tuple((way, math.exp(at)) for way, at in others),
        confidence,
        (
            *(f"{f.law.name}: frozen {', '.join(f.frozen)}" for f in (first, second) if f.frozen),
            *_beyond((first, second), best),
        ),
    )


# ---- what is asked -------------------------------------------------------------------------------------


def _check(fits: tuple[Fit, Fit], along: str, fixed: dict[str, float], free_size: bool) -> None:
    needed = {v for f in fits for v in f.law.variables}
    targets = {str(f.law.target) for f in fits}
    if len(targets) > 1:
        raise MeetingError(f"the laws predict different things: {' and '.join(sorted(targets))}")
    if along not in AXES and along not in needed:
        raise MeetingError(f"along: {along!r} is not one of {', '.join(dict.fromkeys((*AXES, *needed)))}")
    made = {"C": {"D", "C"} | ({"N"} if free_size else set()), "epochs": {"D", "epochs"}}.get(along, {along})
    if along in ("C", "epochs") and "D" not in needed | {along}:
        raise MeetingError(f"along {along} needs laws of D")
    wanted = (needed | ({"U"} if along == "epochs" else set())) - made
    if along not in ("C", "epochs") and "C" in wanted and {"N", "D"} <= set(fixed) | {along}:
        wanted.discard("C")
    missing = sorted(wanted - set(fixed))
    if missing:
        raise MeetingError(f"held: give {', '.join(missing)}, which the laws need beside {along}")
    bad = [k for k, v in fixed.items() if not v > 0]
    if bad or along in fixed:
        name = bad[0] if bad else along
        raise MeetingError(
            f"held: {name} = {fixed[name]:g} "
            + ("is not positive" if bad else "is the axis itself, so it cannot be held")
        )


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


def _range(first: Fit, second: Fit, along: str, fixed: Mapping[str, float]) -> tuple[float, float]:
    columns = [c for f in (first, second) if (c := _column(f, along, fixed)) is not None]
    if not columns:
        raise MeetingError(f"between: give the range of {along}; the fits hold no data to take it from")
    every = np.concatenate(columns)
    return float(every.min()), float(every.max())


def _largest(fits: tuple[Fit, Fit], along: str, fixed: Mapping[str, float]) -> float | None:
    columns = [c for f in fits if (c := _column(f, along, fixed)) is not None]
    return float(min(c.max() for c in columns)) if columns else None


# ---- where they meet -----------------------------------------------------------------------------------


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


def _polished(
    first: Law,
    second: Law,
    natural: list[Array],
    along: str,
    grid: Array,
    place: float,
    fixed: Mapping[str, float],
    sizes: Array | None,
) -> float:
    """The root beside a place that the grid gave, to machine precision where N is held."""
    step = float(grid[1] - grid[0])
    if sizes is not None:
        return place

    def gap(at: float) -> float:
        point = np.array([at])
        values = [
            surface(law, v, along, point, fixed, None)[0][0, 0]
            for law, v in zip((first, second), natural, strict=True)
        ]
        return float(values[1] - values[0])

    a, b = place - step, place + step
    if gap(a) * gap(b) >= 0:
        return place
    return float(optimize.brentq(gap, a, b, xtol=1e-12, rtol=1e-14))


def _sampled(
    first: Fit, second: Fit, along: str, grid: Array, fixed: Mapping[str, float], sizes: Array | None
) -> tuple[Array | None, bool, str]:
    """[B] places by draw, whether draws are paired, and words for it."""
    draws = []
    for fit in (first, second):
        values = fit.draws
        if values is None:
            return None, False, "no interval: fit both with bootstrap draws"
        draws.append(values.to_numpy(float))
    one, two = (f.sampler.draws for f in (first, second) if f.sampler is not None)
    paired = (
        one is not None
        and two is not None
        and (one.kind, one.units, one.seed) == (two.kind, two.units, two.seed)
        and one.seed is not None
        and not one.lost
        and not two.lost
        and len(one) == len(two)
    )
    count = min(len(d) for d in draws)
    both = [
        surface(f.law, d[:count], along, grid, fixed, sizes)[0]
        for f, d in zip((first, second), draws, strict=True)
    ]
    found = np.array([p for p, _ in _places(both[1] - both[0], grid)])
    kind = {"case": "rows", "cluster": "clusters", "wild": "residuals of clusters"}[
        one.kind if one else "case"
    ]
    words = (
        f"{'paired' if paired else 'independent'} bootstrap draws of {kind}"
        + ("" if paired else " of each fit")
        + "; both laws are right"
    )
    return found, paired, words


def _ends(
    place: float, sampled: Array | None, first: Fit, second: Fit, confidence: float, why: str
) -> tuple[tuple[float | None, float | None], str]:
    """Interval ends and its assumption: percentiles from 40 units on, else Student's t on the logarithm."""
    if sampled is None:
        return (None, None), why
    samplers = [f.sampler for f in (first, second) if f.sampler is not None]
    units = min(s.units for s in samplers)
    if units < MIN_UNITS:
        return (None, None), f"no interval: {units} independent units, and at least {MIN_UNITS} are needed"
    tail = (1 - confidence) / 2
    over, under = float(np.mean(sampled == math.inf)), float(np.mean(sampled == -math.inf))
    if units >= PERCENTILE_UNITS:
        low, high = np.quantile(sampled, [tail, 1 - tail], method="inverted_cdf")
        words = f"{why}; percentiles over {units} units"
    else:
        fine = sampled[np.isfinite(sampled)]
        df = min(s.df for s in samplers)
        half = float(stats.t.ppf(1 - tail, df)) * float(np.std(fine)) if len(fine) > 2 else math.inf
        low = place - half if under <= tail else -math.inf
        high = place + half if over <= tail else math.inf
        words = f"{why}; bootstrap standard error of the logarithm, t with df {df}, for {units} units"
    return (
        math.exp(low) if math.isfinite(low) else None,
        math.exp(high) if math.isfinite(high) else None,
    ), words


def _beyond(fits: tuple[Fit, Fit], best: tuple[dict[str, float], dict[str, float]] | None) -> list[str]:
    """Notes on best sizes that lie beyond those in the data."""
    out = []
    for name, fit, at in zip(("first", "second"), fits, best or (), strict=False):
        if fit.data is None or "N" not in fit.data:
            continue
        low, high = float(fit.data["N"].min()), float(fit.data["N"].max())
        if not low <= at["N"] <= high:
            out.append(
                f"the {name} law's best N = {at['N']:.3g} lies outside the {low:.3g} to {high:.3g} tried"
            )
    return out


def _at_best(
    first: Fit,
    second: Fit,
    natural: list[Array],
    place: float,
    fixed: Mapping[str, float],
    sizes: Array,
) -> tuple[tuple[dict[str, float], dict[str, float]], str | None]:
    """Each law's N and D at the crossing, and why the place is refused if a best N is no interior one."""
    found, loose = [], []
    for fit, values in zip((first, second), natural, strict=True):
        at = surface(fit.law, values, "C", np.array([place]), fixed, sizes)[1]
        log_n = float(at[0, 0]) if at is not None else math.nan
        found.append({"N": math.exp(log_n), "D": math.exp(place - log_n) / 6.0})
        if not sizes[0] + 1e-9 < log_n < sizes[-1] - 1e-9:
            loose.append(fit.law.name)
    reason = None
    if loose:
        reason = f"no interior best N for {' and '.join(loose)} at this budget: not an optimum"
    return (found[0], found[1]), reason
