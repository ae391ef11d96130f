"""Versions: what identifies a computed value, and what an entry says it was computed from.

    address     digest of task name and key                                      16 bytes
    generation  hash of an instance's epochs and its upstream's generations      16 bytes
    version     address + generation + digest of the value's bytes               48 bytes
    basis       hash of the upstream's versions, in order                        16 bytes
    edition     hash of fingerprint and basis: which of a key's entries          16 hex digits

An entry is fresh when its basis is the hash of its upstream's current versions. A clear changes the generation of
everything below; any other recomputation that gives the same bytes keeps the version. What no clear has touched has
generation zero, whatever it requires; so code that requires something else for a while does no harm. No clock, nothing
random.

Next: leaf.py
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING

import xxhash

from checkpoint.store import Entry, Epoch

if TYPE_CHECKING:
    from checkpoint.graph import Instance

__all__ = [
    "NO_BASIS",
    "address_of",
    "basis_of",
    "edition_of",
    "generation_of",
    "key_of",
    "mark_of",
    "row_of",
    "row_of_entry",
    "unstored_digest_of",
    "version_of",
]

_NEVER_CLEARED = bytes(16)


def address_of(task: str, key: str) -> bytes:
    """Return what stands for a task's name and a key, whatever the version of the code."""
    text = f"{task}\n{key}"
    return xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass"))


def version_of(task: str, key: str, generation: bytes, digest: bytes) -> bytes:
    """Return the version of a value of a task."""
    return address_of(task, key) + generation + digest


def basis_of(upstream: Iterable[bytes]) -> bytes:
    """Return the hash of upstream versions."""
    return xxhash.xxh3_128_digest(b"".join(upstream))


#: Of what requires nothing.
NO_BASIS = basis_of(())


def unstored_digest_of(instance: Instance, basis: bytes) -> bytes:
    """Return what stands for the bytes of a value that isn't stored: what it is computed from, and by which code."""
    return xxhash.xxh3_128_digest(basis + instance.task.code_version.encode())


def generation_of(epoch: Epoch, upstream: Iterable[bytes]) -> bytes:
    """Return the generation of a value from its epoch and the versions of its upstream."""
    cleared = [generation for version in upstream if (generation := version[16:32]) != _NEVER_CLEARED]
    if not cleared and not any(epoch):
        return _NEVER_CLEARED
    return xxhash.xxh3_128_digest(struct.pack("<QQ", *epoch) + b"".join(cleared))


def edition_of(fingerprint: bytes, basis: bytes) -> str:
    """Return what tells a key's entries apart: by which code, and from which upstream versions."""
    return xxhash.xxh3_64_hexdigest(fingerprint + basis)


def mark_of(version: bytes) -> str:
    """Return a short text that stands for a version, as entries record those of their upstream."""
    return xxhash.xxh3_64_hexdigest(version)


def row_of(key: str, edition: str) -> str:
    """Return the row of a key's entry."""
    return f"{key}#{edition}"


def row_of_entry(key: str, entry: Entry) -> str:
    """Return the row in which a key's entry is."""
    return row_of(key, edition_of(entry.fingerprint, entry.basis))


def key_of(row: str) -> str:
    """Return the key that a row belongs to."""
    return row[: row.rindex("#")]
