"""What one replicate's twins say: a crossover, or the bound that its absence gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.crossover.same_n.arm import UNITS, Arm
from analysis.crossover.same_n.paired_difference import Difference, difference
from analysis.crossover.same_n.zeros import EVALUATIONS, Crossing, blocks, crossings

Array = NDArray[np.float64]
Definition = Literal["raw", "best_so_far"]
DEFINITIONS: tuple[Definition, ...] = ("raw", "best_so_far")
Minima = Literal["each", "passed"]

HORIZONS = 8.0
"""Raw crossings that a run must be long for its best values to count although a minimum is not bracketed."""


@dataclass(frozen=True)
class CrossingOutcome:
    """One replicate under one definition.

    ``x``: unit -> the place, or the bound where ``censored``: ``right`` it had not happened by there,
    ``left`` it had happened before. ``crossing``: the crossing reported; ``others``: further ones.
    ``settled`` (best so far): a longer run would not change the answer. ``past_minimum``: at the place, the
    first arm's best value lay behind it: it is over-fitted. ``why``: the reason for the bound, in words.
    ``on_plateau``: the curves did cross, but while an arm was on its start-up plateau, which does not count;
    the bound is where they had.
    """

    seed: Any
    definition: Definition
    x: dict[str, float]
    censored: Literal["left", "right"] | None
    robust: bool
    crossing: Crossing | None
    others: tuple[Crossing, ...]
    curve: Difference
    settled: bool
    past_minimum: bool
    why: str
    on_plateau: bool = False

    @property
    def ahead(self) -> bool:
        """Best values have crossed, but a minimum is not bracketed, so that there is no verdict."""
        return self.censored is not None and self.crossing is not None

    @property
    def lead_after(self) -> float | None:
        """The second arm's largest lead after the crossing."""
        c = self.crossing
        return None if c is None else float(-self.curve.value[c.bracket[1] :].min())

    def record(self) -> dict[str, Any]:
        """The replicate as a row of the result's extras."""
        c = self.crossing
        return {
            "seed": self.seed,
            "x": dict(self.x),
            "censored": self.censored,
            "robust": self.robust,
            "settled": self.settled,
            "past_minimum": self.past_minimum,
            "on_plateau": self.on_plateau,
            "why": self.why,
            "se_log": None if c is None else c.se_log,
            "mc_se_log": None if c is None else c.mc_se_log,
            "bracket_ratio": None if c is None else c.ratio(self.curve),
            "before": None if c is None else c.before,
            "after": None if c is None else c.after,
            "lead_before": None if c is None else float(self.curve.value[: c.bracket[1]].max()),
            "lead_after": self.lead_after,
            "others": [{"direction": o.direction, "robust": o.robust, **o.x} for o in self.others],
            "horizon": {u: float(v[-1]) for u, v in self.curve.x.items()} if len(self.curve) else {},
        }


def outcomes(
    first: Arm,
    second: Arm,
    seed: Any,
    *,
    axis: str = "tokens",
    entropy: float = float("nan"),
    minima: Minima = "each",
) -> dict[Definition, CrossingOutcome]:
    """The raw and the best-so-far outcome of two twins.

    ``minima``: whose minimum must be bracketed (or the horizon be eight raw crossings) before a best-so-far
    crossing counts: ``each`` arm's, as for its absence, or that of the arm that is ``passed`` alone, for the
    other's best value can only improve.
    """
    d = difference(first, second, axis=axis, entropy=entropy)
    raw = _outcome(d, seed, "raw", first, settled=True)
    b = difference(first, second, axis=axis, best=True, entropy=entropy)
    long = raw.censored is None and _horizon(d) >= HORIZONS * raw.x[axis]
    closed = first.bracketed(), second.bracketed()
    best = _outcome(b, seed, "best_so_far", first, settled=all(closed) or long)
    if best.censored is None:
        final = long or (all(closed) if minima == "each" else closed[0])
        best = _verdict(best, final, closed)
    return {"raw": raw, "best_so_far": best}


