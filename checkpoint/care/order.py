"""Order: which values go first where not all can stay; pure.

    1. what something else was computed from, before what nothing was computed from: that is what was asked for
    2. among these, the least seconds per byte: what is quick to compute again and takes much space

The seconds of a value are those of its runner and of all collected values that have to be computed again for it. They
rise while values go, so the values of a chain don't all go because each alone is cheap.

Must not know: stores, times of day.

Next: care/collection.py
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["Value", "in_order"]

#: So many collected values are followed at most to find what one costs.
_MOST_FOLLOWED = 1000


class Value(NamedTuple):
    """A value that is kept, or was."""

    size: int
    seconds: float
    #: Numbers of the values that it was computed from.
    upstream: Sequence[int]
    is_collected: bool
    #: Whether it may go.
    is_free: bool


def in_order(values: Sequence[Value]) -> Iterator[int]:
    """Yield the numbers of the values that may go, the first to go first; each is gone before the next is chosen."""
    is_used = {above for value in values for above in value.upstream}
    gone = {number for number, value in enumerate(values) if value.is_collected}

    def rank(number: int) -> tuple[bool, float, int]:
        cost = _seconds_of(number, values, gone)
        return number not in is_used, cost / max(values[number].size, 1), number

    waiting = [rank(number) for number, value in enumerate(values) if value.is_free and not value.is_collected]
    heapq.heapify(waiting)
    while waiting:
        best = heapq.heappop(waiting)
        number = best[2]
        now = rank(number)
        if waiting and now > waiting[0]:
            heapq.heappush(waiting, now)
            continue
        gone.add(number)
        yield number


def _seconds_of(number: int, values: Sequence[Value], gone: set[int]) -> float:
    """Return what computing a value again takes, with those that are gone above it."""
    needed, pending = {number}, [number]
    while pending and len(needed) < _MOST_FOLLOWED:
        for above in values[pending.pop()].upstream:
            if above in gone and above not in needed:
                needed.add(above)
                pending.append(above)
    return sum(values[each].seconds for each in needed)
