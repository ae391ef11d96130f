"""Watch: what a process sees of the leases of others, and when one of them has run out.

Must not know: leases that are held here, threads.

Next: store/shared/owner.py
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, final

from checkpoint.store.claims import Standing
from checkpoint.store.shared.lease import Lease, end, place_of, read, signs_of
from checkpoint.store.shared.objects import Objects, each

__all__ = ["Watch", "signs"]

_MOST_SEEN = 10_000


def signs(count: int, standings: Mapping[int, Standing]) -> bytes:
    """Return a sign of life, another one for each count, that tells how an owner's leases stand."""
    return json.dumps([count, {f"{name:x}": standing.name for name, standing in standings.items()}]).encode()


def _standing_in(data: bytes | None, name: int) -> Standing:
    """Return how a lease stands that is held, by its owner's last sign of life; running unless that says more."""
    try:
        told = json.loads(data or b"")[1][f"{name:x}"]
    except (ValueError, TypeError, LookupError):
        return Standing.RUNNING
    return Standing.WAITING if told == "WAITING" else Standing.GATHERED if told == "GATHERED" else Standing.RUNNING


class _Seen(NamedTuple):
    lease: Lease
    signs: bytes | None
    #: Since when nothing else was seen.
    since: float


@final
class Watch:
    """One watcher's memory. Safe to share between threads: what they see together counts."""

    def __init__(self, objects: Objects, clock: Callable[[], float]) -> None:
        self._objects = objects
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def standings(self, names: Collection[int], scope: str, right: Callable[[], Lease]) -> dict[int, Standing]:
        """Tell how things stand that others may hold leases of. One that has run out is ended, and free.

        Args:
            names: of what.
            scope: where local claims of these are known to be free; a lease from there tells nothing.
            right: makes a new lease, with which to end another one.

        Raises:
            StoreError: it cannot be seen.

        Notes:
            One round trip, and another one if there are leases.
        """
        leases = self._read([place_of(name) for name in names])
        found = dict.fromkeys(names, Standing.FREE)
        foreign = {place: lease for place, lease in leases.items() if not scope or lease.scope != scope}
        gone, told = self._ended(foreign)
        for place in gone:
            self._end(place, foreign[place], right)
        for name in names:
            place = place_of(name)
            if place in foreign and place not in gone:
                found[name] = _standing_in(told[foreign[place].owner], name)
        return found

    def _read(self, places: Collection[str]) -> dict[str, Lease]:
        leases = zip(places, each(self._objects, lambda place: read(self._objects, place), places), strict=True)
        return {place: lease for place, lease in leases if lease is not None}

    def _ended(self, leases: Mapping[str, Lease]) -> tuple[set[str], dict[str, bytes | None]]:
        """Return which leases have run out, and the owners' signs of life."""
        began = self._clock()
        owners = list({lease.owner for lease in leases.values()})
        asked = each(self._objects, self._objects.get, map(signs_of, owners))
        told = dict(zip(owners, asked, strict=True))
        if len(self._seen) > _MOST_SEEN:
            self._seen.clear()
        gone = set()
        for place, lease in leases.items():
            seen = self._seen.get(place)
            if seen is None or (seen.lease, seen.signs) != (lease, told[lease.owner]):
                self._seen[place] = _Seen(lease, told[lease.owner], self._clock())
            elif began - seen.since > lease.seconds:
                gone.add(place)
        return gone, told

    def _end(self, place: str, lease: Lease, right: Callable[[], Lease]) -> None:
        if end(self._objects, place, lease, right()):
            self._seen.pop(place, None)
            return
        at = f"{place}!{lease.id}"  # somebody has the right to end it; who may have died with that
        rights = self._read([at])
        if self._ended(rights)[0]:
            self._end(at, rights[at], right)
