"""Ratios at equal loss between Pareto fronts: the compute gap with size and stopping point free.

A front is read where it first comes down to a level. Where its best size there is an extreme of those tried,
the true front may be lower, so what it needs is at most that: the ratio becomes a bound, and nothing where
both are. Replicates are weighed as for compute-optimal crossovers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.crossover.fronts.frontier import Front
from analysis.crossover.fronts.meeting import DRAWS, ComputeOptimal, FrontPair
from analysis.crossover.gaps.horizontal import HorizontalRatio
from analysis.crossover.gaps.level_places import Reach, log_ratio, reach, round_levels
from analysis.crossover.gaps.replicates import ReplicateValue
from analysis.crossover.place import natural
from analysis.crossover.pooling import Spread, Variance, dirichlet, pool_draws, t_interval
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.fitting.estimate import Bound, Estimate
from analysis.tables.json_values import plain

Array = NDArray[np.float64]

_SPACING = math.log(1.02)
_MOST = 1500


def compute_gaps(
    crossovers: SameNCrossovers, optimal: ComputeOptimal, *, draws: int = DRAWS, seed: int = 0
) -> tuple[HorizontalRatio, ...]:
    """C of the second front over C of the first at levels of loss, a row a group and level."""
    groups = optimal.groups
    seeds = sorted({s for g in groups for f in g.fronts for s in f.seeds})
    weights = dirichlet(len(seeds), draws, seed)
    levels = round_levels(*_span(groups))
    out = []
    for level in levels:
        whole = [_ratio(g, level, None) for g in groups]
        sampled = np.full((len(groups), draws), np.nan)
        for i, group in enumerate(groups):
            if (value := whole[i]) is not None and value.side is None and group.crossing.replicates > 1:
                drawn = [_ratio(group, level, dict(zip(seeds, w, strict=True))) for w in weights]
                sampled[i] = [math.nan if v is None or v.side is not None else v.value for v in drawn]
        spread = pool_draws(sampled, [g.crossing.replicates for g in groups])
        for index, (group, value) in enumerate(zip(groups, whole, strict=True)):
            if value is None:
                continue
            estimate = _estimate(value, group.crossing.replicates, spread, crossovers.confidence, index)
            out.append(
                HorizontalRatio(
                    estimate=natural(estimate, digits=None),
                    kind="compute_optimal",
                    cell=group.crossing.cell,
                    axes=plain(group.crossing.axes),
                    metric=crossovers.metric,
                    resource="flops",
                    level=crossovers.sign * level,
                    replicates=group.crossing.replicates,
                )
            )
    return tuple(out)


def _span(groups: Sequence[FrontPair]) -> tuple[float, float]:
    """From the least loss of any front to the highest that both of a group begin above."""
    curves = [[_curve(f, None)[1] for f in g.fronts] for g in groups]
    if not curves:
        return math.nan, math.nan
    return (
        min(float(loss.min()) for pair in curves for loss in pair),
        max(min(float(loss[0]) for loss in pair) for pair in curves),
    )


def _weights(front: Front, weights: dict[str, float] | None) -> Array:
    if weights is None:
        return np.full(len(front.seeds), 1.0 / len(front.seeds))
    mine = np.array([weights[s] for s in front.seeds])
    return mine / mine.sum()


def _curve(front: Front, weights: dict[str, float] | None) -> tuple[Array, Array]:
    """(log C [K], loss [K]) of a front over its own range."""
    low, high = (math.log(end) for end in front.reach)
    log_c = np.linspace(low, high, int(np.clip((high - low) / _SPACING, 2, _MOST)))
    loss = front.loss(_weights(front, weights), log_c)
    use = np.isfinite(loss)
    return log_c[use], loss[use]


def _reach(front: Front, level: float, weights: dict[str, float] | None) -> Reach:
    """Where a front is at a level, with what its sizes allow to say."""
    place = reach(*_curve(front, weights), level)
    if weights is not None or place.side in ("left", "open"):
        return place
    if front.bracketed(_weights(front, None), np.array([place.log]))[0]:
        return place
    return replace(place, side="open" if place.side == "right" else "left")


def _ratio(group: FrontPair, level: float, weights: dict[str, float] | None) -> ReplicateValue | None:
    first, second = (_reach(f, level, weights) for f in group.fronts)
    return log_ratio(first, second)


def _estimate(
    value: ReplicateValue, replicates: int, spread: Spread | None, confidence: float, index: int
) -> Estimate:
    if value.side is not None:
        bound: Bound = "lower" if value.side == "right" else "upper"
        words = (
            "a bound: a front does not reach the level, or its best size there is an extreme of those tried"
        )
        if bound == "lower":
            return Estimate(value.value, low=value.value, bound=bound, assumption=words, level=confidence)
        return Estimate(value.value, high=value.value, bound=bound, assumption=words, level=confidence)
    if replicates < 2 or spread is None:
        return Estimate(value.value, assumption="no interval: one replicate", level=confidence)
    words = (
        f"bootstrap over {replicates} replicates, twins together, {spread}; "
        "Student's t; conditional on the validation text"
    )
    between = spread.of_mean(replicates, index)
    estimate = t_interval(value.value, between, Variance(0.0, math.inf), confidence)
    return replace(estimate, assumption=words)
