"""Claims: who is computing what, so that processes that share a store don't compute the same thing at once.

A claim is a lock of the operating system on a byte range of one file, so it ends with the process that holds it,
however that ends. Each thread opens the file anew: threads exclude each other too. The file's length counts commits,
by which a holder sees cheaply that there may be something new. Where there are no such locks, claims hold within this
process alone. A store that several machines share makes its own, of leases.

Invariants: nothing waits here, and nothing depends on a claim but how much is computed twice. A forked child has none.

Next: store/entry.py
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import struct
import sys
import threading
from collections.abc import Collection
from typing import Protocol, final

import xxhash

__all__ = ["Claims", "Standing", "changes_at", "claim_name", "open_claims", "scope_of"]

#: Looking at a lock costs next to nothing.
_PAUSE_SECONDS = 0.25


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

    #: How long to wait between two looks at what others hold, at most.
    longest_pause: float

    def take(self, name: int, seconds: float | None = None) -> bool:
        """Claim something that is expected to take so long; False if somebody else holds it."""
        ...

    def mark(self, name: int, standing: Standing) -> None:
        """Tell others how what is held stands."""
        ...

    def release(self, names: Collection[int]) -> None:
        """Give back what is held."""
        ...

    def standings(self, names: Collection[int]) -> dict[int, Standing]:
        """Tell how things stand that this holder doesn't hold."""
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
            claims.open().is_locked(0)
        except OSError as error:
            import logging

            logging.getLogger("checkpoint").debug("claims hold within this process alone: %s: %s", path, error)
        else:
            return claims
    return _ProcessClaims(path)


