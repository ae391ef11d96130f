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
from typing import Any, NamedTuple, final

from checkpoint.codec import Codec, Frame, verify
from checkpoint.errors import DamagedEntryError
from checkpoint.journal.values import value_of
from checkpoint.store import Settings
from checkpoint.store.folders import make_folder, sync_folder
from checkpoint.store.signature import KEY_VARIABLE

__all__ = ["Blob", "Blobs"]

#: Frames of at least this many bytes are kept in a file of their own.
LARGE_BYTES = 128 * 1024


class Blob(NamedTuple):
    """Where the frame of a blob is, in a file or in its row, and the signature of digest and frame if it has one."""

    file: str | None
    data: bytes | None
    signature: bytes | None


@final
class Blobs:
    """The blobs of a journal: rows of its table `blob`, and files below a folder."""

    def __init__(self, folder: str, settings: Settings) -> None:
        self.settings = settings
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
        signer = self.settings.signer
        signature = signer.of_bytes("blob", [frame.digest, *frame.parts]) if signer is not None else None
        cursor = sql.execute(
            "INSERT INTO blob(digest, size, file, data, signature) VALUES (?, ?, ?, ?, ?)",
            (frame.digest, frame.size, file, data, signature),
        )
        return int(cursor.lastrowid or 0)

    def read(self, digest: bytes, blob: Blob, codec: Codec | None) -> Any:
        """Return the value of a blob; large arrays in it are private, writable maps of its file.

        Raises:
            DamagedEntryError: its bytes are not those that were written.
            FileNotFoundError: its file is gone.
            PermissionError: it is not signed, or a pickle where none is allowed.
        """
        is_mapped = blob.file is not None and self.settings.signer is None
        frame = self._mapped(blob.file) if blob.file and is_mapped else memoryview(bytearray(self._bytes_of(blob)))
        self._check_signature(digest, blob, frame)
        is_compared = not (is_mapped and self.settings.verification == "never")
        allows_pickle = self.settings.allows_pickle
        value, found = value_of(frame, codec=codec, is_mapped=not is_compared, allows_pickle=allows_pickle)
        if found != digest:
            raise DamagedEntryError("it holds another value than the one that was written")
        return value

    def _mapped(self, file: str) -> memoryview:
        with open(os.path.join(self._folder, file), "rb") as opened:
            if not os.fstat(opened.fileno()).st_size:
                raise DamagedEntryError("its file is empty")
            return memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY))

    def _bytes_of(self, blob: Blob) -> bytes:
        if blob.file is None:
            return blob.data or b""
        with open(os.path.join(self._folder, blob.file), "rb") as opened:
            return opened.read()

    def _check_signature(self, digest: bytes, blob: Blob, frame: bytes | memoryview) -> None:
        signer = self.settings.signer
        if signer is not None and not signer.is_of_bytes(blob.signature, "blob", [digest, frame]):
            raise PermissionError(f"it is not signed with the key in ${KEY_VARIABLE}")

    def check(self, digest: bytes, blob: Blob) -> None:
        """Read a blob and compare it with its digests, without making its value.

        Raises:
            DamagedEntryError, FileNotFoundError, PermissionError: as `read` does.
        """
        data = self._bytes_of(blob)
        self._check_signature(digest, blob, data)
        if verify(data) != digest:
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

    def orphans(self, sql: sqlite3.Connection) -> dict[str, int]:
        """Return the files that no row names, and their sizes; some of them may just be being written."""
        if not os.path.isdir(self._folder):
            return {}
        found = {
            os.path.join(folder.name, file.name): file.stat().st_size
            for folder in os.scandir(self._folder)
            if folder.is_dir()
            for file in os.scandir(folder.path)
        }
        known = {file for (file,) in sql.execute("SELECT file FROM blob WHERE file IS NOT NULL")}
        return {file: size for file, size in found.items() if file not in known}

    def sweep(self, sql: sqlite3.Connection) -> None:
        """Remove the files that killed writers left behind, in a write transaction; not while somebody writes."""
        try:
            with self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
                self.remove(list(self.orphans(sql)))
        except BlockingIOError:
            return
