"""Where a difference changes sign, with the error of the place, and whether that is robust.

An evaluation speaks for an arm where it leads by three standard errors of the validation text. Blocks of at
least three such evaluations make the sequence of leads; shorter ones are flickers and are absorbed. Between
two blocks lies a crossing: the middle one of the interpolated zeros there (their number is odd). It is
*robust* if the mean lead on either side also exceeds two standard errors that include training noise, of
which no validation text tells. How often two runs of one law then cross robustly is in
``benchmarks/results/coverage_crossover.csv``.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.crossover.same_n.paired_difference import Difference, TrainingNoise

Array = NDArray[np.float64]

MARGIN = 3.0
"""Standard errors by which an arm must lead for an evaluation to speak for it."""

NOISE_MARGIN = 2.0
"""Standard errors, training noise included, by which a side of a robust crossing must lead in the mean."""

EVALUATIONS = 3
"""Such evaluations needed on either side of a robust crossing."""


@dataclass(frozen=True)
class Crossing:
    """One zero of a difference. ``direction``: ``up`` where the second arm takes the lead, ``down`` where it
    loses it.

    ``x``: unit -> place. ``bracket``: the two evaluations it lies between. ``weight`` of the second of them.
    ``se_log``, ``mc_se_log``: errors of log(place), from the difference's; ``parts`` [n] its contributions by
    sequence. ``before``, ``after``: evaluations that speak for the loser and for the winner of the lead.
    """

    direction: str
    x: dict[str, float]
    bracket: tuple[int, int]
    weight: float
    se_log: float
    mc_se_log: float
    parts: Array | None
    before: int
    after: int
    robust: bool

    def ratio(self, d: Difference) -> float:
        """How far apart the bracket's evaluations are, in tokens."""
        return float(d.x["tokens"][self.bracket[1]] / d.x["tokens"][self.bracket[0]])


@dataclass(frozen=True)
class LeadBlock:
    """Consecutive evaluations that speak for one arm: ``sign`` +1 the first, -1 the second."""

    sign: int
    members: tuple[int, ...]
    evidence: float


def leads(d: Difference, margin: float = MARGIN) -> NDArray[np.int64]:
    """[K] +1 where the first arm leads by ``margin`` errors, -1 where the second does, 0 elsewhere.

    Where the error is unknown the sign alone decides; such crossings are never called robust.
    """
    error = np.where(np.isfinite(d.se), d.se, 0.0)
    return np.where(np.abs(d.value) > margin * error, np.sign(d.value), 0).astype(np.int64)


def blocks(d: Difference, least: int, margin: float = MARGIN) -> list[LeadBlock]:
    """The sequence of leads in blocks of at least ``least`` evaluations; shorter ones are absorbed, shortest
    first."""
    state = leads(d, margin)
    score = np.abs(d.value) / np.where(np.isfinite(d.se) & (d.se > 0), d.se, 1.0)
    sequence = _merged([LeadBlock(int(state[k]), (int(k),), float(score[k])) for k in np.flatnonzero(state)])
    while len(sequence) > 1:
        short = min(sequence, key=lambda b: (len(b.members), b.evidence))
        if len(short.members) >= least:
            break
        sequence.remove(short)
        sequence = _merged(sequence)
    return [b for b in sequence if len(b.members) >= least]


def _merged(sequence: list[LeadBlock]) -> list[LeadBlock]:
    """The sequence with neighbours of one sign joined."""
    out: list[LeadBlock] = []
    for block in sequence:
        if out and out[-1].sign == block.sign:
            last = out.pop()
            block = LeadBlock(block.sign, last.members + block.members, last.evidence + block.evidence)
        out.append(block)
    return out


