"""How the place of the crossing moves along each axis of a study: by the law's slope or contrast with its
interval, else by cells that differ in that axis alone, else why it cannot be said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.crossover.axes import DISTINCT, follows
from analysis.crossover.places.censored_law import CensoredLaw, Coefficient
from analysis.crossover.same_n.cell_places import CellCrossover
from analysis.crossover.same_n.pairs import text
from analysis.crossover.situations import CROSSES, CellSituation, Situation

Direction = Literal["earlier", "later", "not decided", "cannot be said", "not varied"]

MOST_LEVELS = 6
"""Levels of an axis up to which each has a line."""

_COMPARABLE = CROSSES | {Situation.BEHIND, Situation.AHEAD}
"""Situations of which interval or bound hold the place at which the second arm passes the first."""

_SAME = 0.05
"""Log units within which two cells have one N, or one U (a subset holds a little more or less)."""


@dataclass(frozen=True)
class Move:
    """How the place moves with one change of one axis.

    ``axis``: ``U``, ``N`` or an axis's name; ``change``: in words, such as ``less data`` or ``quality noisy
    against clean``; ``direction``: what the place does; ``evidence``: what that rests on.
    """

    axis: str
    change: str
    direction: Direction
    evidence: str = ""

    @property
    def words(self) -> str:
        """``earlier (~ U^0.60 [0.32, 0.88])``."""
        return f"{self.direction} ({self.evidence})" if self.evidence else self.direction


def axis_moves(
    cells: Sequence[CellSituation], law: CensoredLaw | None, runs: pd.DataFrame
) -> tuple[Move, ...]:
    """A move for less data, one for a larger model, and for each further axis one a level against its first
    in ``runs``."""
    if not cells:
        return ()
    crossings = [c.crossing for c in cells]
    table = pd.DataFrame([{**c.axes, "N": c.N or np.nan, "U": c.U or np.nan} for c in crossings])
    out = [_variable(cells, law, "U", "less data"), _variable(cells, law, "N", "larger model")]
    renames: dict[str, str] = {}
    for axis in crossings[0].axes:
        levels = list(dict.fromkeys(runs[axis].dropna()))
        if len(levels) < 2:
            continue
        variable = next((v for v in ("N", "U") if follows(table, axis, v)), None)
        if variable is None:
            out += _levels(cells, law, axis, levels)
        elif (other := renames.setdefault(variable, axis)) != axis:
            short = axis.rsplit(".", 1)[-1].replace("_", " ")
            out.append(Move(axis, short, "cannot be said", f"it varies together with {other}"))
    return tuple(out)


def _variable(cells: Sequence[CellSituation], law: CensoredLaw | None, name: str, change: str) -> Move:
    """Along U (downwards) or N (upwards)."""
    sign = -1 if name == "U" else 1
    slope = law.coefficient(name) if law is not None else None
    if slope is not None:
        power = f"~ {name}^{slope.value:.2f} [{slope.low:.2f}, {slope.high:.2f}]"
        return _by_law(name, change, slope, sign, power)
    values = [getattr(c.crossing, name) for c in cells]
    if None in values:
        return Move(name, change, "cannot be said", f"{name} is unknown")
    if math.log(max(values) / min(values)) < DISTINCT:
        return Move(name, change, "not varied")
    other = "N" if name == "U" else "U"
    pairs = [
        (one, two)
        if (getattr(one.crossing, name) < getattr(two.crossing, name)) == (sign > 0)
        else (two, one)
        for one, two in combinations(cells, 2)
        if _apart(one, two, name) > 2 * _SAME
        and _apart(one, two, other) < _SAME
        and len(_changed(one.crossing, two.crossing)) == 1
    ]
    return _by_cells(name, change, pairs)


def _apart(one: CellSituation, two: CellSituation, name: str) -> float:
    a, b = getattr(one.crossing, name), getattr(two.crossing, name)
    return math.inf if a is None or b is None else abs(math.log(a / b))


def _changed(one: CellCrossover, two: CellCrossover) -> list[str]:
    return [k for k in one.axes if text(one.axes[k]) != text(two.axes[k])]


def _levels(
    cells: Sequence[CellSituation], law: CensoredLaw | None, axis: str, levels: list[Any]
) -> list[Move]:
    """Each level of an axis against the first."""
    short = axis.rsplit(".", 1)[-1].replace("_", " ")
    if len(levels) > MOST_LEVELS:
        return [Move(axis, short, "cannot be said", f"{len(levels)} levels have no contrasts")]
    out = []
    for level in levels[1:]:
        change = f"{short} {text(level)} against {text(levels[0])}"
        slope = law.contrast(axis, level, levels[0]) if law is not None else None
        if slope is not None:
            low, value, high = (math.exp(v) for v in (slope.low, slope.value, slope.high))
            out.append(_by_law(axis, change, slope, 1, f"× {value:.2f} [{low:.2f}, {high:.2f}]"))
            continue
        at = {
            k: [c for c in cells if text(c.crossing.axes[axis]) == text(v)]
            for k, v in (("new", level), ("old", levels[0]))
        }
        pairs = [
            (old, new)
            for old in at["old"]
            for new in at["new"]
            if _changed(old.crossing, new.crossing) == [axis]
        ]
        out.append(_by_cells(axis, change, pairs))
    return out


def _by_law(axis: str, change: str, slope: Coefficient, sign: int, effect: str) -> Move:
    direction: Direction = "later" if slope.value * sign > 0 else "earlier"
    if slope.decided():
        return Move(axis, change, direction, effect)
    return Move(axis, change, "not decided", f"leaning {direction}, {effect}")


def _by_cells(axis: str, change: str, pairs: Sequence[tuple[CellSituation, CellSituation]]) -> Move:
    """By pairs of cells (before, after the change) whose intervals or bounds lie apart."""
    if not pairs:
        return Move(axis, change, "cannot be said", "no two cells differ in this alone")
    orders = [_order(before, after) for before, after in pairs]
    earlier, later = orders.count(-1), orders.count(1)
    total = f"{len(pairs)} comparison{'s' if len(pairs) > 1 else ''} of two cells"
    basis = "intervals and bounds"
    if any(c.crossing.censored is None and not c.crossing.pooled_over for pair in pairs for c in pair):
        basis = "bounds and intervals of evaluation error alone"
    if earlier and later:
        return Move(axis, change, "not decided", f"{earlier} earlier and {later} later of {total}")
    if earlier or later:
        direction: Direction = "later" if later else "earlier"
        return Move(axis, change, direction, f"in {earlier + later} of {total}, by their {basis}")
    if not any(c.situation in CROSSES for pair in pairs for c in pair):
        return Move(axis, change, "cannot be said", "no crossing among the cells compared")
    return Move(axis, change, "not decided", f"{basis} overlap in {total}")


def _order(before: CellSituation, after: CellSituation) -> int:
    """+1 where the place after the change is later, -1 where it is earlier, 0 where that is not decided."""
    if not {before.situation, after.situation} <= _COMPARABLE:
        return 0
    (low, high), (low_after, high_after) = (_ends(c.crossing) for c in (before, after))
    return int(low_after > high) - int(high_after < low)


def _ends(crossing: CellCrossover) -> tuple[float, float]:
    return crossing.low or 0.0, crossing.high or math.inf
