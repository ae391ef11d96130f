"""Room: which values go where not all can stay, and letting them go.

    1. what something else was computed from, before what nothing was computed from: that is what was asked for
    2. among these, the least seconds per byte: what is quick to compute again and takes much space

The seconds of a value are those of its runner and of all collected values that have to be computed again for it. They
rise while values go, so the values of a chain don't all go because each alone is cheap.

Must not know: graphs, plans, times of day.

Next: origin.py
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from checkpoint import codec
from checkpoint.errors import StoreError
from checkpoint.reasons import upstream_in
from checkpoint.store import Entry, Store
from checkpoint.store.disk import DiskStore
from checkpoint.store.inventory import DiskInventory, Inventory

__all__ = ["Held", "Value", "beyond", "held_of", "in_order", "keep_below", "release"]

#: So many collected values are followed at most to find what one costs.
_MOST_FOLLOWED = 1000
_HEADS_AT_ONCE = 500


class Held(NamedTuple):
    """An entry, and the bytes of its value with the files that belong to it."""

    task: str
    row: str
    entry: Entry
    size: int


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


def held_of(store: Store, inventory: Inventory, task: str) -> list[Held]:
    """Return the entries of a task that can be trusted, with or without their values."""
    directories = inventory.directories(task)
    return [
        Held(task, item.row, item.entry, item.size + directories.get(str(store.directory(task, item.row)), 0))
        for item in inventory.items(task)
        if item.entry is not None and item.is_signed
    ]


def beyond(inventory: Inventory, max_size: float, held: Sequence[Held], free: Sequence[Held]) -> list[Held]:
    """Return those values that go so that the others have a size of `max_size` bytes at most, if that can be.

    Args:
        inventory: where they are; read for what each was computed from, if there are too many.
        max_size: bytes.
        held: all.
        free: those that may go.
    """
    size = sum(each.size for each in held if not each.entry.is_collected)
    if size <= max_size:
        return []
    may_go = {(each.task, each.row) for each in free}
    values = [
        Value(each.size, each.entry.seconds, above, each.entry.is_collected, (each.task, each.row) in may_go)
        for each, above in zip(held, _above(inventory, held), strict=True)
    ]  # fmt: skip
    found: list[Held] = []
    for number in in_order(values):
        if size <= max_size:
            break
        found.append(held[number])
        size -= held[number].size
    return found


def _above(inventory: Inventory, held: Sequence[Held]) -> list[list[int]]:
    """Return the numbers of what each was computed from; nothing of what is damaged, which its reader is told."""
    numbers = {(each.task, each.row): number for number, each in enumerate(held)}
    above: list[list[int]] = [[] for _ in held]
    for task, some in itertools.groupby(held, key=lambda each: each.task):
        rows = [each.row for each in some]
        for start in range(0, len(rows), _HEADS_AT_ONCE):
            for row, (_, frame) in inventory.without_values(task, rows[start : start + _HEADS_AT_ONCE]).items():
                upstream = upstream_in(codec.read_head(b"".join(frame.parts)))
                above[numbers[task, row]] = [numbers[name, at] for name, at, _ in upstream if (name, at) in numbers]
    return above


def release(inventory: Inventory, going: Sequence[Held]) -> None:
    """Let values go; whoever does this is alone in the store."""
    by_task: dict[str, list[tuple[str, Entry]]] = {}
    for each in going:
        by_task.setdefault(each.task, []).append((each.row, each.entry))
    for task, rows in by_task.items():
        inventory.release(task, rows)
        inventory.shrink(task)


def keep_below(store: Store, max_size: int, spare: Collection[tuple[str, str]]) -> int:
    """Let values go until a store has a size; return how many went. Nothing goes while somebody uses the store.

    Args:
        store: if it is no folder on a disk, nothing goes.
        max_size: bytes that may stay.
        spare: task and row of what stays in any case.
    """
    if not isinstance(store, DiskStore):
        return 0
    inventory = DiskInventory(store)
    try:
        with inventory.alone(patience=0.0):
            tasks, _ = inventory.tasks()
            held = [each for task in tasks for each in held_of(store, inventory, task)]
            free = [each for each in held if (each.task, each.row) not in spare]
            going = beyond(inventory, max_size, held, free)
            release(inventory, going)
    except StoreError:  # another run goes on: the next one that ends alone makes room
        return 0
    return len(going)
