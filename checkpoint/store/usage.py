"""Usage: who uses a store's folder: many at once who read and write, or one alone who collects.

A lock of the operating system on the folder itself, so it ends with the processes that hold it, however they end.
Processes that were forked hold it as long as the one that took it has not given it back. No wait is endless.

Must not know: what is in the folder.

Next: store/formats.py
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from checkpoint.errors import StoreError
from checkpoint.store.advice import LOCK_SECONDS

if sys.platform != "win32":
    import fcntl

__all__ = ["alone", "using"]

#: How long a collector waits for those who only write something.
_PATIENCE_SECONDS = 2.0


@contextlib.contextmanager
def using(folder: str) -> Iterator[None]:
    """Let nobody collect anything in a folder for a block; waits for one who does. Nothing happens if there is none.

    Raises:
        StoreError: somebody has collected for longer than any wait may be.
    """
    descriptor = _opened(folder)
    if descriptor is None:
        yield
        return
    with _held(descriptor, is_alone=False, patience=LOCK_SECONDS) as is_held:
        if not is_held:
            what = f"somebody has been removing things from it for {LOCK_SECONDS} seconds"
            raise StoreError(folder, what, "wait for the end of 'checkpoint gc'")
        yield


@contextlib.contextmanager
def alone(folder: str, *, patience: float = _PATIENCE_SECONDS) -> Iterator[None]:
    """Let nobody else use a folder for a block; waits some seconds for those who only write something.

    Raises:
        StoreError: it is in use, or cannot be locked.
    """
    descriptor = _opened(folder)
    if descriptor is None:
        raise StoreError(folder, "it cannot be locked", "see that it is there, and on a disk of this machine")
    with _held(descriptor, is_alone=True, patience=patience) as is_held:
        if not is_held:
            what = "a run is using it, so nothing was removed"
            raise StoreError(folder, what, "try again when the run has ended, on a disk of this machine")
        yield


def _opened(folder: str) -> int | None:
    if sys.platform == "win32":
        return None
    try:
        return os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # there is none yet, so nobody collects there
        return None


@contextlib.contextmanager
def _held(descriptor: int, *, is_alone: bool, patience: float) -> Iterator[bool]:
    if sys.platform == "win32":
        yield False
        return
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    yield False
                    return
                time.sleep(0.01)
            except OSError:  # there are no such locks here, so nobody can be alone
                yield not is_alone
                return
            else:
                break
        try:
            yield True
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # forked children have the descriptor, too
    finally:
        os.close(descriptor)
