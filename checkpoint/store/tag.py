"""Tag: the metadata of an entry as bytes, sealed together with the row that they belong to.

A database can be damaged without noticing it: a flipped bit in its index makes a row answer under the name of another
one. So the seal covers the row's name, and a tag that doesn't fit the name that was asked for counts as none.

Must not know: where tags are kept.

Next: store/disk.py
"""

from __future__ import annotations

import struct
from typing import Any

import xxhash

from checkpoint.store.entry import Entry

__all__ = ["pack", "seal", "unpack"]

_FIELDS = struct.Struct("<B16s16s16s16s8sddQ?")
_FORMAT = 2
#: Tags of this format have the same fields and no seal.
_UNSEALED_FORMAT = 1


def seal(name: str, content: bytes) -> bytes:
    """Return 8 bytes that stand for a content at a name."""
    return xxhash.xxh3_64_digest(content + name.encode("utf-8", "surrogatepass"))


def pack(row: str, entry: Entry) -> bytes:
    """Return the tag of an entry at a row."""
    fields = _FIELDS.pack(_FORMAT, *entry)
    return fields + seal(row, fields)


def unpack(row: str, tag: Any) -> Entry | None:
    """Return the entry of a tag at a row; None if it isn't one, belongs to another row or is damaged."""
    if not isinstance(tag, bytes) or len(tag) < _FIELDS.size:
        return None
    fields = tag[: _FIELDS.size]
    expected = fields + seal(row, fields) if fields[0] == _FORMAT else fields
    if tag != expected or fields[0] not in (_FORMAT, _UNSEALED_FORMAT):
        return None
    return Entry(*_FIELDS.unpack(fields)[1:])
