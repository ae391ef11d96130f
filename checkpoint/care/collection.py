"""Collection: removes what is no longer needed: leftovers of killed writers, and values that conditions choose.

A value that goes leaves its digest and what it was computed from. So it still counts: nothing that was computed from it
is computed again, until its value itself is needed. Nothing is removed while a run uses the folder, or of what was
written lately to a store that hosts share.

Must not know: SQLite, how tasks are defined.

Next: care/__init__.py
"""

from __future__ import annotations

import fnmatch
import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from checkpoint.care.stock import GRACE_SECONDS, inventory_of, journal_of
from checkpoint.errors import name_of
from checkpoint.graph import TaskInfo
from checkpoint.reasons import described
from checkpoint.revisions import Revisions
from checkpoint.room import Held, beyond, held_of, release
from checkpoint.runs import roots_of
from checkpoint.store import Entry, Store, current_store, store_at
from checkpoint.store.inventory import Item
from checkpoint.survey import survey
from checkpoint.version import key_of, row_of_entry

__all__ = ["Collected", "Collection", "collect"]

_At = tuple[str, str]


@final
@dataclass(frozen=True, slots=True)
class Collected:
    """Something that goes: the value of a call, or a leftover (`stored_at` is None). `size` is in bytes."""

    what: str
    size: int
    seconds: float = 0.0
    stored_at: float | None = None


@final
@dataclass(frozen=True, slots=True)
class Collection:
    """What `collect` has removed, or would."""

    values: tuple[Collected, ...]
    #: Files that killed writers left, entries that were set aside, entries that are not signed.
    leftovers: tuple[Collected, ...]
    #: Bytes of all values of tasks that there were, and that stay.
    size_before: int
    size_after: int
    #: Whether it was done, and not only looked for.
    is_applied: bool

    @property
    def freed(self) -> int:
        """Bytes of all that goes."""
        return sum(each.size for each in (*self.values, *self.leftovers))


def collect(
    store: str | os.PathLike[str] | Store | None = None,
    *,
    tasks: Iterable[Any] | None = None,
    older_than: float | None = None,
    larger_than: int | None = None,
    superseded: Iterable[Any] | None = None,
    keep: Any = None,
    max_size: int | None = None,
    unsigned: bool = False,
    grace: float = GRACE_SECONDS,
    apply: bool = False,
) -> Collection:
    """Find what can go, and remove it if `apply` is True.

    Leftovers always go. Values go if they meet all conditions that are given, and none goes where none is given.

    Args:
        store: a folder or the address of a shared store; None is the current store.
        tasks: only values of these: tasks, names of them, or patterns as of file names.
        older_than: only values that were stored so many seconds ago.
        larger_than: only values of at least so many bytes.
        superseded: tasks; only those values of them that other code than the present one made, where the call has a
            result of the present code, or else a newer one.
        keep: instances, in any nesting of lists, tuples and dicts; only values that a run of these would not look at.
        max_size: only so many, in the order that `room.py` tells, that at most so many bytes stay.
        unsigned: entries that are not signed with `$CP_CACHE_KEY` go with the leftovers, whole.
        grace: of a shared store, nothing that was written less than so many seconds ago; who uses it can't be seen
            there. Of a folder nothing goes while a run uses it, and this has no effect.
        apply: remove it.

    Raises:
        StoreError: the store cannot be read, or is a folder that a run uses; then nothing was removed.
        TypeError, ValueError: an argument cannot be; and what the bodies of `keep` raise.

    Notes:
        Cost: one scan of the metadata; with `max_size` also the head of every entry; with `keep` a survey of its graph.
        A run that needs a value that has gone from a shared store computes it again.
        A value that went is computed again when it is needed.
    """
    conditions = _Conditions.of(tasks, older_than, larger_than, superseded, max_size)
    seconds = _number("grace", grace) or 0.0
    found = current_store() if store is None else store_at(store)
    collector = _Collector(found, conditions, seconds, is_unsigned_removed=_flag("unsigned", unsigned))
    if keep is not None:
        collector.keep(keep)
    if not _flag("apply", apply):
        return collector.found(is_applied=False)
    return collector.removed()


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"collect({name}=...) takes True or False, not {value!r}")
    return value


@final
class _Conditions(NamedTuple):
    patterns: tuple[str, ...] | None
    older_than: float | None
    larger_than: float | None
    superseded: tuple[TaskInfo, ...] | None
    max_size: float | None

    @classmethod
    def of(cls, tasks: Any, older_than: Any, larger_than: Any, superseded: Any, max_size: Any) -> _Conditions:
        return cls(
            None if tasks is None else tuple(_name(task) for task in _several("tasks", tasks)),
            _number("older_than", older_than),
            _number("larger_than", larger_than),
            None if superseded is None else tuple(_task(task) for task in _several("superseded", superseded)),
            _number("max_size", max_size),
        )


def _several(name: str, given: Any) -> list[Any]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise TypeError(f"collect({name}=...) takes a list, not {name_of(given)}")
    return list(given)


def _name(task: Any) -> str:
    name = task if isinstance(task, str) else getattr(task, "name", None)
    if not isinstance(name, str):
        raise TypeError(f"collect(tasks=...) takes tasks and names of tasks, not {name_of(task)}")
    return name


