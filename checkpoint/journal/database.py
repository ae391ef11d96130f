"""Database: the journal's SQLite file, one connection to it, and transactions that end in bounded time.

The file is made under another name and linked when its tables are complete, so an empty or cut-off one is damage and
never a fresh start. Every commit is on the disk when it returns, except those of `relaxed`.

Must not know: what the rows mean.

Next: journal/values.py
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from typing import final

from checkpoint.errors import CheckpointError, StoreError
from checkpoint.journal.migrations import MIGRATIONS
from checkpoint.store.advice import LOCK_SECONDS, advice_on
from checkpoint.store.folders import make_folder, sync_folder
from checkpoint.store.reading import is_refusal, reading

__all__ = ["Database"]

#: Number of the schema; it changes with every change of the tables.
SCHEMA = 3
_NAME = "journal.db"
_TABLES = """
CREATE TABLE flow(number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE run(
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    flow INTEGER NOT NULL REFERENCES flow(number), source INTEGER,
    started_at REAL NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE snapshot(
    id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL REFERENCES run(number),
    flow INTEGER NOT NULL REFERENCES flow(number), parent INTEGER, step TEXT,
    position INTEGER NOT NULL, status TEXT NOT NULL, stored_at REAL NOT NULL, size INTEGER NOT NULL,
    written INTEGER NOT NULL, is_exported INTEGER NOT NULL, metadata TEXT NOT NULL,
    base INTEGER REFERENCES snapshot(id), weight INTEGER NOT NULL, digest BLOB NOT NULL);
CREATE TABLE blob(
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, file TEXT, data BLOB,
    signature BLOB);
CREATE TABLE part(
    snapshot INTEGER NOT NULL REFERENCES snapshot(id), key TEXT NOT NULL, place INTEGER,
    blob INTEGER REFERENCES blob(id), PRIMARY KEY(snapshot, key)) WITHOUT ROWID;
CREATE INDEX run_flow ON run(flow);
CREATE INDEX snapshot_run ON snapshot(run);
CREATE INDEX snapshot_flow ON snapshot(flow);
CREATE INDEX snapshot_base ON snapshot(base) WHERE base IS NOT NULL;
CREATE INDEX part_blob ON part(blob);
"""


class _Connection(sqlite3.Connection):
    """Closes itself: a journal stays open as long as its program runs."""

    def __del__(self) -> None:
        self.close()


#: What forked children must not close.
_inherited: list[object] = []


@final
class Database:
    """The SQLite file in a folder. Safe to share between threads; a forked child gets a connection of its own."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._path = os.path.join(folder, _NAME)
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        _inherited.append(getattr(self, "_connection", None))
        self._connection: _Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._lock = threading.RLock()

    def exists(self) -> bool:
        """Tell whether there is a journal yet."""
        return os.path.exists(self._path)

    def close(self) -> None:
        """Close the connection; it is opened again when needed."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what the disk or SQLite reports into a StoreError that names the folder and the way out."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, CheckpointError):
                raise
            self.close()  # whatever state the connection is in, the next call starts with a new one
            raise StoreError(self.folder, str(error), advice_on(error, _NAME)) from error

    # --- transactions ---

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that sees one state of the journal; an empty one where there is no journal yet."""
        with self._lock, self.explained():
            if not self.exists():
                with contextlib.closing(sqlite3.connect(":memory:", factory=_Connection)) as empty:
                    empty.executescript(_TABLES)
                    yield empty
                return
            try:
                self._connected()
            except (sqlite3.Error, OSError) as refusal:
                self.close()
                if not is_refusal(refusal):
                    raise
                with reading(self._path) as connection:
                    self._check_number(connection)
                    yield connection
                return
            with self._transaction("BEGIN", "FULL") as connection:
                yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection for a transaction that is on the disk when the block has ended; the file is made."""
        with self._lock, self.explained():
            if not self.exists():
                self._create()
            with self._transaction("BEGIN IMMEDIATE", "FULL") as connection:
                yield connection

    @contextlib.contextmanager
    def relaxed(self) -> Iterator[sqlite3.Connection]:
        """Do the same for what a power failure, not a kill, may undo; it costs a fiftieth."""
        with self._lock, self.explained(), self._transaction("BEGIN IMMEDIATE", "NORMAL") as connection:
            yield connection

    def shrink(self) -> None:
        """Give the space of what was deleted back to the disk."""
        with self._lock, self.explained():  # executed as a query, the first would end after one page
            self._connected().executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(PASSIVE)")

    @contextlib.contextmanager
    def _transaction(self, begin: str, synchronous: str) -> Iterator[sqlite3.Connection]:
        connection = self._connected()
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(begin)
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    # --- the file ---

    def _connected(self) -> _Connection:
        found = os.stat(self._path)
        identity = found.st_dev, found.st_ino
        if self._connection is None or self._identity != identity:  # somebody may have removed the folder meanwhile
            self.close()
            self._connection, self._identity = self._open(self._path), identity
            self._check_schema(self._connection)
        return self._connection

    def _open(self, path: str) -> _Connection:
        connection = sqlite3.connect(
            path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        ((found,),) = connection.execute("PRAGMA user_version").fetchall()
        if found in MIGRATIONS:
            self._migrate(connection)
        self._check_number(connection)

    def _check_number(self, connection: sqlite3.Connection) -> None:
        ((found,),) = connection.execute("PRAGMA user_version").fetchall()
        if found == SCHEMA:
            return
        self.close()
        if found == 0:
            raise StoreError(self.folder, f"its {_NAME} is cut off", "restore it, or move the folder away")
        raise StoreError(
            self.folder,
            f"its {_NAME} has schema {found} and this version of checkpoint reads {SCHEMA}",
            "use the version that wrote it, or name another folder with $CP_CACHE_DIR or store=",
        )

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Bring an older schema to the present one, once, whoever else opens it."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            ((found,),) = connection.execute("PRAGMA user_version").fetchall()
            while found in MIGRATIONS:
                MIGRATIONS[found](connection)
                found += 1
            connection.execute(f"PRAGMA user_version = {found}")
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _create(self) -> None:
        make_folder(self.folder)
        temporary = os.path.join(self.folder, f"new-{os.getpid()}-{threading.get_ident()}.db")
        try:
            os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
            with contextlib.closing(self._open(temporary)) as connection:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
                connection.execute("PRAGMA journal_mode = WAL")
            with contextlib.suppress(FileExistsError):  # another process was faster
                os.link(temporary, self._path)
        finally:
            for ending in ("", "-wal", "-shm", "-journal"):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(temporary + ending)
        sync_folder(self.folder)
