"""Recorder: appends the snapshots of one run, each in one transaction.

Everything is encoded before anything is written, so a value that can't be encoded leaves the journal as it was. A part
whose bytes are those of the snapshot before is not written again.

Must not know: what the parts of a state mean to a front-end.

Next: journal/lease.py
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

from checkpoint.codec import Frame
from checkpoint.errors import BusyFlowError, UnsavableError, UnstorableError
from checkpoint.journal.blobs import Blobs
from checkpoint.journal.database import Database
from checkpoint.journal.manifest import Edit, Manifest, Part, arrange, compare
from checkpoint.journal.records import Difference, Run, Snapshot
from checkpoint.journal.rows import find_snapshot, newest_of, write_parts
from checkpoint.journal.values import frame_of

__all__ = ["Recorder"]

#: A chain of differences may have so many rows more than a full manifest.
_SPARE_ROWS = 64


@final
class Recorder:
    """The writing end of a run. One at a time may write to a run; use it from one thread.

    Its run is in the journal from the first snapshot on.
    """

    def __init__(
        self, database: Database, blobs: Blobs, run: Run, newest: Snapshot | None, manifest: Manifest, weight: int
    ) -> None:
        self.run = run
        #: The snapshot that the next one follows; None where the run starts.
        self.newest = newest
        self._database, self._blobs = database, blobs
        self._manifest, self._weight = manifest, weight

    def append(
        self,
        state: Mapping[str, object],
        *,
        index: int,
        step: str | None = None,
        status: str = "running",
        metadata: Mapping[str, Any] | None = None,
        is_exported: bool = False,
        name: Callable[[str], str] = repr,
    ) -> Snapshot:
        """Append a snapshot of a whole state.

        Args:
            state: key -> value, or -> `Frame` of a value that is encoded already; the order of the keys is kept.
            index: how many steps are complete.
            step: the one that has just ended.
            status: a word of the front-end's own.
            metadata: JSON that belongs to the snapshot.
            is_exported: there is nothing outside of the journal that has to follow.
            name: what errors call a key.

        Raises:
            UnsavableError: a value cannot be encoded; nothing was written.
            BusyFlowError: somebody else has appended to the run; nothing was written.
            StoreError: the disk is full, or the like; nothing was written.

        Notes:
            Encodes every value. Writes those that changed, and about 200 bytes.
        """
        frames = self._encode(state, name)
        columns = {"step": step, "position": index, "status": status, "is_exported": is_exported}
        return self._commit(self._arranged(frames), frames, columns, metadata)

    def update(
        self,
        changes: Mapping[str, object],
        removed: Iterable[str] = (),
        *,
        index: int,
        step: str | None = None,
        status: str = "running",
        metadata: Mapping[str, Any] | None = None,
        is_exported: bool = False,
        name: Callable[[str], str] = repr,
    ) -> Snapshot:
        """Append a snapshot that differs from the one before by some keys; only these are encoded.

        New keys come last, in their order. The rest is as for `append`.
        """
        frames = self._encode(changes, name)
        gone = [key for key in dict.fromkeys(removed) if key in self._manifest]
        columns = {"step": step, "position": index, "status": status, "is_exported": is_exported}
        return self._commit(self._edited(frames, gone), frames, columns, metadata)

    def difference(self, state: Mapping[str, object], name: Callable[[str], str] = repr) -> Difference:
        """Return how a state differs from the newest snapshot; encodes it and writes nothing."""
        return compare(self._manifest, self._manifest.after(self._arranged(self._encode(state, name))))

    def _encode(self, state: Mapping[str, object], name: Callable[[str], str]) -> dict[str, Frame]:
        frames = {}
        for key, value in state.items():
            if type(key) is not str:
                raise TypeError(f"keys of a state are text, not {type(key).__name__}: {key!r}")
            try:
                frames[key] = frame_of(value, name(key), allows_pickle=self._blobs.settings.allows_pickle)
            except UnstorableError as error:
                place = f" at {error.where}" if error.where else ""
                raise UnsavableError(self.run.flow, name(key), error.reason + place) from error
        return frames

    def _arranged(self, frames: Mapping[str, Frame]) -> Edit:
        return arrange(self._manifest, ((key, frame.digest, frame.size) for key, frame in frames.items()))

    def _edited(self, frames: Mapping[str, Frame], gone: list[str]) -> Edit:
        """Return the edit by which some keys change and others go."""
        changed: dict[str, Part] = {}
        new: dict[str, Part] = {}
        unused = self._manifest.end
        for key, frame in frames.items():
            known = None if key in gone else self._manifest.get(key)
            if known is None:
                new[key] = Part(unused, frame.digest, frame.size)
                unused += 1
            elif known.digest != frame.digest:
                changed[key] = Part(known.place, frame.digest, frame.size)
        return Edit(changed | new, tuple(key for key in gone if key not in new))

    def _commit(
        self,
        edit: Edit,
        encoded: Mapping[str, Frame],
        columns: Mapping[str, object],
        metadata: Mapping[str, Any] | None,
    ) -> Snapshot:
        text = json.dumps(dict(metadata or {}), allow_nan=False)
        manifest = self._manifest.after(edit)
        frames = {encoded[key].digest: encoded[key] for key in edit.changed}
        with self._database.reading() as sql:
            missing = {digest: frame for digest, frame in frames.items() if _blob_of(sql, digest) is None}
        weight = self._weight + 1 + len(edit.changed) + len(edit.removed)
        base = None if self.newest is None or weight > len(manifest) + _SPARE_ROWS else self.newest.id
        with self._database.explained(), self._blobs.writing(missing) as files, self._database.writing() as sql:
            values: dict[str, object] = {**self._run_and_flow(sql), **columns, "metadata": text}
            values["parent"] = None if self.newest is None else self.newest.id
            values |= {"stored_at": time.time(), "size": manifest.size, "digest": manifest.digest}
            values |= {"written": self._insert_blobs(sql, frames, files)}
            values |= {"base": base, "weight": 0 if base is None else weight}
            cursor = sql.execute(
                f"INSERT INTO snapshot({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
                tuple(values.values()),
            )
            snapshot = int(cursor.lastrowid or 0)
            if base is None:
                write_parts(sql, snapshot, manifest)
            else:
                write_parts(sql, snapshot, edit.changed, edit.removed)
            newest = find_snapshot(sql, snapshot)
        self._manifest, self._weight, self.newest = manifest, 0 if base is None else weight, newest
        return newest

    def _run_and_flow(self, sql: sqlite3.Connection) -> dict[str, int]:
        """Return the numbers of the run and its flow, made for its first snapshot; see that nobody else wrote."""
        run, newest = self.run, self.newest
        is_known = newest is not None and newest.run == run.id
        if newest_of(sql, run.id) != (newest.id if newest is not None and is_known else None):
            raise BusyFlowError(run.flow, f"another program, which has gone on with run {run.id} meanwhile")
        if newest is not None:
            find_snapshot(sql, newest.id)
        if not is_known:
            sql.execute("INSERT INTO flow(name) VALUES (?) ON CONFLICT DO NOTHING", (run.flow,))
            sql.execute(
                "INSERT INTO run(id, flow, source, started_at, metadata)"
                " SELECT ?, number, ?, ?, ? FROM flow WHERE name = ?",
                (run.id, run.source, run.started_at, json.dumps(dict(run.metadata), allow_nan=False), run.flow),
            )
        ((number, flow),) = sql.execute("SELECT number, flow FROM run WHERE id = ?", (run.id,)).fetchall()
        return {"run": number, "flow": flow}

    def _insert_blobs(self, sql: sqlite3.Connection, frames: Mapping[bytes, Frame], files: Mapping[bytes, str]) -> int:
        """Make the rows of blobs that are not there yet; return how many bytes these have."""
        written = 0
        for digest, frame in frames.items():
            if _blob_of(sql, digest) is None:
                self._blobs.insert(sql, frame, files.get(digest))
                written += frame.size
        return written


def _blob_of(sql: sqlite3.Connection, digest: bytes) -> int | None:
    rows = sql.execute("SELECT id FROM blob WHERE digest = ?", (digest,)).fetchall()
    return int(rows[0][0]) if rows else None
