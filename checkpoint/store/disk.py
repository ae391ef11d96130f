"""DiskStore: one DiskCache folder per task, opened when first needed and then kept open.

Rows of a folder's table: entries under their row text (it starts with "{"), with the metadata packed in the row's
tag; "epoch:" and "epoch:{key}" count clears; "name:" keeps the task's full name; "damaged:{row}" are set aside;
"record:..." are texts.
A folder that cannot be written is read.

Invariants: nothing is ever evicted; no wait is endless; value and metadata commit in one transaction.

Next: store/behind.py
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import operator
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, final

import diskcache
import xxhash

from checkpoint.errors import DamagedEntryError, StoreError
from checkpoint.store.advice import LOCK_SECONDS, advice_on
from checkpoint.store.cache import FolderCache, Sql
from checkpoint.store.claims import Claims, changes_at, open_claims
from checkpoint.store.entry import Entry, Epoch, Record, Write
from checkpoint.store.folders import make_folder
from checkpoint.store.formats import FORMAT, check_number, format_of, migrate, place_blank
from checkpoint.store.mounts import network_kind_of
from checkpoint.store.reading import Reader, is_refusal
from checkpoint.store.settings import Settings
from checkpoint.store.signature import KEY_VARIABLE
from checkpoint.store.tag import digest_at, pack, unpack, unpack_all
from checkpoint.store.usage import using

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DiskStore", "disk_store", "folder_name"]

#: Each open folder has three open files.
_MOST_OPEN = 100
#: SQLite allows at least this many parameters in a statement.
_CHUNK = 500
#: What is read once more while the database stays as it is need not be looked for again up to this size.
_SMALL_BYTES = 1024
#: How many rows are read at a time where all are wanted.
_PAGE = 2_000
#: No moment of a clear is later than that: such a number is damaged.
_LATEST = 2.0**37
_EPOCH, _NAME, _DAMAGED, _RECORD = "epoch:", "name:", "damaged:", "record:"

#: DiskCache keeps this number by triggers.
_COUNT = "SELECT value FROM Settings WHERE key = 'count'"
_SELECT_NAME = "SELECT tag FROM Cache WHERE raw = 1 AND key = ?"
#: Most tasks are never cleared; ";" is what follows ":".
_ANY_EPOCH = "SELECT 1 FROM Cache WHERE raw = 1 AND key >= 'epoch:' AND key < 'epoch;' LIMIT 1"
_SELECT = "SELECT key, tag FROM Cache WHERE raw = 1 AND key IN ({})"
#: All rows of some keys: a key ends with "}", and "$" is what follows "#".
_SELECT_EDITIONS = (
    "SELECT wanted.value, Cache.key, Cache.tag FROM json_each(?) AS wanted CROSS JOIN Cache"
    " WHERE Cache.raw = 1 AND Cache.key >= wanted.value AND Cache.key < wanted.value || '$'"
)
_SELECT_SAME_KEYS = _SELECT_EDITIONS.replace("Cache.tag", "Cache.tag, Cache.filename")
_UPSERT = (
    "INSERT INTO Cache(key, raw, store_time, access_time, tag, size, mode, filename, value)"
    " VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(key, raw) DO UPDATE SET store_time = excluded.store_time,"
    " tag = excluded.tag, size = excluded.size, mode = excluded.mode, filename = excluded.filename,"
    " value = excluded.value"
)
#: Bytes of the digest of a record; a signature may follow.
_DIGEST_BYTES = 8

_DEFAULT = Settings()
_FREE = contextlib.nullcontext()


def folder_name(task: str) -> str:
    """Return a task's name as a file name: safe on every file system, bounded, distinct for distinct names."""
    safe = "".join([letter if letter.isalnum() or letter in "_.-" else "_" for letter in task])
    if safe == task and len(task.encode()) <= 150 and not task.startswith("."):
        return task
    return f"{safe.encode()[:120].decode(errors='ignore').lstrip('.')}-{xxhash.xxh3_64_hexdigest(task.encode())}"


