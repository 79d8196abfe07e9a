"""Which runs next, of either arm, narrow the place where the laws of the arms cross."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.crossover.surfaces.law_against_law import MeetingError
from analysis.crossover.surfaces.search import AxisSearch, span
from analysis.fitting.result import Fit
from analysis.laws.base import Array
from analysis.questions.design import Suggestion, affordable, beyond, numbers, planned, split_call
from analysis.questions.information import (
    Mode,
    WeightedOptimum,
    normalised,
    sensitivities,
    slope,
    weighted_optima,
)

FAR = 1e4
"""How many times beyond the largest value in the data a crossing is looked for."""


def parse_crossing(text: str) -> tuple[str, dict[str, float]] | None:
    """``crossover(C, U=1e8)`` as its axis and the values of the other variables; None if the text names
    another quantity. ValueError where a part is not NAME=NUMBER, or no axis is named."""
    name, parts = split_call(text)
    if name != "crossover":
        return None
    if not parts or "=" in parts[0]:
        raise ValueError(f"quantity {text!r}: name the axis first, such as crossover(C, U=1e8)")
    return parts[0], numbers(text, parts[1:])


def suggest_crossing(
    fits: Mapping[str, Fit],
    along: str,
    fixed: Mapping[str, float],
    budget: float,
    *,
    between: tuple[float, float] | None = None,
    count: int = 8,
    choices: Mapping[str, pd.DataFrame] | None = None,
    reach: float = 3.0,
    per_run: float | None = None,
    repeats: bool = True,
) -> Suggestion:
    """A plan of at most ``count`` runs, of at most ``budget`` FLOPs together, that narrows the place where
    the second law passes below the first (see :func:`analysis.crossover.surfaces.law_against_law.meet`).

    ``fits``: objective -> fit, the first first; the fits' errors count as independent. ``between``: the range
    searched (default: that of the data, and ten thousandfold beyond). ``choices``: objective -> the runs that
    are possible; the rest as for :func:`analysis.questions.design.suggest`. ``runs`` of the result have the
    column ``objective``. ValueError where the laws do not cross in range.
    """
    if not budget > 0 or count < 1:
        raise ValueError(f"budget must be positive and count at least 1; got {budget:g} and {count}")
    (_, first), (_, second) = sides = list(fits.items())
    if between is None:
        low, high = span((first, second), along, fixed)
        between = (low / 10, high * FAR)
    search = AxisSearch.of((first, second), along, fixed, between)
    pools = [
        affordable(fit, budget, choices[name] if choices else None, reach, per_run).assign(objective=name)
        for name, fit in sides
    ]
    modes = [
        mode
        for one in weighted_optima(first)
        for two in weighted_optima(second)
        if (mode := _joint(search, (one, two), pools))
    ]
    if not modes:
        raise MeetingError(
            f"the laws do not cross along {along} between {between[0]:.3g} and {between[1]:.3g}: there is no "
            "place to narrow"
        )
    pool = pd.concat(pools, ignore_index=True)
    far = [beyond(p, fit) for p, (_, fit) in zip(pools, sides, strict=True)]
    outside = {v: np.concatenate([f[v] for f in far]) for v in far[0].keys() & far[1].keys()}
    at = ", ".join([along, *(f"{k}={v:g}" for k, v in fixed.items())])
    return planned(f"crossover({at})", normalised(modes), pool, budget, count, repeats, outside)


def _joint(
    search: AxisSearch, pair: tuple[WeightedOptimum, WeightedOptimum], pools: list[pd.DataFrame]
) -> Mode | None:
    """Two basins' view of the crossing, one of each law; None where they do not cross."""
    laws = pair[0].problem.law, pair[1].problem.law
    centre = [basin.problem.natural(basin.phi[None]) for basin in pair]

    def place(arm: int, natural: Array) -> Array:
        other = np.repeat(centre[1 - arm], len(natural), axis=0)
        both = (natural, other) if arm == 0 else (other, natural)
        return np.array([p for p, _ in search.places(laws, both)])

    slopes = [slope(pair[arm], lambda natural, arm=arm: place(arm, natural)) for arm in (0, 1)]  # type: ignore[misc]
    gradient = np.concatenate([g for _, g in slopes])
    if not np.isfinite(gradient).all():
        return None
    views = [
        sensitivities(basin, {v: pool[v].to_numpy() for v in basin.problem.law.variables})
        for basin, pool in zip(pair, pools, strict=True)
    ]
    return Mode(
        pair[0].weight * pair[1].weight,
        _blocks(pair[0].inverse, pair[1].inverse),
        gradient,
        slopes[0][0],
        _blocks(views[0][0], views[1][0]),
        np.concatenate([predicted for _, predicted in views]),
    )


def _blocks(one: Array, two: Array) -> Array:
    """The block-diagonal matrix of two."""
    out = np.zeros((one.shape[0] + two.shape[0], one.shape[1] + two.shape[1]))
    out[: one.shape[0], : one.shape[1]] = one
    out[one.shape[0] :, one.shape[1] :] = two
    return out
