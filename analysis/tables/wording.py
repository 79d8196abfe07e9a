"""Numbers and cells as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def count(value: float) -> str:
    """12000 -> 12k, for ticks and marks."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{letter}" if abs(value) < 1e15 else f"{value:.0e}"
    return f"{value:.3g}"


def words(axes: Mapping[str, Any]) -> str:
    """A cell's axes as people read them: ``size d64, unique bytes 18k``."""
    parts = []
    for name, value in axes.items():
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        parts.append(
            f"{name.rsplit('.', 1)[-1].replace('_', ' ')} {count(float(value)) if number else value}"
        )
    return ", ".join(parts) or "all runs"