@final
class DiskStore:
    """The store in a folder on a local disk. Safe to share between threads and processes of one machine."""

    def __init__(self, root: str, settings: Settings = _DEFAULT) -> None:
        #: The folder that was asked for; results are in its subfolder `checkpoint`.
        self.url = root
        self.settings = settings
        self._folder = os.path.join(root, "checkpoint")
        self._caches: dict[str, FolderCache] = {}
        #: Whether it is known that the folder is not on a network file system.
        self._is_local = False
        #: Those that cannot be written.
        self._readers: dict[str, Reader] = {}
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def __repr__(self) -> str:
        return f"DiskStore({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        allows_pickle, is_durable, signer, _, verification = self.settings
        return _reopened, (self.url, allows_pickle, is_durable, signer is not None, verification)

    # --- connections ---

    def _forget(self) -> None:
        """Start afresh in a forked child; the parent's connections are kept from being closed here."""
        _inherited.extend((self._caches, self._readers))
        self._caches, self._readers, self._lock = {}, {}, threading.Lock()

    def _path(self, task: str) -> str:
        return os.path.join(self._folder, folder_name(task))

    def _existing(self, task: str) -> FolderCache | Reader | None:
        """Return what can be read of a task: its cache, or a reader where that cannot be written; None for nothing."""
        cache = self._caches.get(task)
        if cache is not None and cache.is_in_place():
            return cache
        reader = self._readers.get(task)
        if reader is not None and reader.is_in_place():
            return reader
        if not os.path.exists(os.path.join(self._path(task), "cache.db")):
            return None
        try:
            return self._open(task)
        except StoreError as refusal:
            if not is_refusal(refusal.__cause__):
                raise
            return self._reader(task, refusal)

    def _reader(self, task: str, refusal: StoreError) -> Reader:
        path = self._path(task)
        try:
            reader = Reader(os.path.join(path, "cache.db"))
            ((number,),), names = reader.rows("PRAGMA user_version"), reader.rows(_SELECT_NAME, (_NAME,))
        except (sqlite3.Error, OSError):
            raise refusal from refusal.__cause__
        check_number(path, number)
        _check_name(path, task, names)
        self._readers[task] = reader
        return reader

    def _open(self, task: str) -> FolderCache:
        with self._lock:
            cache = self._caches.get(task)
            if cache is not None and cache.is_in_place():
                return cache
            path = self._path(task)
            self._refuse_network()
            if task in self._readers:
                self._readers[task].close()  # it may keep SQLite from writing in this whole process
            with self._explained(path):
                database = os.path.join(path, "cache.db")
                if not os.path.exists(database):
                    self._make(self.url, self._folder, path)
                    place_blank(database)
                os.close(os.open(database, os.O_RDWR | os.O_CREAT, 0o600))
                cache = FolderCache(path, is_durable=self.settings.is_durable)
                found = format_of(path, cache._con)
                if found < FORMAT:
                    cache.set_up()
                names = cache.rows(_SELECT_NAME, (_NAME,))
                if not names:
                    cache._sql(_UPSERT, (_NAME, time.time(), 0, task, 0, diskcache.core.MODE_RAW, None, None))
                _check_name(path, task, names)
                if found < FORMAT:
                    migrate(database)
            self._close_oldest()
            self._caches[task] = cache
            self._readers.pop(task, None)
            return cache

    def _close_oldest(self) -> None:
        """Forget the folders that were opened first; a thread that still uses one has a connection of its own."""
        idle = [task for task, cache in self._caches.items() if cache._txn_id is None]
        for task in idle[: max(0, len(self._caches) + 1 - _MOST_OPEN)]:
            self._caches.pop(task).close()

    def _refuse_network(self) -> None:
        if self._is_local:
            return
        if kind := network_kind_of(self._folder):
            advice = f"use file://{os.path.abspath(self.url)}?shared, or a folder on a local disk"
            raise StoreError(self.url, f"SQLite may lose results on its network file system ({kind})", advice)
        self._is_local = True

    def _make(self, *folders: str) -> None:
        """Make folders for this user alone, each in the one before."""
        if self.settings.is_durable:
            make_folder(folders[-1])
        for folder in folders:
            os.makedirs(folder, mode=0o700, exist_ok=True)

    @contextlib.contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Turn what the disk or SQLite reports into a StoreError that names the folder and the way out."""
        try:
            yield
        except (sqlite3.Error, diskcache.Timeout, OSError, UnicodeDecodeError) as error:
            if isinstance(error, StoreError):
                raise
            raise _explanation(path, error) from error

    @contextlib.contextmanager
    def _transaction(self, task: str) -> Iterator[tuple[Sql, Callable[[str | None], None]]]:
        """One write transaction: yields `execute` and a function that removes a file once the commit is done."""
        cache = self._open(task)
        with self._explained(self._path(task)):
            try:
                with cache._transact() as (sql, discard):
                    yield sql, discard
            except sqlite3.Error:
                cache.close()  # whatever state the connection is in, the next call starts with a new one
                raise

    def _rows(self, cache: FolderCache | Reader, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        try:
            return cache.rows(query, parameters)
        except (sqlite3.Error, diskcache.Timeout, OSError, UnicodeDecodeError) as error:
            raise _explanation(cache.directory, error) from error

    # --- reading ---

    def lookup(self, task: str, keys: Sequence[str]) -> dict[str, list[Entry]]:
        """Return the metadata of all entries of those keys that have any."""
        cache = self._existing(task)
        found: dict[str, list[Entry]] = {}
        if cache is None:
            return found
        is_most = len(keys) > _CHUNK and self._rows(cache, _COUNT) < [(2 * len(keys),)]
        # Reading all rows takes half the time of looking for each.
        pages = self._pages(cache) if is_most and self.settings.signer is None else self._editions(cache, task, keys)
        wanted = set(keys)
        for page in pages:
            for row, entry in unpack_all(page):
                if (key := row[: row.rindex("}") + 1]) not in wanted:
                    continue
                if (known := found.get(key)) is None:
                    found[key] = [entry]
                else:
                    known.append(entry)
        return found

    def _editions(self, cache: FolderCache | Reader, task: str, keys: Sequence[str]) -> Iterator[list[tuple[str, Any]]]:
        """Yield the rows of keys, and their tags."""
        for start in range(0, len(keys), _CHUNK):
            found = self._rows(cache, _SELECT_EDITIONS, (json.dumps(keys[start : start + _CHUNK]),))
            yield [(row, self._signed(cache, task, row, tag)) for _, row, tag in found]

    def _signed(self, cache: FolderCache | Reader, task: str, row: str, tag: Any) -> Any:
        """Return the tag of a row unless there is a key that it was not signed with."""
        signer = self.settings.signer
        if signer is not None and not signer.is_sealed(task, row, tag):
            raise StoreError(
                cache.directory,
                f"entry {row} of {task} is not signed with the key in ${KEY_VARIABLE}",
                "set the key that it was written with, compute into another folder, or remove what is not signed "
                "with 'checkpoint gc --unsigned'",
            )
        return tag

    def _tags(self, cache: FolderCache | Reader, rows: Sequence[str]) -> Iterator[tuple[str, Any]]:
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            yield from self._rows(cache, _SELECT.format(",".join("?" * len(chunk))), chunk)

    def scan(self, task: str) -> Iterator[tuple[str, Entry]]:
        """Yield each row of a task and its metadata."""
        cache = self._existing(task)
        if cache is None:
            return
        for page in self._pages(cache):
            yield from unpack_all([(row, self._signed(cache, task, row, tag)) for row, tag in page])

    def _pages(self, cache: FolderCache | Reader) -> Iterator[list[tuple[str, Any]]]:
        """Yield all rows and their tags, in the order of the rows."""
        query = "SELECT key, tag FROM Cache WHERE raw = 1 AND key > ? AND key < '|' ORDER BY key LIMIT ?"
        page = self._rows(cache, query, ("{", _PAGE))
        while page:
            yield page
            page = self._rows(cache, query, (page[-1][0], _PAGE)) if len(page) == _PAGE else []

    def epochs(self, task: str, keys: Sequence[str], *, creates: bool = False) -> list[Epoch]:
        """Return the epoch of each key."""
        cache = self._open(task) if creates else self._existing(task)
        if cache is None or not self._rows(cache, _ANY_EPOCH):
            return [Epoch(0, 0)] * len(keys)
        counts = dict(self._tags(cache, [_EPOCH, *(_EPOCH + key for key in keys)]))
        of_task = counts.get(_EPOCH, 0)
        return [Epoch(of_task, counts.get(_EPOCH + key, 0)) for key in keys]

    def read(self, task: str, row: str) -> tuple[Entry, memoryview, bool] | None:
        """Return metadata, frame and whether the frame is a map of a file."""
        cache = self._existing(task)
        if cache is None:
            return None
        if isinstance(cache, Reader):
            return self._read(cache, task, row)
        found: tuple[Entry, memoryview, bool] | None
        state, found = cache.recall(row)
        if found is None:
            found = self._read(cache, task, row)
            if found is not None and found[0].size <= _SMALL_BYTES:
                cache.remember(row, state, found)
        return found

    def _read(self, cache: FolderCache | Reader, task: str, row: str) -> tuple[Entry, memoryview, bool] | None:
        query = "SELECT tag, mode, filename, value FROM Cache WHERE raw = 1 AND key = ?"
        while found := self._rows(cache, query, (row,)):
            tag, mode, filename, value = found[0]
            entry = unpack(row, self._signed(cache, task, row, tag))
            if entry is None:
                return None
            try:
                frame: Any = cache.disk.fetch(mode, filename, value, False)
            except FileNotFoundError:
                if self._rows(cache, query, (row,)) != found:
                    continue  # replaced between the two steps: look again
                frame = b""  # the row is there, its file is not: a damaged entry of no bytes
            except OSError as error:
                raise StoreError(cache.directory, str(error), advice_on(error, "cache.db")) from error
            if self.settings.signer is None:
                return entry, memoryview(frame or b""), filename is not None
            frame = memoryview(bytes(frame))  # nobody can change it between the check and its use
            if not self.settings.signer.is_frame_of(tag, frame):
                raise DamagedEntryError("its bytes do not match their signature")
            return entry, frame, False
        return None

    # --- writing ---

    def write(self, task: str, writes: Sequence[Write], *, is_alone: bool = False) -> list[bool]:
        """Commit entries in one transaction. Only who collects is alone here."""
        cache = self._open(task)
        has_files = not is_alone and any([write.frame.size >= cache.disk.min_file_size for write in writes])
        with self.using() if has_files else _FREE:  # nobody takes files for left behind before their rows are there
            return self._write(cache, task, writes)

    def _write(self, cache: FolderCache, task: str, writes: Sequence[Write]) -> list[bool]:
        written: list[str | None] = []
        superseded: list[str] = []
        try:
            with self._explained(self._path(task)):
                columns = [self._columns(cache, task, write, written) for write in writes]
            with self._transaction(task) as (sql, discard):
                current = self.epochs(task, [write.key for write in writes])
                kept = [write.epoch == epoch for write, epoch in zip(writes, current, strict=True)]
                for filename in itertools.compress(written, map(operator.not_, kept)):
                    discard(filename)
                pending = list(itertools.compress(range(len(writes)), kept))
                while pending:  # once, unless there are several entries of a key: then each sees the one before
                    group = {writes[position].key: position for position in reversed(pending)}
                    gone, first = self._make_room(sql, discard, [writes[position] for position in group.values()])
                    superseded += gone
                    entering = [position for position in group.values() if writes[position].row not in first]
                    self._open(task)._con.executemany(_UPSERT, [columns[position] for position in entering])
                    for position in set(group.values()).difference(entering):
                        kept[position] = first[writes[position].row].digest == writes[position].entry.digest
                        discard(written[position])
                    pending = [position for position in pending if group[writes[position].key] != position]
            for other in superseded:
                shutil.rmtree(self.directory(task, other), ignore_errors=True)
            return kept
        except Exception:  # an interrupt may come after the commit: better an unused file than a missing one
            for filename in filter(None, written):
                cache.disk.remove(filename)
            raise

    def _make_room(
        self, sql: Sql, discard: Callable[[str | None], None], writes: Sequence[Write]
    ) -> tuple[list[str], dict[str, Entry]]:
        """Make room for entries, each of another key; return the rows that are gone, and the entries that stay."""
        entering = {write.key: write for write in writes}
        gone: list[str] = []
        first: dict[str, Entry] = {}
        for start in range(0, len(writes), _CHUNK):
            keys = json.dumps([write.key for write in writes[start : start + _CHUNK]])
            for key, other, tag, filename in sql(_SELECT_SAME_KEYS, (keys,)).fetchall():
                write, known = entering[key], unpack(other, tag)
                if other != write.row:
                    if _is_superseded(known, write.entry):
                        discard(filename)
                        sql("DELETE FROM Cache WHERE raw = 1 AND key = ?", (other,))
                        gone.append(other)
                elif known is not None and write.gives_way_to(known):
                    first[other] = known
                else:
                    discard(filename)
        return gone, first

    def _columns(self, cache: FolderCache, task: str, write: Write, written: list[str | None]) -> tuple[Any, ...]:
        size, mode, filename, value = cache.disk.store(write.frame, False)
        written.append(filename)
        now, tag = write.entry.stored_at, pack(write.row, write.entry)
        if self.settings.signer is not None:
            tag = self.settings.signer.signed_tag(task, write.row, tag, write.frame.parts)
        return write.row, now, now, tag, size, mode, filename, value

    def clear(self, task: str, key: str | None = None, *, creates: bool = False) -> None:
        """Raise an epoch and remove what is there."""
        if self._existing(task) is None and not creates:
            return
        where, bounds = _range_of(key)
        with self._transaction(task) as (sql, discard):
            row = _EPOCH + (key or "")
            ((epoch,),) = sql("SELECT coalesce(max(tag), 0) FROM Cache WHERE raw = 1 AND key = ?", (row,)).fetchall()
            sql(_UPSERT, (row, time.time(), 0, epoch + 1, 0, diskcache.core.MODE_RAW, None, None))
            query = f"FROM Cache WHERE raw = 1 AND {where}"
            removed = sql(f"SELECT key, filename {query}", bounds).fetchall()
            sql(f"DELETE {query}", bounds)
            if key is None:  # the task's epoch now stands for those of its keys
                sql("DELETE FROM Cache WHERE raw = 1 AND key > ? AND key < ?", (_EPOCH, _EPOCH + "|"))
            for _, filename in removed:
                discard(filename)
        folders = [os.path.join(self._path(task), "files")] if key is None else [
            self.directory(task, name) for name in {key, *(name for name, _ in removed)}]  # fmt: skip
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    def quarantine(self, task: str, row: str) -> None:
        """Set a damaged entry aside."""
        with self._transaction(task) as (sql, discard):
            aside = _DAMAGED + row
            for (filename,) in sql("SELECT filename FROM Cache WHERE raw = 1 AND key = ?", (aside,)).fetchall():
                discard(filename)
            sql("DELETE FROM Cache WHERE raw = 1 AND key = ?", (aside,))
            sql("UPDATE Cache SET key = ? WHERE raw = 1 AND key = ?", (aside, row))

    def damaged(self, task: str) -> list[str]:
        """Return the rows of a task that are set aside."""
        cache = self._existing(task)
        if cache is None:
            return []
        query = "SELECT key FROM Cache WHERE raw = 1 AND key > ? AND key < ? ORDER BY key"
        return [row.removeprefix(_DAMAGED) for (row,) in self._rows(cache, query, (_DAMAGED, _DAMAGED + "|"))]

    # --- records ---

    def record(self, task: str, name: str, text: str) -> None:
        """Keep a text beside the entries of a task."""
        cache = self._open(task)
        if name in cache.recorded:
            return
        row, tag, signer = _RECORD + name, _digest_of(_RECORD + name, text), self.settings.signer
        if signer is not None:
            tag = signer.signed_record(task, row, tag, text)
        query = "SELECT tag, value FROM Cache WHERE raw = 1 AND key = ?"
        if not any(self._is_record(task, row, *kept) for kept in self._rows(cache, query, (row,))):
            with self._transaction(task) as (sql, _):  # somebody else may have been faster
                if not any(self._is_record(task, row, *kept) for kept in sql(query, (row,)).fetchall()):
                    sql(_UPSERT, (row, time.time(), 0, tag, 0, diskcache.core.MODE_RAW, None, text))
        cache.recorded.add(name)

    def _is_record(self, task: str, row: str, tag: Any, text: object) -> bool:
        """Tell whether a record is whole, and signed if there is a key; older ones have no digest."""
        if self.settings.signer is not None:
            return self.settings.signer.is_signed_record(task, row, tag, text)
        return tag is None or (isinstance(tag, bytes) and tag[:_DIGEST_BYTES] == _digest_of(row, text))

    def records(self, task: str, kind: str) -> dict[str, Record]:
        """Return the records of a task whose names begin with `kind`, by name, the oldest first."""
        cache = self._existing(task)
        if cache is None:
            return {}
        query = "SELECT key, tag, value, store_time FROM Cache WHERE raw = 1 AND key >= ? AND key < ? ORDER BY rowid"
        rows = self._rows(cache, query, (_RECORD + kind, _RECORD + kind + "\U0010ffff"))
        return {
            row.removeprefix(_RECORD): Record(text, stored_at)
            for row, tag, text, stored_at in rows
            if self._is_record(task, row, tag, text)
        }

    def cleared_at(self, task: str, key: str) -> float | None:
        """Return when a key, or the whole task, was last cleared."""
        cache = self._existing(task)
        if cache is None:
            return None
        query = "SELECT max(store_time) FROM Cache WHERE raw = 1 AND key IN (?, ?)"
        ((at,),) = self._rows(cache, query, (_EPOCH, _EPOCH + key))
        is_moment = isinstance(at, (int, float)) and 0 <= at < _LATEST
        return float(at) if is_moment else None

    # --- the rest ---

    def tasks(self) -> list[str]:
        """Return the names of the tasks that have a folder here."""
        with self._explained(self._folder):
            try:
                folders = sorted(entry.path for entry in os.scandir(self._folder) if entry.is_dir())
            except FileNotFoundError:
                return []
        return sorted(filter(None, map(self.name_in, folders)))

    def name_in(self, folder: str) -> str | None:
        """Return the name of the task that a folder belongs to; None if it is no task's."""
        with self._explained(folder):
            return _recorded_name(folder)

    def directory(self, task: str, row: str) -> Path:
        """Return the folder that belongs to a row."""
        from pathlib import Path

        return Path(self._path(task), "files", xxhash.xxh3_128_hexdigest(row.encode("utf-8", "surrogatepass")))

    def claims(self) -> Claims:
        """Return a new holder of claims."""
        return open_claims(os.path.join(self._folder, ".claims"))

    def changes(self) -> int:
        """Return a number that is another one after results were committed that had been claimed."""
        return changes_at(os.path.join(self._folder, ".claims"))

    def using(self, *, creates: bool = False) -> contextlib.AbstractContextManager[None]:
        """Return a block in which nothing is collected here."""
        if creates and not os.path.isdir(self._folder):
            self._refuse_network()
            with contextlib.suppress(OSError):  # an error for who needs it
                self._make(self.url, self._folder)
        return using(self._folder)

    def close(self) -> None:
        """Close the connections of the calling thread and forget the others."""
        with self._lock:
            caches, self._caches, readers, self._readers = self._caches, {}, self._readers, {}
        for cache in caches.values():
            cache.close()
        for reader in readers.values():
            reader.close()