def _horizon(d: Difference, axis: str = "tokens") -> float:
    return float(d.x[axis][-1]) if len(d) else 0.0


def _verdict(best: CrossingOutcome, final: bool, closed: tuple[bool, bool]) -> CrossingOutcome:
    """A crossing of best values stands only if the arms had shown their best."""
    if final:
        return replace(best, settled=True)
    whose = {(False, False): "neither minimum", (True, False): "its own minimum not"}
    what = whose.get(closed, "the passed arm's minimum not")
    why = f"ahead on best values from here, but with {what} bracketed: no verdict"
    return replace(best, censored="right", robust=False, settled=False, why=why)


def _at(d: Difference, k: int) -> dict[str, float]:
    return {u: float(v[k]) for u, v in d.x.items()}


def _unconfirmed(d: Difference, zeros: list[Crossing]) -> tuple[list[Crossing], Crossing | None]:
    """The crossings when none upward is robust, and the last of them if the second arm kept the lead from
    there."""
    if any(c.robust for c in zeros):
        return zeros, None
    zeros = zeros or crossings(d, least=1)
    return zeros, zeros[-1] if zeros and zeros[-1].direction == "up" else None


def _outcome(d: Difference, seed: Any, definition: Definition, first: Arm, settled: bool) -> CrossingOutcome:
    def bound(
        k: int, side: Literal["left", "right"], why: str, others: tuple[Crossing, ...] = ()
    ) -> CrossingOutcome:
        x = _at(d, k) if len(d) else dict.fromkeys(UNITS, float("nan"))
        return CrossingOutcome(
            seed=seed,
            definition=definition,
            x=x,
            censored=side,
            robust=False,
            crossing=None,
            others=others,
            curve=d,
            settled=settled,
            past_minimum=False,
            why=why,
        )

    if not len(d):
        return bound(-1, "right", "no evaluation in common")
    zeros = crossings(d)
    chosen = next((c for c in zeros if c.direction == "up" and c.robust), None)
    if chosen is None:
        zeros, chosen = _unconfirmed(d, zeros)
    others = tuple(c for c in zeros if c is not chosen)
    if chosen is not None:
        minimum = first.x["tokens"][first.best_so_far()[-1]]
        why = ""
        if not np.isfinite(d.se).all():
            why = "the error of the difference is unknown"
        elif not chosen.robust:
            why = (
                f"on one side fewer than {EVALUATIONS} evaluations beyond three standard errors, or a lead "
                "that training noise can make"
            )
        return CrossingOutcome(
            seed=seed,
            definition=definition,
            x=chosen.x,
            censored=None,
            robust=chosen.robust,
            crossing=chosen,
            others=others,
            curve=d,
            settled=settled,
            past_minimum=bool(chosen.x["tokens"] > minimum),
            why=why,
        )
    early = crossings(d, plateau=True)
    if early and early[-1].direction == "up" and not zeros:
        why = f"the curves cross at {early[-1].x['tokens']:.4g} tokens, on the start-up plateau: not counted"
        return replace(bound(early[-1].bracket[1], "left", why), on_plateau=True)
    if not d.counted.any():
        return bound(len(d) - 1, "right", "an arm never left its start-up plateau", others)
    start = int(np.flatnonzero(d.counted)[0])
    spoken = [replace(b, members=m) for b in blocks(d, 1) if (m := tuple(k for k in b.members if k >= start))]
    if not spoken:
        return bound(start, "right", "the arms never differ by three standard errors", others)
    if spoken[0].sign < 0 and len(spoken) == 1:
        why = "the second arm leads from the first evaluation past the start-up plateau"
        return bound(spoken[0].members[0], "left", why, others)
    last = max((b.members[-1] for b in spoken if b.sign > 0), default=start)
    if spoken[-1].sign > 0 and (d.value[last:] > 0).all():
        return bound(len(d) - 1, "right", "the first arm still leads where the run ends", others)
    return bound(last, "right", "the lead is not decided after this point", others)
