"""Manifest: which blob each key of a state has, in the order of the keys; pure.

A manifest is kept as its difference from that of the snapshot before, so that a snapshot costs what changed. Each part
has a place, and places rise in the order of the keys: a key that keeps its blob and its place costs nothing.

Must not know: values, databases.

Next: journal/database.py
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import xxhash

from checkpoint.journal.records import Difference

__all__ = ["Manifest", "Part", "arrange", "compare", "digest_of", "size_of"]


class Part(NamedTuple):
    """Where a key stands, and the digest (16 bytes) and size of its blob."""

    place: int
    digest: bytes
    size: int


#: Key -> part, in the order of their places.
Manifest = dict[str, Part]


def arrange(before: Manifest, blobs: Iterable[tuple[str, bytes, int]]) -> Manifest:
    """Return the manifest of (key, digest, size) in this order, with as many places of the one before as can stay."""
    after: Manifest = {}
    last, unused = -1, max((part.place for part in before.values()), default=-1) + 1
    for key, digest, size in blobs:
        known = before.get(key)
        if known is not None and known.place > last:
            last = known.place
        else:
            last = unused = max(unused, last + 1)
            unused += 1
        after[key] = Part(last, digest, size)
    return after


def compare(before: Mapping[str, Part], after: Mapping[str, Part]) -> Difference:
    """Return the keys that were added, removed and changed."""
    return Difference(
        tuple(key for key in after if key not in before),
        tuple(key for key in before if key not in after),
        tuple(key for key in after if key in before and before[key].digest != after[key].digest),
    )


def digest_of(manifest: Manifest) -> bytes:
    """Return what identifies a whole state: its keys, their order and their blobs."""
    hasher = xxhash.xxh3_128()
    for key, part in manifest.items():
        text = key.encode()
        hasher.update(len(text).to_bytes(8, "little") + text + part.digest)
    return hasher.digest()


def size_of(manifest: Manifest) -> int:
    """Return the bytes of all blobs, each as often as it is named."""
    return sum(part.size for part in manifest.values())
