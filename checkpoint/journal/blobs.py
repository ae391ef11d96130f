"""Blobs: the bytes of values, each kept once, under the digest of what it holds.

Small ones live in the database; larger ones in files that are complete and on the disk before a row names them. The
name of a file is new each time, so that removing an unused one never takes one that is just being written again;
writers share a lock that the sweep for leftovers needs alone.

Must not know: snapshots, flows.

Next: journal/rows.py
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import sqlite3
from collections.abc import Iterator
from typing import Any, final

from checkpoint.codec import Codec, Frame, verify
from checkpoint.errors import DamagedEntryError
from checkpoint.journal.database import make_folder, sync_folder
from checkpoint.journal.values import value_of

__all__ = ["Blobs"]

#: Frames of at least this many bytes are kept in a file of their own.
LARGE_BYTES = 128 * 1024


@final
class Blobs:
    """The blobs of a journal: rows of its table `blob`, and files below a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock_path = os.path.join(folder, "lock")

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        make_folder(self._folder)
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def writing(self, frames: dict[bytes, Frame]) -> Iterator[dict[bytes, str]]:
        """Write the large ones of some frames to files that no sweep takes before the block ends.

        Yields digest -> name of the file. Files stay where they are when the block fails, for a commit may have been
        begun; a sweep finds them.
        """
        large = {digest: frame for digest, frame in frames.items() if frame.size >= LARGE_BYTES}
        if not large:
            yield {}
            return
        with self._locked(fcntl.LOCK_SH):
            files: dict[bytes, str] = {}
            try:
                for digest, frame in large.items():
                    files[digest] = self._write(frame)
            except BaseException:
                self.remove(list(files.values()))
                raise
            yield files

    def _write(self, frame: Frame) -> str:
        text = os.urandom(16).hex()
        name = os.path.join(text[:2], f"{text[2:]}.blob")
        path = os.path.join(self._folder, name)
        make_folder(os.path.dirname(path))
        temporary = f"{path}.tmp"
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for part in frame.parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise
        sync_folder(os.path.dirname(path))
        return name

    def insert(self, sql: sqlite3.Connection, frame: Frame, file: str | None) -> int:
        """Make the row of a blob, in a transaction; return its id."""
        is_large = frame.size >= LARGE_BYTES
        if is_large and file is None:  # it was there when the files were written, and is no longer
            file = self._write(frame)
        data = None if is_large else b"".join(frame.parts)
        cursor = sql.execute(
            "INSERT INTO blob(digest, size, file, data) VALUES (?, ?, ?, ?)", (frame.digest, frame.size, file, data)
        )
        return int(cursor.lastrowid or 0)

    def read(self, digest: bytes, file: str | None, data: bytes | None, codec: Codec | None) -> Any:
        """Return the value of a blob; large arrays in it are private, writable maps of its file.

        Raises:
            DamagedEntryError: its bytes are not those that were written.
            FileNotFoundError: its file is gone.
        """
        frame = memoryview(bytearray(data or b"")) if file is None else self._mapped(file)
        value, found = value_of(frame, codec=codec, is_mapped=file is not None)
        if found != digest:
            raise DamagedEntryError("it holds another value than the one that was written")
        return value

    def _mapped(self, file: str) -> memoryview:
        with open(os.path.join(self._folder, file), "rb") as opened:
            if not os.fstat(opened.fileno()).st_size:
                raise DamagedEntryError("its file is empty")
            return memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY))

    def check(self, digest: bytes, file: str | None, data: bytes | None) -> None:
        """Read a blob and compare it with its digests, without making its value.

        Raises:
            DamagedEntryError, FileNotFoundError: as `read` does.
        """
        if file is not None:
            with open(os.path.join(self._folder, file), "rb") as opened:
                data = opened.read()
        if verify(data or b"") != digest:
            raise DamagedEntryError("it holds another value than the one that was written")

    def collect(self, sql: sqlite3.Connection) -> list[str]:
        """Delete the rows of blobs that no snapshot names, in a transaction; return the files to remove after it."""
        unused = "FROM blob WHERE NOT EXISTS (SELECT 1 FROM part WHERE part.blob = blob.id)"
        files = [file for (file,) in sql.execute(f"SELECT file {unused}") if file is not None]
        sql.execute(f"DELETE {unused}")
        return files

    def remove(self, files: list[str]) -> None:
        """Remove files; what is mapped somewhere stays readable there."""
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(self._folder, file))

    def sweep(self, sql: sqlite3.Connection) -> None:
        """Remove the files that killed writers left behind, in a write transaction; not while somebody writes."""
        try:
            with self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
                known = {file for (file,) in sql.execute("SELECT file FROM blob WHERE file IS NOT NULL")}
                found = [
                    os.path.join(folder.name, file)
                    for folder in os.scandir(self._folder)
                    if folder.is_dir()
                    for file in os.listdir(folder.path)
                ]
                self.remove([file for file in found if file not in known])
        except BlockingIOError:
            return
