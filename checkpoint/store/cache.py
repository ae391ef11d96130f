"""FolderCache: the DiskCache of one folder, with frames as its values and connections that stay open.

Values below 32 KiB live in the row, larger ones in a file of their own that is complete before the row names it.

Must not know: what rows mean.

Next: store/reading.py
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, final

import diskcache

from checkpoint.codec import Frame
from checkpoint.store.advice import LOCK_SECONDS
from checkpoint.store.folders import sync_folder

__all__ = ["FolderCache", "FrameDisk", "MappedFile", "Sql", "blank_database"]

_SETTINGS = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "size_limit": 2**62,
    "statistics": 0,
    "tag_index": 0,
    "disk_min_file_size": 32 * 1024,
    "disk_pickle_protocol": 5,
    "sqlite_auto_vacuum": 2,
    "sqlite_mmap_size": 0,
}

Sql = Callable[..., sqlite3.Cursor]

#: Of a kilobyte each at most, for each thread and task.
_MOST_KNOWN = 200


@final
class MappedFile(mmap.mmap):
    """A file in memory that knows which one it is."""

    #: Device, number, size and times of the file: another one if it was written since.
    identity: tuple[int, ...] = ()


@final
class FrameDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """How DiskCache keeps our values: a Frame in the row or, when large, in a file written under a temporary name."""

    #: Whether a file is on the disk, and not only with the operating system, before its row names it.
    is_durable = False

    def put(self, key: Any) -> Any:
        """Return the row text as it is; nothing else is a key."""
        if type(key) is not str:
            raise TypeError(f"rows are text, not {type(key).__name__}")
        return key, True

    def store(self, value: Any, read: bool, key: Any = None) -> Any:
        """Return (size of the file, mode, file name, value for the row)."""
        if not isinstance(value, Frame):
            return 0, diskcache.core.MODE_RAW, None, value
        if value.size < self.min_file_size:
            return 0, diskcache.core.MODE_RAW, None, b"".join(value.parts)
        name, path = self.filename()
        temporary = f"{path}.tmp"
        try:
            descriptor = _created(temporary)
            try:
                for part in value.parts:
                    _write_all(descriptor, memoryview(part).cast("B"))
                if self.is_durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, path)
            if self.is_durable:
                sync_folder(os.path.dirname(path))
                sync_folder(self._directory)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise
        return value.size, diskcache.core.MODE_BINARY, name, None

    def filename(self, key: Any = None, value: Any = None) -> tuple[str, str]:
        """Return a new name in one of 16 folders, and its path."""
        text = os.urandom(16).hex()
        name = f"0{text[0]}/{text[2:]}.val"  # a folder costs as much as a file of some megabytes
        return name, f"{self._directory}/{name}"

    def remove(self, file_path: str) -> None:
        """Remove a file, and not its folder as DiskCache does: another writer may just be about to use that."""
        with contextlib.suppress(OSError):
            os.remove(os.path.join(self._directory, str(file_path)))

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        """Return a frame's bytes: from the row, or a read-only map of its file."""
        if not isinstance(filename, str):  # other types than these two are damage, and an empty frame says so
            return value if isinstance(value, bytes) else b""
        descriptor = os.open(f"{self._directory}/{filename}", os.O_RDONLY)
        try:
            mapped = MappedFile(descriptor, 0, access=mmap.ACCESS_READ)
            found = os.fstat(descriptor)
            mapped.identity = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
            return mapped
        except ValueError:  # it is empty
            return b""
        finally:
            os.close(descriptor)


