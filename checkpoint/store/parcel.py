"""Parcel: a store that travels to a worker which cannot open the real one, and comes back with what it was given.

It holds what one batch reads, and gathers what it writes; the process that has the real store fills it before and
empties it after. Nothing else is in it, so lookups find nothing and runs inside of runners compute all they need.

Must not know: graphs, tasks, executors.

Next: store/shared/objects.py
"""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, final

from checkpoint.codec import Frame
from checkpoint.errors import StoreError
from checkpoint.store.claims import Claims, open_claims
from checkpoint.store.entry import Entry, Epoch, Record, Store, Write
from checkpoint.store.settings import Settings

__all__ = ["Parcel"]

#: More is not sent at once, as it would pass through two more processes on its way.
_MOST_BYTES = 2**30
_ADVICE = "give the run a store that its workers can open, such as a directory they share"
_NEVER = Epoch(0, 0)


@final
class Parcel:
    """What one batch needs of a store. One thread at a time."""

    url = "parcel:"

    def __init__(self, settings: Settings) -> None:
        #: Values are as the real store wants them; who signs is there.
        self.settings = Settings(settings.allows_pickle)
        self._rows: dict[tuple[str, str], tuple[Entry, bytes]] = {}
        self._epochs: dict[tuple[str, str], Epoch] = {}
        self._writes: dict[str, list[Write]] = {}
        self._records: dict[tuple[str, str], str] = {}
        self._bytes = 0
        self._folder: str | None = None

    # --- before and after the journey ---

    @classmethod
    def of(cls, store: Store, rows: Iterable[tuple[str, str]], keys: Mapping[str, Sequence[str]]) -> Parcel:
        """Take along the values at (task name, row), and the epochs of each task's keys.

        Raises:
            StoreError: values are too large, or files belong to one.
        """
        parcel = cls(store.settings)
        for task, row in rows:
            found = store.read(task, row) if (task, row) not in parcel._rows else None
            if found is not None:
                entry, frame, _ = found
                parcel._add(entry)
                parcel._rows[task, row] = entry, bytes(frame)
        for task, wanted in keys.items():
            epochs = store.epochs(task, wanted, creates=True)
            parcel._epochs.update(((task, key), epoch) for key, epoch in zip(wanted, epochs, strict=True))
        return parcel

    def sealed(self) -> bytes:
        """Return what was written here, for `unpack`."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        writes = {
            task: [(*write[:4], (b"".join(write.frame.parts), write.frame.digest), write.yields) for write in written]
            for task, written in self._writes.items()
        }
        return pickle.dumps((writes, self._records), 5)

    @staticmethod
    def unpack(sealed: bytes, store: Store) -> set[tuple[str, str]]:
        """Commit what was written; return (task name, row) of what is not kept: cleared meanwhile, or not the first."""
        writes, records = pickle.loads(sealed)
        for (task, name), text in records.items():
            store.record(task, name, text)
        dropped = set()
        for task, written in writes.items():
            entries = [
                Write._make((*fields, Frame([data], digest), yields)) for *fields, (data, digest), yields in written
            ]
            kept = store.write(task, entries)
            dropped |= {(task, write.row) for write, is_kept in zip(entries, kept, strict=True) if not is_kept}
        return dropped

    def _add(self, entry: Entry) -> None:
        self._bytes += entry.size
        if entry.has_files:
            raise StoreError(self.url, "files belong to a value, and files don't travel", _ADVICE)
        if self._bytes > _MOST_BYTES:
            raise StoreError(self.url, f"{self._bytes:,} bytes are too many to travel at once", _ADVICE)

    # --- the store that a worker sees ---

    def read(self, task: str, row: str) -> tuple[Entry, memoryview, bool] | None:
        """Return metadata and frame, of what came along or was written here."""
        found = self._rows.get((task, row))
        return (found[0], memoryview(found[1]), False) if found is not None else None

    def write(self, task: str, writes: Sequence[Write]) -> list[bool]:
        """Gather entries; whether they are kept is known at the end of the journey."""
        for write in writes:
            self._add(write.entry)
            self._writes.setdefault(task, []).append(write)
            self._rows[task, write.row] = write.entry, b"".join(write.frame.parts)
        return [True] * len(writes)

    def epochs(self, task: str, keys: Sequence[str], *, creates: bool = False) -> list[Epoch]:
        """Return the epochs that came along; others were never cleared as far as is known here."""
        return [self._epochs.get((task, key), _NEVER) for key in keys]

    def lookup(self, task: str, keys: Sequence[str]) -> dict[str, list[Entry]]:
        """Return the metadata of what was written here."""
        wanted = set(keys)
        found: dict[str, list[Entry]] = {}
        for write in self._writes.get(task, ()):
            if write.key in wanted:
                found.setdefault(write.key, []).append(write.entry)
        return found

    def scan(self, task: str) -> Iterator[tuple[str, Entry]]:
        """Yield each row of a task and its metadata."""
        return iter(sorted((row, entry) for (name, row), (entry, _) in self._rows.items() if name == task))

    def clear(self, task: str, key: str | None = None, *, creates: bool = False) -> None:
        """Refuse: what others computed is elsewhere.

        Raises:
            StoreError: always.
        """
        raise StoreError(self.url, "a worker that cannot open the store cannot clear in it", _ADVICE)

    def quarantine(self, task: str, row: str) -> None:
        """Leave a damaged entry out."""
        self._rows.pop((task, row), None)

    def record(self, task: str, name: str, text: str) -> None:
        """Gather a text."""
        self._records.setdefault((task, name), text)

    def records(self, task: str, kind: str) -> dict[str, Record]:
        """Return the texts that were gathered."""
        found = {name: text for (owner, name), text in self._records.items() if owner == task}
        return {name: Record(text, 0.0) for name, text in found.items() if name.startswith(kind)}

    def cleared_at(self, task: str, key: str) -> float | None:
        """Return None: not known here."""
        return None

    def damaged(self, task: str) -> list[str]:
        """Return nothing: not known here."""
        return []

    def tasks(self) -> list[str]:
        """Return the names of the tasks that have an entry here, sorted."""
        return sorted({task for task, _ in self._rows})

    def directory(self, task: str, row: str) -> Path:
        """Return a folder that goes with the parcel."""
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="checkpoint-")
        import xxhash

        return Path(self._folder, xxhash.xxh3_128_hexdigest(f"{task}\n{row}".encode("utf-8", "surrogatepass")))

    def claims(self) -> Claims:
        """Return a holder of claims that nobody else heeds: who else computes is not known here."""
        return open_claims(os.path.join(os.devnull, str(id(self))))

    def changes(self) -> int:
        """Return the same number always: nothing arrives on the way."""
        return 0

    def using(self, *, creates: bool = False) -> AbstractContextManager[None]:
        """Return a block: nothing is ever collected here."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Keep everything: there is nothing open."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_folder": None}
