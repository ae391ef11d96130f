"""Migrations: what makes a journal of each older schema one of the next, within one transaction.

    1 -> 2  blobs may be signed; the digest of a state is a sum over its parts, where it was one over all in their order

Must not know: files, where transactions begin and end. A snapshot that was damaged stays so.

Next: journal/recorder.py
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

import xxhash

from checkpoint.journal.manifest import Manifest
from checkpoint.journal.rows import parts_at

__all__ = ["MIGRATIONS"]


def _to_2(sql: sqlite3.Connection) -> None:
    sql.execute("ALTER TABLE blob ADD COLUMN signature BLOB")
    for snapshot, digest in sql.execute("SELECT id, digest FROM snapshot").fetchall():
        manifest = parts_at(sql, snapshot)
        if digest == _digest_in_order(manifest):
            sql.execute("UPDATE snapshot SET digest = ? WHERE id = ?", (manifest.digest, snapshot))


def _digest_in_order(manifest: Manifest) -> bytes:
    hasher = xxhash.xxh3_128()
    for key, part in manifest.items():
        text = key.encode()
        hasher.update(len(text).to_bytes(8, "little") + text + part.digest)
    return hasher.digest()


#: Schema -> what makes the next one of it.
MIGRATIONS: Mapping[int, Callable[[sqlite3.Connection], None]] = {1: _to_2}
