"""Lineage: which entries were computed from which, as the entries themselves record it.

Next: options.py
"""

from __future__ import annotations

from checkpoint import codec
from checkpoint.errors import DamagedEntryError
from checkpoint.store import Store

__all__ = ["below"]


def below(store: Store, task: str, key: str) -> list[tuple[str, str]]:
    """Return (task name, row) of every entry that was computed, directly or not, from a key's entries.

    Cost: reads the head of each entry of the store once.
    """
    consumers: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name in store.tasks():
        for row, _ in store.scan(name):
            for upstream_task, upstream_row in _upstream(store, name, row):
                consumers.setdefault((upstream_task, key_of(upstream_row)), []).append((name, row))
    found: dict[tuple[str, str], None] = {}
    pending = [(task, key)]
    while pending:
        for name, row in consumers.pop(pending.pop(), ()):
            found[name, row] = None
            pending.append((name, key_of(row)))
    return list(found)


def key_of(row: str) -> str:
    """Return the key that a row belongs to."""
    return row[: row.rindex("#")]


def _upstream(store: Store, task: str, row: str) -> list[tuple[str, str]]:
    found = store.read(task, row)
    try:
        head = codec.read_head(found[1]) if found is not None else None
    except DamagedEntryError:
        head = None  # it is reported when somebody wants its value
    return [(name, upstream_row) for name, upstream_row in head or ()]
