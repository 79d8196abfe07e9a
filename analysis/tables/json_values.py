"""Values as JSON can hold them. Imports nothing heavy, so that anything may use it."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence, Set
from typing import Any


def plain(value: Any) -> Any:
    """A value in JSON's own types.

    NaN, infinities and pandas' missing values become None, dataclasses and mappings dictionaries with text
    for keys, sequences and sets lists, numpy's arrays and numbers what they hold. Anything else is passed on.
    """
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence | Set) and not isinstance(value, str | bytes):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if _missing(value) else value


def _missing(value: Any) -> bool:
    """Whether a value is one of pandas' for what is missing; without pandas nothing is."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and (value is pandas.NA or value is pandas.NaT)
