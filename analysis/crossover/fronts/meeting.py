"""Compute-optimal crossovers: where the second paradigm's Pareto front passes below the first's, at given U.

Each arm is at its best for the budget, in size and in when it stops (Prabhudesai et al. 2025, arXiv
2507.15857, compare paradigms this way). It is another quantity than a same-N crossover, 16 to 130 times later
where published studies have both, and its records say ``kind: compute_optimal``.

Annealed end points make a front. Where a study has none, points of constant-rate trunks stand in for them,
and the assumption says so. A crossing counts only where both fronts are bracketed in size; else it is
refused: what crosses there are the envelopes of the sizes that happened to be tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.crossover.axes import is_length
from analysis.crossover.fronts.entries import FrontEntries, fronts, groups
from analysis.crossover.fronts.frontier import Front
from analysis.crossover.fronts.shared_range import SharedRange, place_or_bound, place_under
from analysis.crossover.place import Place, natural, record
from analysis.crossover.pooling import Spread, Variance, dirichlet, pool_draws, t_interval
from analysis.crossover.same_n.arm import influence
from analysis.crossover.same_n.cell_places import allows
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.crossover.same_n.pairs import text, usable
from analysis.fitting.estimate import Estimate

Array = NDArray[np.float64]

DRAWS = 200
"""Bootstrap draws: weights of replicates."""


@dataclass(frozen=True, kw_only=True)
class BestSize:
    """An arm at its best for a budget: parameters, tokens and epochs (None where unknown), and whether sizes
    on both sides of it were tried."""

    N: float
    tokens: float
    epochs: float | None
    bracketed: bool


@dataclass(frozen=True, kw_only=True)
class FrontCrossover(Place):
    """The compute-optimal crossover of one group, in FLOPs.

    Attributes:
        cell, axes: the group's name and the values of its axes; ``U`` its unique tokens.
        replicates: how many both fronts have.
        refused: why a place is not given; the value is then a bound, or None.
        envelope: where the envelopes of the sizes tried cross, bracketed or not.
        no_crossing: bootstrap frequency of draws that do not cross; None with one replicate.
        entries: ``annealed`` end points, or points of ``trunk`` runs.
        best: objective -> its best size at the place; ``sizes``: objective -> those tried.
        further: other changes of the lead, as (direction, FLOPs).
        likelihood: objective -> kind of its loss; ``allows``: what the two kinds permit one to conclude.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "kind", "cell", "axes", "metric", "definition", "unit", "value", "low", "high", "censored",
        "replicates", "assumption", "confidence", "df", "refused", "envelope", "no_crossing", "entries", "U",
        "best", "sizes", "others", "likelihood", "allows",
    )  # fmt: skip
    kind: ClassVar[str] = "compute_optimal"
    definition: ClassVar[str] = "best_so_far"
    unit: ClassVar[str] = "flops"

    cell: str
    axes: dict[str, Any]
    metric: str
    replicates: int
    refused: str | None
    envelope: float | None
    no_crossing: float | None
    entries: str
    U: float
    best: dict[str, BestSize | None]
    sizes: dict[str, list[float]]
    further: tuple[tuple[str, float], ...]
    likelihood: dict[str, str]
    allows: str

    @property
    def others(self) -> list[dict[str, Any]]:
        """The further changes of the lead, a row each."""
        return [{"direction": way, "flops": place} for way, place in self.further]


@dataclass(frozen=True, kw_only=True)
class FrontPair:
    """Both fronts of one group, and where they cross.

    ``log_c`` [K]: the shared range of log C, with ``losses`` [2, K] of both fronts and ``bracketed`` [2, K].
    """

    crossing: FrontCrossover
    fronts: tuple[Front, Front]
    log_c: Array
    losses: Array
    bracketed: NDArray[np.bool_]

    @property
    def U(self) -> float:
        return self.crossing.U


