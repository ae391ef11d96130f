"""Channels: what the tasks of a run share: keys, values, and how long they live.

A channel counts what it changes, so a snapshot takes what has changed since the one before. Whoever wants to hear of
each change at once, before the writer goes on, sets `on_change`.

Must not know: tasks, journals.

Next: flows/workflow/redis_channel.py
"""

from __future__ import annotations

import contextlib
import numbers
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, final

from checkpoint.checks import number
from checkpoint.flows.workflow.cells import cell_of, value_in

__all__ = ["Channel", "MemoryChannel", "Stored"]


@final
@dataclass(frozen=True, slots=True)
class Stored:
    """The bytes of a value, and the time (seconds since 1970) at which it goes."""

    cell: bytes
    expires_at: float | None = None

    @property
    def is_alive(self) -> bool:
        """Whether its time has not come."""
        return self.expires_at is None or time.time() < self.expires_at


#: What is to become of a key: given what is there, return what shall be there; None for nothing.
Change = Callable[[Stored | None], Stored | None]


class Channel(ABC):
    """Keys and values that the tasks of a run share. Safe to use from several threads.

    Values are copied when they are set and when they are read.
    """

    def __init__(self, name: str) -> None:
        #: Names the channel in errors: the workflow.
        self.name = name
        #: Called with the key after each change.
        self.on_change: Callable[[str], object] | None = None

    # --- what a kind of channel provides ---

    @abstractmethod
    def read(self, key: str) -> Stored | None:
        """Return what is at a key."""

    @abstractmethod
    def change(self, key: str, change: Change) -> Stored | None:
        """Change a key in one step that no other writer can come into; return what is there now."""

    @abstractmethod
    def keys(self) -> list[str]:
        """Return the keys, in the order in which they were first set."""

    @abstractmethod
    def changes(self) -> dict[str, Stored | None]:
        """Return what has changed since the last call; None for what is gone."""

    @abstractmethod
    def lock(self, key: str, timeout: float = 10.0) -> contextlib.AbstractContextManager[None]:
        """Return a context manager that keeps out everybody else who asks for the same lock.

        Raises:
            TimeoutError: on entering, if it isn't free within so many seconds.
        """

    # --- what tasks use ---

    def write(self, key: str, change: Change, kind: str = "set", given: Any = None) -> Stored | None:
        """Change a key and tell `on_change`; `kind` and `given` are what a branch needs to merge the change."""
        if not isinstance(key, str):
            raise TypeError(f"keys of a channel are text, not {type(key).__name__}: {key!r}")
        stored = self._apply(key, change, kind, given)
        if self.on_change is not None:
            self.on_change(key)
        return stored

    def _apply(self, key: str, change: Change, kind: str, given: Any) -> Stored | None:
        return self.change(key, change)

    def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Set a key.

        Args:
            ttl: seconds after which it goes.

        Raises:
            UnsavableError: the value can't be turned into bytes; nothing has changed.
        """
        stored = Stored(self._cell(key, value), _end_of(ttl))
        self.write(key, lambda before: stored)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a copy of the value at a key."""
        stored = self.read(key)
        return default if stored is None else value_in(stored.cell)

    def delete(self, key: str) -> bool:
        """Delete a key; return whether it was there."""
        was_there = self.read(key) is not None
        if was_there:
            self.write(key, lambda before: None)
        return was_there

    def exists(self, key: str) -> bool:
        """Tell whether a key is there."""
        return self.read(key) is not None

    def clear(self) -> None:
        """Delete all keys."""
        for key in self.keys():
            self.delete(key)

    def append(self, key: str, value: Any, ttl: float | None = None) -> int:
        """Add a value at the end of the list at a key, made if it isn't there; return its length."""
        return self.extend(key, "append", [value], ttl)

    def prepend(self, key: str, value: Any, ttl: float | None = None) -> int:
        """Add a value at the front of the list at a key, made if it isn't there; return its length."""
        return self.extend(key, "prepend", [value], ttl)

    def extend(self, key: str, kind: Literal["append", "prepend"], added: list[Any], ttl: float | None = None) -> int:
        """Add values, in their order, at the end or the front of the list at a key; return its length."""
        length = 0

        def change(before: Stored | None) -> Stored:
            nonlocal length
            values = [] if before is None else value_in(before.cell)
            if not isinstance(values, list):
                raise TypeError(f"channel key {key!r} holds a {type(values).__name__}, not a list")
            after = [*values, *added] if kind == "append" else [*added, *values]
            length = len(after)
            end = before.expires_at if before is not None and ttl is None else _end_of(ttl)
            return Stored(self._cell(key, after), end)

        self.write(key, change, kind, added)
        return length

    def atomic_add(self, key: str, amount: float = 1) -> Any:
        """Add a number to the one at a key, 0 if it isn't there; return the sum."""
        total: Any = None
        if isinstance(amount, bool) or not isinstance(amount, numbers.Number):
            raise TypeError(f"amount of atomic_add() must be a number, not {amount!r}")

        def change(before: Stored | None) -> Stored:
            nonlocal total
            total = amount if before is None else value_in(before.cell) + amount
            return Stored(self._cell(key, total), None if before is None else before.expires_at)

        self.write(key, change, "add", amount)
        return total

    def _cell(self, key: str, value: object) -> bytes:
        return cell_of(value, f"channel key {key!r}", self.name)


def _end_of(ttl: float | None) -> float | None:
    if ttl is not None:
        number(ttl, "ttl (seconds)", is_zero_allowed=False)
    return None if ttl is None else time.time() + ttl


@final
class MemoryChannel(Channel):
    """A channel in this process. What a run writes to it is kept in the journal."""

    def __init__(self, name: str = "memory") -> None:
        super().__init__(name)
        self._stored: dict[str, Stored] = {}
        self._changed: dict[str, None] = {}
        self._guard = threading.RLock()
        self._locks: dict[str, threading.Lock] = {}

    def read(self, key: str) -> Stored | None:
        """Return what is at a key."""
        with self._guard:
            stored = self._stored.get(key)
            if stored is None or stored.is_alive:
                return stored
            del self._stored[key]
            self._changed[key] = None
            return None

    def change(self, key: str, change: Change) -> Stored | None:
        """Change a key in one step."""
        with self._guard:
            after = change(self.read(key))
            self._changed[key] = None
            if after is None:
                self._stored.pop(key, None)
            else:
                self._stored[key] = after
            return after

    def keys(self) -> list[str]:
        """Return the keys, in the order in which they were first set."""
        with self._guard:
            return [key for key in list(self._stored) if self.read(key) is not None]

    def changes(self) -> dict[str, Stored | None]:
        """Return what has changed since the last call."""
        with self._guard:
            self.keys()
            changed, self._changed = self._changed, {}
            return {key: self._stored.get(key) for key in changed}

    @contextlib.contextmanager
    def lock(self, key: str, timeout: float = 10.0) -> Iterator[None]:
        """Keep out the other tasks of this run."""
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        if not lock.acquire(timeout=timeout):
            raise TimeoutError(f"lock {key!r} was not free within {timeout:g} seconds")
        try:
            yield
        finally:
            lock.release()
