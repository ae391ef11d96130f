"""Lease: the right to run a flow, held by one process at a time on one host.

A lock of the operating system on a file, so it ends with the process that holds it, however that ends; a child made by
fork doesn't inherit it. The file tells who holds it, for the error that others get, and goes with the lease.

Must not know: runs, snapshots.

Next: journal/journal.py
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator

import xxhash

from checkpoint.errors import BusyFlowError
from checkpoint.store.folders import make_folder

__all__ = ["leased"]

#: (process, path) -> who holds it: locks of one process don't exclude its own threads.
_held: dict[tuple[int, str], str] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def leased(folder: str, name: str) -> Iterator[None]:
    """Hold the lease of a name for a block.

    Raises:
        BusyFlowError: another process, thread or block holds it; waits for nobody.
    """
    path = os.path.join(folder, f"{xxhash.xxh3_128_hexdigest(name.encode('utf-8', 'surrogatepass'))}.lease")
    holder = _describe()
    place = os.getpid(), path
    with _guard:
        if place in _held:
            raise BusyFlowError(name, _held[place])
        descriptor = _locked(folder, path, name)
        _held[place] = holder
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"flow": name, "holder": holder}).encode(), 0)
        yield
    finally:
        with _guard:
            if os.getpid() == place[0]:  # a forked child holds nothing
                _held.pop(place, None)
                with contextlib.suppress(FileNotFoundError):
                    os.remove(path)
            os.close(descriptor)


def _locked(folder: str, path: str, name: str) -> int:
    make_folder(folder)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                return descriptor
        except (BlockingIOError, PermissionError):
            holder = _holder(descriptor)
            os.close(descriptor)
            raise BusyFlowError(name, holder) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # somebody has removed the file meanwhile: the lock of another one counts


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    try:
        return str(json.loads(os.pread(descriptor, 65536, 0))["holder"])
    except (ValueError, KeyError, TypeError):
        return "another process"


def _describe() -> str:
    program = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()}{f' ({program})' if program else ''} since {since}"
