"""Inside: which instance the calling thread computes, for what a runner may ask.

Must not know: how it is computed.

Next: process.py
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, final

from checkpoint.store import Store

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Place", "inside", "is_inside_runner", "task_directory"]


@final
class Place(NamedTuple):
    store: Store
    task: str
    row: str


inside: ContextVar[Place | None] = ContextVar("checkpoint_inside", default=None)


def is_inside_runner() -> bool:
    """Tell whether the caller is a runner that checkpoint called."""
    return inside.get() is not None


def task_directory() -> Path:
    """Return the folder of the instance that is being computed, creating it.

    It stays as long as the instance's result and goes when that is cleared; what an interrupted attempt left there
    is there for the next one.

    Raises:
        RuntimeError: not called from a runner.
    """
    place = inside.get()
    if place is None:
        raise RuntimeError("task_directory() was called outside of a runner; use instance.directory there")
    folder = place.store.directory(place.task, place.row)
    for each in (folder.parent, folder):  # the mode would not hold for a parent that is made along
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
