"""Which axes of a study are its model size, its unique data or its length of training, and which are not."""

from __future__ import annotations

import numpy as np
import pandas as pd

DISTINCT = 0.02
"""Log units that a variable must span to count as varied."""

WITHIN = 0.2
"""Share of that span which values of an axis that renames it may span each."""

_LENGTH = ("steps", "tokens", "epochs", "flops", "tokens_per_parameter")
_SIZE = ("size", "width", "layers", "depth", "heads", "kv_heads", "ffn")


def is_length(axis: str) -> bool:
    """Whether an axis says how long runs train (``budget.tokens``)."""
    return axis.startswith("budget") or axis.rsplit(".", 1)[-1] in _LENGTH


def is_size(table: pd.DataFrame, axis: str) -> bool:
    """Whether an axis is part of the model's size: its values order as N does, or it is a dimension."""
    named = axis.startswith("model.") and axis.rsplit(".", 1)[-1] in _SIZE
    return named or follows(table, axis, "N")


def follows(table: pd.DataFrame, axis: str, variable: str) -> bool:
    """Whether an axis's values order as ``variable`` (a positive column: N or U) does, as those of
    ``model.size`` and ``data.unique_bytes`` do."""
    logs = np.log(table[variable].to_numpy(float))
    if not np.isfinite(logs).all() or not len(logs):
        return False
    spread = float(np.ptp(logs))
    labels = table[axis].astype(str).to_numpy()
    within = max(float(np.ptp(logs[labels == label])) for label in np.unique(labels))
    return spread > DISTINCT and within < WITHIN * spread
