"""Verification: every digest and every reference of a store, read and compared. Changes nothing.

Next: care/collection.py
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from checkpoint import codec
from checkpoint.care.stock import inventory_of, journal_of
from checkpoint.errors import DamagedEntryError, StoreError
from checkpoint.files import changed_files
from checkpoint.reasons import described, upstream_in
from checkpoint.store import Store, current_store, store_at
from checkpoint.store.inventory import Found, Item
from checkpoint.version import key_of, mark_of, row_of_entry, version_of

__all__ = ["Problem", "ProblemKind", "Verification", "verify"]


class ProblemKind(enum.Enum):
    """What is wrong with a part of a store."""

    #: Its bytes are not those that were written, or are gone. It is computed again when it is needed.
    DAMAGED = "damaged"
    #: It is not signed with the key of this process.
    UNSIGNED = "not signed"
    #: A snapshot of a flow cannot be read as a whole.
    SNAPSHOT = "snapshot damaged"
    #: It was damaged when it was read, and set aside.
    ASIDE = "set aside"
    #: A file that a killed writer left, or one of a value that is gone.
    ORPHAN = "left behind"
    #: Files that belong to a value were changed or removed since.
    FILES = "files changed"
    #: Something that it was computed from is no longer there, or has another value by now.
    UPSTREAM = "upstream gone"

    @property
    def is_damage(self) -> bool:
        """Whether something was lost that was kept before, or cannot be trusted."""
        return self in (ProblemKind.DAMAGED, ProblemKind.UNSIGNED, ProblemKind.SNAPSHOT)


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was written, or left over. `str()` tells a person."""

    kind: ProblemKind
    #: The call, file or snapshot.
    place: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.place}: {self.detail}" if self.detail else f"{self.kind.value}: {self.place}"


@final
@dataclass(frozen=True, slots=True)
class Verification:
    """What was found in a store."""

    problems: tuple[Problem, ...]
    #: How many entries were looked at, and how many snapshots of flows.
    entry_count: int
    snapshot_count: int
    #: Bytes of all values of tasks.
    size: int

    @property
    def damage(self) -> tuple[Problem, ...]:
        """Those problems that are damage; the others only tell what could be removed or computed again."""
        return tuple(problem for problem in self.problems if problem.kind.is_damage)


def verify(store: str | os.PathLike[str] | Store | None = None) -> Verification:
    """Read every byte of a store and compare it with its digests; look up every reference.

    Args:
        store: a folder or the address of a shared store; None is the current store.

    Returns:
        what is wrong, the worst first.

    Raises:
        StoreError: the store cannot be read at all.

    Notes:
        Cost: reads everything, decodes and runs nothing, changes nothing; some 300 bytes of memory an entry. Of a
        shared store it reads what is there, not the copies on this host, many entries at once. May run beside runs;
        what is just being written may then show as left behind.
    """
    return _Verifier(current_store() if store is None else store_at(store)).verification()


