"""RemoteObjects: objects in a bucket, by way of fsspec: S3 and what speaks like it, and what else fsspec reaches.

What must be exclusive is asked of the server (`If-None-Match: *`); `check` finds out whether it does that. Answers
may be lost: every request can be made twice. Credentials are fsspec's business: the environment, its configuration,
or options that stay in this process.

Next: store/shared/names.py
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, final

from checkpoint.errors import StoreError
from checkpoint.store.shared.objects import Parts, Size, each

__all__ = ["SECRET_WORDS", "RemoteObjects"]

_ATTEMPTS = 10
#: At most this much of a large object is asked for at once.
_PIECE_BYTES = 16 * 1024 * 1024
#: What the name of an option has that may be secret.
SECRET_WORDS = ("secret", "token", "pass", "key", "credential", "sas")
_S3 = {
    "use_listings_cache": False,
    "max_concurrency": 4,
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 3, "mode": "standard"}},
}


@final
class RemoteObjects:
    """Objects below the address of a bucket.

    Args:
        url: `scheme://bucket/prefix`.
        options: what fsspec is told beside it; never shown, written or sent anywhere.
    """

    #: S3 allows 1024 bytes for the whole name.
    name_limit = 700
    concurrency = 16

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url = url
        self._scheme, _, self._root = url.rstrip("/").partition("://")
        self._options = dict(options)
        self._filesystem: tuple[int, Any] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"RemoteObjects({self._url!r})"

    @property
    def _files(self) -> Any:
        """The file system of fsspec, made anew in a forked child: its connections are the parent's."""
        opened = self._filesystem
        if opened is None or opened[0] != os.getpid():
            with self._lock:
                opened = self._filesystem = (os.getpid(), self._open())
        return opened[1]

    def _open(self) -> Any:
        try:
            import fsspec

            options = (_S3 if self._scheme in ("s3", "s3a") else {"use_listings_cache": False}) | self._options
            return fsspec.filesystem(self._scheme, skip_instance_cache=True, **options)
        except (ImportError, ValueError) as error:
            advice = 'install what serves it: pip install "checkpoint-tool[shared]" for S3'
            raise StoreError(self._url, self._without_secrets(error), advice) from error

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin with a prefix. One request for a thousand of them."""
        return list(self._found(prefix))

    def sizes(self, prefix: str) -> list[Size]:
        """Return the same with their sizes, at the same cost. Where the server doesn't tell times, they are new."""
        return [Size(name, int(told["size"] or 0), _written_at(told)) for name, told in self._found(prefix).items()]

    def _found(self, prefix: str) -> dict[str, Any]:
        with self._explained():
            try:
                found = self._files.find(self._root, prefix=prefix, detail=True)
            except FileNotFoundError:
                return {}
            named = {str(path).removeprefix(f"{self._root}/"): told for path, told in found.items()}
            return {name: told for name, told in named.items() if name.startswith(prefix)}

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below a prefix."""
        with self._explained():
            try:
                found = self._files.ls(self._path(prefix[:-1]), detail=True, refresh=True)
            except FileNotFoundError:
                return []
            return sorted(item["name"].rstrip("/").rpartition("/")[2] for item in found if item["type"] == "directory")

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Return the bytes of an object, or some of them; a large one in several pieces at once."""
        if end is not None and end - start > _PIECE_BYTES:
            starts = range(start, end, _PIECE_BYTES)
            pieces = each(self, lambda at: self.get(name, at, min(at + _PIECE_BYTES, end)), starts)
            return None if None in pieces else b"".join(piece for piece in pieces if piece is not None)
        if start == end:
            return b""
        with self._explained():
            try:
                # Without a range, s3fs would ask for the size first.
                data: bytes = self._files.cat_file(self._path(name), start=start, end=end)
            except FileNotFoundError:
                return None
            except OSError as error:
                if "InvalidRange" in str(error) or "not satisfiable" in str(error):
                    return b""
                raise
            return data

    def put(self, name: str, parts: Parts) -> None:
        """Write an object."""
        with self._explained():
            self._files.pipe_file(self._path(name), b"".join(parts))

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless it is there, by a conditional request.

        Where the answer to the request is lost, its repetition finds what the first one wrote, and says False; so
        `data` should tell whose it is where that matters.
        """
        for attempt in range(_ATTEMPTS):
            with self._explained():
                try:
                    self._files.pipe_file(self._path(name), data, mode="create")
                    return True
                except FileExistsError:
                    return False
                except OSError as error:
                    # Two at once: the server has decided for neither.
                    if "ConditionalRequestConflict" not in str(error) or attempt == _ATTEMPTS - 1:
                        raise
            time.sleep(0.02 * 2**attempt)
        raise AssertionError("unreachable")

    def move(self, name: str, to: str) -> None:
        """Give an object another name."""
        with self._explained(), contextlib.suppress(FileNotFoundError):
            self._files.cp_file(self._path(name), self._path(to))
            self.delete([name])

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects, a thousand with a request."""
        if not names:
            return
        with self._explained(), contextlib.suppress(FileNotFoundError):
            self._files.rm([self._path(name) for name in names])

    def check(self) -> None:
        """See that the server creates exclusively: of two requests for one name, the second must fail."""
        name = f"checkpoint/.probe/{secrets.token_hex(16)}"
        mine, others = secrets.token_bytes(8), secrets.token_bytes(8)
        try:
            # False here is an answer that was lost: the object is there, and the question is answered all the same.
            self.create(name, mine)
            is_refused = not self.create(name, others)
            is_kept = self.get(name, 0, len(mine)) == mine
        except TypeError as error:
            raise StoreError(self._url, self._without_secrets(error), _NO_CONDITIONS) from error
        finally:
            with contextlib.suppress(StoreError):
                self.delete([name])
        if not (is_refused and is_kept):
            raise StoreError(
                self._url, "its server ignores If-None-Match, so two writers could both win", _NO_CONDITIONS
            )

    def close(self) -> None:
        """Forget the connections."""
        self._filesystem = None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what fsspec, its clients and the network raise into a StoreError that shows no secret."""
        try:
            yield
        except (StoreError, FileExistsError, TypeError):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {self._without_secrets(error)}"
            raise StoreError(self._url, reason, _advice_on(error)) from None

    def _without_secrets(self, error: BaseException) -> str:
        """Return the text of an error without any value that may be a secret, of options or of the environment."""
        text = str(error)
        nested = [value.items() for value in self._options.values() if isinstance(value, Mapping)]
        named = [*self._options.items(), *itertools.chain.from_iterable(nested), *os.environ.items()]
        hidden = [str(value) for name, value in named if any(word in name.lower() for word in SECRET_WORDS)]
        for value in sorted({value for value in hidden if len(value) > 3}, key=len, reverse=True):
            text = text.replace(value, "***")
        return text


def _written_at(told: Mapping[str, Any]) -> float:
    """Return when an object was written; each file system of fsspec has its own word for that."""
    for name in ("LastModified", "mtime", "last_modified", "updated", "created"):
        found = told.get(name)
        if isinstance(found, datetime):
            return found.timestamp()
        if isinstance(found, (int, float)):
            return float(found)
    return math.inf


_NO_CONDITIONS = "use a server with conditional writes (If-None-Match), or a shared folder: file:///folder?shared"


def _advice_on(error: BaseException) -> str:
    name = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return "make the bucket, or correct the address"
    if isinstance(error, PermissionError) or "Credentials" in name:
        return "give this process credentials, in its environment for example, that may list, read, write and delete"
    return "see that the server can be reached and run again: what was stored is kept"
