"""Reading: a database that may not be written: a read-only folder, a full disk, the store of somebody else.

SQLite keeps what was committed last in a log beside the database, and an index of that log in memory that processes
share through a file. So it writes even in order to read, and what is possible depends on which files there are:

    log and index    `mode=ro`: what others commit is seen; `readonly_shm=1` where the index can't be written either,
                     which holds for all connections of the process, so it comes last
    no log           `immutable=1`: the database is all there is. SQLite then takes it that nobody writes, so whoever
                     reads looks before and after whether it still is the same file, and reads again if not
    log alone        an error where its index can't be made: without the log, what was cleared would come back

Must not know: tables.

Next: store/formats.py
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, final

import diskcache

from checkpoint.store.advice import LOCK_SECONDS
from checkpoint.store.cache import FrameDisk

__all__ = ["Reader", "is_refusal", "reading"]

_REFUSALS = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}
_NUMBERS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
#: So often a database is read again that somebody writes meanwhile.
_MOST_ATTEMPTS = 50
#: So often an error is met before it is believed.
_SURE_ATTEMPTS = 3


def is_refusal(error: BaseException | None) -> bool:
    """Tell whether the disk or SQLite says that something cannot be written, which may be readable nevertheless."""
    if isinstance(error, diskcache.Timeout):
        error = error.__context__
    if isinstance(error, OSError):
        return error.errno in _NUMBERS
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.Error) and code is not None and code & 0xFF in _REFUSALS


@final
class Reader:
    """A database that is only read. Safe to share between threads; a forked child needs one of its own."""

    def __init__(self, database: str) -> None:
        """Open it.

        Raises:
            sqlite3.Error, OSError: it cannot be read either.
        """
        #: Where it is, and how frames are read from there.
        self.directory = os.path.dirname(database)
        self.disk = FrameDisk(self.directory)
        self._database = database
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._state: tuple[object, ...] = ()
        self.rows("SELECT 1")

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Return the rows of a query, all from one state of the database."""
        with self._lock:
            for attempt in range(_MOST_ATTEMPTS):
                try:
                    rows = self._opened().execute(query, parameters).fetchall()
                except sqlite3.DatabaseError:
                    # Its log may just have come or gone, and be there again by now.
                    if self.is_in_place() and attempt >= _SURE_ATTEMPTS:
                        raise
                else:
                    if self.is_in_place():
                        return rows
                self.close()
                time.sleep(0.001 * attempt)
            raise sqlite3.OperationalError("it was written again and again while it was read")

    def is_in_place(self) -> bool:
        """Tell whether this still is the database that was opened, and can be read in the way that was chosen."""
        with contextlib.suppress(OSError):
            return self._state == _found(self._database)[1]
        return False

    def close(self) -> None:
        """Close it; it is opened again when it is used."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection, self._state = _connected(self._database)
        return self._connection


@contextlib.contextmanager
def reading(database: str) -> Iterator[sqlite3.Connection]:
    """Yield a connection to a database that cannot be written, which sees one state of it for a block.

    Raises:
        sqlite3.Error, OSError: it cannot be read either, or somebody wrote to it in a way that this could not see.
    """
    connection, state = _connected(database)
    with contextlib.closing(connection):
        connection.execute("BEGIN")
        yield connection
        if state != _found(database)[1]:
            raise sqlite3.OperationalError("it was written while it was read")


def _found(database: str) -> tuple[list[str], tuple[object, ...]]:
    """Return the ways in which a database may be readable now, and what must stay the same for that."""
    found = os.stat(database)
    identity = found.st_dev, found.st_ino
    if _size(f"{database}-wal"):
        return ["mode=ro", "mode=ro&readonly_shm=1"], identity
    return ["mode=ro&immutable=1"], (*identity, found.st_size, found.st_mtime_ns)


def _connected(database: str) -> tuple[sqlite3.Connection, tuple[object, ...]]:
    (*ways, last), state = _found(database)
    for way in ways:
        with contextlib.suppress(sqlite3.OperationalError):
            return _opened(database, way), state
    return _opened(database, last), state


def _opened(database: str, way: str) -> sqlite3.Connection:
    import urllib.parse  # few programs need it

    address = f"file:{urllib.parse.quote(database)}?{way}"
    connection = sqlite3.connect(address, uri=True, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _size(file: str) -> int:
    try:
        return os.stat(file).st_size
    except FileNotFoundError:
        return 0
