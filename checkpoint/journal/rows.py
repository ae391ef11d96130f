"""Rows: what the tables of the journal hold, as runs, snapshots and manifests, within a transaction.

Must not know: files, values, where transactions begin and end.

Next: journal/recorder.py
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from checkpoint.errors import DamagedSnapshotError, UnknownSnapshotError
from checkpoint.journal.manifest import Manifest, Part
from checkpoint.journal.records import Run, Snapshot

__all__ = [
    "ADVICE",
    "bytes_freed",
    "exists",
    "find_run",
    "find_snapshot",
    "manifest_at",
    "newest_of",
    "select_runs",
    "select_snapshots",
    "write_parts",
]

ADVICE = "start from another snapshot, or start afresh"

_RUN = "SELECT id, flow.name, source, started_at, metadata FROM run JOIN flow ON flow.number = run.flow"
_SNAPSHOT = (
    "SELECT snapshot.id, run.id, flow.name, snapshot.parent, step, position, status, stored_at, size, written,"
    " is_exported, snapshot.metadata FROM snapshot JOIN run ON run.number = snapshot.run"
    " JOIN flow ON flow.number = snapshot.flow"
)
_COLUMNS = ("id", "run", "flow", "parent", "step", "index", "status", "stored_at", "size", "written")
_CHAIN = """
WITH RECURSIVE chain(id, base) AS (
    SELECT id, base FROM snapshot WHERE id = ?
    UNION ALL SELECT snapshot.id, snapshot.base FROM snapshot JOIN chain ON snapshot.id = chain.base)
SELECT part.key, part.place, blob.digest, blob.size, part.blob
FROM chain JOIN part ON part.snapshot = chain.id LEFT JOIN blob ON blob.id = part.blob ORDER BY chain.id
"""


def _run_of(row: tuple[Any, ...]) -> Run:
    id_, flow, source, started_at, text = row
    return Run(id_, flow, source, started_at, _metadata(text, f"run {id_}"))


def _snapshot_of(row: tuple[Any, ...]) -> Snapshot:
    *columns, is_exported, text = row
    metadata = _metadata(text, f"snapshot {row[0]} of flow {row[2]}")
    return Snapshot(**dict(zip(_COLUMNS, columns, strict=True)), is_exported=bool(is_exported), metadata=metadata)


def _metadata(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DamagedSnapshotError(place, f"its metadata cannot be read ({error})", ADVICE) from error


def find_run(sql: sqlite3.Connection, run: str) -> Run:
    """Return a run by its id."""
    rows = sql.execute(f"{_RUN} WHERE id = ?", (run,)).fetchall()
    if not rows:
        raise UnknownSnapshotError(f"run {run}", "look at the runs that the journal lists")
    return _run_of(rows[0])


def select_runs(sql: sqlite3.Connection, flow: str | None) -> list[Run]:
    """Return runs in the order of their beginning."""
    where, values = ("", ()) if flow is None else (" WHERE flow.name = ?", (flow,))
    return [_run_of(row) for row in sql.execute(f"{_RUN}{where} ORDER BY run.number", values)]


#: What SQLite can count to.
_LARGEST_ID = 2**63 - 1


def _id(snapshot: int) -> int:
    """Return the id of a snapshot, 0 for what no row can have."""
    return snapshot if 0 <= snapshot <= _LARGEST_ID else 0


def exists(sql: sqlite3.Connection, snapshot: int) -> bool:
    """Tell whether there is a snapshot of an id."""
    return sql.execute("SELECT 1 FROM snapshot WHERE id = ?", (_id(snapshot),)).fetchone() is not None


def find_snapshot(sql: sqlite3.Connection, snapshot: int) -> Snapshot:
    """Return a snapshot by its id."""
    rows = sql.execute(f"{_SNAPSHOT} WHERE snapshot.id = ?", (_id(snapshot),)).fetchall()
    if not rows:
        raise UnknownSnapshotError(f"snapshot {snapshot}", "look at the snapshots that the journal lists")
    return _snapshot_of(rows[0])


def newest_of(sql: sqlite3.Connection, run: str) -> int | None:
    """Return the id of a run's newest snapshot."""
    query = "SELECT max(id) FROM snapshot WHERE run = (SELECT number FROM run WHERE id = ?)"
    ((found,),) = sql.execute(query, (run,)).fetchall()
    return None if found is None else int(found)


