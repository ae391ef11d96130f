"""Tag: an entry's metadata as the bytes that its row has beside the value.

    format (1), generation, digest, basis, fingerprint (16 bytes each), origin (8 bytes), seconds, time of storing
    (doubles), size of the frame (64 bits), whether files belong to the value (8 bits)

Little-endian. A signed tag has two signatures more. A size of 0 says that the value was collected: the row then has
what the value was computed from, and no value.

Must not know: SQLite, files, keys.

Next: store/signature.py
"""

from __future__ import annotations

import struct
from typing import Any

from checkpoint.store.entry import Entry

__all__ = ["SIZE_BYTES", "pack", "unpack"]

_TAG = struct.Struct("<B16s16s16s16s8sddQ?")
_FORMAT = 1
#: Bytes of a tag that is not signed.
SIZE_BYTES = _TAG.size


def pack(entry: Entry) -> bytes:
    """Return the tag of an entry."""
    return _TAG.pack(_FORMAT, *entry)


def unpack(tag: Any) -> Entry | None:
    """Return the entry of a tag, signed or not; None for what is no tag."""
    if not isinstance(tag, bytes) or len(tag) < SIZE_BYTES or tag[0] != _FORMAT:
        return None
    return Entry(*_TAG.unpack_from(tag)[1:])
