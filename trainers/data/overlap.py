"""Which texts share a long run of bytes with another collection: the check that keeps validation apart
from training.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_BASE = 0x9E3779B97F4A7C15
_TABLE_BITS = 24
_SHIFT = np.uint64(64 - _TABLE_BITS)
_MASK = np.uint64((1 << _TABLE_BITS) - 1)


def windows(text: np.ndarray, length: int) -> np.ndarray:
    """Hash of every run of ``length`` bytes of ``text`` [n] uint8: [n - length + 1] uint64.

    A polynomial hash modulo 2^64, built by doubling, so that it takes log2(length) passes over the text.
    """
    if len(text) < length:
        return np.zeros(0, np.uint64)
    power, size = (
        text.astype(np.uint64) + np.uint64(1),
        1,
    )  # hashes of every run of `size` bytes, a power of two
    total, covered = np.zeros(len(text) + 1, np.uint64), 0  # hashes of every run of `covered` bytes
    while True:
        factor = np.uint64(pow(_BASE, size, 1 << 64))
        if length & size:
            n = len(text) - covered - size + 1
            total = total[:n] * factor + power[covered : covered + n]
            covered += size
        if covered == length:
            return total ^ (total >> np.uint64(29))
        power = power[:-size] * factor + power[size:]
        size *= 2


def sharing(texts: np.ndarray, ends: np.ndarray, others: Iterable[np.ndarray], length: int) -> np.ndarray:
    """For each text (``texts`` concatenated uint8, ``ends`` their ends): does it share ``length`` bytes with
    any of ``others``?

    [texts] bool. Runs across the border of two texts, or of two of ``others``, do not count. Time is linear
    in both; memory is that of the hashes of ``texts`` and of one of ``others``.
    """
    hashes = windows(texts, length)
    owner = np.searchsorted(ends, np.arange(len(hashes)), side="right")
    inside = np.arange(len(hashes)) + length <= ends[owner]
    hashes, owner = hashes[inside], owner[inside]
    sieve = _Sieve(hashes)  # most runs of `others` occur nowhere in `texts`
    candidates = [hashes[sieve(hashes)] for other in others for hashes in [windows(other, length)]]
    result = np.zeros(len(ends), bool)
    if candidates:
        known = np.append(np.sort(np.concatenate(candidates)), np.uint64(0))
        possible = _Sieve(known)(hashes)
        hashes, owner = hashes[possible], owner[possible]
        result[owner[known[np.searchsorted(known[:-1], hashes)] == hashes]] = True
    return result


class _Sieve:
    """A Bloom filter of two hash functions: true for every member, and for about a thirtieth of others at
    3 million members.
    """

    def __init__(self, hashes: np.ndarray) -> None:
        self.high, self.low = np.zeros(1 << _TABLE_BITS, bool), np.zeros(1 << _TABLE_BITS, bool)
        self.high[hashes >> _SHIFT] = True
        self.low[hashes & _MASK] = True

    def __call__(self, hashes: np.ndarray) -> np.ndarray:
        result = self.high[hashes >> _SHIFT]
        result[result] = self.low[hashes[result] & _MASK]
        return result