#: Conditions on a snapshot, by what is given for them.
_CONDITIONS = {
    "flow": "snapshot.flow = (SELECT number FROM flow WHERE name = ?)",
    "run": "snapshot.run = (SELECT number FROM run WHERE id = ?)",
    "step": "step = ?",
    "index": "position = ?",
    "status": "status = ?",
    "since": "stored_at >= ?",
    "until": "stored_at <= ?",
    "is_newest": "(snapshot.id = (SELECT max(other.id) FROM snapshot AS other WHERE other.run = snapshot.run)) = ?",
}


def select_snapshots(
    sql: sqlite3.Connection, given: Mapping[str, object], *, is_newest_first: bool
) -> Iterator[Snapshot]:
    """Yield the snapshots that meet the conditions for which something is given, in the order of commits."""
    values = {name: value for name, value in given.items() if value is not None}
    where = " AND ".join(_CONDITIONS[name] for name in values)
    order = "DESC" if is_newest_first else "ASC"
    query = f"{_SNAPSHOT}{' WHERE ' if where else ''}{where} ORDER BY snapshot.id {order}"
    return map(_snapshot_of, sql.execute(query, tuple(values.values())))


def manifest_at(sql: sqlite3.Connection, snapshot: int) -> Manifest:
    """Return the manifest of a snapshot, put together from the differences that lead to it.

    Raises:
        DamagedSnapshotError: a part of it is missing, or was changed.
    """
    rows = sql.execute("SELECT digest FROM snapshot WHERE id = ?", (_id(snapshot),)).fetchall()
    if not rows:
        find_snapshot(sql, snapshot)
    parts: dict[str, Part] = {}
    for key, place, digest, size, blob in sql.execute(_CHAIN, (snapshot,)):
        if blob is None:
            parts.pop(key, None)
        else:
            parts[key] = Part(place, digest or b"", size or 0)
    manifest = Manifest(dict(sorted(parts.items(), key=lambda item: item[1].place)))
    if manifest.digest != rows[0][0]:
        raise DamagedSnapshotError(f"snapshot {snapshot}", "the list of its parts does not match its digest", ADVICE)
    return manifest


def write_parts(
    sql: sqlite3.Connection, snapshot: int, parts: Mapping[str, Part], removed: tuple[str, ...] = ()
) -> None:
    """Write the parts of a snapshot whose blobs are there, and which keys it no longer has."""
    sql.executemany(
        "INSERT INTO part SELECT ?, ?, ?, id FROM blob WHERE digest = ?",
        [(snapshot, key, part.place, part.digest) for key, part in parts.items()],
    )
    sql.executemany("INSERT INTO part VALUES (?, ?, NULL, NULL)", [(snapshot, key) for key in removed])


def bytes_freed(sql: sqlite3.Connection, gone: Collection[int]) -> int:
    """Return how many bytes the blobs have that nothing would name without some snapshots."""
    sizes: dict[bytes, int] = {}
    needed: set[bytes] = set()
    query = "SELECT part.snapshot, blob.digest, blob.size FROM part JOIN blob ON blob.id = part.blob"
    for snapshot, digest, size in sql.execute(query):
        sizes[digest] = size
        if snapshot not in gone:
            needed.add(digest)
    for snapshot, base in sql.execute("SELECT id, base FROM snapshot WHERE base IS NOT NULL").fetchall():
        if base in gone and snapshot not in gone:
            needed.update(part.digest for part in manifest_at(sql, snapshot).values())
    return sum(size for digest, size in sizes.items() if digest not in needed)
