"""A fresh permutation each epoch."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

import numpy as np

from trainers.data import hashing
from trainers.data.base import Order, orders


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, sequences: int) -> np.ndarray:
    return hashing.permutation(hashing.key(seed, "order", epoch), sequences)


@orders.register
class Shuffle(Order):
    """Every sequence once an epoch, in an order of its own each epoch: the usual practice."""

    name: ClassVar[str] = "shuffle"

    def sequence(self, counters: np.ndarray, sequences: int, seed: int) -> np.ndarray:
        epochs, places = np.divmod(counters, sequences)
        result = np.empty_like(counters)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            result[here] = _permutation(seed, epoch, sequences)[places[here]]
        return result
