"""Durations: how long what is to be computed took the last time.

Must not know: what is made of that. Reads metadata, when asked.

Next: reasons.py
"""

from __future__ import annotations

import itertools
from typing import final

from checkpoint.store import Store
from checkpoint.survey import Survey

__all__ = ["Durations"]


@final
class Durations:
    """How long instances took when they were computed last."""

    def __init__(self, store: Store, found: Survey) -> None:
        self._store = store
        self._found = found
        self._means: dict[str, float | None] = {}

    def expected(self, node: int) -> float | None:
        """Return the time of a node's newest entry, else the mean of some others of its task, else None."""
        entries = self._found.entries[node]
        if entries:
            return max(entries, key=lambda entry: entry.stored_at).seconds
        name = self._found.graph.instances[node].task.name
        if name not in self._means:
            some = [entry.seconds for _, entry in itertools.islice(self._store.scan(name), 1000)]
            self._means[name] = sum(some) / len(some) if some else None
        return self._means[name]
