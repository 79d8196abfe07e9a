"""Counter-based randomness for data: every value is a hash of names and counters, so that nothing depends on
call order.

The mixing function is SplitMix64's finaliser (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
Generators", OOPSLA 2014), on numpy unsigned integers: the same values on every machine and numpy version.
"""

from __future__ import annotations

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


def key(*parts: str | int) -> int:
    """A 64-bit stream key from names and numbers, such as ``key(seed, "order", epoch)``."""
    text = "\x1f".join(f"{type(p).__name__}:{p}" for p in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def bits(stream: int, counters: np.ndarray) -> np.ndarray:
    """Independent 64-bit words, uint64, one a counter (integers of any shape)."""
    x = np.asarray(counters).astype(np.uint64)
    with np.errstate(over="ignore"):
        x = (x + np.uint64(1)) * _GOLDEN + np.uint64(stream)
        x = (x ^ (x >> np.uint64(30))) * _MIX1
        x = (x ^ (x >> np.uint64(27))) * _MIX2
    return np.asarray(x ^ (x >> np.uint64(31)))


def uniform(stream: int, counters: np.ndarray) -> np.ndarray:
    """Uniform in [0, 1), float64, one a counter."""
    return np.asarray((bits(stream, counters) >> np.uint64(11)) * 2.0**-53)


def integers(stream: int, counters: np.ndarray, high: int) -> np.ndarray:
    """Uniform in 0..high-1, int64, one a counter. The bias is below high / 2^53."""
    return np.asarray((uniform(stream, counters) * high).astype(np.int64))


def permutation(stream: int, n: int) -> np.ndarray:
    """A uniform permutation of 0..n-1, int64: the order of n hashes."""
    return np.argsort(bits(stream, np.arange(n)), kind="stable").astype(np.int64)
