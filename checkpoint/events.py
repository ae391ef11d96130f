"""Events: what happens in a run, for those who look on.

Next: notices.py
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from checkpoint.graph import Instance

__all__ = ["Event", "EventKind", "Observer", "TaskCount"]


class EventKind(enum.Enum):
    """What happened to an instance."""

    HIT = "hit"
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


class Event(NamedTuple):
    """One thing that happened in a run. `time` is in seconds since the run began."""

    kind: EventKind
    instance: Instance
    time: float
    #: How long the runner took, and how many bytes were stored; 0 where it doesn't apply.
    seconds: float = 0.0
    size: int = 0
    #: Where it ran: "process 123".
    place: str = ""


class Observer(Protocol):
    """Is told of a run as it happens, in the thread that drives it; what it raises ends the run."""

    def begin(self, counts: Mapping[str, int]) -> None:
        """A run starts; how many instances of each task it has."""
        ...

    def notify(self, event: Event) -> None:
        """Something happened."""
        ...

    def tick(self) -> None:
        """Time passes: called at least four times a second."""
        ...

    def end(self) -> None:
        """The run is over."""
        ...


@dataclass(slots=True)
class TaskCount:
    """What a run did with the instances of one task."""

    computed: int = 0
    hit: int = 0
    failed: int = 0
    skipped: int = 0
    #: How many of the hits were computed elsewhere since the run began.
    found: int = 0
    #: Sum of the runners' times, and of the bytes stored.
    seconds: float = 0.0
    size: int = 0
