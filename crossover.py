"""All that this project opens from Python, under one name that no folder of yours is likely to have.

>>> import crossover
>>> crossover.fit, crossover.train, crossover.Sweep                             # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

DOORS = ("orchestrator", "trainers", "analysis")


def _homes() -> dict[str, str]:
    """Name -> the package that opens it; the first of ``DOORS`` where two do."""
    return {name: door for door in reversed(DOORS) for name in importlib.import_module(door).__all__}


def __getattr__(name: str) -> Any:
    door = None if name.startswith("__") else _homes().get(name)
    if door is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(door), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_homes())
