"""Inventory: every row and every file of a store's folders, as somebody sees them who checks or collects.

Reads rows that runs would refuse or not find. Removes only what it is told to; whoever tells it holds the store alone.

Must not know: what a value means, which ones are needed.

Next: store/behind.py
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from typing import NamedTuple, final

from checkpoint import codec
from checkpoint.errors import DamagedEntryError, StoreError
from checkpoint.store.disk import DiskStore
from checkpoint.store.entry import Entry, Epoch, Write
from checkpoint.store.tag import unpack

__all__ = ["Inventory", "Item"]

_CHUNK = 500
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


@final
class Inventory:
    """What a store's folder has of each task."""

    def __init__(self, store: DiskStore) -> None:
        self._store = store
        #: Where the folders of the tasks are.
        self.folder = os.path.join(store.url, "checkpoint")

    def tasks(self) -> tuple[list[str], list[StoreError]]:
        """Return the names of the tasks, and an error for each folder whose database cannot be read."""
        names: list[str] = []
        errors: list[StoreError] = []
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

    def integrity(self, task: str) -> list[str]:
        """Return what SQLite finds wrong with a task's database."""
        cache = self._store._existing(task)
        if cache is None:
            return []
        return [text for (text,) in self._store._rows(cache, "PRAGMA integrity_check(10)") if text != "ok"]

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

    def directories(self, task: str) -> dict[str, int]:
        """Return the folders of task_directory() by path, and their sizes."""
        found = _folders_in(os.path.join(self.path(task), "files"))
        return {path: sum(os.lstat(file).st_size for file in _files_below(path)) for path in found}

    # --- removing ---

    def release(self, task: str, rows: Sequence[tuple[str, Entry]]) -> list[str]:
        """Remove the values of rows that still are what they were; all that is known of them stays, and their digests.

        Returns the rows that were released. One whose head is damaged is left alone.
        """
        released: list[str] = []
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            writes = [write for row, entry in chunk if (write := self._released(task, row, entry)) is not None]
            epochs = self._store.epochs(task, [write.key for write in writes])
            writes = [write._replace(epoch=epoch) for write, epoch in zip(writes, epochs, strict=True)]
            kept = self._store.write(task, writes, is_alone=True)
            released += [write.row for write, is_kept in zip(writes, kept, strict=True) if is_kept]
        for row in released:
            shutil.rmtree(self._store.directory(task, row), ignore_errors=True)
        return released

    def _released(self, task: str, row: str, entry: Entry) -> Write | None:
        try:
            found = self._store.read(task, row)
            if found is None or found[0] != entry:
                return None
            frame = codec.without_value(found[1])
        except DamagedEntryError:
            return None
        key = row.rpartition("#")[0] or row
        return Write(key, row, Epoch(0, 0), entry._replace(size=0, has_files=False), frame)

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

    def shrink(self, task: str) -> None:
        """Give the space of removed rows back to the disk."""
        if self._store._existing(task) is not None:
            with self._store._explained(self.path(task)):  # executed as a query, the first would end after one page
                self._store._open(task)._con.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(PASSIVE)")


def _folders_in(folder: str) -> list[str]:
    try:
        return sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _files_below(folder: str) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        yield from (os.path.join(place, name) for name in names)
