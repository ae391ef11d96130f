"""Texts: the texts of a task in a shared store: records beside its entries, and keys too long for a name.

A record is created once and never changes. Keys that had to be read from their entries are put together into packs,
so that the next scan reads a few of those; a pack says nothing but what keys there are, so it is never wrong.

Next: store/shared/tier.py
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import final

import xxhash

from checkpoint import codec
from checkpoint.store.entry import Record
from checkpoint.store.shared.names import SIGNATURE_BYTES, EntryName, digest_of, quoted
from checkpoint.store.shared.objects import Objects, each

__all__ = ["Texts"]

_NAME_LIMIT = 180
#: From so many keys on that had to be read one by one, a pack is written.
_PACK_KEYS = 32
#: With more packs than that, they are made one.
_PACKS = 16


@final
class Texts:
    """The texts of one task, below a prefix that ends with "/"."""

    def __init__(self, objects: Objects, prefix: str) -> None:
        self._objects = objects
        self._prefix = prefix
        self._recorded: set[str] = set()

    def record(self, name: str, text: str) -> None:
        """Keep a text; the first one of a name stays."""
        if name not in self._recorded:
            data = json.dumps([name, text, time.time()]).encode()
            self._objects.create(f"{self._prefix}t/{_record_name(name)}", data)
            self._recorded.add(name)

    def records(self, kind: str) -> dict[str, Record]:
        """Return the records whose names begin with `kind`, the oldest first."""
        names = self._objects.names(f"{self._prefix}t/{quoted(kind)[:_NAME_LIMIT]}")
        found = [json.loads(data) for data in each(self._objects, self._objects.get, names) if data]
        found = sorted((at, name, text) for name, text, at in found if name.startswith(kind))
        return {name: Record(text, at) for at, name, text in found}

    def keys(self, entries: Iterable[tuple[EntryName, str]]) -> dict[str, str]:
        """Return the keys of entries by their digests; `entries` come with the names of their objects."""
        found: dict[str, str] = {}
        unknown: dict[str, tuple[EntryName, str]] = {}
        for name, text in entries:
            if name.key is not None:
                found[name.key_digest] = name.key
            else:
                unknown[name.key_digest] = name, text
        if unknown:
            packs = self._objects.names(f"{self._prefix}k/")
            packed = self._unpacked(packs)
            found |= {digest: packed[digest] for digest in unknown if digest in packed}
            missing = [unknown[digest] for digest in unknown if digest not in packed]
            read = {digest: key for digest, key in each(self._objects, self._read_key, missing) if key is not None}
            found |= read
            if len(packs) >= _PACKS:
                self._pack([*packed.values(), *read.values()], packs)
            elif len(read) >= _PACK_KEYS:
                self._pack(read.values(), ())
        return found

    def _unpacked(self, packs: Iterable[str]) -> dict[str, str]:
        texts = [json.loads(data) for data in each(self._objects, self._objects.get, packs) if data]
        return {digest_of(key): key for keys in texts for key in keys}

    def _read_key(self, entry: tuple[EntryName, str]) -> tuple[str, str | None]:
        name, text = entry
        signature = SIGNATURE_BYTES if name.seal else 0
        if name.entry.is_collected:
            whole = self._objects.get(f"{self._prefix}{text}")
            data = whole[codec.value_start(whole) + signature :] if whole else None
        else:
            data = self._objects.get(f"{self._prefix}{text}", name.entry.size + signature)
        return name.key_digest, data.decode("utf-8", "surrogatepass") if data else None

    def _pack(self, keys: Iterable[str], instead_of: Iterable[str]) -> None:
        data = json.dumps(sorted(set(keys))).encode()
        name = f"{self._prefix}k/{xxhash.xxh3_128_hexdigest(data)}"
        self._objects.put(name, [data])
        self._objects.delete([pack for pack in instead_of if pack != name])


def _record_name(name: str) -> str:
    safe = quoted(name)
    return safe if len(safe) <= _NAME_LIMIT else f"{safe[:_NAME_LIMIT]}!{xxhash.xxh3_128_hexdigest(safe.encode())}"
