"""Leaf: an instance that requires nothing, whose entry has a row that is known beforehand.

Nothing below it can have changed, so an entry by the present code is fresh, and the first among those that a run would
look at: one query tells it, and no plan is needed.

Must not know: plans, how an instance is computed.

Next: revisions.py
"""

from __future__ import annotations

from typing import Any

from checkpoint.graph import Instance
from checkpoint.store import Entry, Store
from checkpoint.values import load
from checkpoint.version import NO_BASIS, edition_of, row_of

__all__ = ["load_leaf"]


def load_leaf(store: Store, instance: Instance) -> tuple[Entry, Any, bytes] | None:
    """Return entry, value and digest of a leaf that the present code has computed; None if there may be more to it.

    Raises:
        DamagedEntryError: its bytes are not what was written; it is set aside.
        StoreError: it is a pickle, and the store allows none.
    """
    task = instance.task
    if not instance.is_leaf or not task.is_stored or task.defaults_added:
        return None
    fingerprint = task.fingerprint
    found = load(store, task, row_of(instance.key, edition_of(fingerprint, NO_BASIS)))
    if found is None or found[0].has_files:
        return None
    return found if (found[0].fingerprint, found[0].basis) == (fingerprint, NO_BASIS) else None
