"""Schedule: what a run would have taken with other numbers of workers, and its critical path.

A simulation of list scheduling: the instances that were computed, with the times they took, each on the first worker
that is free once all it requires is done and its limits allow it, the lowest first, as the plan does it.

Must not know: the run itself; it works on numbers.

Next: observe/trace.py
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import final

__all__ = ["Schedule"]


@final
class Schedule:
    """The instances of a run that took time, and what each had to wait for.

    Args:
        seconds: for each instance what it took, 0 for what was not computed.
        upstream: for each the indices, which are smaller, of what it requires.
        limits: limit -> how many of those that count against it may run at once.
        limits_of: index -> the limits it counts against.
    """

    def __init__(
        self,
        seconds: Sequence[float],
        upstream: Sequence[Sequence[int]],
        limits: Mapping[str, int],
        limits_of: Callable[[int], tuple[str, ...]],
    ) -> None:
        self._seconds = seconds
        self._upstream = upstream
        self._limits = limits
        self._limits_of = limits_of
        self._downstream: list[list[int]] = [[] for _ in seconds]
        for node, above in enumerate(upstream):
            for each in above:
                self._downstream[each].append(node)

    @property
    def work(self) -> float:
        """All seconds added up."""
        return sum(self._seconds)

    def critical_path(self) -> list[int]:
        """Return the chain of instances that took longest, from its beginning."""
        longest = [0.0] * len(self._seconds)
        before: list[int | None] = [None] * len(self._seconds)
        for node, seconds in enumerate(self._seconds):
            for above in self._upstream[node]:
                if longest[above] > longest[node]:
                    longest[node], before[node] = longest[above], above
            longest[node] += seconds
        path: list[int] = []
        step = max(range(len(longest)), key=longest.__getitem__, default=None)
        while step is not None:
            if self._seconds[step]:
                path.append(step)
            step = before[step]
        return path[::-1]

    def makespan(self, workers: int) -> float:
        """Return how long it takes with so many workers."""
        open_upstream = [len(above) for above in self._upstream]
        free = dict(self._limits)
        ready = [node for node, count in enumerate(open_upstream) if not count]
        parked: dict[str, deque[int]] = {limit: deque() for limit in free}
        running: list[tuple[float, int]] = []
        now = 0.0
        while ready or running:
            while ready and len(running) < workers:
                node = heapq.heappop(ready)
                full = next((limit for limit in self._limits_of(node) if not free[limit]), None)
                if full is not None and self._seconds[node]:
                    parked[full].append(node)
                    continue
                self._count(node, free, -1)
                heapq.heappush(running, (now + self._seconds[node], node))
            now, node = heapq.heappop(running)
            self._count(node, free, +1)
            for limit in self._limits_of(node):
                if parked[limit]:
                    heapq.heappush(ready, parked[limit].popleft())
            for below in self._downstream[node]:
                open_upstream[below] -= 1
                if not open_upstream[below]:
                    heapq.heappush(ready, below)
        return now

    def _count(self, node: int, free: dict[str, int], change: int) -> None:
        if self._seconds[node]:
            for limit in self._limits_of(node):
                free[limit] += change
