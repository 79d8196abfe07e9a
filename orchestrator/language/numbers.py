"""Numbers as plans show them, and derived ones as keys hold them. `trainers.components.numbers` reads
them."""

from __future__ import annotations

from trainers.components.numbers import number


def significant(value: float, digits: int = 6) -> float:
    """``value`` rounded to ``digits`` significant digits: derived numbers are rounded before use, so that
    keys agree anywhere."""
    return float(f"{value:.{digits - 1}e}")


def human(value: float) -> str:
    """A short form for tables: ``950``, ``10k``, ``1.25M``, ``96B``, ``6.3e18``."""
    if value != value or abs(value) < 1000:
        return f"{value:.3g}"
    if abs(value) >= 999.5e12:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    for suffix, power in (("T", 12), ("B", 9), ("M", 6), ("k", 3)):
        if abs(value) >= 0.9995 * 10**power:
            return f"{value / 10**power:.3g}{suffix}"
    return f"{value:.3g}"


def exact(value: float) -> str:
    """As :func:`human` where that loses nothing (``5k``), else every digit (``24743247``)."""
    short = human(value)
    return short if number(short) == value else repr(value)
