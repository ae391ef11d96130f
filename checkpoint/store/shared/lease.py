"""Lease: the right of one process among many hosts to compute something, as an object that is created exclusively.

    checkpoint/.claims/{name}          a lease: whose it is, and how long it lasts without a sign of life
    checkpoint/.claims/{owner}         the signs of life of a process: a count, and how its leases stand
    checkpoint/.claims/{name}!{id}     the right to end the lease with that id, which is a lease itself

A lease never changes. It has run out once neither it nor its owner's signs have changed for longer than it lasts, by
the clock of who watches it; so no clocks are compared. Who sees that ends it, under a right that one alone can have,
and only if it is still the same; after that anybody may create it anew. A kill at any step leaves something that runs
out, too.

Must not know: what is computed.

Next: store/shared/watch.py
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from typing import NamedTuple, Self

import xxhash

from checkpoint.store.shared.objects import Objects, Size, each

__all__ = ["LONGEST_SECONDS", "Lease", "abandoned", "end", "place_of", "read", "signs_of"]

#: Nobody is waited for any longer without a sign of life, whatever a lease says.
LONGEST_SECONDS = 600.0
_FOLDER = "checkpoint/.claims/"


class Lease(NamedTuple):
    """What a lease says."""

    #: Told apart from all others by this.
    id: str
    #: Whose signs of life keep it.
    owner: str
    #: Where the local claim holds that goes with it; empty if nobody else can have that one.
    scope: str
    #: How long it lasts without a sign of life.
    seconds: float
    #: Host and process, for people.
    place: str

    @classmethod
    def new(cls, owner: str, scope: str, seconds: float) -> Self:
        """Return a lease that nobody has seen."""
        return cls(secrets.token_hex(8), owner, scope, seconds, f"{socket.gethostname()} process {os.getpid()}")

    def to_bytes(self) -> bytes:
        """Return what its object has in it."""
        return json.dumps(self).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return what an object says; one that says nothing sensible is nobody's, and runs out like others."""
        try:
            id_, owner, scope, seconds, place = json.loads(data)
            lasting = float(seconds)
        except (ValueError, TypeError):
            id_, owner, scope, lasting, place = "", "", "", LONGEST_SECONDS, ""
        texts = all(isinstance(text, str) for text in (id_, owner, scope, place))
        if not texts or not id_.isalnum() or len(id_) > 64 or not 0 < lasting <= LONGEST_SECONDS:
            return cls(xxhash.xxh3_64_hexdigest(data), "", "", LONGEST_SECONDS, "")
        return cls(id_, owner, scope, lasting, place)


def place_of(name: int) -> str:
    """Return the name of the object that is the lease of something."""
    return f"{_FOLDER}{name:015x}"


def signs_of(owner: str) -> str:
    """Return the name of the object that has an owner's signs of life."""
    return f"{_FOLDER}owner-{xxhash.xxh3_128_hexdigest(owner.encode())}"


def read(objects: Objects, place: str) -> Lease | None:
    """Return the lease at a place."""
    data = objects.get(place)
    return Lease.parse(data) if data is not None else None


def end(objects: Objects, place: str, lease: Lease, right: Lease) -> bool:
    """Remove a lease that has run out, unless there is another one at its place by now.

    Args:
        objects: where leases are.
        place: its place.
        lease: what was read there.
        right: a new lease of who does this.

    Returns:
        False if somebody else is at it.
    """
    at = f"{place}!{lease.id}"
    if not objects.create(at, right.to_bytes()) and read(objects, at) != right:
        return False
    if read(objects, place) == lease:
        objects.delete([place])
    objects.delete([at])
    return True


def abandoned(objects: Objects, before: float) -> list[Size]:
    """Return the objects that were left behind by owners who have given no sign of life since a moment."""
    found = objects.sizes(_FOLDER)
    recent = {size.name for size in found if size.written_at > before}
    old = [size for size in found if size.name not in recent]
    leases = each(objects, lambda size: read(objects, size.name), old)
    return [
        size for size, lease in zip(old, leases, strict=True) if lease is None or signs_of(lease.owner) not in recent
    ]