def crossings(
    d: Difference, least: int = EVALUATIONS, margin: float = MARGIN, plateau: bool = False
) -> list[Crossing]:
    """The crossings between blocks of at least ``least`` evaluations, in order; those on the start-up plateau
    only if ``plateau``."""
    out = []
    sequence = blocks(d, least, margin)
    sides = zip(sequence, _firm(d, sequence), strict=True)
    for (one, before), (two, after) in itertools.pairwise(sides):
        low, high = one.members[-1], two.members[0]
        zeros = [k for k in range(low, high) if (d.value[k] > 0) != (d.value[k + 1] > 0)]
        k = zeros[len(zeros) // 2]
        if not plateau and not _counts(d, k):
            continue
        robust = before and after and bool(np.isfinite(d.se).all())
        direction = "up" if two.sign < 0 else "down"
        out.append(_crossing(d, k, direction, len(one.members), len(two.members), robust))
    return out


def _firm(d: Difference, sequence: list[LeadBlock]) -> list[bool]:
    """Whether each block has the evaluations and the mean lead that a side of a robust crossing needs. All
    evaluations from its first to its last count, those too that speak for nobody."""
    noise = TrainingNoise.of(d) if len(sequence) > 1 else None
    out = []
    for block in sequence:
        first, last = block.members[0], block.members[-1]
        span = slice(first, last + 1)
        error = math.inf if noise is None else noise.error_of_mean(first, last)
        error = math.hypot(error, float(np.nan_to_num(d.se[span]).mean()))
        lead = block.sign * float(d.value[span].mean())
        out.append(len(block.members) >= EVALUATIONS and lead > NOISE_MARGIN * error)
    return out


def _crossing(d: Difference, k: int, direction: str, before: int, after: int, robust: bool) -> Crossing:
    low, high = d.value[k], d.value[k + 1]
    weight = float(low / (low - high))
    x = {u: float(np.exp((1 - weight) * np.log(v[k]) + weight * np.log(v[k + 1]))) for u, v in d.x.items()}
    slope = _slope(d, k)
    parts = None
    if d.parts is not None:
        parts = -((1 - weight) * d.parts[k] + weight * d.parts[k + 1]) / slope
        se = float(np.sqrt((parts**2).sum()))
    else:
        # Without per-sequence values the two ends are taken as fully correlated, which is the wider choice.
        se = float(((1 - weight) * d.se[k] + weight * d.se[k + 1]) / abs(slope))
    mc = _monte_carlo(d, k, weight) / abs(slope)
    se = max(se, mc) if np.isfinite(se) else float("nan")
    return Crossing(direction, x, (k, k + 1), weight, se, mc, parts, before, after, robust)


def _counts(d: Difference, k: int) -> bool:
    """Whether both arms are off the plateau at the zero between evaluations k and k + 1."""
    if d.counted[k]:
        return True
    weight = d.value[k] / (d.value[k] - d.value[k + 1])
    return bool(d.counted[k + 1] and (1 - weight) * d.first[k] + weight * d.first[k + 1] <= d.threshold)


def _slope(d: Difference, k: int) -> float:
    """d(difference)/d(log tokens) at a zero: over two evaluations either side, unless that contradicts the
    zero."""
    x = np.log(d.x["tokens"])
    local = (d.value[k + 1] - d.value[k]) / (x[k + 1] - x[k])
    near = np.arange(max(k - 1, 0), min(k + 3, len(d)))
    wide = float(np.polyfit(x[near], d.value[near], 1)[0]) if len(near) > 2 else local
    return wide if wide * local > 0 else float(local)


def _monte_carlo(d: Difference, k: int, weight: float) -> float:
    """Monte-Carlo error of the difference at the zero: by the draws' covariance where eight are shared."""
    one, two = d.draws.get(k), d.draws.get(k + 1)
    if one is not None and two is not None and len(one) == len(two):
        return float(np.sqrt((((1 - weight) * one + weight * two) ** 2).sum()))
    ends = np.nan_to_num(d.mc_se[[k, k + 1]])
    return float((1 - weight) * ends[0] + weight * ends[1])
