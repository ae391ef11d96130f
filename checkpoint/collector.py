"""Collector: the garbage collector of Python, kept from walking a large graph again and again.

A graph stays as long as its run, so there is nothing in it to collect meanwhile. It is frozen, which costs nothing, and
thawed at the end. Another run that goes on at the same time in another thread is then walked like anything else.

Must not know: what is made.

Next: survey.py
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

__all__ = ["paused", "set_apart"]

#: So many objects are much to walk.
_MANY = 5000


class _Frozen(threading.local):
    """Whether this thread may freeze what it makes, as somebody will thaw it, and whether it has."""

    is_allowed = False
    is_ours = False


_frozen = _Frozen()


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Collect nothing within this block, in which much is made; what was made is frozen where it is `set_apart`."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # What somebody else has frozen stays so. To count it takes long where it is much, so that comes last.
        if _frozen.is_allowed and gc.get_count()[0] > _MANY and (_frozen.is_ours or not gc.get_freeze_count()):
            gc.freeze()
            _frozen.is_ours = True
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def set_apart() -> Iterator[None]:
    """Let what is made in `paused` blocks inside of this one not be walked before its end."""
    if _frozen.is_allowed:
        yield
        return
    _frozen.is_allowed = True
    try:
        yield
    finally:
        _frozen.is_allowed = False
        if _frozen.is_ours:
            _frozen.is_ours = False
            gc.unfreeze()
