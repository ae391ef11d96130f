"""FolderObjects: objects as files of a folder that many hosts may share: NFS, CIFS, Lustre.

No SQLite and no locks. A file is written under a temporary name in the same file system, synchronised, and then
renamed, or linked where it must not replace another one; a kill leaves at most a temporary file.

Next: store/shared/remote.py
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from typing import final

from checkpoint.errors import StoreError
from checkpoint.store.advice import advice_on
from checkpoint.store.folders import make_folder, sync_folder
from checkpoint.store.shared.objects import Parts, Size

__all__ = ["FolderObjects"]

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@final
class FolderObjects:
    """Objects in a folder. Safe to share between hosts, as far as their file system shows what others did."""

    #: A file name may have 255 bytes; our names are ASCII.
    name_limit = 250
    concurrency = 8

    def __init__(self, root: str) -> None:
        self._root = root
        self._temporary = os.path.join(root, "checkpoint", ".tmp")

    def _path(self, name: str) -> str:
        return os.path.join(self._root, name)

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin with a prefix."""
        folder, _, beginning = prefix.rpartition("/")
        found: list[str] = []
        with self._explained():
            pending = [(folder, beginning)]
            while pending:
                folder, beginning = pending.pop()
                for entry in self._entries(folder):
                    if entry.name.startswith(beginning) and not entry.name.startswith("."):
                        name = f"{folder}/{entry.name}"
                        if entry.is_dir():
                            pending.append((name, ""))
                        else:
                            found.append(name)
        return found

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._path(folder)) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def sizes(self, prefix: str) -> list[Size]:
        """Return the same with their sizes: a `stat` each."""
        found: list[Size] = []
        for name in self.names(prefix):
            with self._explained(), contextlib.suppress(FileNotFoundError):
                status = os.stat(self._path(name))
                found.append(Size(name, status.st_size, status.st_mtime))
        return found

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below a prefix."""
        with self._explained():
            return sorted(
                entry.name for entry in self._entries(prefix[:-1]) if entry.is_dir() and not entry.name.startswith(".")
            )

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Return the bytes of an object, or some of them.

        Read and not mapped: where another host deletes the file, a map of it would end the process.
        """
        with self._explained():
            try:
                with open(self._path(name), "rb") as file:
                    file.seek(start)
                    return file.read() if end is None else file.read(end - start)
            except FileNotFoundError:
                return None

    def put(self, name: str, parts: Parts) -> None:
        """Write an object."""
        path = self._path(name)
        with self._explained(), self._written(parts) as temporary:
            make_folder(os.path.dirname(path))
            os.replace(temporary, path)
            sync_folder(os.path.dirname(path))

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless it is there."""
        path = self._path(name)
        with self._explained(), self._written([data]) as temporary:
            make_folder(os.path.dirname(path))
            try:
                os.link(temporary, path)
            except FileExistsError:
                # Over NFS the answer to a link that was made may be lost, and the second request then finds it there.
                return os.stat(temporary).st_nlink == 2
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return self._create_without_links(path, data)
            sync_folder(os.path.dirname(path))
        return True

    def _create_without_links(self, path: str, data: bytes) -> bool:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return False
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return True

    @contextlib.contextmanager
    def _written(self, parts: Parts) -> Iterator[str]:
        """Write a temporary file, synchronised; it goes at the end of the block."""
        make_folder(self._temporary)
        # Hosts may have the same process numbers, and containers the same host name.
        name = f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(8)}"
        path = os.path.join(self._temporary, name)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            with contextlib.suppress(OSError):
                os.remove(path)

    def move(self, name: str, to: str) -> None:
        """Give an object another name."""
        with self._explained():
            make_folder(os.path.dirname(self._path(to)))
            with contextlib.suppress(FileNotFoundError):
                os.replace(self._path(name), self._path(to))

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects."""
        with self._explained():
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    os.remove(self._path(name))

    def check(self) -> None:
        """See that the folder can be written."""
        with self._explained(), self._written([b""]):
            pass

    def close(self) -> None:
        """Nothing to close."""

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(self._root, str(error), advice_on(error, "folder")) from error