@final
class _Verifier:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._inventory = inventory_of(store)
        self._entry_count = self._size = 0
        #: (task, row) -> mark of its version, of all entries that were not found damaged.
        self._marks: dict[tuple[str, str], str] = {}
        #: Of entries that were computed from others: what they were computed from.
        self._above: list[tuple[str, str, list[tuple[str, str, str]]]] = []
        self._unstored: dict[str, bool] = {}

    def verification(self) -> Verification:
        snapshot_count, of_flows = self._flows()
        problems = [*self._tasks(), *of_flows]
        order = list(ProblemKind)
        problems.sort(key=lambda problem: order.index(problem.kind))
        return Verification(tuple(problems), self._entry_count, snapshot_count, self._size)

    def _tasks(self) -> Iterator[Problem]:
        tasks, errors = self._inventory.tasks()
        yield from (Problem(ProblemKind.DAMAGED, error.folder, error.reason) for error in errors)
        for task in tasks:
            try:
                yield from self._task(task)
            except StoreError as error:
                yield Problem(ProblemKind.DAMAGED, error.folder, error.reason)
        for task, row, above in self._above:
            gone = [_call(name, other) for name, other, mark in above if not self._is_there(name, other, mark)]
            if gone:
                yield Problem(ProblemKind.UPSTREAM, _call(task, row), ", ".join(gone))
        yield from (
            Problem(ProblemKind.ORPHAN, name, f"{size} bytes") for name, size in self._inventory.loose().items()
        )

    def _task(self, task: str) -> Iterator[Problem]:
        path = self._inventory.path(task)
        for place, text in self._inventory.damage(task):
            yield Problem(ProblemKind.DAMAGED, place, text)
        problems: list[Problem] = []
        for found in self._inventory.read(task, self._readable(task, problems)):
            yield from self._entry(task, found)
        yield from problems
        for item in self._inventory.aside(task):
            yield Problem(ProblemKind.ASIDE, _call(task, item.row.removeprefix("damaged:")), "")
        for name, size in self._inventory.orphans(task).items():
            yield Problem(ProblemKind.ORPHAN, os.path.join(path, name), f"{size} bytes")

    def _readable(self, task: str, problems: list[Problem]) -> Iterator[Item]:
        """Yield the items whose metadata can be trusted; note the problems of the others."""
        for item in self._inventory.items(task):
            self._entry_count += 1
            self._size += item.size
            call, entry = _call(task, item.row), item.entry
            if entry is None:
                problems.append(Problem(ProblemKind.DAMAGED, call, "its metadata cannot be read"))
            elif not item.is_signed:
                reason = "its metadata are not signed with the key in $CP_CACHE_KEY"
                problems.append(Problem(ProblemKind.UNSIGNED, call, reason))
            elif row_of_entry(key_of(item.row), entry) != item.row:
                problems.append(Problem(ProblemKind.DAMAGED, call, "its metadata are those of another entry"))
            else:
                yield item

    def _entry(self, task: str, found: Found) -> Iterator[Problem]:
        (item, entry, frame), call = found, _call(task, found.item.row)
        try:
            if isinstance(frame, DamagedEntryError):
                raise frame
            digest = codec.digest_of(frame) if entry.is_collected else codec.verify(frame)
            if digest != entry.digest:
                raise DamagedEntryError("it holds another value than its metadata say")
        except DamagedEntryError as damage:
            yield Problem(ProblemKind.DAMAGED, call, damage.reason)
            return
        version = version_of(task, key_of(item.row), entry.generation, entry.digest)
        self._marks[task, item.row] = mark_of(version)
        head = codec.read_head(frame)
        if above := upstream_in(head):
            self._above.append((task, item.row, above))
        if entry.has_files and (changed := changed_files(head, self._store.directory(task, item.row))):
            yield Problem(ProblemKind.FILES, call, ", ".join(changed))

    def _is_there(self, task: str, row: str, mark: str) -> bool:
        """Tell whether a version is in the store, or its task keeps none: what was computed for a consumer alone."""
        if self._marks.get((task, row)) == mark:
            return True
        if task not in self._unstored:
            self._unstored[task] = next(self._inventory.items(task), None) is None
        return self._unstored[task]

    def _flows(self) -> tuple[int, list[Problem]]:
        journal = journal_of(self._store)
        if journal is None:
            return 0, []
        try:
            damage = [Problem(ProblemKind.SNAPSHOT, each.place, each.reason) for each in journal.verify()]
            left = [Problem(ProblemKind.ORPHAN, path, f"{size} bytes") for path, size in journal.leftovers().items()]
            return len(journal.snapshots()), damage + left
        except StoreError as error:
            return 0, [Problem(ProblemKind.SNAPSHOT, error.folder, error.reason)]


def _call(task: str, row: str) -> str:
    return described(task, key_of(row) if "#" in row else row)
