"""Manifest: which blob each key of a state has, in the order of the keys; pure.

A manifest is kept as its difference from that of the snapshot before, so that a snapshot costs what changed. Each part
has a place, and places rise in the order of the keys: a key that keeps its blob and its place costs nothing.

Its digest is a sum over the digests of its parts, so that it, too, costs what changed. It guards against accidents:
whoever can write to the journal can make it fit.

Must not know: values, databases.

Next: journal/migrations.py
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, final

import xxhash

from checkpoint.journal.records import Difference

__all__ = ["Edit", "Manifest", "Part", "arrange", "compare"]

_MODULUS = 1 << 128


class Part(NamedTuple):
    """Where a key stands, and the digest (16 bytes) and size of its blob."""

    place: int
    digest: bytes
    size: int


class Edit(NamedTuple):
    """How a manifest differs from the one before: parts that are new or other, by rising place; keys that went."""

    changed: dict[str, Part]
    removed: tuple[str, ...]


@final
class Manifest(Mapping[str, Part]):
    """Key -> part, in the order of their places; immutable. `size` is that of all blobs, each as often as it is named.

    Args:
        parts: key -> part, in the order of their places.
    """

    __slots__ = ("_parts", "_sum", "size")

    def __init__(self, parts: Mapping[str, Part] | None = None) -> None:
        self._parts = dict(parts or {})
        self.size = sum(part.size for part in self._parts.values())
        self._sum = sum(_mark(key, part) for key, part in self._parts.items()) % _MODULUS

    def __getitem__(self, key: str) -> Part:
        return self._parts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def digest(self) -> bytes:
        """What identifies a whole state: its keys, their order and their blobs."""
        return self._sum.to_bytes(16, "little")

    @property
    def end(self) -> int:
        """The first place after all parts."""
        return self._parts[next(reversed(self._parts))].place + 1 if self._parts else 0

    def after(self, edit: Edit) -> Manifest:
        """Return the manifest that an edit leads to."""
        made = Manifest()
        made._parts, made.size, made._sum = dict(self._parts), self.size, self._sum
        for key in edit.removed:
            made._remove(key)
        for key, part in edit.changed.items():
            if key in made._parts and made._parts[key].place == part.place:
                made._count(key, made._parts[key], -1)
            elif key in made._parts:
                made._remove(key)
            made._parts[key] = part
            made._count(key, part, 1)
        return made

    def _remove(self, key: str) -> None:
        self._count(key, self._parts.pop(key), -1)

    def _count(self, key: str, part: Part, sign: int) -> None:
        self.size += sign * part.size
        self._sum = (self._sum + sign * _mark(key, part)) % _MODULUS


def _mark(key: str, part: Part) -> int:
    text = key.encode()
    head = len(text).to_bytes(8, "little") + part.place.to_bytes(8, "little")
    return xxhash.xxh3_128_intdigest(head + text + part.digest)


def arrange(before: Manifest, blobs: Iterable[tuple[str, bytes, int]]) -> Edit:
    """Return the edit that leads to (key, digest, size) in this order, with as many places as can stay."""
    changed: dict[str, Part] = {}
    gone = dict.fromkeys(before)
    last, unused = -1, before.end
    for key, digest, size in blobs:
        known = before.get(key)
        gone.pop(key, None)
        if known is not None and known.place > last:
            last = known.place
        else:
            last = unused = max(unused, last + 1)
            unused += 1
        if (part := Part(last, digest, size)) != known:
            changed[key] = part
    return Edit(changed, tuple(gone))


def compare(before: Mapping[str, Part], after: Mapping[str, Part]) -> Difference:
    """Return the keys that were added, removed and changed."""
    return Difference(
        tuple(key for key in after if key not in before),
        tuple(key for key in before if key not in after),
        tuple(key for key in after if key in before and before[key].digest != after[key].digest),
    )
