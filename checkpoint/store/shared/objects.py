"""Objects: named byte strings, all that a shared store asks of the place where it is kept.

An object is written as a whole or not at all and never changes; what was written, deleted or listed is seen by the
next call of anybody. Names are text with "/" between folders. Nothing here locks.

Next: store/shared/memory.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeVar

__all__ = ["Objects", "Parts", "Size", "both", "each"]

T = TypeVar("T")
R = TypeVar("R")
Parts = Sequence[bytes | bytearray | memoryview]


class Size(NamedTuple):
    """How large an object is."""

    name: str
    size: int
    #: When it was written, in seconds since 1970, by the clock of the place.
    written_at: float


class Objects(Protocol):
    """Where objects are kept. Every method may be called from any thread; all raise `StoreError`."""

    #: How many characters the last part of a name may have.
    name_limit: int
    #: How many calls at once are worth it.
    concurrency: int

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin with a prefix, in any order."""
        ...

    def sizes(self, prefix: str) -> list[Size]:
        """Return the same with the size of each, and when it was written."""
        ...

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below a prefix that ends with "/"."""
        ...

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Return the bytes of an object, or some of them; None if it is not there."""
        ...

    def put(self, name: str, parts: Parts) -> None:
        """Write an object. Writing it twice with the same bytes does no harm."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless it is there; of several callers at once one is told True, at most."""
        ...

    def move(self, name: str, to: str) -> None:
        """Give an object another name; nothing if it is not there."""
        ...

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects, whether they are there or not."""
        ...

    def check(self) -> None:
        """See that `create` keeps its promise here; called once before the first write."""
        ...

    def close(self) -> None:
        """Close connections; the next call opens them again."""
        ...


def each(objects: Objects, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return what a function returns for each item, in order, with as many calls at once as the place is worth."""
    wanted = list(items)
    count = min(objects.concurrency, len(wanted))
    if count <= 1:
        return [function(item) for item in wanted]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, wanted))


def both(objects: Objects, first: Callable[[], T], second: Callable[[], R]) -> tuple[T, R]:
    """Return what two functions return, called at once if the place is worth it."""
    if objects.concurrency <= 1:
        return first(), second()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(second)
        return first(), other.result()
