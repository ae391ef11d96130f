"""Inventory: every row and every file of a store, as somebody sees them who checks or collects.

Reads rows that runs would refuse or not find. Removes only what it is told to; whoever tells it holds the store alone,
where that can be. `DiskInventory` is that of a folder on a disk.

Must not know: what a value means, which ones are needed.

Next: store/behind.py
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, final

from checkpoint import codec
from checkpoint.errors import DamagedEntryError, StoreError
from checkpoint.store.disk import DiskStore
from checkpoint.store.entry import Entry, Store, Write
from checkpoint.store.tag import unpack
from checkpoint.store.usage import alone

__all__ = ["DiskInventory", "Found", "Inventory", "Item", "directories_in", "writes_without_values"]

_CHUNK = 500
#: Writing a record takes less.
_WRITING_SECONDS = 60.0
_ENTRIES, _ASIDE = ("{", "|"), ("damaged:", "damaged:|")
_ROWS = (
    "SELECT key, tag, filename, coalesce(length(value), 0) FROM Cache"
    " WHERE raw = 1 AND key > ? AND key < ? ORDER BY key LIMIT ?"
)


class Item(NamedTuple):
    """A row that has an entry, or should have."""

    row: str
    #: None where its metadata cannot be read.
    entry: Entry | None
    #: Whether it is signed as this process signs; True where that doesn't sign.
    is_signed: bool
    #: The file of its value, below the task's folder; None if the value is in the row.
    file: str | None
    #: Bytes of its frame, as the database says.
    size: int


class Found(NamedTuple):
    """An item and what was read of it."""

    item: Item
    entry: Entry
    #: Its frame; an error where that isn't the one that was written.
    frame: memoryview | DamagedEntryError


class Inventory(Protocol):
    """What a store has of each task. All raise `StoreError`."""

    #: Nothing goes that was written less than so many seconds ago: a run that nobody can see may need it.
    grace: float

    def tasks(self) -> tuple[list[str], list[StoreError]]:
        """Return the names of the tasks, and an error for each that cannot be read."""
        ...

    def path(self, task: str) -> str:
        """Return the place of a task."""
        ...

    def items(self, task: str) -> Iterator[Item]:
        """Yield all rows of a task that have entries, in order."""
        ...

    def aside(self, task: str) -> list[Item]:
        """Return what was set aside as damaged."""
        ...

    def read(self, task: str, items: Iterable[Item]) -> Iterator[Found]:
        """Yield what is read of items that have entries, in order; nothing of those that others change meanwhile."""
        ...

    def damage(self, task: str) -> list[tuple[str, str]]:
        """Return what is wrong beside the entries of a task: where, and what."""
        ...

    def orphans(self, task: str) -> dict[str, int]:
        """Return the names of what counts for nothing, below the task's place, and their sizes."""
        ...

    def loose(self) -> dict[str, int]:
        """Return the names of what belongs to no task and was left behind, and their sizes."""
        ...

    def directories(self, task: str) -> dict[str, int]:
        """Return the folders of task_directory() by path, and their sizes."""
        ...

    def without_values(self, task: str, rows: Sequence[str]) -> dict[str, tuple[Entry, codec.Frame]]:
        """Return the entries of rows, and their frames without the values; nothing of what is gone or damaged."""
        ...

    def release(self, task: str, rows: Sequence[tuple[str, Entry]]) -> list[str]:
        """Remove the values of rows that still are what they were; all that is known of them stays, and their digests.

        Returns the rows that were released. One whose head is damaged is left alone.
        """
        ...

    def remove(self, task: str, items: Sequence[Item]) -> None:
        """Remove rows with all that is known of them."""
        ...

    def remove_files(self, task: str, names: Sequence[str]) -> None:
        """Remove what `orphans` has named."""
        ...

    def remove_loose(self, names: Sequence[str]) -> None:
        """Remove what `loose` has named."""
        ...

    def shrink(self, task: str) -> None:
        """Give the space of removed rows back."""
        ...

    def alone(self, *, patience: float | None = None) -> AbstractContextManager[None]:
        """Return a block in which nobody else uses the store, where that can be known.

        Raises:
            StoreError: somebody does, and for longer than `patience` seconds.
        """
        ...


