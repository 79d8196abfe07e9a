"""What tasks hold and what backends have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Capacity:
    """What a task holds while it runs, or what a backend has: CPU cores and GPUs (fractions allowed)."""

    cpus: float = 1.0
    gpus: float = 0.0

    def fits(self, free: Capacity) -> bool:
        return self.cpus <= free.cpus + 1e-9 and self.gpus <= free.gpus + 1e-9

    def each(self, workers: int) -> Capacity:
        """What one of ``workers`` holds that share these evenly."""
        return Capacity(self.cpus / workers, self.gpus / workers)

    def holds(self, worker: Capacity) -> int:
        """How many such workers fit at once."""
        shares = [(self.cpus, worker.cpus), (self.gpus, worker.gpus)]
        return min((int(has / wants + 1e-9) for has, wants in shares if wants), default=1)

    def __add__(self, other: Capacity) -> Capacity:
        return Capacity(self.cpus + other.cpus, self.gpus + other.gpus)

    def __sub__(self, other: Capacity) -> Capacity:
        return Capacity(self.cpus - other.cpus, self.gpus - other.gpus)

    def __or__(self, other: Capacity) -> Capacity:
        """The larger of each."""
        return Capacity(max(self.cpus, other.cpus), max(self.gpus, other.gpus))

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs and {self.gpus:g} GPUs"


ONE_CORE = Capacity()
NOTHING = Capacity(0.0, 0.0)
UNLIMITED = Capacity(float("inf"), float("inf"))


@dataclass(frozen=True)
class ClusterCapacity:
    """What a backend has: ``now``, idle or not; the ``largest`` it has had; and whether it ``may_grow``."""

    now: Capacity
    largest: Capacity
    may_grow: bool = False

    @classmethod
    def fixed(cls, capacity: Capacity) -> ClusterCapacity:
        """Of a backend that never has more, nor less."""
        return cls(capacity, capacity)

    @property
    def limit(self) -> Capacity:
        """The most that there can be: what does not fit there never starts."""
        return UNLIMITED if self.may_grow else self.largest
