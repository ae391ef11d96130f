"""Claims: who is computing what, so that processes that share a store don't compute the same thing at once.

A claim is a lock of the operating system on a byte range of one file, so it ends with the process that holds it,
however that ends. Each holder opens the file anew: threads exclude each other too. The file's length counts commits,
by which a holder sees cheaply that there may be something new. Where there are no such locks, claims hold within this
process alone. A store that several machines share makes its own, of leases.

Invariants: nothing waits here, and nothing depends on a claim but how much is computed twice. A forked child has none.

Next: store/entry.py
"""

from __future__ import annotations

import enum
import errno
import logging
import os
import struct
import sys
import threading
import weakref
from collections.abc import Collection
from typing import Protocol, final

import xxhash

__all__ = ["Claims", "Standing", "changes_at", "claim_name", "open_claims"]

logger = logging.getLogger("checkpoint")


class Standing(enum.Enum):
    """What is known of a claim from outside."""

    FREE = enum.auto()
    #: Held; its instance is being computed.
    RUNNING = enum.auto()
    #: Held; its instance is computed and waits to be committed together with others.
    GATHERED = enum.auto()
    #: Held; its runner runs others, and waits for a claim itself.
    WAITING = enum.auto()
    #: Held by another holder of this very thread, which can't go on while this one waits.
    OWN = enum.auto()


class Claims(Protocol):
    """The claims of one holder: a thread that computes. To be used by one thread at a time.

    None of the methods waits or raises: where claims cannot be had, everything is granted.
    """

    def take(self, name: int) -> bool:
        """Claim something; False if somebody else holds it."""
        ...

    def mark(self, name: int, standing: Standing) -> None:
        """Tell others how what is held stands."""
        ...

    def release(self, names: Collection[int]) -> None:
        """Give back what is held."""
        ...

    def standing(self, name: int) -> Standing:
        """Tell how something stands that this holder doesn't hold."""
        ...

    def committed(self) -> None:
        """Note that results were committed; to be called before their claims are given back."""
        ...

    def changes(self) -> int:
        """Return a number that is another one after any other holder has committed results."""
        ...

    def close(self) -> None:
        """Give back everything."""
        ...


def claim_name(task: str, row: str) -> int:
    """Return what stands for the row of a task; two may share a name, then one waits for the other in vain."""
    return xxhash.xxh3_64_intdigest(f"{task}\n{row}".encode("utf-8", "surrogatepass")) >> 4


def open_claims(path: str) -> Claims:
    """Return a new holder of claims on the rows of a store.

    Args:
        path: a file that is used for nothing else, created if its folder exists.
    """
    if sys.platform == "linux":
        claims = _LockClaims(path)
        try:
            claims.open()
        except OSError as error:
            logger.debug("claims hold within this process alone: %s: %s", path, error)
        else:
            return claims
    return _ProcessClaims(path)


