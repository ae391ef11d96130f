"""Migrations: what brings the journal's tables from each older schema to the next one.

Each is written against the tables as they were then, and stays as it is.

Must not know: rows as later code reads them.

Next: journal/database.py
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import xxhash

from checkpoint.journal.manifest import Manifest, Part

__all__ = ["MIGRATIONS"]


def _add_signatures(sql: sqlite3.Connection) -> None:
    sql.execute("ALTER TABLE blob ADD COLUMN signature BLOB")


def _sum_digests(sql: sqlite3.Connection) -> None:
    """Let the digest of a manifest be a sum over its parts; one that didn't match stays as it is, and so doesn't."""
    chain = """
        WITH RECURSIVE chain(id, base) AS (
            SELECT id, base FROM snapshot WHERE id = ?
            UNION ALL SELECT snapshot.id, snapshot.base FROM snapshot JOIN chain ON snapshot.id = chain.base)
        SELECT part.key, part.place, blob.digest, blob.size, part.blob
        FROM chain JOIN part ON part.snapshot = chain.id LEFT JOIN blob ON blob.id = part.blob ORDER BY chain.id"""
    for snapshot, digest in sql.execute("SELECT id, digest FROM snapshot").fetchall():
        parts: dict[str, Part] = {}
        for key, place, of_blob, size, blob in sql.execute(chain, (snapshot,)):
            if blob is None:
                parts.pop(key, None)
            else:
                parts[key] = Part(place, of_blob or b"", size or 0)
        manifest = Manifest(dict(sorted(parts.items(), key=lambda item: item[1].place)))
        hasher = xxhash.xxh3_128()
        for key, part in manifest.items():
            text = key.encode()
            hasher.update(len(text).to_bytes(8, "little") + text + part.digest)
        if hasher.digest() == digest:
            sql.execute("UPDATE snapshot SET digest = ? WHERE id = ?", (manifest.digest, snapshot))


#: Schema -> what makes the next one of it, in a transaction of the caller's.
MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _add_signatures, 2: _sum_digests}
