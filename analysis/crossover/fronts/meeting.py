"""Compute-optimal crossovers: where the second paradigm's Pareto front passes below the first's, at given U.

Each arm is at its best for the budget, in size and in when it stops (Prabhudesai et al. 2025, arXiv
2507.15857, compare paradigms this way). It is another quantity than a same-N crossover, 16 to 130 times later
where published studies have both, and its records say ``kind: compute_optimal``.

Annealed end points make a front. Where a study has none, points of constant-rate trunks stand in for them,
and the assumption says so. A crossing counts only where both fronts are bracketed in size; else it is
refused: what crosses there are the envelopes of the sizes that happened to be tried.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.crossover.axes import is_length
from analysis.crossover.fronts.entries import FrontEntries, fronts, groups
from analysis.crossover.fronts.frontier import Front
from analysis.crossover.fronts.replicates import Pooled, dirichlet
from analysis.crossover.fronts.replicates import pool as pool_draws
from analysis.crossover.same_n.arm import influence
from analysis.crossover.same_n.location import Crossovers, allows
from analysis.crossover.same_n.paired_difference import PLATEAU
from analysis.crossover.same_n.pairs import text, usable

Array = NDArray[np.float64]

DRAWS = 200
"""Bootstrap draws: weights of replicates."""

_SPACING = math.log(1.02)
_MOST = 1500


@dataclass(frozen=True)
class FrontPair:
    """Both fronts of one group (``axes``, at one U), and what they say.

    ``record``: the crossover in the report's schema. ``log_c`` [K] the shared range with ``losses`` [2, K] of
    both fronts and ``bracketed`` [2, K].
    """

    axes: dict[str, Any]
    U: float
    entries: str
    fronts: tuple[Front, Front]
    log_c: Array
    losses: Array
    bracketed: NDArray[np.bool_]
    record: dict[str, Any]


@dataclass(frozen=True)
class ComputeOptimal:
    """All compute-optimal crossovers of a study. ``records`` one a group; ``refused``: {"cell", "reason"} of
    the groups that have no two fronts."""

    pair: tuple[str, str]
    groups: tuple[FrontPair, ...]
    refused: tuple[dict[str, str], ...]

    @property
    def records(self) -> list[dict[str, Any]]:
        """One a group, in the report's schema."""
        return [g.record for g in self.groups]


def compute_optimal(
    found: Crossovers,
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
    rows, _ = usable(found.tables)
    over = {f for c in found.cells for s in c.pair.tuned.values() for f in s} if tuned is None else set(tuned)
    prepared: list[FrontEntries] = []
    refused: list[dict[str, str]] = []
    for axes, sides in groups(rows, found.tables.axes, found.pair, over):
        free = [a for a in found.tables.axes if a not in axes and not is_length(a)]
        outcome = fronts(axes, sides, found.arms, found.pair, entries, free)
        if isinstance(outcome, str):
            refused.append({"cell": _name(axes), "reason": outcome})
        else:
            prepared.append(outcome)
    if not prepared:
        return ComputeOptimal(found.pair, (), tuple(refused))
    seeds = sorted({s for p in prepared for f in p.fronts for s in f.seeds})
    weights = dirichlet(len(seeds), draws, seed)
    crossed = [_Crossed.of(p, found.metric) for p in prepared]
    sampled = np.array(
        [[_place(p, c, seeds, w) for w in weights] for p, c in zip(prepared, crossed, strict=True)]
    )
    scatter = pool_draws(sampled, [p.replicates for p in prepared])
    compared = tuple(
        _pair(p, c, found, d, scatter) for p, c, d in zip(prepared, crossed, sampled, strict=True)
    )
    return ComputeOptimal(found.pair, compared, tuple(refused))


def _name(axes: dict[str, Any]) -> str:
    return ", ".join(f"{k}={text(v)}" for k, v in axes.items()) or "all"


# ---- where they cross ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Crossed:
    """Both fronts on a grid of their shared range: ``log_c`` [K], ``losses`` [2, K], ``counted`` [K] past the
    start-up plateau, ``ok`` [2, K] bracketed. ``place`` log C of the crossing or an infinity, ``k`` its grid
    interval, ``others`` earlier changes of the lead."""

    log_c: Array
    losses: Array
    counted: NDArray[np.bool_]
    ok: NDArray[np.bool_]
    place: float
    k: int
    others: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, p: FrontEntries, metric: str) -> _Crossed:
        first, second = p.fronts
        low = math.log(max(first.reach[0], second.reach[0]))
        high = math.log(min(first.reach[1], second.reach[1]))
        count = int(np.clip((high - low) / _SPACING, 2, _MOST)) if high > low else 0
        log_c = np.linspace(low, high, count)
        equal = [np.full(len(f.seeds), 1.0 / len(f.seeds)) for f in p.fronts]
        losses = np.stack([f.loss(w, log_c) for f, w in zip(p.fronts, equal, strict=True)])
        counted = np.ones(len(log_c), dtype=bool)
        if metric == "nll" and math.isfinite(p.entropy):
            below = losses <= p.entropy - PLATEAU
            counted = np.logical_and.reduce(np.maximum.accumulate(below, axis=1), axis=0)
        ok = np.stack([f.bracketed(w, log_c) for f, w in zip(p.fronts, equal, strict=True)])
        place, k, others = _cross(losses[1] - losses[0], log_c, counted)
        return cls(log_c, losses, counted, ok, place, k, others)