def changes_at(path: str) -> int:
    """Return what a new holder's `changes` would be; makes no file."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


if sys.platform == "linux":
    import fcntl

    #: struct flock: type, whence, start, length, process; padded at its end.
    _FLOCK = struct.Struct("hhqqi0q")
    _SET, _WRITE, _NONE = fcntl.F_OFD_SETLK, fcntl.F_WRLCK, fcntl.F_UNLCK
    #: A claim has four bytes: one that says that it is held, one that its instance runs, one that its runner waits.
    _BYTES, _RUNNING, _WAITING = 4, 1, 2
    _TAKEN = (errno.EAGAIN, errno.EACCES)
    _LONGEST_COUNT = 1 << 20

    @final
    class _LockClaims:
        """Claims as locks that belong to an open file description."""

        def __init__(self, path: str) -> None:
            self.held: set[int] = set()
            self.thread = threading.get_ident()
            self._path = path
            self._descriptor: int | None = None
            self._own_commits = 0

        def __del__(self) -> None:
            self.close()

        def open(self) -> int:
            """Return the descriptor, opened anew where it is not open.

            Raises:
                OSError: the file cannot be had, or not locked.
            """
            if self._descriptor is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                with _guard:
                    self._descriptor = os.open(self._path, flags, 0o600)
                    _holders.add(self)
                fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, _FLOCK.pack(_WRITE, os.SEEK_SET, 0, 0, 0))
            return self._descriptor

        def _set(self, kind: int, start: int, length: int) -> None:
            try:
                fcntl.fcntl(self.open(), _SET, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
            except OSError as error:
                logger.debug("%s: %s", self._path, error)

        def take(self, name: int) -> bool:
            try:
                fcntl.fcntl(self._descriptor or self.open(), _SET, _FLOCK.pack(_WRITE, 0, name * _BYTES, 2, 0))
            except OSError as error:
                if error.errno in _TAKEN:
                    return False
            self.held.add(name)
            return True

        def mark(self, name: int, standing: Standing) -> None:
            if standing is Standing.GATHERED:
                self._set(_NONE, name * _BYTES + _RUNNING, 1)
            else:
                self._set(_WRITE if standing is Standing.WAITING else _NONE, name * _BYTES + _WAITING, 1)

        def release(self, names: Collection[int]) -> None:
            self.held.difference_update(names)
            if self._descriptor is None:
                return
            if not self.held:
                self._set(_NONE, 0, 0)
                return
            for name in names:
                self._set(_NONE, name * _BYTES, _BYTES)

        def standing(self, name: int) -> Standing:
            if not self._is_locked(name * _BYTES):
                return Standing.FREE
            with _guard:
                holders = list(_holders)
            if any(name in holder.held for holder in holders if holder.thread == threading.get_ident()):
                return Standing.OWN
            if self._is_locked(name * _BYTES + _WAITING):
                return Standing.WAITING
            return Standing.RUNNING if self._is_locked(name * _BYTES + _RUNNING) else Standing.GATHERED

        def _is_locked(self, start: int) -> bool:
            asked = _FLOCK.pack(_WRITE, os.SEEK_SET, start, 1, 0)
            try:
                found: int = _FLOCK.unpack(fcntl.fcntl(self.open(), fcntl.F_OFD_GETLK, asked))[0]
            except OSError:
                return False
            return found != _NONE

        def committed(self) -> None:
            try:
                descriptor = self.open()
                if os.lseek(descriptor, 0, os.SEEK_END) >= _LONGEST_COUNT:
                    os.ftruncate(descriptor, 0)
                self._own_commits += os.write(descriptor, b".")
            except OSError as error:
                logger.debug("%s: %s", self._path, error)  # others may compute again what is there

        def changes(self) -> int:
            try:
                return os.lseek(self.open(), 0, os.SEEK_END) - self._own_commits
            except OSError:
                return -1

        def close(self) -> None:
            if self._descriptor is not None:
                self.release(self.held.copy())  # a child that was not forked by Python may have the file open
                descriptor, self._descriptor = self._descriptor, None
                os.close(descriptor)

        def abandon(self) -> None:
            """Leave everything to the parent, in a forked child; the lock belongs to both as long as it is open."""
            self.held.clear()
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    _guard = threading.RLock()
    _holders: weakref.WeakSet[_LockClaims] = weakref.WeakSet()

    def _abandon_all() -> None:
        for holder in list(_holders):
            holder.abandon()
        _guard.release()

    os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_abandon_all)


@final
class _Table:
    """All claims of this process on the rows of one store."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        #: Name -> holder, and how it stands.
        self.held: dict[int, tuple[_ProcessClaims, Standing]] = {}
        self.commits = 0


_tables: dict[tuple[int, str], _Table] = {}


@final
class _ProcessClaims:
    """Claims that hold within this process."""

    def __init__(self, path: str) -> None:
        self.thread = threading.get_ident()
        self._path = path
        self._own_commits = 0

    @property
    def _table(self) -> _Table:
        return _tables.setdefault((os.getpid(), self._path), _Table())

    def take(self, name: int) -> bool:
        table = self._table
        with table.lock:
            return table.held.setdefault(name, (self, Standing.RUNNING))[0] is self

    def mark(self, name: int, standing: Standing) -> None:
        self._table.held[name] = self, standing

    def release(self, names: Collection[int]) -> None:
        for name in names:
            self._table.held.pop(name, None)

    def standing(self, name: int) -> Standing:
        holder, standing = self._table.held.get(name, (self, Standing.FREE))
        is_own = holder is not self and holder.thread == threading.get_ident()
        return Standing.OWN if is_own else standing

    def committed(self) -> None:
        table = self._table
        with table.lock:
            table.commits += 1
            self._own_commits += 1

    def changes(self) -> int:
        return self._table.commits - self._own_commits

    def close(self) -> None:
        self.release([name for name, (holder, _) in list(self._table.held.items()) if holder is self])
