"""Lineage: which entries were computed from which, as the entries themselves record it.

Must not know: graphs, plans; nothing is evaluated. An upstream entry that is gone, or was made anew with another value,
is told as such.

Next: previews.py
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, final

from checkpoint.checks import whole
from checkpoint.fingerprint import Code
from checkpoint.origin import origin_of
from checkpoint.reasons import described, upstream_of
from checkpoint.revisions import code_at
from checkpoint.revival import decode_arguments
from checkpoint.store import Store
from checkpoint.version import key_of, mark_of, row_of_entry, version_of

__all__ = ["Lineage", "below"]


@final
class Lineage:
    """Where a stored value comes from, and what was made of it.

    Made by `TaskInstance.lineage`; describes the entry as it was at that moment. Thread-safe.

    Attributes:
        task, arguments: the call; arguments by name.
        is_kept: whether the store still has exactly this value; if not, the attributes below are None or empty.
        stored_at, seconds, size: when it was stored (since 1970), how long the runner took, bytes.
        fingerprint: digest of the code that computed it, 32 hex digits.
        code: that code with all that it used, as text; None if it is not on record.
        packages: name and version of the installed packages that the code used.
        origin: host, platform and python where it was computed.
    """

    def __init__(self, store: Store, task: str, row: str, mark: str | None = None) -> None:
        """Read what is known of an entry.

        Args:
            store: where it is.
            task: name of the task.
            row: its row.
            mark: of the version that is meant; None for the one that is there.
        """
        self._store = store
        self._row = row
        self.task = task
        key = key_of(row)
        self.call = described(task, key)
        self.arguments: Mapping[str, Any] = decode_arguments(key)
        entries = store.lookup(task, [key]).get(key, [])
        entry = next((e for e in entries if row_of_entry(key, e) == row), None)
        self._mark = mark
        if entry is not None:
            self._mark = mark_of(version_of(task, key, entry.generation, entry.digest))
        self.is_kept = entry is not None and mark in (None, self._mark)
        kept = entry if self.is_kept else None
        self.stored_at = kept.stored_at if kept is not None else None
        self.seconds = kept.seconds if kept is not None else None
        self.size = kept.size if kept is not None else None
        self.fingerprint = kept.fingerprint.hex() if kept is not None else ""
        self.code: Code | None = code_at(store, task, kept.fingerprint) if kept is not None else None
        self.origin: Mapping[str, str] = origin_of(store, task, kept.origin) if kept is not None else {}

    @property
    def at(self) -> tuple[str, str, str | None]:
        """What tells this from all other lineages: task, row and mark of the version."""
        return self.task, self._row, self._mark

    @property
    def packages(self) -> tuple[str, ...]:
        """Name and version of the installed packages that the code used."""
        return self.code.packages if self.code is not None else ()

    def upstream(self) -> list[Lineage]:
        """Return what the value was computed from, directly, in order. Cost: one read, and one more for each."""
        above = upstream_of(self._store, self.task, self._row) if self.is_kept else []
        return [Lineage(self._store, task, row, mark) for task, row, mark in above]

    def downstream(self) -> list[Lineage]:
        """Return what was computed from the value, directly. Cost: reads the head of every entry of the store."""
        return [
            Lineage(self._store, task, row)
            for task, row, above in _computed_from(self._store)
            if (self.task, self._row, self._mark) in above
        ]

    def __repr__(self) -> str:
        return f"<lineage of {self.call}>"

    def __str__(self) -> str:
        return self.describe()

    def describe(self, depth: int = 1) -> str:
        """Return as text what the value was computed from, what that was computed from, and so on.

        Args:
            depth: how many steps up; what comes up again is told once in full.
        """
        whole(depth, "depth of describe()", 0)
        lines: list[str] = []
        told: dict[tuple[str, str, str | None], int] = {}
        pending: list[tuple[Lineage, int]] = [(self, 0)]
        while pending:
            lineage, step = pending.pop()
            line = f"{'  ' * step}from {lineage._line()}" if step else lineage._line()
            at = lineage.at
            is_told = told.get(at, depth) <= step < depth
            upstream = lineage.upstream() if step < depth and not is_told else []
            if upstream:
                told[at] = step
            lines.append(f"{line}, as above" if is_told else line)
            pending.extend((above, step + 1) for above in reversed(upstream))
        return "\n".join(lines)

    def _line(self) -> str:
        if self.stored_at is None:
            return f"{self.call}: no longer kept"
        made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.stored_at))
        facts = [f"{made} in {self.seconds:.3g} s", f"code {self.fingerprint[:8]}", *self.packages]
        if self.origin:
            facts += [self.origin["host"], f"Python {self.origin['python']}"]
        return f"{self.call}: {', '.join(facts)}"


def _computed_from(store: Store) -> Iterator[tuple[str, str, list[tuple[str, str, str]]]]:
    """Yield each entry's task and row, and what it was computed from."""
    for task in store.tasks():
        for row, _ in store.scan(task):
            yield task, row, upstream_of(store, task, row)


def below(store: Store, calls: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return task name and key of all that was computed, directly or not, from any entry of some calls.

    Args:
        store: where to look.
        calls: task name and key of each; those that are below another one are among what is returned.

    Cost: reads the head of every entry of the store once.
    """
    consumers: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for consumer, row, upstream in _computed_from(store):
        for name, above, _ in upstream:
            consumers.setdefault((name, key_of(above)), []).append((consumer, key_of(row)))
    found: dict[tuple[str, str], None] = {}
    pending = list(calls)
    while pending:
        for consumer_at in consumers.pop(pending.pop(), ()):
            found[consumer_at] = None
            pending.append(consumer_at)
    return list(found)
