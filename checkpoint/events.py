"""Events: what happens in a run, for those who look on: a protocol that anybody may follow.

A run tells its observers `begin`, then for each instance one `Event` after another, several times a second a `Tick`,
and `end`. An instance is a hit, or it is started and then computed, failed, timed out or lost; in between it may be
retried or requeued any number of times, and is started again after that. What is below a failure is skipped.

Must not know: who looks on. Everything told is frozen, and told in the thread that drives the run.

Next: choice.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, final

from checkpoint.counts import TaskCount
from checkpoint.graph import Instance
from checkpoint.happenings import EventKind, Happening

__all__ = ["Event", "EventKind", "Observer", "RunBegun", "RunEnded", "Tick"]


@final
@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to an instance.

    Attributes:
        kind, instance: what happened, and to which instance.
        time: seconds since the run began.
        seconds, size: how long the runner took, and how many bytes were stored; for a hit, those of its entry; else 0.
        place: where it ran, "process 123"; of what is only started it is known where that is the thread of the run.
        node: index of the instance in `RunBegun.instances`.
        error: what it failed with, also where it is tried again.
        start: when the runner began, in seconds since the run began; None where no runner did.
    """

    kind: EventKind
    instance: Instance
    time: float
    seconds: float = 0.0
    size: int = 0
    place: str = ""
    node: int = -1
    error: BaseException | None = None
    start: float | None = None

    @classmethod
    def of(cls, happening: Happening, instance: Instance) -> Event:
        """Return what observers are told of something that happened to an instance."""
        kind, node, time, seconds, size, place, error, start = happening
        return cls(kind, instance, time, seconds, size, place, node, error, start)


@final
@dataclass(frozen=True, slots=True)
class RunBegun:
    """What a run is about to do.

    Attributes:
        instances: all that the run can reach; what one requires comes before it.
        upstream: for each, the indices of what it requires.
        limits: limit -> how many of those that count against it may run at once; "task NAME" or "pool NAME".
        limits_of: name of a task -> the limits that its instances count against.
        expected_seconds: index -> how long it took the last time, or others of its task did; None if none ever ran.
            Reads metadata, so ask only for what is shown.
        at: seconds since 1970.
    """

    instances: Sequence[Instance]
    upstream: Sequence[Sequence[int]]
    limits: Mapping[str, int]
    limits_of: Mapping[str, tuple[str, ...]]
    expected_seconds: Callable[[int], float | None] = field(repr=False)
    at: float

    @property
    def counts(self) -> Mapping[str, int]:
        """Name of each task -> how many instances of it there are."""
        return Counter(instance.task.name for instance in self.instances)


@final
@dataclass(frozen=True, slots=True)
class Tick:
    """How a run stands.

    Attributes:
        time: seconds since the run began.
        workers: how many workers it has; 0 before it has any.
        held: limit that is used up -> how many instances are ready and wait for it alone.
        places: index of what a worker process of ours has begun -> "process 123".
    """

    time: float
    workers: int
    held: Mapping[str, int]
    places: Mapping[int, str]


@final
@dataclass(frozen=True, slots=True)
class RunEnded:
    """What came of a run: seconds, what was done by task, and the exception that ended it early, such as Ctrl-C."""

    seconds: float
    counts: Mapping[str, TaskCount]
    error: BaseException | None = None


class Observer(Protocol):
    """Is told of a run as it happens, in the thread that drives it; what it raises ends the run.

    Inherit from it to have methods that do nothing for what isn't of interest. An observer may be used for several
    runs, one after the other.
    """

    def begin(self, run: RunBegun) -> None:
        """A run starts."""
        return

    def notify(self, event: Event) -> None:
        """Something happened to an instance."""
        return

    def tick(self, tick: Tick) -> None:
        """Time passes: told at least four times a second, unless a runner keeps the thread of the run busy."""
        return

    def end(self, ended: RunEnded) -> None:
        """The run is over."""
        return
