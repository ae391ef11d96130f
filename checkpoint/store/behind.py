"""WriteBehind: a store that gathers small writes for another one and commits them together.

A commit costs ten times a row, so results of small instances share one. What is gathered is already visible here. It
reaches the store below with the first result that is large, took long or comes 50 ms after the group's first, and on
`flush`; so a kill loses, beside what was running, results that took some 50 ms in all.

Next: store/shared/objects.py
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import final

from checkpoint.errors import StoreError
from checkpoint.store.entry import Entry, Epoch, Record, Store, Write

__all__ = ["WriteBehind"]

_LARGE_BYTES = 32 * 1024
_GROUP_BYTES = 256 * 1024
_GROUP_SECONDS = 0.05
_LONG_SECONDS = 0.02


@final
class WriteBehind:
    """A view of a store for one writer. What others see of it is late by a moment; what it says of itself is not."""

    def __init__(self, store: Store) -> None:
        self.url, self.settings = store.url, store.settings
        #: (task name, row) of writes that were dropped because of a clear.
        self.dropped: set[tuple[str, str]] = set()
        self._store = store
        self._lock = threading.RLock()
        self._pending: dict[str, dict[str, Write]] = {}
        self._pending_bytes = 0
        self._pending_since = 0.0

    def write(self, task: str, writes: Sequence[Write]) -> list[bool]:
        """Gather entries; True for all, and `dropped` tells later which were cleared meanwhile."""
        with self._lock:
            now = time.monotonic()
            if not self._pending:
                self._pending_since = now
            is_due = now - self._pending_since > _GROUP_SECONDS
            for write in writes:
                self._pending.setdefault(task, {})[write.row] = write
                self._pending_bytes += write.frame.size
                # A large frame may share memory with a value that its owner changes later.
                is_due |= write.frame.size > _LARGE_BYTES or write.entry.seconds > _LONG_SECONDS
            if is_due or self._pending_bytes > _GROUP_BYTES:
                self.flush()
        return [True] * len(writes)

    def flush(self) -> None:
        """Commit what was gathered.

        Raises:
            StoreError: some of it cannot be written; that is forgotten.
        """
        with self._lock:
            pending, self._pending, self._pending_bytes = self._pending, {}, 0
            failure: StoreError | None = None
            for task, writes in pending.items():
                try:
                    kept = self._store.write(task, list(writes.values()))
                except StoreError as error:  # the other tasks' results may still find a place
                    failure = error
                    continue
                self.dropped.update((task, row) for row, is_kept in zip(writes, kept, strict=True) if not is_kept)
            if failure is not None:
                raise failure

    def read(self, task: str, row: str) -> tuple[Entry, memoryview, bool] | None:
        """Return metadata, frame and whether the frame is a map of a file."""
        with self._lock:
            write = self._pending.get(task, {}).get(row)
        if write is not None:
            return write.entry, memoryview(b"".join(write.frame.parts)), False
        return self._store.read(task, row)

    def lookup(self, task: str, keys: Sequence[str]) -> dict[str, list[Entry]]:
        """Return the metadata of all entries of those keys that have any."""
        self.flush()
        return self._store.lookup(task, keys)

    def scan(self, task: str) -> Iterator[tuple[str, Entry]]:
        """Yield each row of a task and its metadata."""
        self.flush()
        return self._store.scan(task)

    def epochs(self, task: str, keys: Sequence[str], *, creates: bool = False) -> list[Epoch]:
        """Return the epoch of each key."""
        return self._store.epochs(task, keys, creates=creates)

    def clear(self, task: str, key: str | None = None, *, creates: bool = False) -> None:
        """Raise an epoch and remove what is there."""
        self.flush()
        self._store.clear(task, key, creates=creates)

    def quarantine(self, task: str, row: str) -> None:
        """Set a damaged entry aside."""
        self.flush()
        self._store.quarantine(task, row)

    def record(self, task: str, name: str, text: str) -> None:
        """Keep a text beside the entries of a task."""
        self._store.record(task, name, text)

    def records(self, task: str, kind: str) -> dict[str, Record]:
        """Return the records of a task whose names begin with `kind`."""
        return self._store.records(task, kind)

    def cleared_at(self, task: str, key: str) -> float | None:
        """Return when a key, or the whole task, was last cleared."""
        return self._store.cleared_at(task, key)

    def damaged(self, task: str) -> list[str]:
        """Return the rows of a task that are set aside."""
        return self._store.damaged(task)

    def tasks(self) -> list[str]:
        """Return the names of the tasks that have a place here."""
        self.flush()
        return self._store.tasks()

    def directory(self, task: str, row: str) -> Path:
        """Return the folder that belongs to a row."""
        return self._store.directory(task, row)

    def using(self) -> AbstractContextManager[None]:
        """Return a block in which nothing is collected here."""
        return self._store.using()

    def close(self) -> None:
        """Commit what was gathered; the store below stays open."""
        self.flush()
