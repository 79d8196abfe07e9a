"""Numbers as plans show them, and derived ones as keys hold them. `trainers.components.numbers` reads
them."""

from __future__ import annotations

from analysis.tables.wording import human
from trainers.components.numbers import number


def significant(value: float, digits: int = 6) -> float:
    """``value`` rounded to ``digits`` significant digits: derived numbers are rounded before use, so that
    keys agree anywhere."""
    return float(f"{value:.{digits - 1}e}")


def exact(value: float) -> str:
    """As `human` where that loses nothing (``5k``) and is no longer, else every digit (``24743247``)."""
    short, digits = human(value), repr(value)
    return short if number(short) == value and len(short) <= len(digits) + 1 else digits
