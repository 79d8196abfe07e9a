"""Numbers and cells as people read them. Imports nothing heavy, so that anything may use it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any


def human(value: float) -> str:
    """A number in three digits, for people: ``950``, ``10k``, ``1.25M``, ``96B``, ``6.3e18``.

    `trainers.components.numbers.number` reads every form back.
    """
    if not math.isfinite(value) or abs(value) < 999.5:
        return f"{value:.3g}"
    if abs(value) >= 999.5e12:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    for suffix, power in (("T", 12), ("B", 9), ("M", 6), ("k", 3)):
        if abs(value) >= 0.9995 * 10**power:
            return f"{value / 10**power:.3g}{suffix}"
    return f"{value:.3g}"


def words(axes: Mapping[str, Any]) -> str:
    """A cell's axes as people read them: ``size d64, unique bytes 18k``."""
    parts = []
    for name, value in axes.items():
        number = isinstance(value, Real) and not isinstance(value, bool)
        parts.append(
            f"{name.rsplit('.', 1)[-1].replace('_', ' ')} {human(float(value)) if number else value}"
        )
    return ", ".join(parts) or "all runs"
