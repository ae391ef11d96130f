"""Inventory: what a store holds, told by the store alone; no module of the user's is imported, no value read.

A call is told by its key, which is text, and by its entries: one for each code and each upstream that it was computed
from. What is told of a call is told of its newest entry. Entries whose values were collected are left out.

Must not know: tasks as objects, graphs, plans; terminals.

Next: filters.py
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any, final

from checkpoint import texts
from checkpoint.errors import StoreError
from checkpoint.revival import decode_arguments
from checkpoint.store import Entry, Store
from checkpoint.version import row_of_entry

__all__ = ["AGE", "META", "StoredCall", "TaskSummary", "Usage", "calls", "calls_at", "meta_names", "shown", "summaries",
           "summary_of", "task_named", "usages"]  # fmt: skip

#: What is known of a stored call beside its arguments.
META = ("stored_at", "seconds", "size", "code")
#: By what else a call can be chosen: how long ago it was stored.
AGE = "age"


@final
@dataclass(frozen=True, slots=True)
class TaskSummary:
    """What a store holds of one task."""

    task: str
    #: How many calls have results, and how many results that are; more where code or upstream has changed.
    calls: int
    entries: int
    #: Bytes of these.
    size: int
    #: How long computing them took: what is saved each time all of them are used again.
    seconds: float
    #: When the first and the last of them was stored, in seconds since 1970; None if there are none.
    oldest: float | None
    newest: float | None
    #: How many entries are damaged and set aside.
    damaged: int


@final
@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call that has results. Attributes not of all its entries are those of the newest one."""

    task: str
    key: str
    #: The newest first; never empty.
    entries: tuple[Entry, ...] = field(repr=False)

    @property
    def newest(self) -> Entry:
        """The entry that was stored last."""
        return self.entries[0]

    @property
    def row(self) -> str:
        """Where the newest entry is."""
        return row_of_entry(self.key, self.newest)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name; parts that cannot be rebuilt from a key are `revival.Opaque`. Decoded each time."""
        try:
            return decode_arguments(self.key)
        except ValueError:
            return {"key": self.key}

    @property
    def stored_at(self) -> float:
        """When it was stored, in seconds since 1970."""
        return self.newest.stored_at

    @property
    def seconds(self) -> float:
        """How long the runner took."""
        return self.newest.seconds

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return sum(entry.size for entry in self.entries)

    @property
    def code(self) -> str:
        """Digest of the code that computed it: 32 hex digits."""
        return self.newest.fingerprint.hex()


def calls(store: Store, task: str) -> Iterator[StoredCall]:
    """Yield the calls of a task that have results, in the order of their keys. About 2 us each."""
    at = ""
    entries: list[Entry] = []
    for row, entry in store.scan(task):
        if entry.is_collected:
            continue
        key = row[: row.rindex("#")]
        if key != at:
            if entries:
                yield StoredCall(task, at, _ordered(entries))
            at, entries = key, []
        entries.append(entry)
    if entries:
        yield StoredCall(task, at, _ordered(entries))


def shown(value: Any) -> str:
    """Return an argument as text: a path, a member of an enum and text without oddities as they are written."""
    if isinstance(value, str) and value and value.isprintable() and value == value.strip():
        return value
    return str(value) if isinstance(value, PurePath) else texts.short(value, 200)


def calls_at(store: Store, wanted: Iterable[tuple[str, str]]) -> list[StoredCall]:
    """Return those of some calls, given by task name and key, that have results; in that order, once each."""
    places = list(dict.fromkeys(wanted))
    by_task: dict[str, list[str]] = {}
    for task, key in places:
        by_task.setdefault(task, []).append(key)
    entries = {task: store.lookup(task, named) for task, named in by_task.items()}
    found = []
    for task, key in places:
        kept = [entry for entry in entries[task].get(key, ()) if not entry.is_collected]
        if kept:
            found.append(StoredCall(task, key, _ordered(kept)))
    return found


def _ordered(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    if len(entries) == 1:
        return tuple(entries)
    return tuple(sorted(entries, key=lambda entry: entry.stored_at, reverse=True))


def summaries(store: Store) -> list[TaskSummary]:
    """Return what a store holds of each task that has entries, by name. Cost: 3 us an entry."""
    found = (summary_of(store, task) for task in store.tasks())
    return [summary for summary in found if summary.entries or summary.damaged]


def summary_of(store: Store, task: str) -> TaskSummary:
    """Return what a store holds of a task. Cost: 3 us an entry."""
    count = calls_count = size = 0
    seconds, oldest, newest = 0.0, float("inf"), float("-inf")
    last = ""
    for row, entry in store.scan(task):
        if entry.is_collected:
            continue
        count += 1
        if (key := row[: row.rindex("#")]) != last:
            calls_count, last = calls_count + 1, key
        size += entry.size
        seconds += entry.seconds
        stored_at = entry.stored_at
        oldest, newest = min(oldest, stored_at), max(newest, stored_at)
    is_some = count > 0
    damaged = len(store.damaged(task))
    return TaskSummary(
        task, calls_count, count, size, seconds, oldest if is_some else None, newest if is_some else None, damaged
    )


def task_named(store: Store, text: str) -> str:
    """Return the name of the task that a text names: it is the name, or its last parts (`fit` for `train.fit`).

    Raises:
        LookupError: there is none, or there are several; the text says which.
    """
    names = store.tasks()
    if text in names:
        return text
    found = [name for name in names if name.endswith(f".{text}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise LookupError(f"there are {len(found)} tasks {text!r}: {_listed(found)}; give more of the name")
    close = get_close_matches(text, [*names, *(name.rpartition(".")[2] for name in names)], n=1)
    advice = f"did you mean {close[0]}?" if close else f"it has {_listed(names) or 'no tasks'}"
    raise LookupError(f"there is no task {text!r} in {store.url}; {advice}")


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def meta_names(arguments: Iterable[str]) -> Mapping[str, str]:
    """Return how each of META and AGE is called beside arguments: a name that is taken gets a "_" at its end."""
    taken = set(arguments)
    found = {}
    for name in (*META, AGE):
        shown = name
        while shown in taken:
            shown += "_"
        found[name] = shown
    return found


# --- on disk ---------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Usage:
    """What a part of a store takes on disk, in bytes."""

    #: The task's name; None for what belongs to no task, such as the history of flows.
    task: str | None
    folder: str
    #: Bytes of the entries, as their metadata have them.
    entries: int
    #: Bytes of the folders that runners made for files of their own.
    files: int
    #: Bytes of all files together.
    total: int


def usages(store: Store) -> list[Usage]:
    """Return what each part of a store takes, the largest first.

    Cost: a `stat` of every file; of a bucket one list for a thousand objects.
    """
    if "://" in store.url:
        from checkpoint.store.shared.inventory import usages_of  # few programs need it
        from checkpoint.store.shared.shared import SharedStore

        if not isinstance(store, SharedStore):
            raise StoreError(store.url, "what this kind of store takes cannot be told", "name a folder or an address")
        return sorted(itertools.starmap(Usage, usages_of(store)), key=lambda usage: usage.total, reverse=True)
    root = Path(store.url, "checkpoint")
    folders = {store.directory(task, "").parent.parent: task for task in store.tasks()}  # {folder}/files/{row}
    if not os.path.isdir(root):
        return []
    found = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        task = folders.get(folder)
        entries = sum(entry.size for _, entry in store.scan(task)) if task is not None else 0
        found.append(Usage(task, folder.name, entries, _bytes_below(folder / "files"), _bytes_below(folder)))
    loose = sum(path.stat().st_size for path in root.iterdir() if path.is_file())
    if loose:
        found.append(Usage(None, ".", 0, 0, loose))
    return sorted(found, key=lambda usage: usage.total, reverse=True)


def _bytes_below(folder: Path) -> int:
    """Return the bytes of all files below a folder; those that go away meanwhile count nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue
    return total
