"""Values as the report's templates write them: the filters."""

from __future__ import annotations

import math
from typing import Any

from analysis.crossover.place import Place
from analysis.tables.wording import human

MARKS = {None: "", "right": ">", "left": "<"}


def place_words(place: Place, open_ends: bool = False) -> str:
    """A place with its interval, ``523k [480k, 571k]``, or its bound, ``> 1.2M``.

    ``open_ends``: show an interval of which one end is open, too.
    """
    if place.value is None:
        return "–"
    write = scientific if getattr(place, "unit", "") == "flops" else human
    if place.censored:
        return f"{MARKS[place.censored]} {write(place.value)}"
    ends = place.low, place.high
    if not any(ends) or (not all(ends) and not open_ends):
        return write(place.value)
    low, high = (write(end) if end else "–" for end in ends)
    return f"{write(place.value)} [{low}, {high}]"


def bound_words(place: Place) -> str:
    """What a bound says; empty for a place that was seen."""
    return {"right": "not ahead by there", "left": "ahead before", None: ""}[place.censored]


def scientific(value: float) -> str:
    """``3.20e17``."""
    return f"{value:.2e}".replace("e+", "e")


def plain_words(value: Any) -> str:
    """A number or name as people read it; an en dash for what is not there."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1e5 else f"{value:.3e}"
    return str(value)