def _task(task: Any) -> TaskInfo:
    if not isinstance(getattr(task, "fingerprint", None), bytes):
        raise TypeError(f"collect(superseded=...) takes tasks, not {name_of(task)}")
    found: TaskInfo = task
    return found


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"collect({name}=...) takes a number, not {value!r}")
    if not 0 <= value < math.inf:
        raise ValueError(f"collect({name}=...) takes a number from 0, not {value!r}")
    return value


@final
class _Collector:
    def __init__(self, store: Store, conditions: _Conditions, grace: float, *, is_unsigned_removed: bool) -> None:
        self._store = store
        self._inventory = inventory_of(store, grace)
        self._conditions = conditions
        self._is_unsigned_removed = is_unsigned_removed
        self._kept: set[_At] | None = None
        self._now = time.time()
        self._going: list[Held] = []

    def keep(self, instances: Any) -> None:
        """Note what a run of instances would look at: what serves, and where nothing does, all there is of the key."""
        found = survey(roots_of(instances, "collect(keep=...) takes"), self._store, pools={}, limits={})
        self._kept = set()
        for node, instance in enumerate(found.graph.instances):
            served = found.plan.served[node]
            entries = found.entries[node] if served is None else [served]
            self._kept.update((instance.task.name, row_of_entry(instance.key, entry)) for entry in entries)

    # --- choosing ---

    def found(self, *, is_applied: bool) -> Collection:
        tasks, _ = self._inventory.tasks()
        held = [each for task in tasks for each in held_of(self._store, self._inventory, task)]
        chosen = self._going = self._chosen(held)
        leftovers = [each for task in tasks for each in self._leftovers(task)]
        leftovers += [Collected(path, size) for path, size in self._other_leftovers().items()]
        size, going = sum(each.size for each in held), sum(each.size for each in chosen)
        values = [_collected(each) for each in chosen]
        return Collection(tuple(values), tuple(leftovers), size, size - going, is_applied)

    def _chosen(self, held: Sequence[Held]) -> list[Held]:
        conditions = self._conditions
        if self._kept is None and all(condition is None for condition in conditions):
            return []
        found = [each for each in held if not each.entry.is_collected and self._is_meant(each)]
        if conditions.superseded is not None:
            old = set(self._superseded(conditions.superseded))
            found = [each for each in found if (each.task, each.row) in old]
        return found if conditions.max_size is None else beyond(self._inventory, conditions.max_size, held, found)

    def _is_meant(self, each: Held) -> bool:
        patterns, older_than, larger_than, _, _ = self._conditions
        return (
            (patterns is None or any(fnmatch.fnmatchcase(each.task, pattern) for pattern in patterns))
            and self._now >= each.entry.stored_at + self._inventory.grace
            and (older_than is None or self._now - each.entry.stored_at > older_than)
            and (larger_than is None or each.size >= larger_than)
            and (self._kept is None or (each.task, each.row) not in self._kept)
        )

    def _superseded(self, tasks: Iterable[TaskInfo]) -> Iterator[_At]:
        for task in tasks:
            revisions = Revisions(self._store, task)
            by_key: dict[str, list[tuple[str, Entry]]] = {}
            for row, entry in self._store.scan(task.name):
                if not entry.is_collected:
                    by_key.setdefault(key_of(row), []).append((row, entry))
            for rows in by_key.values():
                present = [row for row, entry in rows if revisions.is_present(entry.fingerprint)]
                stays = present or [max(rows, key=lambda found: found[1].stored_at)[0]]
                yield from ((task.name, row) for row, _ in rows if row not in stays)

    # --- leftovers ---

    def _leftovers(self, task: str) -> list[Collected]:
        path = self._inventory.path(task)
        found = [Collected(f"{_call(task, item)} (set aside)", item.size) for item in self._inventory.aside(task)]
        found += [Collected(f"{_call(task, item)} (not signed)", item.size) for item in self._unsigned(task)]
        found += [Collected(os.path.join(path, name), size) for name, size in self._inventory.orphans(task).items()]
        return found

    def _unsigned(self, task: str) -> list[Item]:
        if not self._is_unsigned_removed:
            return []
        return [item for item in self._inventory.items(task) if not item.is_signed]

    def _other_leftovers(self) -> dict[str, int]:
        journal = journal_of(self._store)
        return self._inventory.loose() | (journal.leftovers() if journal is not None else {})

    # --- removing ---

    def removed(self) -> Collection:
        with self._inventory.alone():
            collection = self.found(is_applied=True)
            tasks, _ = self._inventory.tasks()
            release(self._inventory, self._going)
            for task in tasks:
                self._inventory.remove(task, [*self._inventory.aside(task), *self._unsigned(task)])
                self._inventory.remove_files(task, list(self._inventory.orphans(task)))
                self._inventory.shrink(task)
            self._inventory.remove_loose(list(self._inventory.loose()))
            if (journal := journal_of(self._store)) is not None:
                journal.tidy()
        return collection


def _collected(each: Held) -> Collected:
    entry = each.entry
    return Collected(described(each.task, key_of(each.row)), each.size, entry.seconds, entry.stored_at)


def _call(task: str, item: Item) -> str:
    row = item.row.removeprefix("damaged:")
    return described(task, key_of(row) if "#" in row else row)
