"""Which axes of a study only rename its model size or its unique data."""

from __future__ import annotations

import numpy as np
import pandas as pd

DISTINCT = 0.02
"""Log units that a variable must span to count as varied."""

WITHIN = 0.2
"""Share of that span which values of an axis that renames it may span each."""


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
