"""Counter-based noise: every random number is a pure function of seed, stream name, sample counter and index.

There is no generator state, so noise does not depend on micro-batches, workers, devices or what was drawn
before. The hash is `trainers.components.splitmix`, the same on every device; floats are exact multiples of
2**-24.
"""

from __future__ import annotations

import math

from trainers.components.lazy import torch
from trainers.components.splitmix import bits, shift, text_key


def stream_key(seed: int, stream: str) -> int:
    """A 64-bit key of a seed and a stream name, as a signed integer."""
    return text_key(f"{seed}/{stream}")


def _unit(words: torch.Tensor) -> torch.Tensor:
    """float32 in [0, 1) from the upper 24 bits."""
    return shift(words, 40).to(torch.float32) * 2.0**-24


def _gauss(words: torch.Tensor) -> torch.Tensor:
    """Standard normal float64 by Box and Muller: two 32-bit uniforms out of each 64 bits."""
    radius = (shift(words, 32).to(torch.float64) + 0.5) * 2.0**-32
    angle = (words & 0xFFFFFFFF).to(torch.float64) * (2 * math.pi * 2.0**-32)
    return (-2 * radius.log()).sqrt() * angle.cos()


def hash_normal(seed: int, stream: str, index: torch.Tensor) -> torch.Tensor:
    """Standard normal float64 at each index (int64) of a stream."""
    return _gauss(bits(stream_key(seed, stream), index))


class Noise:
    """The noise of one (micro-)batch.

    ``counters`` [B] int64 are the sample counters: step x global batch + position in it. Draws of one stream
    are always the same, so a caller that needs two draws names two streams.
    """

    def __init__(self, seed: int, counters: torch.Tensor, global_batch: int, prefix: str = "") -> None:
        self.seed = seed
        self.counters = counters
        self.global_batch = global_batch
        self.prefix = prefix

    def derive(self, tag: str) -> Noise:
        """Independent noise for a part of the model, a layer's dropout say."""
        return Noise(self.seed, self.counters, self.global_batch, f"{self.prefix}{tag}/")

    def rows(self, start: int, stop: int) -> Noise:
        """The noise of sequences ``start`` to ``stop`` of this batch."""
        return Noise(self.seed, self.counters[start:stop], self.global_batch, self.prefix)

    def uniform(self, stream: str, *shape: int) -> torch.Tensor:
        """[B, *shape] float32 in [0, 1)."""
        return _unit(self._draw(stream, shape))

    def normal(self, stream: str, *shape: int) -> torch.Tensor:
        """[B, *shape] float32, standard normal."""
        return _gauss(self._draw(stream, shape)).to(torch.float32)

    def integers(self, stream: str, high: int, *shape: int) -> torch.Tensor:
        """[B, *shape] int64, uniform in 0..high-1 for ``high`` up to 2**31 (bias below high / 2**32)."""
        if not 1 <= high <= 1 << 31:
            raise ValueError(f"high must be in 1..2**31, not {high}")
        return (shift(self._draw(stream, shape), 32) * high) >> 32

    def stratified(self, stream: str) -> torch.Tensor:
        """[B] float32 in [0, 1): one uniform a sample, of which each global batch has one in every interval
        of 1 / batch.

        The intervals are dealt to the positions of a batch by a fresh permutation each step, so that a
        sample's place in the batch says nothing about its draw.
        """
        size = self.global_batch
        key = stream_key(self.seed, f"{self.prefix}{stream}/strata")
        step = torch.div(self.counters, size, rounding_mode="floor")
        position = self.counters - step * size
        members = step[:, None] * size + torch.arange(size, device=step.device)
        ranks = bits(key, members)
        own = ranks.gather(1, position[:, None])
        stratum = (ranks < own).sum(1)
        drawn = (stratum + _unit(self._draw(stream, ())).to(torch.float64)) / size
        return drawn.to(torch.float32).clamp_(max=1 - 2.0**-24)

    def _draw(self, stream: str, shape: tuple[int, ...]) -> torch.Tensor:
        per_sample = bits(stream_key(self.seed, self.prefix + stream), self.counters)
        index = torch.arange(math.prod(shape), dtype=torch.int64, device=self.counters.device)
        return bits(per_sample[:, None], index).view(-1, *shape)