def scope_of(claims: Claims) -> str:
    """Return what holders in other processes have in common with one whose claims exclude theirs; empty if none has."""
    return claims.scope() if sys.platform == "linux" and isinstance(claims, _LockClaims) else ""


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
    class _LockFile:
        """The file, opened once for all holders of a thread; in a forked child, not open."""

        def __init__(self, path: str) -> None:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self.descriptor: int | None = os.open(path, flags, 0o600)
            #: Name -> who holds it, of the holders of this thread.
            self.holders: dict[int, _LockClaims] = {}
            self.users = 0

        def set(self, kind: int, start: int, length: int) -> None:
            if self.descriptor is None:
                return
            try:  # `suppress` takes longer than the call
                fcntl.fcntl(self.descriptor, _SET, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
            except OSError:
                pass

        def is_locked(self, start: int) -> bool:
            """Tell whether another thread or process has locked a byte.

            Raises:
                OSError: there are no locks here.
            """
            asked = _FLOCK.pack(_WRITE, os.SEEK_SET, start, 1, 0)
            found: int = _FLOCK.unpack(fcntl.fcntl(self.number(), fcntl.F_OFD_GETLK, asked))[0]
            return found != _NONE

        def number(self) -> int:
            """Return the descriptor, which may be 0; one that is none where the file isn't open."""
            return -1 if self.descriptor is None else self.descriptor

    @final
    class _LockClaims:
        """Claims as locks that belong to an open file description."""

        longest_pause = _PAUSE_SECONDS

        def __init__(self, path: str) -> None:
            self._path = path
            self._opened: _LockFile | None = None
            self._own_commits = 0

        def __del__(self) -> None:
            self.close()

        def open(self) -> _LockFile:
            """Return the file of this thread.

            Raises:
                OSError: it cannot be had.
            """
            if self._opened is None or self._opened.descriptor is None:
                place = self._path, threading.get_ident()
                with _guard:
                    file = _files.get(place)
                    if file is None:
                        file = _files[place] = _LockFile(self._path)
                    file.users += 1
                    self._opened = file
            return self._opened

        def scope(self) -> str:
            """Return which file it is, of which running system."""
            try:
                descriptor = self.open().descriptor
                if descriptor is None:
                    return ""
                found = os.fstat(descriptor)
                with open("/proc/sys/kernel/random/boot_id") as file:
                    return f"{file.read().strip()}:{found.st_dev}:{found.st_ino}"
            except OSError:
                return ""

        def take(self, name: int, seconds: float | None = None) -> bool:
            file = None
            try:
                file = self.open()
                if file.holders.setdefault(name, self) is not self:
                    return False
                fcntl.fcntl(file.number(), _SET, _FLOCK.pack(_WRITE, 0, name * _BYTES, 2, 0))
            except OSError as error:
                if file is not None and error.errno in _TAKEN:
                    del file.holders[name]
                    return False
            return True

        def mark(self, name: int, standing: Standing) -> None:
            if self._opened is None:
                return
            if standing is Standing.GATHERED:
                self._opened.set(_NONE, name * _BYTES + _RUNNING, 1)
            else:
                self._opened.set(_WRITE if standing is Standing.WAITING else _NONE, name * _BYTES + _WAITING, 1)

        def release(self, names: Collection[int]) -> None:
            file = self._opened
            if file is None:
                return
            own = [name for name in names if file.holders.get(name) is self]
            for name in own:
                del file.holders[name]
            if not file.holders:
                file.set(_NONE, 0, 0)
                return
            for name in own:
                file.set(_NONE, name * _BYTES, _BYTES)

        def standings(self, names: Collection[int]) -> dict[int, Standing]:
            return {name: self._standing(name) for name in names}

        def _standing(self, name: int) -> Standing:
            try:
                file = self.open()
                if name in file.holders:
                    return Standing.OWN
                if not file.is_locked(name * _BYTES):
                    return Standing.FREE
                if file.is_locked(name * _BYTES + _WAITING):
                    return Standing.WAITING
                return Standing.RUNNING if file.is_locked(name * _BYTES + _RUNNING) else Standing.GATHERED
            except OSError:
                return Standing.FREE

        def committed(self) -> None:
            with contextlib.suppress(OSError):  # then others may compute again what is there
                descriptor = self.open().number()
                if os.lseek(descriptor, 0, os.SEEK_END) >= _LONGEST_COUNT:
                    os.ftruncate(descriptor, 0)
                self._own_commits += os.write(descriptor, b".")

        def changes(self) -> int:
            try:
                return os.lseek(self.open().number(), 0, os.SEEK_END) - self._own_commits
            except OSError:
                return -1

        def close(self) -> None:
            file, self._opened = self._opened, None
            if file is None or file.descriptor is None:
                return
            # Not only by closing: a child that was not forked by Python may have the file open.
            own = [name for name, holder in list(file.holders.items()) if holder is self]
            for name in own:
                del file.holders[name]
                file.set(_NONE, name * _BYTES, _BYTES)
            with _guard:
                file.users -= 1
                if not file.users:
                    for place in [place for place, opened in list(_files.items()) if opened is file]:
                        del _files[place]
                    descriptor, file.descriptor = file.descriptor, None
                    os.close(descriptor)

    _guard = threading.RLock()
    #: (path, thread) -> the file as it is open there.
    _files: dict[tuple[str, int], _LockFile] = {}

    def _close_all() -> None:
        """Leave everything to the parent, in a forked child; a lock belongs to both as long as the file is open."""
        for file in _files.values():
            if file.descriptor is not None:
                os.close(file.descriptor)
            file.descriptor = None
            file.holders.clear()
        _files.clear()
        _guard.release()

    os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_close_all)


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

    longest_pause = _PAUSE_SECONDS

    def __init__(self, path: str) -> None:
        self.thread = threading.get_ident()
        self._path = path
        self._own_commits = 0

    @property
    def _table(self) -> _Table:
        return _tables.setdefault((os.getpid(), self._path), _Table())

    def take(self, name: int, seconds: float | None = None) -> bool:
        table = self._table
        with table.lock:
            return table.held.setdefault(name, (self, Standing.RUNNING))[0] is self

    def mark(self, name: int, standing: Standing) -> None:
        self._table.held[name] = self, standing

    def release(self, names: Collection[int]) -> None:
        for name in names:
            self._table.held.pop(name, None)

    def standings(self, names: Collection[int]) -> dict[int, Standing]:
        return {name: self._standing(name) for name in names}

    def _standing(self, name: int) -> Standing:
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