@final
class _Connection(sqlite3.Connection):
    """That of one thread. It knows what it has read before, as long as the database stays as it is.

    Closes itself when its thread ends: DiskCache keeps one for each thread and leaves them to the collector.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        #: Row -> the state of the database before it was last read, and what was found; the oldest first.
        self.known: dict[str, tuple[object, Any]] = {}

    def state(self) -> tuple[int, int]:
        """Return what is another pair of numbers after any commit, here or elsewhere; half the cost of a query.

        SQLite counts what other connections commit (`PRAGMA data_version`) and what this one has changed.
        """
        ((version,),) = self.execute("PRAGMA data_version")
        return version, self.total_changes

    def __del__(self) -> None:
        with contextlib.suppress(sqlite3.ProgrammingError):  # one that could not be opened can't be closed
            self.close()


@final
class FolderCache(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """The DiskCache of one folder: that of a task, with settings of its own that of something else."""

    def __init__(self, folder: str, *, is_durable: bool = False) -> None:
        """Take the folder of a complete database, or of one that `set_up` will complete; nothing is read or written."""
        self._directory, self._timeout, self._is_durable = folder, LOCK_SECONDS, is_durable
        self._database = os.path.join(folder, "cache.db")
        self._local, self._txn_id = threading.local(), None
        self._disk = FrameDisk(folder, _SETTINGS["disk_min_file_size"], _SETTINGS["disk_pickle_protocol"])
        self._disk.is_durable = is_durable
        #: Names of records that are certainly there.
        self.recorded: set[str] = set()
        self._identity = self._identify()

    def set_up(self, **settings: Any) -> None:
        """Make the tables that are missing, with settings of its own; takes longer than all that comes after.

        Raises:
            sqlite3.Error, diskcache.Timeout, OSError: it cannot be had.
        """
        try:
            super().__init__(self._directory, timeout=LOCK_SECONDS, disk=FrameDisk, **(_SETTINGS | settings))
        except (sqlite3.Error, diskcache.Timeout, OSError):
            raise
        except Exception as error:  # what DiskCache makes of settings that aren't its own
            raise sqlite3.DatabaseError(f"malformed settings ({error})") from error
        self._disk.is_durable = self._is_durable
        self._identity = self._identify()

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Return the rows of a query."""
        return self._con.execute(query, parameters).fetchall()

    def recall(self, row: str) -> tuple[object, Any]:
        """Return a state of the database for `remember`, and what was remembered of a row if it is of that state."""
        connection = self._con
        known = connection.known.get(row)
        if known is None:
            return None, None
        try:
            state = connection.state()
        except sqlite3.Error:  # reading will tell of it
            return None, None
        return state, known[1] if known[0] == state else None

    def remember(self, row: str, state: object, found: Any) -> None:
        """Keep what was read of a row in a state: it is recalled from the third time on, the first costs nothing."""
        known = self._con.known
        known[row] = state, found
        if len(known) > _MOST_KNOWN:
            del known[next(iter(known))]

    def _identify(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._database)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def is_in_place(self) -> bool:
        """Tell whether the folder still is the one that was opened: somebody may have removed it meanwhile."""
        return self._identify() == self._identity

    @property
    def _sql_retry(self) -> Sql:
        """Execute a statement as DiskCache does, but bound the wait for a lock by a clock that never jumps."""

        def execute(*args: Any) -> sqlite3.Cursor:
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    return self._con.execute(*args)
                except sqlite3.OperationalError as error:
                    if str(error) != "database is locked" or time.monotonic() > deadline:
                        raise
                    time.sleep(0.001)

        return execute

    @property
    def _con(self) -> _Connection:
        local = self._local
        if getattr(local, "pid", None) != os.getpid():
            self.close()
            local.pid = os.getpid()
        connection: _Connection | None = getattr(local, "con", None)
        if connection is None:
            connection = sqlite3.connect(
                self._database,
                timeout=self._timeout,
                isolation_level=None,
                check_same_thread=False,  # used by one thread, but the collector may close it in another
                factory=_Connection,
            )
            connection.execute("PRAGMA cache_size = 8192")
            connection.execute("PRAGMA mmap_size = 0")  # a damaged database raises an error instead of a bus error
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._is_durable else 'NORMAL'}")
            local.con = connection
        return connection


def _created(path: str) -> int:
    """Open a new file, and make its folder first if it is the first one there."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(path), mode=0o700)
        return os.open(path, flags, 0o600)


def _write_all(descriptor: int, data: memoryview) -> None:
    while len(data):
        data = data[os.write(descriptor, data) :]


@functools.cache
def blank_database() -> bytes:
    """Return an empty database with DiskCache's tables, as bytes of a file; b"" where it can't be made like that."""
    if not hasattr(sqlite3.Connection, "serialize"):
        return b""
    blank = bytearray(_Blank().database())
    blank[18:20] = b"\2\2"  # it keeps a write-ahead log, which only files can
    return bytes(blank)


@final
class _Blank(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """A DiskCache whose database is in memory."""

    def __init__(self) -> None:
        self._memory = sqlite3.connect(":memory:", isolation_level=None)
        super().__init__(os.curdir, **_SETTINGS)

    @property
    def _con(self) -> sqlite3.Connection:
        return self._memory

    def close(self) -> None:
        """Stay open: DiskCache closes what it has set up, and opens it again."""

    def database(self) -> bytes:
        """Return the database, and close it."""
        made: bytes = self._memory.serialize()
        self._memory.close()
        return made
