"""A quantity that each replicate has, and its mean with an interval over replicates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.crossover.place import Side
from analysis.crossover.pooling import Spread, Variance, pool_places, t_interval
from analysis.fitting.estimate import Bound, Estimate

Array = NDArray[np.float64]

TEXT_DF = 30.0
"""Degrees of freedom of the validation text's variance."""


@dataclass(frozen=True)
class ReplicateValue:
    """One replicate's ``value``, or the bound on it where ``side`` is set: ``right``, it is at least that.
    ``parts`` [n]: what each validation sequence adds to its error; None where that is not known."""

    value: float
    side: Side | None = None
    parts: Array | None = None


Group = Mapping[str, ReplicateValue]
"""Replicate -> its value."""


def spread_of(groups: Sequence[Group]) -> Spread | None:
    """The spread of values between replicates, pooled over groups, bounds apart."""
    return pool_places([{s: v.value for s, v in g.items() if v.side is None} for g in groups])


def over_replicates(group: Group, spread: Spread | None, confidence: float, index: int = 0) -> Estimate:
    """The mean over replicates with a t interval; ``index``: the group's place among those of ``spread``.

    The variance between replicates is ``spread``'s, and the validation text's share, which replicates have in
    common, is added. A replicate that is a bound makes the mean one, open on that side; bounds on opposite
    sides give none.
    """
    none = Estimate(level=confidence)
    sides = {v.side for v in group.values()}
    values = np.array([v.value for v in group.values()])
    if not len(values) or {"left", "right"} <= sides:
        return replace(none, assumption="no value: replicates are bounds on opposite sides")
    bound: Bound | None = "lower" if "right" in sides else "upper" if "left" in sides else None
    if None not in sides:
        words = "a bound that every replicate keeps"
        if bound == "lower":
            least = float(values.min())
            return replace(none, value=least, low=least, bound=bound, assumption=words)
        most = float(values.max())
        return replace(none, value=most, high=most, bound=bound, assumption=words)
    value, n = float(values.mean()), len(values)
    text = text_variance([v.parts for v in group.values()])
    if spread is None and text is None:
        return replace(none, value=value, bound=bound, assumption="no interval: one replicate, no scores")
    shared = Variance(text or 0.0, TEXT_DF)
    if spread is None:
        words = "one replicate: the validation text's error alone, conditional on this subset and seed"
        estimate = t_interval(value, Variance(0.0, math.inf), shared, confidence)
    else:
        estimate = t_interval(value, spread.of_mean(n, index), shared, confidence)
        words = f"paired by replicate, {spread}; Student's t; " + (
            "validation text included"
            if text
            else "the validation text's error left out: there are no scores"
        )
    if bound:
        words += f"; {sum(v.side is not None for v in group.values())} of {n} replicates are bounds"
    low, high = estimate.low, estimate.high
    return replace(
        estimate,
        low=None if bound == "upper" else low,
        high=None if bound == "lower" else high,
        bound=bound,
        assumption=words,
    )


def text_variance(parts: Sequence[Array | None]) -> float | None:
    """Variance of a mean over replicates that the shared text causes; None where scores are missing."""
    there = [p for p in parts if p is not None]
    if len(there) < len(parts) or len({p.shape for p in there}) != 1:
        return None
    return float((np.mean(there, axis=0) ** 2).sum())
