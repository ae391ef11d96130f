"""Branches: what the members of a group write, kept apart until all are done, then merged.

A branch sees what its own member wrote over what was there before the group. Only keys that a member touched are
merged: additions are added up and lists are joined; one writer wins; several writers of different values are a
conflict, unless a rule was declared.

Must not know: how members run.

Next: flows/workflow/backends.py
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, final

from checkpoint.flows.workflow.cells import cell_of, value_in
from checkpoint.flows.workflow.channel import Change, Channel, Stored
from checkpoint.flows.workflow.errors import MergeConflictError

__all__ = ["Branch", "Touched", "merge"]

#: Key -> (what kind of change it was, what is there now). Kinds: "set", "add", "append", "prepend".
Touched = dict[str, tuple[str, Any, Stored | None]]

MergeRule = Callable[[Any, list[Any]], Any]


@final
class Branch(Channel):
    """The channel of one member of a group."""

    def __init__(self, below: Channel, touched: Touched | None = None) -> None:
        super().__init__(below.name)
        self._below = below
        self._guard = threading.RLock()
        #: What the member has changed.
        self.touched: Touched = dict(touched or {})

    def read(self, key: str) -> Stored | None:
        """Return what is at a key."""
        with self._guard:
            if key in self.touched:
                stored = self.touched[key][2]
                return stored if stored is not None and stored.is_alive else None
            return self._below.read(key)

    def change(self, key: str, change: Change) -> Stored | None:
        """Change a key for this branch alone."""
        return self._apply(key, change, "set", None)

    def _apply(self, key: str, change: Change, kind: str, given: Any) -> Stored | None:
        with self._guard:
            after = change(self.read(key))
            before = self.touched.get(key)
            if before is not None:
                kind, given = _joined(before, kind, given)
            self.touched[key] = (kind, given, after)
            return after

    def keys(self) -> list[str]:
        """Return the keys."""
        names = dict.fromkeys([*self._below.keys(), *self.touched])
        return [key for key in names if self.read(key) is not None]

    def changes(self) -> dict[str, Stored | None]:
        """Return all that the member has changed."""
        return {key: stored for key, (_, _, stored) in self.touched.items()}

    def lock(self, key: str, timeout: float = 10.0) -> contextlib.AbstractContextManager[None]:
        """Keep out the other members, too."""
        return self._below.lock(key, timeout)


def _joined(before: tuple[str, Any, Stored | None], kind: str, given: Any) -> tuple[str, Any]:
    """Return two changes of one key as one."""
    if before[0] != kind or kind == "set":
        return "set", None
    return kind, given + before[1] if kind == "prepend" else before[1] + given


def merge(group_id: str, channel: Channel, branches: Mapping[str, Touched], rules: Mapping[str, MergeRule]) -> None:
    """Write to a channel what the members of a group have changed, in the order of the members.

    Raises:
        MergeConflictError: two members wrote different values to one key; nothing was written.
    """
    keys = dict.fromkeys(key for touched in branches.values() for key in touched)
    decided: list[Callable[[], object]] = []
    for key in keys:
        changes = {member: touched[key] for member, touched in branches.items() if key in touched}
        decided.append(_merged(group_id, channel, key, changes, rules.get(key)))
    for write in decided:
        write()


def _merged(
    group_id: str,
    channel: Channel,
    key: str,
    changes: Mapping[str, tuple[str, Any, Stored | None]],
    rule: MergeRule | None,
) -> Callable[[], object]:
    kinds = {kind for kind, _, _ in changes.values()}
    given = [value for _, value, _ in changes.values()]
    results = [stored for _, _, stored in changes.values()]
    if len(changes) > 1 and rule is not None:
        value = rule(channel.get(key), [None if stored is None else value_in(stored.cell) for stored in results])
        cell = cell_of(value, f"channel key {key!r}", channel.name)
        return lambda: channel.write(key, lambda before: Stored(cell))
    if kinds == {"add"}:
        return lambda: channel.atomic_add(key, sum(given))
    for kind in ("append", "prepend"):
        if kinds == {kind}:
            return partial(channel.extend, key, kind, [item for part in given for item in part])
    if len({None if stored is None else stored.cell for stored in results}) > 1:
        raise MergeConflictError(group_id, key, tuple(changes))
    return lambda: channel.write(key, lambda before: results[0])