@dataclass(frozen=True)
class ComputeOptimal:
    """All compute-optimal crossovers of a study: its ``groups``, and ``refused``, {"cell", "reason"} of those
    that have no two fronts."""

    pair: tuple[str, str]
    groups: tuple[FrontPair, ...]
    refused: tuple[dict[str, str], ...]

    @property
    def crossings(self) -> tuple[FrontCrossover, ...]:
        """The crossover of each group."""
        return tuple(g.crossing for g in self.groups)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The crossings as flat rows of plain values."""
        return [record(c) for c in self.crossings]


def compute_optimal(
    crossovers: SameNCrossovers,
    *,
    entries: Literal["auto", "annealed", "trunk"] = "auto",
    tuned: Iterable[str] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> ComputeOptimal:
    """The crossings of the Pareto fronts of a study's two objectives, one for each U (and each value of the
    axes that are neither size nor length of training).

    ``entries``: what may enter a front; ``auto`` takes annealed end points where both arms have three sizes
    of them, else trunk points. ``tuned``: axes over whose settings a front takes the best (default: those
    that the study's pairs were tuned over). Intervals are by the bootstrap over replicates, twins together.
    """
    rows, _ = usable(crossovers.tables)
    own = {f for c in crossovers.cells for s in c.pair.tuned.values() for f in s}
    over = own if tuned is None else set(tuned)
    prepared: list[FrontEntries] = []
    refused: list[dict[str, str]] = []
    for axes, sides in groups(rows, crossovers.tables.axes, crossovers.pair, over):
        free = [a for a in crossovers.tables.axes if a not in axes and not is_length(a)]
        outcome = fronts(axes, sides, crossovers.arms, crossovers.names, entries, free)
        if isinstance(outcome, str):
            refused.append({"cell": _name(axes), "reason": outcome})
        else:
            prepared.append(outcome)
    if not prepared:
        return ComputeOptimal(crossovers.pair, (), tuple(refused))
    seeds = sorted({s for p in prepared for f in p.fronts for s in f.seeds})
    weights = dirichlet(len(seeds), draws, seed)
    crossed = [SharedRange.of(p, crossovers.metric) for p in prepared]
    sampled = np.array(
        [[place_under(p, c, seeds, w) for w in weights] for p, c in zip(prepared, crossed, strict=True)]
    )
    spread = pool_draws(sampled, [p.replicates for p in prepared])
    compared = tuple(
        _pair(p, c, crossovers, d, spread, group)
        for group, (p, c, d) in enumerate(zip(prepared, crossed, sampled, strict=True))
    )
    return ComputeOptimal(crossovers.pair, compared, tuple(refused))


def _name(axes: dict[str, Any]) -> str:
    return ", ".join(f"{k}={text(v)}" for k, v in axes.items()) or "all"


def _pair(
    p: FrontEntries,
    c: SharedRange,
    crossovers: SameNCrossovers,
    sampled: Array,
    spread: Spread | None,
    group: int,
) -> FrontPair:
    names, pair = crossovers.names, crossovers.pair
    value, bound, reason = place_or_bound(c, names)
    ends = "annealed end points"
    trunks = "points of constant-rate trunks, taken to gain alike from annealing"
    words = [
        f"fronts of {ends if p.entries == 'annealed' else trunks}",
        "least half-A loss of any size and step within the budget, read on half B",
    ]
    place = Estimate(value, bound=bound, level=crossovers.confidence)
    if value is not None and bound is None and reason is None:
        text = Variance(_text_variance(p, c), 30.0)
        place = _interval(value, sampled, p.replicates, spread, text, crossovers.confidence, group)
        words.append(place.assumption)
    elif bound is not None:
        side = "last" if bound == "lower" else "first"
        words.append(f"a bound, at the {side} budget at which both fronts are bracketed")
        place = replace(place, low=value) if bound == "lower" else replace(place, high=value)
    at = value if value is not None else (c.place if math.isfinite(c.place) else None)
    kinds = dict(zip(pair, p.likelihoods, strict=True))
    crossing = FrontCrossover(
        estimate=replace(natural(place), assumption="; ".join(words)),
        cell=_name(p.axes),
        axes=p.axes,
        metric=crossovers.metric,
        replicates=p.replicates,
        refused=reason,
        envelope=natural(Estimate(c.place)).value,
        no_crossing=float(np.mean(~np.isfinite(sampled))) if p.replicates > 1 else None,
        entries=p.entries,
        U=p.U,
        best={o: _best(f, at) for o, f in zip(pair, p.fronts, strict=True)},
        sizes={o: f.sizes for o, f in zip(pair, p.fronts, strict=True)},
        further=tuple((way, math.exp(at)) for way, at in c.others),
        likelihood=kinds,
        allows=allows((names[0], p.likelihoods[0]), (names[1], p.likelihoods[1])),
    )
    return FrontPair(crossing=crossing, fronts=p.fronts, log_c=c.log_c, losses=c.losses, bracketed=c.ok)


def _interval(
    value: float,
    sampled: Array,
    replicates: int,
    spread: Spread | None,
    text: Variance,
    confidence: float,
    group: int | None = None,
) -> Estimate:
    """The interval of one group's log C: ``sampled`` [B] its draws (infinite where there was no crossing),
    ``text`` the variance that evaluation adds."""
    none = Variance(0.0, math.inf)
    if replicates < 2 or spread is None:
        if text.value <= 0:
            words = "no interval: one replicate, and no errors of its losses"
            return Estimate(value, assumption=words, level=confidence)
        words = "one replicate: evaluation error alone, conditional on this data subset and seed"
        return replace(t_interval(value, none, text, confidence), assumption=words)
    estimate = t_interval(value, spread.of_mean(replicates, group), text, confidence)
    words = (
        f"bootstrap over {replicates} replicates, twins together, {spread}, Student's t; validation text and "
        f"mask draws included ({math.sqrt(text.value):.1%} of the place)"
    )
    tail = (1 - confidence) / 2
    low, high = estimate.low, estimate.high
    if np.mean(sampled == math.inf) > tail:
        high, words = None, words + "; unbounded above: draws without a crossing"
    if np.mean(sampled == -math.inf) > tail:
        low, words = None, words + "; unbounded below: draws that had crossed before the range"
    return replace(estimate, low=low, high=high, assumption=words)


def _best(front: Front, log_c: float | None) -> BestSize | None:
    """Size, tokens and epochs of a front at a budget."""
    if log_c is None:
        return None
    weights = np.full(len(front.seeds), 1.0 / len(front.seeds))
    k = int(front.best(weights, np.array([log_c]))[0])
    curve = front.curves[front.curve[k]]
    at = [a.x for a in curve.arms]
    index = curve.index[:, front.column[k]]
    mean = {
        u: float(np.mean([x[u][i] for x, i in zip(at, index, strict=True)])) for u in ("tokens", "epochs")
    }
    return BestSize(
        N=curve.N,
        tokens=mean["tokens"],
        epochs=mean["epochs"] if math.isfinite(mean["epochs"]) else None,
        bracketed=bool(front.bracketed(weights, np.array([log_c]))[0]),
    )


def _text_variance(p: FrontEntries, c: SharedRange) -> float:
    """Variance of log C that the shared validation text and mask draws cause: that of the fronts' paired
    difference at the crossing, over its squared slope."""
    near = np.abs(c.log_c - c.place) <= math.log(1.3)
    d = c.losses[1] - c.losses[0]
    use = near & np.isfinite(d)
    slope = float(np.polyfit(c.log_c[use], d[use], 1)[0]) if use.sum() > 2 else 0.0
    if slope >= 0:
        slope = float((d[c.k + 1] - d[c.k]) / (c.log_c[c.k + 1] - c.log_c[c.k]))
    sides = [_sequences(f, c.place) for f in p.fronts]
    if sides[0][0] is not None and sides[1][0] is not None:
        (v1, n1, w1, _), (v2, n2, _, _) = sides
        if n1 is not None and n2 is not None and w1 is not None and v1 is not None and v2 is not None:
            names, i, j = np.intersect1d(n1, n2, return_indices=True)
            if len(names) > 1:
                parts = influence(v2[j] - v1[i], w1[i] / w1[i].sum())
                return float((parts**2).sum()) / slope**2
    return sum(s[3] ** 2 for s in sides) / slope**2


def _sequences(front: Front, log_c: float) -> tuple[Array | None, Array | None, Array | None, float]:
    """The front's point at a budget: [n] each validation sequence's loss, names and weights, averaged over
    replicates (None without scores), and the unpaired error."""
    weights = np.full(len(front.seeds), 1.0 / len(front.seeds))
    k = int(front.best(weights, np.array([log_c]))[0])
    curve = front.curves[front.curve[k]]
    halves = [a.b for a in curve.arms]
    index = curve.index[:, front.column[k]]
    errors = [h.se[i] for h, i in zip(halves, index, strict=True)]
    se = float(np.mean(errors)) if np.isfinite(errors).all() else 0.0
    first = halves[0]
    if any(
        h.sequences is None or h.names is None or not np.array_equal(h.names, first.names) for h in halves
    ):
        return None, None, None, se
    values = np.mean(
        [h.sequences[i] for h, i in zip(halves, index, strict=True) if h.sequences is not None], axis=0
    )
    if not np.isfinite(values).all():
        return None, None, None, se
    return values, first.names, first.weights, se