@final
class DiskInventory:
    """What a store's folder has of each task."""

    grace = 0.0  # who uses it can be seen

    def __init__(self, store: DiskStore) -> None:
        self._store = store
        #: Where the folders of the tasks are.
        self.folder = os.path.join(store.url, "checkpoint")

    def tasks(self) -> tuple[list[str], list[StoreError]]:
        """Return the names of the tasks, and an error for each folder whose database cannot be read."""
        names: list[str] = []
        errors: list[StoreError] = []
        with self._store._explained(self.folder):
            try:
                folders = sorted(entry.path for entry in os.scandir(self.folder) if entry.is_dir())
            except FileNotFoundError:
                return names, errors
        for folder in folders:
            try:
                name = self._store.name_in(folder)
                if name is not None:
                    self._store.epochs(name, [])  # opens it
                    names.append(name)
            except StoreError as error:
                errors.append(error)
        return sorted(names), errors

    def path(self, task: str) -> str:
        """Return the folder of a task."""
        return self._store._path(task)

    # --- rows ---

    def items(self, task: str) -> Iterator[Item]:
        """Yield all rows of a task that have entries, in order."""
        yield from self._items(task, *_ENTRIES)

    def aside(self, task: str) -> list[Item]:
        """Return what was set aside as damaged."""
        return list(self._items(task, *_ASIDE))

    def _items(self, task: str, first: str, last: str) -> Iterator[Item]:
        cache, signer = self._store._existing(task), self._store.settings.signer
        while cache is not None:
            found = self._store._rows(cache, _ROWS, (first, last, _CHUNK))
            for row, tag, file, size in found:
                is_signed = signer is None or signer.is_sealed(task, row, tag)
                yield Item(row, unpack(row, tag), is_signed, file, size if file is None else self._size(task, file))
            if len(found) < _CHUNK:
                return
            first = found[-1][0]

    def _size(self, task: str, name: str) -> int:
        try:
            return os.stat(os.path.join(self.path(task), name)).st_size
        except OSError:
            return 0

    def read(self, task: str, items: Iterable[Item]) -> Iterator[Found]:
        """Yield what is read of items, one after the other."""
        for item in items:
            assert item.entry is not None
            try:
                found = self._store.read(task, item.row)
            except DamagedEntryError as damage:
                yield Found(item, item.entry, damage)
                continue
            if found is not None and found[0] == item.entry:
                yield Found(item, item.entry, found[1])

    def damage(self, task: str) -> list[tuple[str, str]]:
        """Return what SQLite finds wrong with a task's database."""
        cache = self._store._existing(task)
        if cache is None:
            return []
        place = os.path.join(self.path(task), "cache.db")
        return [(place, text) for (text,) in self._store._rows(cache, "PRAGMA integrity_check(10)") if text != "ok"]

    # --- files ---

    def files(self, task: str) -> dict[str, int]:
        """Return the files of values that are on the disk, whole or not, and their sizes."""
        found: dict[str, int] = {}
        for folder in _folders_in(self.path(task)):
            name = os.path.basename(folder)
            if len(name) == 2:
                found |= {os.path.join(name, file): self._size(task, f"{name}/{file}") for file in os.listdir(folder)}
        return found

    def orphans(self, task: str) -> dict[str, int]:
        """Return the files that no row names, and their sizes."""
        files = self.files(task)  # before the rows: what is just being committed has its row then
        named = {item.file for item in (*self.items(task), *self.aside(task))}
        return {name: size for name, size in files.items() if name not in named}

    def loose(self) -> dict[str, int]:
        """Return what killed writers of records have left; a living one takes a moment."""
        before = time.time() - _WRITING_SECONDS
        found: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(os.path.join(self.folder, ".runs")):
                if entry.name.endswith(".part") and (status := entry.stat()).st_mtime < before:
                    found[entry.path] = status.st_size
        return found

    def directories(self, task: str) -> dict[str, int]:
        """Return the folders of task_directory() by path, and their sizes."""
        return directories_in(os.path.join(self.path(task), "files"))

    def without_values(self, task: str, rows: Sequence[str]) -> dict[str, tuple[Entry, codec.Frame]]:
        """Return the entries of rows, and their frames without the values."""
        frames: dict[str, tuple[Entry, codec.Frame]] = {}
        for row in rows:
            with contextlib.suppress(DamagedEntryError):
                found = self._store.read(task, row)
                if found is not None:
                    frames[row] = found[0], codec.without_value(found[1])
        return frames

    # --- removing ---

    def alone(self, *, patience: float | None = None) -> AbstractContextManager[None]:
        """Return a block in which nobody else uses the folder."""
        if not os.path.isdir(self.folder):
            return contextlib.nullcontext()
        return alone(self.folder) if patience is None else alone(self.folder, patience=patience)

    def release(self, task: str, rows: Sequence[tuple[str, Entry]]) -> list[str]:
        """Remove the values of rows that still are what they were; all that is known of them stays, and their digests.

        Returns the rows that were released. One whose head is damaged is left alone.
        """
        released: list[str] = []
        for start in range(0, len(rows), _CHUNK):
            writes = writes_without_values(self, self._store, task, dict(rows[start : start + _CHUNK]))
            kept = self._store.write(task, writes, is_alone=True)
            released += [write.row for write, is_kept in zip(writes, kept, strict=True) if is_kept]
        for row in released:
            shutil.rmtree(self._store.directory(task, row), ignore_errors=True)
        return released

    def remove(self, task: str, items: Sequence[Item]) -> None:
        """Remove rows with all that is known of them."""
        with self._store._transaction(task) as (sql, discard):
            for item in items:
                sql("DELETE FROM Cache WHERE raw = 1 AND key = ?", (item.row,))
                discard(item.file)
        for item in items:
            shutil.rmtree(self._store.directory(task, item.row), ignore_errors=True)

    def remove_files(self, task: str, names: Sequence[str]) -> None:
        """Remove files that no row names."""
        for name in names:
            self._store._open(task).disk.remove(name)

    def remove_loose(self, names: Sequence[str]) -> None:
        """Remove files that belong to no task."""
        for path in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def shrink(self, task: str) -> None:
        """Give the space of removed rows back to the disk."""
        if self._store._existing(task) is not None:
            with self._store._explained(self.path(task)):  # executed as a query, the first would end after one page
                self._store._open(task)._con.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(PASSIVE)")


def writes_without_values(inventory: Inventory, store: Store, task: str, entries: Mapping[str, Entry]) -> list[Write]:
    """Return the writes that take the values from rows; none of a row that no longer is what it was."""
    found = inventory.without_values(task, list(entries))
    going = [(row, entry, found[row][1]) for row, entry in entries.items() if row in found and found[row][0] == entry]
    keys = [row.rpartition("#")[0] or row for row, _, _ in going]
    epochs = store.epochs(task, keys)
    return [
        Write(key, row, epoch, entry._replace(size=0, has_files=False), frame)
        for key, epoch, (row, entry, frame) in zip(keys, epochs, going, strict=True)
    ]


def directories_in(folder: str) -> dict[str, int]:
    """Return the folders in a folder by path, and the bytes of all files below each."""
    return {path: sum(os.lstat(file).st_size for file in _files_below(path)) for path in _folders_in(folder)}


def _folders_in(folder: str) -> list[str]:
    try:
        return sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _files_below(folder: str) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        yield from (os.path.join(place, name) for name in names)
