"""Journal: the append-only history of flows: runs, their snapshots, and the states these hold.

Kept beside the results of tasks, in `{store}/checkpoint/.journal/`. Resuming a run and forking a new one from any
snapshot are the same: a `Recorder` whose next snapshot follows that one. Listing reads no values. Order is that of
commits.

Must not know: what steps, channels or events are.

Next: journal/__init__.py
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from typing import Any, final

from checkpoint.codec import Codec
from checkpoint.errors import DamagedEntryError, DamagedSnapshotError, UnknownSnapshotError
from checkpoint.journal.blobs import Blob, Blobs
from checkpoint.journal.database import Database
from checkpoint.journal.lease import leased
from checkpoint.journal.manifest import Manifest, compare
from checkpoint.journal.recorder import Recorder
from checkpoint.journal.records import Difference, Run, Snapshot
from checkpoint.journal.rows import (
    ADVICE,
    bytes_freed,
    exists,
    find_run,
    find_snapshot,
    manifest_at,
    newest_of,
    select_runs,
    select_snapshots,
    write_parts,
)
from checkpoint.store import Settings

__all__ = ["Journal"]


@final
class Journal:
    """The journal in a folder. Safe to share between threads and processes of one machine.

    Every method raises `StoreError` where the folder can't be used, and `DamagedSnapshotError` where what it reads is
    not what was written. Reading makes nothing on disk.
    """

    def __init__(self, folder: str, settings: Settings | None = None) -> None:
        #: Its own folder.
        self.folder = folder
        self._database = Database(folder)
        self._blobs = Blobs(os.path.join(folder, "blobs"), settings or Settings())

    def __repr__(self) -> str:
        return f"Journal({self.folder!r})"

    def close(self) -> None:
        """Close the connection; it is opened again when needed."""
        self._database.close()

    # --- writing ---

    def begin(
        self,
        flow: str,
        *,
        source: Snapshot | None = None,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Recorder:
        """Return the recorder of a new run; with `source` a fork, whose first snapshot follows that one.

        Args:
            flow: name of the flow.
            source: a snapshot of any run.
            run_id: unique in the journal; made at random if it isn't given.
            metadata: JSON that belongs to the run.
        """
        run = Run(run_id or uuid.uuid4().hex, flow, source.id if source else None, time.time(), dict(metadata or {}))
        return self._recorder(run, source.id if source else None)

    def resume(self, run_id: str) -> Recorder:
        """Return the recorder that goes on with a run after its newest snapshot.

        Raises:
            UnknownSnapshotError: there is no such run.
        """
        with self._database.reading() as sql:
            run, newest = find_run(sql, run_id), newest_of(sql, run_id)
        return self._recorder(run, newest)

    def _recorder(self, run: Run, newest: int | None) -> Recorder:
        if newest is None:
            return Recorder(self._database, self._blobs, run, None, Manifest(), 0)
        with self._database.reading() as sql:
            snapshot, manifest = find_snapshot(sql, newest), manifest_at(sql, newest)
            ((weight,),) = sql.execute("SELECT weight FROM snapshot WHERE id = ?", (newest,)).fetchall()
        return Recorder(self._database, self._blobs, run, snapshot, manifest, weight)

    def mark_exported(self, snapshot: Snapshot) -> None:
        """Record that what is kept outside of the journal has followed a snapshot.

        A kill doesn't undo it, a power failure may: then the snapshot is taken for not exported.
        """
        with self._database.relaxed() as sql:
            sql.execute("UPDATE snapshot SET is_exported = 1 WHERE id = ?", (snapshot.id,))

    def lease(self, flow: str) -> contextlib.AbstractContextManager[None]:
        """Return a context manager that holds the right to run a flow.

        Raises:
            BusyFlowError: on entering, if somebody else holds it, on this host; it names the holder and never waits.
        """
        return self._leased(flow)

    @contextlib.contextmanager
    def _leased(self, flow: str) -> Iterator[None]:
        lease = leased(os.path.join(self.folder, "leases"), flow)
        with self._database.explained():
            lease.__enter__()
        with contextlib.ExitStack() as stack:
            stack.push(lease)
            yield

    # --- listing ---

    def runs(self, flow: str | None = None) -> list[Run]:
        """Return runs in the order of their first snapshots; of one flow, or all."""
        with self._database.reading() as sql:
            return select_runs(sql, flow)

    def run(self, run_id: str) -> Run:
        """Return a run by its id; raise UnknownSnapshotError if there is none."""
        with self._database.reading() as sql:
            return find_run(sql, run_id)

    def snapshot(self, snapshot_id: int) -> Snapshot:
        """Return a snapshot by its id; raise UnknownSnapshotError if there is none."""
        with self._database.reading() as sql:
            return find_snapshot(sql, snapshot_id)

    def snapshots(
        self,
        flow: str | None = None,
        *,
        run: str | None = None,
        step: str | None = None,
        index: int | None = None,
        status: str | None = None,
        since: float | None = None,
        until: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        is_newest: bool = False,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[Snapshot]:
        """Return the snapshots that meet all conditions given, oldest first; reads no state.

        Args:
            since: seconds since 1970; `until` likewise. Both are included.
            metadata: keys and values that the snapshot's own metadata must have.
            is_newest: only snapshots that are the newest ones of their runs.
            limit: how many at most.
        """
        given = {"flow": flow, "run": run, "step": step, "index": index, "status": status, "since": since,
                 "until": until, "is_newest": is_newest or None}  # fmt: skip
        wanted = dict(metadata or {})
        found: list[Snapshot] = []
        with self._database.reading() as sql:
            for snapshot in select_snapshots(sql, given, is_newest_first=newest_first):
                if limit is not None and len(found) >= limit:
                    break
                if all(key in snapshot.metadata and snapshot.metadata[key] == wanted[key] for key in wanted):
                    found.append(snapshot)
        return found

    def newest(self, flow: str | None = None, *, run: str | None = None) -> Snapshot | None:
        """Return the snapshot that was committed last, of a flow or a run; None if there is none."""
        return next(iter(self.snapshots(flow, run=run, newest_first=True, limit=1)), None)

    # --- states ---

    def keys(self, snapshot_id: int) -> dict[str, int]:
        """Return the keys of a state, in order, and how many bytes each has; reads no value."""
        with self._database.reading() as sql:
            return {key: part.size for key, part in manifest_at(sql, snapshot_id).items()}

    def state(
        self, snapshot_id: int, keys: Collection[str] | None = None, *, codec: Codec | None = None
    ) -> dict[str, Any]:
        """Return the state of a snapshot, with its keys in order; with `keys`, those of it that there are.

        Args:
            codec: for values that were given as frames of that codec.

        Notes:
            Every value is decoded anew and belongs to the caller. Arrays of 128 KiB or more are private maps of
            files: opened in no time, read when used, and as writable as they were. Objects that two keys shared come
            back as two.
        """
        with self._database.reading() as sql:
            manifest = manifest_at(sql, snapshot_id)
            wanted = manifest if keys is None else {key: manifest[key] for key in manifest if key in set(keys)}
            found = {key: _blob_row(sql, part.digest) for key, part in wanted.items()}
        state = {}
        for key, blob in found.items():
            try:
                state[key] = self._blobs.read(wanted[key].digest, blob, codec)
            except (DamagedEntryError, OSError) as error:
                raise self._damage(snapshot_id, key, error) from error
        return state

    def _damage(self, snapshot_id: int, key: str, error: Exception) -> DamagedSnapshotError:
        snapshot = self.snapshot(snapshot_id)  # it may have been deleted meanwhile
        place = f"snapshot {snapshot_id} of flow {snapshot.flow}"
        reason = "its file is missing" if isinstance(error, FileNotFoundError) else str(error)
        return DamagedSnapshotError(place, f"{key}: {reason}", ADVICE)

    def diff(self, before: int, after: int) -> Difference:
        """Return which keys one snapshot's state has more, less or with other bytes than another's; reads no value."""
        with self._database.reading() as sql:
            return compare(manifest_at(sql, before), manifest_at(sql, after))

    def verify(self, flow: str | None = None) -> list[DamagedSnapshotError]:
        """Read every byte of the snapshots of a flow, or of all, and return what is damaged."""
        damage: list[DamagedSnapshotError] = []
        checked: dict[bytes, Exception | None] = {}
        for snapshot in self.snapshots(flow):
            try:
                with self._database.reading() as sql:
                    manifest = manifest_at(sql, snapshot.id)
                for key, part in manifest.items():
                    if part.digest not in checked:
                        checked[part.digest] = self._check(part.digest)
                    if (problem := checked[part.digest]) is not None:
                        damage.append(self._damage(snapshot.id, key, problem))
            except DamagedSnapshotError as error:
                damage.append(error)
            except UnknownSnapshotError:  # deleted meanwhile
                continue
        return damage

    def _check(self, digest: bytes) -> Exception | None:
        with self._database.reading() as sql:
            blob = _blob_row(sql, digest)
        try:
            self._blobs.check(digest, blob)
        except (DamagedEntryError, OSError) as error:
            return error
        return None

    # --- removing ---

    def delete(self, snapshot_ids: Collection[int]) -> int:
        """Delete snapshots, and runs that have none left; return how many there were.

        What other snapshots need of them stays. Blobs that nothing names any more go.
        """
        with self._database.reading() as sql:
            if not any(exists(sql, each) for each in snapshot_ids):
                return 0
        with self._database.writing() as sql:
            gone = {each for each in snapshot_ids if exists(sql, each)}
            for snapshot in sorted(gone, reverse=True):
                _delete(sql, snapshot, gone)
            sql.execute("DELETE FROM run WHERE number NOT IN (SELECT run FROM snapshot)")
            sql.execute("DELETE FROM flow WHERE number NOT IN (SELECT flow FROM run)")
            files = self._blobs.collect(sql)
        self._blobs.remove(files)
        self.tidy()
        return len(gone)

    def delete_flow(self, flow: str) -> int:
        """Delete all snapshots and runs of a flow; return how many snapshots there were."""
        return self.delete([snapshot.id for snapshot in self.snapshots(flow)])

    def prune(
        self, flow: str | None = None, *, keep: int = 1, before: float | None = None, spare: Collection[int] = ()
    ) -> int:
        """Delete old snapshots of a flow, or of all; return how many. Takes what `old` takes."""
        return self.delete([snapshot.id for snapshot in self.old(flow, keep=keep, before=before, spare=spare)])

    def old(
        self, flow: str | None = None, *, keep: int = 1, before: float | None = None, spare: Collection[int] = ()
    ) -> list[Snapshot]:
        """Return the snapshots of a flow, or of all, that `prune` would delete, oldest first.

        Args:
            keep: so many of the newest of each run stay, at least one.
            before: only those stored before this time go, in seconds since 1970.
            spare: ids of snapshots that stay in any case.
        """
        if keep < 1:
            raise ValueError(f"prune must keep at least 1 snapshot of each run, not {keep}")
        seen: dict[str, int] = {}
        found = []
        for snapshot in self.snapshots(flow, newest_first=True):
            seen[snapshot.run] = seen.get(snapshot.run, 0) + 1
            is_old = before is None or snapshot.stored_at < before
            if seen[snapshot.run] > keep and snapshot.id not in spare and is_old:
                found.append(snapshot)
        return found[::-1]

    def freed(self, snapshot_ids: Collection[int]) -> int:
        """Return how many bytes of values would go with snapshots. Reads the manifests of all, and no value."""
        with self._database.reading() as sql:
            return bytes_freed(sql, set(snapshot_ids))

    def leftovers(self) -> dict[str, int]:
        """Return the files that killed writers left behind, by path, and their sizes; `tidy` removes them."""
        with self._database.reading() as sql:
            found = self._blobs.orphans(sql)
        return {os.path.join(self.folder, "blobs", name): size for name, size in sorted(found.items())}

    def tidy(self) -> None:
        """Remove leftovers of killed writers, but not while somebody writes, and give space back."""
        if not self._database.exists():
            return
        with self._database.writing() as sql:
            self._blobs.sweep(sql)
        self._database.shrink()


def _blob_row(sql: sqlite3.Connection, digest: bytes) -> Blob:
    rows = sql.execute("SELECT file, data, signature FROM blob WHERE digest = ?", (digest,)).fetchall()
    return Blob(*rows[0]) if rows else Blob(None, None, None)


def _delete(sql: sqlite3.Connection, snapshot: int, gone: Collection[int]) -> None:
    """Delete a snapshot after making those whole that are kept as differences from it."""
    for (child,) in sql.execute("SELECT id FROM snapshot WHERE base = ?", (snapshot,)).fetchall():
        if child not in gone:
            manifest: Manifest = manifest_at(sql, child)
            sql.execute("DELETE FROM part WHERE snapshot = ?", (child,))
            sql.execute("UPDATE snapshot SET base = NULL, weight = 0 WHERE id = ?", (child,))
            write_parts(sql, child, manifest)
    ((parent,),) = sql.execute("SELECT parent FROM snapshot WHERE id = ?", (snapshot,)).fetchall()
    sql.execute("UPDATE snapshot SET parent = ? WHERE parent = ?", (parent, snapshot))
    sql.execute("UPDATE run SET source = ? WHERE source = ?", (parent, snapshot))
    sql.execute("DELETE FROM part WHERE snapshot = ?", (snapshot,))
    sql.execute("DELETE FROM snapshot WHERE id = ?", (snapshot,))
