"""Law against law: where two fitted surfaces meet along an axis, the other variables fixed.

Its records say ``kind: law_against_law``. It is a statement about the laws: it may lie beyond every run
(``extrapolates`` says how far), and it is as good as both fits. The interval comes from the fits' bootstrap
draws, paired where the same units were drawn for both; beside it stands the *bootstrap frequency of no
crossing in range*, which is not a probability: a law that cannot bend will cross in every draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from scipy import optimize, stats

from analysis.crossover.place import Place, record
from analysis.crossover.surfaces.search import AXES, AxisSearch, MeetingError, largest
from analysis.crossover.surfaces.surfaces import surface
from analysis.fitting.estimate import Estimate
from analysis.fitting.result import Fit
from analysis.fitting.uncertainty.resampling import MIN_UNITS, PERCENTILE_UNITS
from analysis.laws.base import Array

__all__ = ["AXES", "Meeting", "MeetingError", "meet"]


@dataclass(frozen=True, kw_only=True)
class Meeting(Place):
    """Where the second law passes below the first along an axis.

    Attributes:
        along: the axis; ``fixed``: the values of the laws' other variables; ``between``: the range searched.
            Where the laws do not cross in range, the value is the range's end on that side, a bound.
        refused: why a place is no compute-optimal one; it is then not given.
        no_crossing: bootstrap frequency of draws whose laws do not cross in range, of ``draws`` draws; both
            fits drew the same units if ``paired``.
        laws: names of both laws.
        extrapolates: the place over the largest value in the data of either fit.
        best: each law's N and D at the place, where N is free.
        further: other crossings, as (direction, place).
    """

    columns: ClassVar[tuple[str, ...]] = (
        "kind", "cell", "axes", "metric", "definition", "unit", "value", "low", "high", "censored",
        "assumption", "confidence", "refused", "no_crossing", "draws", "paired", "laws", "between",
        "extrapolates", "best", "others", "notes",
    )  # fmt: skip
    kind: ClassVar[str] = "law_against_law"
    definition: ClassVar[str] = "law"
    metric: ClassVar[str] = "nll"

    along: str
    fixed: dict[str, float]
    between: tuple[float, float]
    no_crossing: float | None
    draws: int
    paired: bool
    laws: tuple[str, str]
    extrapolates: float | None
    best: tuple[dict[str, float], dict[str, float]] | None = None
    refused: str | None = None
    further: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """The axis's unit: tokens along D, FLOPs along C."""
        return {"D": "tokens", "C": "flops"}.get(self.along, self.along)

    @property
    def cell(self) -> str:
        return ", ".join(f"{k}={v:g}" for k, v in self.fixed.items()) or "all"

    @property
    def axes(self) -> dict[str, float]:
        return self.fixed

    @property
    def others(self) -> list[dict[str, Any]]:
        """The further crossings, a row each."""
        return [{"direction": way, self.unit: place} for way, place in self.further]

    def json(self) -> dict[str, Any]:
        """A record in the report's schema."""
        return record(self)

    def __str__(self) -> str:
        at = ", ".join(f"{k} = {v:.4g}" for k, v in self.fixed.items())
        head = f"{self.laws[1]} against {self.laws[0]} along {self.along}" + (f" at {at}" if at else "")
        if self.refused:
            where = f"refused: {self.refused}"
        elif self.censored:
            where = f"{'>' if self.censored == 'right' else '<'} {self.value:.4g}: no crossing in range"
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
    fixed: Mapping[str, float] | None = None,
    between: tuple[float, float] | None = None,
    confidence: float = 0.95,
) -> Meeting:
    """Find where the second fitted law passes below the first.

    Args:
        first, second: the fits.
        along: the axis: D, epochs, C, N, U or any variable of both laws.
        fixed: values of the laws' other variables. Along C, N may be left out: each law is then at its own
            best N for each budget C = 6ND, and at its best budget up to C.
        between: the range searched; by default that of both fits' data.
        confidence: coverage of the interval.

    Raises:
        MeetingError: the laws cannot be compared so; the message says what to give.
    """
    fits = first, second
    search = AxisSearch.of(fits, along, fixed, between)
    low, high = search.between
    natural = _values(first), _values(second)
    place, others = search.places((first.law, second.law), natural)[0]
    if math.isfinite(place):
        place = _polished(fits, natural, search, place)
    sampled, paired, why = _sampled(fits, search)
    best, refused = None, None
    if search.sizes is not None and math.isfinite(place):
        best, refused = _at_best(fits, natural, place, search)
    reach = largest(fits, along, search.fixed)
    if not math.isfinite(place):
        _, words = _ends(place, sampled, first, second, confidence, why)
        estimate = Estimate(assumption=words, level=confidence)
        estimate = (
            replace(estimate, value=high, low=high, bound="lower")
            if place > 0
            else replace(estimate, value=low, high=low, bound="upper")
        )
    else:
        ends, words = _ends(place, sampled, first, second, confidence, why)
        estimate = Estimate(assumption=words, level=confidence)
        if refused is None:
            estimate = replace(estimate, value=math.exp(place), low=ends[0], high=ends[1])
    return Meeting(
        estimate=estimate,
        along=along,
        fixed=search.fixed,
        between=(low, high),
        no_crossing=None if sampled is None else float(np.mean(~np.isfinite(sampled))),
        draws=0 if sampled is None else len(sampled),
        paired=paired,
        laws=(first.law.name, second.law.name),
        extrapolates=None if reach is None or not math.isfinite(place) else math.exp(place) / reach,
        best=best,
        refused=refused,
        further=tuple((way, math.exp(at)) for way, at in others),
        notes=(
            *(f"{f.law.name}: frozen {', '.join(f.frozen)}" for f in fits if f.frozen),
            *_beyond(fits, best),
        ),
    )


