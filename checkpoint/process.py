"""Process: a worker process that we started, as it sees itself.

It leaves Ctrl-C to its parent, finishes what it runs and ends when the parent dies, leaves a mark of what it has
begun, and can stop a runner that takes too long. In any other process these do nothing.

Must not know: stores, tasks, what it computes.

Next: mutation.py
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import shutil
import signal
import struct
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from checkpoint.errors import TaskTimeoutError

__all__ = [
    "GRACE_SECONDS",
    "begun_jobs",
    "busy",
    "initialize",
    "is_orphan",
    "is_ours",
    "mark",
    "mark_idle",
    "time_limit",
]

#: A runner that doesn't react to its timeout is killed with its process after this many more seconds.
GRACE_SECONDS = 5.0
_MARK = struct.Struct("<Qq")
_NOTHING = -1
_working = threading.RLock()
_is_ours = False
_is_limited = False
_parent_pid = 0
_mark_file: int | None = None
_null_file: Any = None


def initialize(marks: str, environment: Mapping[str, str]) -> None:
    """Prepare a worker process of ours: it leaves Ctrl-C to its parent and doesn't outlive it.

    Args:
        marks: folder for a file per process that says which job of which batch it has begun.
        environment: variables of the parent; some may be newer than the process that this one was forked from.
    """
    os.environ.update(environment)
    global _is_ours, _mark_file, _null_file, _parent_pid
    _is_ours, _parent_pid = True, os.getppid()
    _mark_file = os.open(os.path.join(marks, str(os.getpid())), os.O_WRONLY | os.O_CREAT, 0o600)
    _null_file = open(os.devnull, "w")  # noqa: SIM115  # lives as long as the process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch_parent, args=(marks,), name="checkpoint-parent-watch", daemon=True).start()


def is_ours() -> bool:
    """Tell whether this process is such a worker; one batch at a time is computed in it."""
    return _is_ours


def is_orphan() -> bool:
    """Tell whether this process has lost its parent."""
    return _is_ours and os.getppid() != _parent_pid


def busy() -> contextlib.AbstractContextManager[Any]:
    """Return a block in which this process does not end although its parent did."""
    return _working if _is_ours else contextlib.nullcontext()


def mark(batch: int, position: int) -> None:
    """Note for the parent that a job of a batch begins."""
    if _mark_file is not None:
        os.lseek(_mark_file, 0, os.SEEK_SET)
        os.write(_mark_file, _MARK.pack(batch, position))


def mark_idle() -> None:
    """Note for the parent that nothing is being computed."""
    mark(0, _NOTHING)


def begun_jobs(marks: str) -> dict[tuple[int, int], str]:
    """Return (batch, position) of each job that a process had begun and not finished -> "process 123"."""
    begun = {}
    for name in os.listdir(marks):
        with open(os.path.join(marks, name), "rb") as file:
            data = file.read()
        if len(data) == _MARK.size and (found := _MARK.unpack(data))[1] != _NOTHING:
            begun[found] = f"process {name}"
    return begun


def _watch_parent(marks: str) -> None:
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    with _working:  # what runs is finished and committed first
        shutil.rmtree(marks, ignore_errors=True)  # nobody else is left to do it
        os._exit(1)


@contextlib.contextmanager
def time_limit(call: object, seconds: float) -> Iterator[None]:
    """Raise TaskTimeoutError in a block that takes longer, where this process is a worker of ours.

    In a block within such a block the outer limit is the one that counts.
    """
    global _is_limited
    if not _is_ours or _is_limited:
        yield
        return
    _is_limited = True

    def expire(number: int, frame: object) -> None:
        raise TaskTimeoutError(str(call), seconds)

    has_alarm = hasattr(signal, "SIGALRM")
    if has_alarm:
        signal.signal(signal.SIGALRM, expire)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    # A C call that never returns to Python doesn't see the signal; this thread needs no Python to end the process.
    faulthandler.dump_traceback_later(seconds + GRACE_SECONDS, exit=True, file=_null_file)
    try:
        yield
    finally:
        _is_limited = False
        if has_alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
