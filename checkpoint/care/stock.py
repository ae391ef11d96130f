"""Stock: what belongs to a store, whatever kind it is: its inventory, and the journal of flows where it has one.

Must not know: what counts as damage, what is needed.

Next: care/verification.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from checkpoint.errors import StoreError
from checkpoint.store import Store
from checkpoint.store.disk import DiskStore
from checkpoint.store.inventory import DiskInventory, Inventory

if TYPE_CHECKING:
    from checkpoint.journal import Journal

__all__ = ["GRACE_SECONDS", "inventory_of", "journal_of"]

#: What was written to a shared store less than so long ago stays: who uses it cannot be seen.
GRACE_SECONDS = 86400.0


def inventory_of(store: Store, grace: float = GRACE_SECONDS) -> Inventory:
    """Return what a store has, for who checks or collects.

    Args:
        store: a folder on a disk, or a shared store.
        grace: for how many seconds nothing goes that was written to a shared store.

    Raises:
        StoreError: it is another kind of store.
    """
    if isinstance(store, DiskStore):
        return DiskInventory(store)
    from checkpoint.store.shared.inventory import SharedInventory  # few programs need it
    from checkpoint.store.shared.shared import SharedStore

    if not isinstance(store, SharedStore):
        raise StoreError(store.url, "this kind of store cannot be checked or collected", "name a folder or an address")
    return SharedInventory(store, grace)


def journal_of(store: Store) -> Journal | None:
    """Return the journal of a store; None if it is shared: flows keep their histories in folders alone."""
    if not isinstance(store, DiskStore):
        return None
    from checkpoint.journal import journal_at

    return journal_at(store)