def _explanation(path: str, error: Exception) -> StoreError:
    """Return the error that says what the disk or SQLite reports of a folder."""
    cause = error.__context__ if isinstance(error, diskcache.Timeout) and error.__context__ else error
    return StoreError(path, f"{cause}", advice_on(cause, "cache.db"))


_opened: dict[tuple[str, Settings], DiskStore] = {}


def disk_store(root: str, settings: Settings = _DEFAULT) -> DiskStore:
    """Return the store in a folder, the same object each time in a process for the same settings."""
    return _opened.get((root, settings)) or _opened.setdefault((root, settings), DiskStore(root, settings))


@atexit.register
def _close_all() -> None:
    """Let SQLite put what is in its logs into the databases; newer Pythons end without."""
    for store in list(_opened.values()):
        with contextlib.suppress(sqlite3.Error, OSError):
            store.close()


def _reopened(root: str, allows_pickle: bool, is_durable: bool, is_signed: bool, verification: str) -> DiskStore:
    """Return the same store in another process, which must have the key if this one has."""
    signer = Settings.of(allows_pickle).signer if is_signed else None
    if is_signed and signer is None:
        advice = f"set ${KEY_VARIABLE} wherever tasks are computed"
        raise StoreError(root, "its entries are signed, and a worker has no key to sign with", advice)
    return disk_store(root, Settings(allows_pickle, is_durable, signer, None, verification))


