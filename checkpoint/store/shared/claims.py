"""LeasedClaims: claims that hold between hosts: one of this host first, and a lease for what is worth it.

Processes of a host tell each other by locks, which cost nothing and end with their process. A lease is three round
trips (taking it, looking once more for the result, giving it back), so what is known to be quick has none: several
hosts that begin it at the same time all compute it.

Next: store/shared/shared.py
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import final

from checkpoint.store.claims import Claims, Standing, scope_of
from checkpoint.store.shared.owner import Owner

__all__ = ["LeasedClaims"]

#: What takes less has no lease.
_WORTH_SECONDS = 0.1


@final
class LeasedClaims:
    """The claims of one holder: a thread that computes.

    Args:
        local: the same for the processes of this host.
        owner: this process.
    """

    #: Looking costs requests.
    longest_pause = 1.0

    def __init__(self, local: Claims, owner: Owner) -> None:
        self._local, self._owner = local, owner
        self._scope = scope_of(local)
        self._leased: set[int] = set()
        #: How many leases were taken, and whether the last claim has one.
        self._count, self._is_leased = 0, False

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at the end of the interpreter anything may be gone
            self.close()

    def take(self, name: int, seconds: float | None = None) -> bool:
        """Claim something; False if somebody else holds it, here or on another host."""
        if not self._local.take(name):
            return False
        self._is_leased = name in self._leased or seconds is None or seconds >= _WORTH_SECONDS
        if name in self._leased or not self._is_leased:
            return True
        if not self._owner.acquire(name, self._scope):
            self._local.release([name])
            return False
        self._leased.add(name)
        self._count += 1
        return True

    def mark(self, name: int, standing: Standing) -> None:
        """Tell others how what is held stands."""
        self._local.mark(name, standing)
        if name in self._leased:
            self._owner.mark(name, standing)

    def release(self, names: Collection[int]) -> None:
        """Give back what is held, first to other hosts: a lease whose local claim is free is that of a dead process."""
        if leased := self._leased.intersection(names):
            self._leased -= leased
            self._owner.release(leased)
        self._local.release(names)

    def standings(self, names: Collection[int]) -> dict[int, Standing]:
        """Tell how things stand that this holder doesn't hold."""
        found = self._local.standings(names)
        free = [name for name, standing in found.items() if standing is Standing.FREE]
        return found | self._owner.standings(free, self._scope) if free else found

    def committed(self) -> None:
        """Note that results were committed; to be called before their claims are given back."""
        self._local.committed()

    def changes(self) -> int:
        """Return a number that is another one after others on this host have committed, or with each lease.

        What other hosts commit makes no difference to it; so who has a lease looks whether they have.
        """
        return self._local.changes() + (self._count if self._is_leased else 0)

    def close(self) -> None:
        """Give back everything."""
        self.release(self._leased)
        self._local.close()