def _values(fit: Fit) -> Array:
    """(1, P) natural parameters."""
    return np.array([[fit.values[n] for n in fit.law.parameter_names]])


def _polished(fits: tuple[Fit, Fit], natural: tuple[Array, Array], search: AxisSearch, place: float) -> float:
    """The root beside a place that the grid gave, to machine precision where N is fixed."""
    step = float(search.grid[1] - search.grid[0])
    if search.sizes is not None:
        return place

    def gap(at: float) -> float:
        point = replace(search, grid=np.array([at]))
        one, two = (point.surface(f.law, v)[0][0, 0] for f, v in zip(fits, natural, strict=True))
        return float(two - one)

    a, b = place - step, place + step
    if gap(a) * gap(b) >= 0:
        return place
    return float(optimize.brentq(gap, a, b, xtol=1e-12, rtol=1e-14))


def _sampled(fits: tuple[Fit, Fit], search: AxisSearch) -> tuple[Array | None, bool, str]:
    """[B] places by draw, whether draws are paired, and words for it."""
    tables = [f.draws for f in fits]
    if tables[0] is None or tables[1] is None:
        return None, False, "no interval: fit both with bootstrap draws"
    one, two = (f.sampler.draws for f in fits if f.sampler is not None)
    paired = (
        one is not None
        and two is not None
        and (one.kind, one.units, one.seed) == (two.kind, two.units, two.seed)
        and one.seed is not None
        and not one.lost
        and not two.lost
        and len(one) == len(two)
    )
    count = min(len(tables[0]), len(tables[1]))
    draws = tables[0].to_numpy(float)[:count], tables[1].to_numpy(float)[:count]
    places = np.array([p for p, _ in search.places((fits[0].law, fits[1].law), draws)])
    kind = {"case": "rows", "cluster": "clusters", "wild": "residuals of clusters"}[
        one.kind if one else "case"
    ]
    words = (
        f"{'paired' if paired else 'independent'} bootstrap draws of {kind}"
        + ("" if paired else " of each fit")
        + "; both laws are right"
    )
    return places, paired, words


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
    fits: tuple[Fit, Fit], natural: tuple[Array, Array], place: float, search: AxisSearch
) -> tuple[tuple[dict[str, float], dict[str, float]], str | None]:
    """Each law's N and D at the crossing, and why the place is refused if a best N is no interior one."""
    sizes_at, loose = [], []
    sizes = np.zeros(2) if search.sizes is None else search.sizes
    for fit, values in zip(fits, natural, strict=True):
        at = surface(fit.law, values, "C", np.array([place]), search.fixed, search.sizes)[1]
        log_n = float(at[0, 0]) if at is not None else math.nan
        sizes_at.append({"N": math.exp(log_n), "D": math.exp(place - log_n) / 6.0})
        if not sizes[0] + 1e-9 < log_n < sizes[-1] - 1e-9:
            loose.append(fit.law.name)
    reason = None
    if loose:
        reason = f"no interior best N for {' and '.join(loose)} at this budget: not an optimum"
    return (sizes_at[0], sizes_at[1]), reason
