"""Happenings: what a run notes of each of its instances as it goes.

They are many and seldom looked at, so they are small; `checkpoint.events` has what observers are told.

Must not know: instances, who looks on.

Next: events.py
"""

from __future__ import annotations

import enum
from typing import NamedTuple, final

__all__ = ["EventKind", "Happening"]


class EventKind(enum.Enum):
    """What happened to an instance."""

    #: Its entry is fresh: it is not computed.
    HIT = "hit"
    #: It was given to a worker, alone or with others that take a moment only.
    STARTED = "started"
    COMPUTED = "computed"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    LOST = "lost"
    #: It failed, and is tried again.
    RETRIED = "retried"
    #: It was begun and goes back to wait: its worker died or stopped, or an input has to be made again.
    REQUEUED = "requeued"
    SKIPPED = "skipped"
    #: Another run is computing it: it waits for that, and is then found or started again.
    PARKED = "parked"
    #: Another run has computed it since this one began; it counts as a hit.
    FOUND = "found"


@final
class Happening(NamedTuple):
    """One thing that happened to a node of a run's graph; `checkpoint.events.Event` says what the fields mean."""

    kind: EventKind
    node: int
    time: float
    seconds: float = 0.0
    size: int = 0
    place: str = ""
    error: BaseException | None = None
    start: float | None = None