def _cross(
    d: Array, log_c: Array, counted: NDArray[np.bool_]
) -> tuple[float, int, tuple[tuple[str, float], ...]]:
    """The crossing after which the second stays ahead to the end of the range: log C, its grid interval, and
    earlier changes of the lead. +inf where the first is ahead at the end, -inf where the second is
    throughout."""
    use = np.flatnonzero(counted & np.isfinite(d))
    if not len(use):
        return math.inf, -1, ()
    changes = []
    for i, j in itertools.pairwise(use):
        if (d[i] > 0) != (d[j] > 0):
            at = float(log_c[i] + (log_c[j] - log_c[i]) * d[i] / (d[i] - d[j]))
            changes.append(("up" if d[j] <= 0 else "down", at, int(i)))
    if d[use[-1]] > 0:
        return math.inf, -1, tuple((w, c) for w, c, _ in changes)
    if not changes:
        return -math.inf, -1, ()
    *earlier, (_, place, k) = changes
    return place, k, tuple((w, c) for w, c, _ in earlier)


def _place(p: FrontEntries, c: _Crossed, seeds: list[str], weights: Array) -> float:
    """log C of the crossing under weights [R] of the study's replicates."""
    if len(c.log_c) == 0:
        return math.inf
    sides = []
    for front in p.fronts:
        mine = weights[[seeds.index(s) for s in front.seeds]]
        sides.append(front.loss(mine / mine.sum(), c.log_c))
    return _cross(sides[1] - sides[0], c.log_c, c.counted)[0]


def _pair(p: FrontEntries, c: _Crossed, found: Crossovers, sampled: Array, scatter: Pooled) -> FrontPair:
    names = found.names
    value, censored, reason = _verdict(c, names)
    low = high = None
    words = [
        "fronts of "
        + (
            "annealed end points"
            if p.entries == "annealed"
            else "points of constant-rate trunks, taken to gain alike from annealing"
        ),
        "least half-A loss of any size and step within the budget, read on half B",
    ]
    extra: dict[str, Any] = {"df": None}
    if value is not None and censored is None and reason is None:
        variance, df = _text_variance(p, c), 30.0
        interval = scatter.interval(value, sampled, p.replicates, variance, df, found.confidence)
        low, high, extra["df"] = interval.low, interval.high, interval.df
        words.append(interval.assumption)
    elif censored is not None:
        words.append("a bound, at the last budget" if censored == "right" else "a bound, at the first budget")
        words[-1] += " at which both fronts are bracketed"
        low, high = (value, None) if censored == "right" else (None, value)
    at = value if value is not None else (c.place if math.isfinite(c.place) else None)
    record = {
        "kind": "compute_optimal",
        "cell": _name(p.axes),
        "axes": p.axes,
        "metric": found.metric,
        "definition": "best_so_far",
        "unit": "flops",
        "value": _exp(value),
        "low": _exp(low),
        "high": _exp(high),
        "censored": censored,
        "replicates": p.replicates,
        "assumption": "; ".join(words),
        "confidence": found.confidence,
        **extra,
        "refused": reason,
        "envelope": _exp(c.place if math.isfinite(c.place) else None),
        "no_crossing": float(np.mean(~np.isfinite(sampled))) if p.replicates > 1 else None,
        "entries": p.entries,
        "U": p.U,
        "best": {o: _best(f, at) for o, f in zip(found.pair, p.fronts, strict=True)},
        "sizes": {o: f.sizes for o, f in zip(found.pair, p.fronts, strict=True)},
        "others": [{"direction": way, "flops": math.exp(place)} for way, place in c.others],
        "likelihood": dict(zip(found.pair, p.likelihoods, strict=True)),
        "allows": allows((names[0], p.likelihoods[0]), (names[1], p.likelihoods[1])),
    }
    return FrontPair(p.axes, p.U, p.entries, p.fronts, c.log_c, c.losses, c.ok, record)


def _exp(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{math.exp(value):.10g}")


def _verdict(c: _Crossed, names: tuple[str, str]) -> tuple[float | None, str | None, str | None]:
    """(log C or bound, side, why a place is refused). A place that is refused leaves the bound that budgets
    with both fronts bracketed give."""
    if len(c.log_c) == 0:
        return None, None, "the two fronts share no budget"
    if not c.counted.any():
        return None, None, "a front never leaves the start-up plateau"
    both = c.ok.all(axis=0) & c.counted
    before = np.flatnonzero(both & (c.losses[1] > c.losses[0]) & (c.log_c < c.place))
    after = np.flatnonzero(both & (c.losses[1] <= c.losses[0]) & (c.log_c > c.place))
    reason = None
    if math.isfinite(c.place):
        if both[[c.k, min(c.k + 1, len(both) - 1)]].all():
            return c.place, None, None
        loose = [n for n, ok in zip(names, c.ok, strict=True) if not ok[c.k]] or list(names)
        reason = (
            f"not bracketed: where the envelopes cross, the best size of {' and '.join(loose)} is an extreme "
            "of those tried, or one that still improves; add sizes or train on"
        )
    if len(before):
        return float(c.log_c[before[-1]]), "right", reason
    if len(after):
        return float(c.log_c[after[0]]), "left", reason
    never = "not bracketed: at no budget were sizes on both sides of both arms' best ones tried"
    return None, None, reason or never


def _best(front: Front, log_c: float | None) -> dict[str, Any] | None:
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
    return {
        "N": curve.N,
        "tokens": mean["tokens"],
        "epochs": mean["epochs"] if math.isfinite(mean["epochs"]) else None,
        "bracketed": bool(front.bracketed(weights, np.array([log_c]))[0]),
    }


def _text_variance(p: FrontEntries, c: _Crossed) -> float:
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
