"""Journal: what flows need to go on where they were: runs, snapshots, states, and the right to run a flow.

Must not know: flows. Nothing is created before something is written.

Next: flows/linear/__init__.py
"""

from __future__ import annotations

import os

from checkpoint.errors import StoreError
from checkpoint.journal.journal import Journal
from checkpoint.journal.recorder import Recorder
from checkpoint.journal.records import Difference, Run, Snapshot
from checkpoint.store import Settings, Store, current_store, store_at
from checkpoint.store.mounts import network_kind_of

__all__ = ["Difference", "Journal", "Recorder", "Run", "Snapshot", "journal_at"]

_opened: dict[tuple[str, Settings], Journal] = {}


def journal_at(store: str | os.PathLike[str] | Store | None = None) -> Journal:
    """Return the journal of a store, the same object each time; None is the current store. Creates nothing.

    Raises:
        StoreError: the store isn't a folder on a local disk.
    """
    found = current_store() if store is None else store_at(store)
    url = found.url
    if "://" in url:
        raise StoreError(url, "a journal needs a folder on a local disk", "name one with $CP_CACHE_DIR or store=")
    folder = os.path.join(url, "checkpoint", ".journal")
    at = folder, found.settings
    if at not in _opened and (kind := network_kind_of(folder)):
        reason = f"SQLite may lose what flows keep on its network file system ({kind})"
        raise StoreError(url, reason, "name a folder on a local disk with $CP_CACHE_DIR or store=")
    return _opened.get(at) or _opened.setdefault(at, Journal(*at))
