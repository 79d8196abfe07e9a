"""Counter-based randomness for data: every value is a hash of names and counters, so that nothing depends on
call order.

The hash is `trainers.components.splitmix`: the same values on every machine and numpy version.
"""

from __future__ import annotations

import numpy as np

from trainers.components import splitmix
from trainers.components.splitmix import signed, text_key


def key(*parts: str | int) -> int:
    """A 64-bit stream key from names and numbers, such as ``key(seed, "order", epoch)``."""
    text = "\x1f".join(f"{type(p).__name__}:{p}" for p in parts)
    return text_key(text) % (1 << 64)


def bits(stream: int, counters: np.ndarray) -> np.ndarray:
    """Independent 64-bit words, uint64, one a counter (integers of any shape)."""
    index = np.atleast_1d(np.asarray(counters).astype(np.uint64)).view(np.int64)
    words = splitmix.bits(signed(stream), index)
    return words.view(np.uint64).reshape(np.shape(counters))


def uniform(stream: int, counters: np.ndarray) -> np.ndarray:
    """Uniform in [0, 1), float64, one a counter."""
    return np.asarray((bits(stream, counters) >> np.uint64(11)) * 2.0**-53)


def integers(stream: int, counters: np.ndarray, high: int) -> np.ndarray:
    """Uniform in 0..high-1, int64, one a counter. The bias is below high / 2^53."""
    return np.asarray((uniform(stream, counters) * high).astype(np.int64))


def permutation(stream: int, n: int) -> np.ndarray:
    """A uniform permutation of 0..n-1, int64: the order of n hashes."""
    return np.argsort(bits(stream, np.arange(n)), kind="stable").astype(np.int64)