_inherited: list[object] = []


def _recorded_name(folder: str) -> str | None:
    file = os.path.join(folder, "cache.db")
    if not os.path.exists(file):
        return None
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=LOCK_SECONDS)) as connection:
            rows = connection.execute(_SELECT_NAME, (_NAME,)).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None  # another process is just creating it
        if not is_refusal(error):
            raise
        reader = Reader(file)
        rows = reader.rows(_SELECT_NAME, (_NAME,))
        reader.close()
    return str(rows[0][0]) if rows else None


def _check_name(path: str, task: str, names: Sequence[tuple[str]]) -> None:
    """See that a folder is that of a task: on some file systems names that differ in case alone are the same."""
    if names not in ([], [(task,)]):
        raise StoreError(path, f"it belongs to {names[0][0]}", f"give {task} another name with name=")


def _range_of(key: str | None) -> tuple[str, list[str]]:
    """Return the condition for the rows of a key, or of all keys, with those that were set aside."""
    if key is None:
        return "(key >= '{' AND key < '|' OR key >= ? AND key < ?)", [_DAMAGED, _DAMAGED + "|"]
    conditions, bounds = [], []
    for row in (key, _DAMAGED + key):
        conditions.append("key = ? OR key >= ? AND key < ?")
        bounds += [row, row + "#", row + "$"]
    return f"({' OR '.join(conditions)})", bounds


def _digest_of(row: str, text: object) -> bytes:
    return digest_at(row, str(text).encode())


def _is_superseded(entry: Entry | None, by: Entry) -> bool:
    return entry is not None and entry.fingerprint == by.fingerprint and entry.generation != by.generation
