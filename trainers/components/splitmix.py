"""The SplitMix64 sequence, in wrapping int64 arithmetic that is the same for numpy arrays and torch tensors.

Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014: the n-th output is the
finaliser of a Weyl sequence, so that any of them is had without those before it.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

Integers = TypeVar("Integers")
"""int64, as a numpy array or a torch tensor of any shape."""


def signed(value: int) -> int:
    """The int64 with the bits of an unsigned 64-bit value."""
    return value - (1 << 64) if value >= 1 << 63 else value


_WEYL = signed(0x9E3779B97F4A7C15)
_MIX_1 = signed(0xBF58476D1CE4E5B9)
_MIX_2 = signed(0x94D049BB133111EB)


def text_key(text: str) -> int:
    """A 64-bit key of a text, as a signed integer: the first bytes of its SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little", signed=True)


def shift(x: Integers, bits: int) -> Integers:
    """Logical right shift; that of int64 is arithmetic."""
    value: Any = x
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Integers) -> Integers:
    """The finaliser, a bijection of int64 in which every input bit reaches every output bit."""
    value: Any = x
    value = (value ^ shift(value, 30)) * _MIX_1
    value = (value ^ shift(value, 27)) * _MIX_2
    return value ^ shift(value, 31)


def bits(key: Integers | int, index: Integers) -> Integers:
    """64 random bits for each ``index`` of the sequence that starts at ``key``."""
    start: Any = key
    start = signed((start + _WEYL) % (1 << 64)) if isinstance(start, int) else start + _WEYL
    position: Any = index
    return mix(position * _WEYL + start)
