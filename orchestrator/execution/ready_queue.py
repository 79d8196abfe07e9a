"""The tasks that could start at once, by priority, so that starting one costs no look at the others; and the
longest paths that priorities are."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from orchestrator.execution.capacity import Capacity


class ReadyQueue:
    """Keys of tasks that wait for nothing but room. Tasks of one kind that hold the same resources form a
    heap: where the first of them does not fit, neither do the others.
    """

    def __init__(self, waits: Callable[[str], bool]) -> None:
        """``waits`` says of a key whether its task still waits; others are dropped when they come first."""
        self._waits = waits
        self._heaps: dict[tuple[str, Capacity], list[tuple[float, str]]] = {}

    def push(self, key: str, kind: str, resources: Capacity, priority: float) -> None:
        """Add a task; higher priorities come first, then keys in order."""
        heapq.heappush(self._heaps.setdefault((kind, resources), []), (-priority, key))

    def clear(self) -> None:
        self._heaps.clear()

    def heads(self) -> Iterator[tuple[Capacity, str]]:
        """What the tasks of each heap hold, and the first of them."""
        for group, heap in list(self._heaps.items()):
            if self._trim(group):
                yield group[1], heap[0][1]

    def _trim(self, group: tuple[str, Capacity]) -> bool:
        """Drop what no longer waits from the head of a heap; False where nothing is left of it."""
        heap = self._heaps[group]
        while heap and not self._waits(heap[0][1]):
            heapq.heappop(heap)
        if not heap:
            del self._heaps[group]
        return bool(heap)

    def take(self, free: Capacity, most: Capacity, kinds: Iterable[str] | None, count: int) -> list[str]:
        """Remove and return the first tasks that fit into ``free`` together, at most ``count``.

        A task that does not fit claims what it lacks, so that smaller ones cannot starve it. One that does
        not even fit into ``most``, all that there is, claims nothing.
        """
        allowed = None if kinds is None else set(kinds)
        cpus = gpus = False
        open_heaps = [
            (heap[0], group, heap)
            for group, heap in list(self._heaps.items())
            if (allowed is None or group[0] in allowed) and group[1].fits(most) and self._trim(group)
        ]
        heapq.heapify(open_heaps)
        taken: list[str] = []
        while open_heaps and len(taken) < count:
            (_, key), group, heap = heapq.heappop(open_heaps)
            wants = group[1]
            if (wants.cpus and cpus) or (wants.gpus and gpus):
                continue
            if not wants.fits(free):
                cpus |= wants.cpus > free.cpus + 1e-9
                gpus |= wants.gpus > free.gpus + 1e-9
                continue
            free -= wants
            taken.append(key)
            heapq.heappop(heap)
            if self._trim(group):
                heapq.heappush(open_heaps, (heap[0], group, heap))
        return taken


def longest_paths(seconds: Mapping[str, float], children: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Seconds of the longest chain of tasks that begins with each one; ``children`` are those that need it.

    `ValueError` on a cycle. No recursion, for chains are long.
    """
    longest: dict[str, float] = {}
    visiting: set[str] = set()
    stack = list(seconds)
    while stack:
        key = stack[-1]
        if key in longest:
            stack.pop()
            continue
        below = [child for child in children[key] if child not in longest]
        if below and key in visiting:
            raise ValueError(f"the plan has a cycle through task {key}")
        if below:
            visiting.add(key)
            stack += below
            continue
        visiting.discard(key)
        longest[key] = seconds[key] + max((longest[child] for child in children[key]), default=0.0)
        stack.pop()
    return longest
