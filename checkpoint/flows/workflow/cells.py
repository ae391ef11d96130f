"""Cells: values as bytes, the same in memory, in Redis, in the journal and in files.

A value that is read is a new object each time: changing it changes nothing that is kept, until it is set again.

Must not know: where cells are kept.

Next: flows/workflow/channel.py
"""

from __future__ import annotations

from typing import Any

from checkpoint.errors import UnsavableError, UnstorableError
from checkpoint.journal.values import frame_of, value_of

__all__ = ["cell_of", "value_in"]


def cell_of(value: object, what: str, flow: str) -> bytes:
    """Return the bytes of a value: by pickle, or by dill where pickle can't.

    Raises:
        UnsavableError: neither can; it names what it is and the place inside it.
    """
    try:
        return b"".join(frame_of(value, what).parts)
    except UnstorableError as error:
        place = f" at {error.where}" if error.where else ""
        raise UnsavableError(flow, what, error.reason + place) from error


def value_in(cell: bytes) -> Any:
    """Return the value of a cell; raise DamagedEntryError if its bytes aren't what was written."""
    return value_of(memoryview(bytearray(cell)))[0]
