"""WriteBehind: a store that gathers small writes for another one and commits them together.

A commit costs ten times a row, so results of small instances share one. What is gathered is already visible here. It
reaches the store below with the first result that is large, took long or comes 50 ms after the group's first, and on
`flush`; so a kill loses, beside what was running, results that took some 50 ms in all. Claims on what is gathered are
given back after the commit.

Next: store/parcel.py
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, final

from checkpoint.errors import StoreError
from checkpoint.store.claims import Claims, Standing, claim_name
from checkpoint.store.entry import Entry, Epoch, Record, Store, Write

if TYPE_CHECKING:
    from pathlib import Path

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
        self._claims: Claims | None = None
        self._claimed: dict[tuple[str, str], int] = {}
        #: Tasks whose last result took a moment.
        self._quick: set[str] = set()
        self._inner_runs = 0

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
                self.dropped.discard((task, write.row))
                # A large frame may share memory with a value that its owner changes later.
                is_due |= write.frame.size > _LARGE_BYTES or write.entry.seconds > _LONG_SECONDS
                (self._quick.discard if write.entry.seconds > _LONG_SECONDS else self._quick.add)(task)
            if is_due or self._pending_bytes > _GROUP_BYTES:
                self.flush()
            elif self._claims is not None:
                for write in writes:
                    if (name := self._claimed.get((task, write.row))) is not None:
                        self._claims.mark(name, Standing.GATHERED)
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
            if pending and self._claims is not None:
                self._claims.committed()
            self._give_back([(task, row) for task, writes in pending.items() for row in writes])
            if failure is not None:
                raise failure

    # --- claims ---

    def claim(self, task: str, row: str, seconds: float | None = None) -> bool:
        """Claim a row until its result is committed; False if another writer has it.

        Args:
            task: name of its task.
            row: the row.
            seconds: how long computing it is expected to take; None if that isn't known.
        """
        with self._lock:
            if self._pending and task not in self._quick:
                self.flush()  # what is gathered should not wait for something long
            name = claim_name(task, row)
            if not self._holder().take(name, seconds):
                return False
            self._claimed[task, row] = name
            return True

    def _holder(self) -> Claims:
        if self._claims is None:
            self._claims = self._store.claims()
        return self._claims

    def release(self, task: str, row: str) -> None:
        """Give back a claim, unless there is a result to be committed first."""
        with self._lock:
            if row not in self._pending.get(task, ()):
                self._give_back([(task, row)])

    def _give_back(self, rows: Sequence[tuple[str, str]]) -> None:
        names = {name for row in rows if (name := self._claimed.pop(row, None)) is not None}
        if names and self._claims is not None:
            self._claims.release(names)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Commit what was gathered, and let others know for a block that the runners of this writer wait."""
        self.flush()
        names = list(self._claimed.values())
        self._mark(names, Standing.WAITING)
        try:
            yield
        finally:
            self._mark(names, Standing.RUNNING)

    def _mark(self, names: Sequence[int], standing: Standing) -> None:
        for name in names:
            if self._claims is not None:
                self._claims.mark(name, standing)

    def changes(self) -> int:
        """Return a number that is another one after others have committed, or an inner run has ended."""
        return self._holder().changes() + self._inner_runs

    def note_inner_run(self) -> None:
        """Note that a run inside of a runner has ended, which may have computed what is still to come here."""
        self._inner_runs += 1

    def claims(self) -> Claims:
        """Return a new holder of claims."""
        return self._store.claims()

    def look(self, task: str, keys: Sequence[str]) -> dict[str, list[Entry]]:
        """Return what `lookup` does, and commit nothing."""
        found = self._store.lookup(task, keys)
        wanted = set(keys)
        with self._lock:
            for write in self._pending.get(task, {}).values():
                if write.key in wanted:
                    found.setdefault(write.key, []).append(write.entry)
        return found

    # --- reading, and the rest ---

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

    def using(self, *, creates: bool = False) -> AbstractContextManager[None]:
        """Return a block in which nothing is collected here."""
        return self._store.using(creates=creates)

    def close(self) -> None:
        """Commit what was gathered and give back all claims; the store below stays open."""
        try:
            self.flush()
        finally:
            claims, self._claims = self._claims, None
            self._claimed.clear()
            if claims is not None:
                claims.close()
