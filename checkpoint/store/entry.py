"""What a store keeps, and the protocol that every store follows.

A key has a row for each edition: a value computed by certain code from certain upstream versions. The row is the key,
"#" and the edition; what it holds never changes its meaning. An entry is a row's metadata and the frame of its value,
committed together. Epochs count how often a key, or the whole task, was cleared. Records are texts that are kept
beside a task's entries: its code at the time, where it ran.

Next: store/advice.py
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from checkpoint.codec import Frame
from checkpoint.store.claims import Claims
from checkpoint.store.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Entry", "Epoch", "Record", "Store", "Write"]


class Entry(NamedTuple):
    """What is known of a result without reading it. Digests are 16 bytes each."""

    #: Hash of the entry's epochs and its direct upstream's generations.
    generation: bytes
    #: Digest of the value's bytes; with the generation it is the version.
    digest: bytes
    #: Hash of the addresses and versions of what it was computed from, in order.
    basis: bytes
    #: Digest of the task's code at that time; there is a record of it.
    fingerprint: bytes
    #: Digest of where it was computed (8 bytes); there is a record of it.
    origin: bytes
    #: How long the runner took.
    seconds: float
    #: When it was stored, in seconds since 1970 (for people; nothing depends on it).
    stored_at: float
    #: Bytes of the frame; 0 where the value was collected, and what else is known was kept.
    size: int
    #: Whether files belong to the value; its head says which.
    has_files: bool = False

    @property
    def is_collected(self) -> bool:
        """Whether the value is gone. It counts for what was computed from it, and is computed again when needed."""
        return self.size == 0


class Epoch(NamedTuple):
    """How often a whole task and one of its keys were cleared."""

    task: int
    key: int


class Write(NamedTuple):
    """An entry to be stored: dropped if the epoch is no longer the current one."""

    key: str
    row: str
    epoch: Epoch
    entry: Entry
    frame: Frame
    #: Whether a result that is in the row by now stays: it was not there before this one was computed.
    yields: bool = False

    def gives_way_to(self, other: Entry) -> bool:
        """Tell whether what is in its row stays. Files that belong to a value are those of who wrote them last."""
        is_result = not (other.is_collected or other.has_files)
        return self.yields and is_result and other.generation == self.entry.generation


class Record(NamedTuple):
    """A text that is kept beside a task's entries."""

    text: str
    #: In seconds since 1970.
    stored_at: float


class Store(Protocol):
    """Where entries live. Every method may be called from any thread and any process at any time.

    It is pickled to be the same store in another process.
    All raise `StoreError` when the place cannot be read or written; none waits without end.
    """

    @property
    def url(self) -> str:
        """Address under which another process can open the same store."""
        ...

    @property
    def settings(self) -> Settings:
        """What it may hold: whether values may be pickles, who signs."""
        ...

    def lookup(self, task: str, keys: Sequence[str]) -> dict[str, list[Entry]]:
        """Return the metadata of all entries of those keys that have any. Reads no values; about 2 us a row."""
        ...

    def scan(self, task: str) -> Iterator[tuple[str, Entry]]:
        """Yield each row of a task and its metadata, in the order of the rows. Reads no values."""
        ...

    def epochs(self, task: str, keys: Sequence[str], *, creates: bool = False) -> list[Epoch]:
        """Return the epoch of each key, in order.

        With `creates` the task has its place here afterwards: a clear from now on counts, and a place that cannot
        be made is an error before anything is computed for it.
        """
        ...

    def read(self, task: str, row: str) -> tuple[Entry, memoryview, bool] | None:
        """Return metadata, frame and whether the frame is a map of a file; None if there is no such row.

        Raises:
            DamagedEntryError: the frame is not the one that was signed.
        """
        ...

    def write(self, task: str, writes: Sequence[Write]) -> list[bool]:
        """Commit entries in one transaction; False for each that was cleared since its epoch was read.

        One that `yields` leaves a result of its generation that is there, and False says that this has other bytes. An
        entry of the same key and code but another generation goes: a clear has made it useless.
        """
        ...

    def clear(self, task: str, key: str | None = None, *, creates: bool = False) -> None:
        """Raise the epoch of a key, or of the whole task, and remove what is there, in one transaction.

        A task that has no place here yet is left alone, unless `creates`: its results may never be kept here.
        """
        ...

    def quarantine(self, task: str, row: str) -> None:
        """Set a damaged entry aside; the row is missing afterwards."""
        ...

    def record(self, task: str, name: str, text: str) -> None:
        """Keep a text beside the entries of a task; the first one of a name stays. Clearing doesn't touch it."""
        ...

    def records(self, task: str, kind: str) -> dict[str, Record]:
        """Return the records of a task whose names begin with `kind`, by name, the oldest first."""
        ...

    def cleared_at(self, task: str, key: str) -> float | None:
        """Return when a key, or the whole task, was last cleared, in seconds since 1970; None for never."""
        ...

    def damaged(self, task: str) -> list[str]:
        """Return the rows of a task that are set aside."""
        ...

    def tasks(self) -> list[str]:
        """Return the names of the tasks that have a place here, sorted."""
        ...

    def directory(self, task: str, row: str) -> Path:
        """Return the folder that belongs to a row (it need not exist); it goes when the row is cleared."""
        ...

    def claims(self) -> Claims:
        """Return a new holder of claims on rows, for one thread; cost about 10 us."""
        ...

    def changes(self) -> int:
        """Return a number that is another one after results were committed that had been claimed. Makes nothing."""
        ...

    def using(self, *, creates: bool = False) -> AbstractContextManager[None]:
        """Return a block in which nothing is collected here; whoever would gives up.

        With `creates` there is a place here afterwards, without there may be nothing to collect.
        """
        ...

    def close(self) -> None:
        """Close files and connections; the store opens them again when used."""
        ...
