"""Files: a file as an argument or as a result, by its content.

As an argument it is in the key with its name and the digest of its bytes; the folder doesn't matter. As a result it is
recorded beside the value, and an entry whose file was changed or removed since is not fresh.
Bytes are read again only if size, time or inode differ; what was changed in the last two seconds is always read.

Must not know: tasks, graphs, plans.

Next: graph.py
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import IO, TYPE_CHECKING, Any, NamedTuple, final

import xxhash

from checkpoint import keys
from checkpoint.errors import FileChangedError, StoreError
from checkpoint.store import current_store

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["File", "changed_files", "files_in", "in_folder"]

#: Where digests of large files are kept from one process to the next.
_RECORDS = "checkpoint.File"
_LARGE_BYTES = 16 * 1024 * 1024
#: A file that is younger may be written once more without its time changing.
_SETTLED_SECONDS = 2.0
_BLOCK_BYTES = 1024 * 1024


class _Stamp(NamedTuple):
    """What a change of a file's content changes, too."""

    size: int
    time_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> _Stamp:
        found = os.stat(path)
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)

    def is_settled(self) -> bool:
        return time.time() - self.time_ns / 1e9 > _SETTLED_SECONDS


_digests: dict[tuple[str, _Stamp], str] = {}
_folder: ContextVar[Callable[[], Path] | None] = ContextVar("checkpoint_folder", default=None)
_record: ContextVar[dict[str, Any] | None] = ContextVar("checkpoint_record", default=None)


def _digest_of(path: Path, stamp: _Stamp) -> str:
    """Return the digest of a file's bytes, as it was found before if nothing of its stamp has changed."""
    known = (str(path), stamp)
    digest = _digests.get(known)
    if digest is not None:
        return digest
    is_worth_keeping = stamp.is_settled()
    store = current_store() if stamp.size >= _LARGE_BYTES and is_worth_keeping else None
    name = f"{path}:{':'.join(map(str, stamp))}"
    found = store.records(_RECORDS, name).get(name) if store is not None else None
    digest = found.text if found is not None else _hash(path)
    if is_worth_keeping:
        _digests[known] = digest
    if store is not None and found is None:
        with contextlib.suppress(StoreError):  # then it is made again the next time
            store.record(_RECORDS, name, digest)
    return digest


def _hash(path: Path) -> str:
    hasher = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            hasher.update(block)
    return hasher.hexdigest()


@final
class File:
    """A file as an argument or a result of a task: equal content, equal file.

    `task(File("data.csv"))` is computed again when the content changes, wherever the file is. A runner that returns
    `File(task_directory() / "model.bin")` hands a file on; its entry is fresh as long as that file is as it was.
    Usable wherever a path is: `open(file)`, `pandas.read_csv(file)`.

    Attributes: `path` is absolute.
    """

    __slots__ = ("_seen", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name a file; it need not exist before it is used.

        Raises:
            TypeError: it is no path.
        """
        if not isinstance(path, (str, os.PathLike)) or isinstance(path, bytes):
            raise TypeError(f"File() takes a path, not {type(path).__name__}: {path!r}")
        from pathlib import Path  # takes a fifth of the time that importing this package does

        if "\0" in os.fspath(path) or not os.fspath(path):
            raise ValueError(f"File() takes the path of a file; {os.fspath(path)!r} is none")
        self.path = Path(os.path.abspath(os.fspath(path)))
        #: What the file was when a call took it as an argument, or a result handed it on.
        self._seen: tuple[_Stamp, str] | None = None

    @property
    def digest(self) -> str:
        """Digest of the content: 32 hex digits. Reads the file unless it is known; 0.2 s a GB, without the disk.

        Raises:
            OSError: the file is not there, cannot be read or is a folder.
        """
        if self._seen is not None:
            return self._seen[1]
        return _digest_of(self.path, _Stamp.of(self.path))

    def as_seen(self) -> File:
        """Return this file with its present content fixed: its digest stays, and `check` tells of changes."""
        if self._seen is not None:
            return self
        copy = File(self.path)
        stamp = _Stamp.of(self.path)
        copy._seen = stamp, _digest_of(self.path, stamp)
        return copy

    def check(self) -> None:
        """See that the content still is what it was.

        Raises:
            FileChangedError: it is not.
        """
        if self._seen is not None and not _is_intact(self.path, *self._seen):
            raise FileChangedError(str(self.path))

    def open(self, mode: str = "r", **options: Any) -> IO[Any]:
        """Open the file, as the function `open` does."""
        return open(self.path, mode, **options)

    def __fspath__(self) -> str:
        return str(self.path)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, File):
            return NotImplemented
        return (self.path, self._seen and self._seen[1]) == (other.path, other._seen and other._seen[1])

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"File({str(self.path)!r})"

    def __deepcopy__(self, memory: object) -> File:
        return self.as_seen()

    def __reduce__(self) -> tuple[Any, ...]:
        record = _record.get()
        if record is None:
            return _restored, (str(self.path), self._seen)
        seen = self.as_seen()
        assert seen._seen is not None
        stamp, digest = seen._seen
        path = _shortened(self.path)
        record.setdefault("files", []).append([path, *stamp, digest])
        return _restored, (path, digest)


def _restored(path: str, seen: Any) -> File:
    file = File(_lengthened(path))
    if isinstance(seen, str):  # a result: its content has just been looked at
        with contextlib.suppress(OSError):
            seen = _Stamp.of(file.path), seen
    file._seen = (_Stamp(*seen[0]), seen[1]) if isinstance(seen, tuple) else None
    return file


def _shortened(path: Path) -> str:
    find = _folder.get()
    folder = find() if find is not None else None
    return str(path.relative_to(folder)) if folder is not None and path.is_relative_to(folder) else str(path)


def _lengthened(path: str) -> str:
    find = _folder.get()
    return os.path.join(find() if find is not None else "", path)


def _is_intact(path: Path, stamp: _Stamp, digest: str) -> bool:
    try:
        now = _Stamp.of(path)
        return (now == stamp and now.is_settled()) or _digest_of(path, now) == digest
    except OSError:
        return False


@contextlib.contextmanager
def in_folder(folder: Callable[[], Path], record: dict[str, Any] | None = None) -> Iterator[None]:
    """For a block, let files below a folder be pickled, and come back, by their place in it.

    Args:
        folder: gives the folder; asked only if there is a file.
        record: each file that is pickled is noted in its "files".
    """
    tokens = _folder.set(folder), _record.set(record)
    try:
        yield
    finally:
        _folder.reset(tokens[0])
        _record.reset(tokens[1])


def changed_files(record: Any, folder: Path) -> list[str]:
    """Return the paths of those files of a record that are gone or have another content."""
    files = record.get("files", []) if isinstance(record, dict) else []
    places = [(folder / path, _Stamp(*stamp), digest) for path, *stamp, digest in files]
    return [str(path) for path, stamp, digest in places if not _is_intact(path, stamp, digest)]


def files_in(structure: Any) -> Iterator[File]:
    """Yield the files in a nesting of lists, tuples and dicts."""
    if isinstance(structure, File):
        yield structure
    elif isinstance(structure, (list, tuple)):
        for part in structure:
            yield from files_in(part)
    elif isinstance(structure, dict):
        for part in structure.values():
            yield from files_in(part)


def _describe(file: File) -> Sequence[str]:
    return [file.path.name, file.digest]


keys.register(File, "file", _describe)
