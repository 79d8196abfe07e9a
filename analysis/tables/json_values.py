"""Values as JSON can hold them. Imports nothing heavy, so that anything may use it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any


def plain(value: Any) -> Any:
    """A value in JSON's own types.

    NaN and infinities become None, mappings dictionaries with text for keys, sequences and sets lists,
    numpy's arrays and numbers what they hold. Anything else is passed on.
    """
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence | Set) and not isinstance(value, str | bytes):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return value
