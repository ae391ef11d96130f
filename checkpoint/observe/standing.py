"""Standing: how a run stands, kept up to date from its events, with about how long it will still take.

Must not know: how that is shown.

Next: observe/terminal.py
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import final

from checkpoint.events import Event, EventKind, RunBegun, Tick
from checkpoint.graph import Instance

__all__ = ["BAD", "Row", "Running", "Standing"]

#: Kinds of events after which an instance is as it stays.
_SETTLED = (
    EventKind.COMPUTED,
    EventKind.HIT,
    EventKind.FOUND,
    EventKind.FAILED,
    EventKind.TIMED_OUT,
    EventKind.LOST,
    EventKind.SKIPPED,
)
BAD = (EventKind.FAILED, EventKind.TIMED_OUT, EventKind.LOST)
#: Of larger graphs the durations on record are not looked at.
_MOST_EXPECTED = 200_000


@final
class Row:
    """What is known of one task's instances."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.running = 0
        #: Those that another run computes.
        self.parked: set[int] = set()
        self.counts: Counter[EventKind] = Counter()
        #: Sum of what the computed ones took, and of what those of them took before that have been computed before.
        self.seconds = self.seconds_before = 0.0
        #: Of the open ones: what they took before, and how many were never computed.
        self.expected = 0.0
        self.unknown = total

    @property
    def settled(self) -> int:
        """How many are done with, well or not."""
        return sum(self.counts[kind] for kind in _SETTLED)

    @property
    def hits(self) -> int:
        """How many were there, or came from another run meanwhile."""
        return self.counts[EventKind.HIT] + self.counts[EventKind.FOUND]

    @property
    def failed(self) -> int:
        """How many failed, timed out or were lost."""
        return sum(self.counts[kind] for kind in BAD)

    def seconds_left(self) -> float | None:
        """Return what the open ones will take one after the other; None if nothing is known of some."""
        computed = self.counts[EventKind.COMPUTED]
        pace = self.seconds / self.seconds_before if self.seconds_before else 1.0
        if not self.unknown:
            return self.expected * pace
        return self.expected * pace + self.unknown * self.seconds / computed if computed else None


@final
class Running:
    """An instance that is being computed, since when by the monotonic clock, and where; "" where that isn't known."""

    def __init__(self, instance: Instance, since: float, place: str) -> None:
        self.instance = instance
        self.since = since
        self.place = place


@final
class Standing:
    """What a person wants to know of a run while it goes on; is told what an observer is told."""

    def __init__(self, run: RunBegun) -> None:
        self.rows = {name: Row(total) for name, total in run.counts.items()}
        #: Node -> what runs, those that have been running longest first.
        self.running: dict[int, Running] = {}
        self.failures: list[Event] = []
        #: What the hits took when they were computed.
        self.seconds_saved = 0.0
        #: Limit -> how many wait for it.
        self.held: Mapping[str, int] = {}
        self.limits = run.limits
        self.began = time.monotonic()
        self._run = run
        self._workers = 1
        self._expected: list[float | None] = []
        self._is_settled = bytearray(len(run.instances))
        #: Nodes by how long the longest chain takes that begins with them, the longest last.
        self._chains: list[tuple[float, int]] = []

    @property
    def total(self) -> int:
        """How many instances there are."""
        return len(self._is_settled)

    def count(self, *kinds: EventKind) -> int:
        """Return how many events of some kinds there were."""
        return sum(row.counts[kind] for row in self.rows.values() for kind in kinds)

    @property
    def settled(self) -> int:
        """How many instances are done with, well or not."""
        return sum(row.settled for row in self.rows.values())

    def notify(self, event: Event) -> None:
        """Count an event."""
        row, kind, node = self.rows[event.instance.task.name], event.kind, event.node
        row.counts[kind] += 1
        row.parked.discard(node)
        if kind is EventKind.STARTED:
            row.running += 1
            self.running[node] = Running(event.instance, time.monotonic(), event.place)
        elif self.running.pop(node, None) is not None:
            row.running -= 1
        if kind is EventKind.PARKED:
            row.parked.add(node)
        if kind in BAD:
            self.failures.append(event)
        if kind in _SETTLED:
            self._settle(event, row)

    def _settle(self, event: Event, row: Row) -> None:
        expected = self._expected[event.node] if self._expected else None
        if expected is None:
            row.unknown -= 1
        else:
            row.expected -= expected
        if event.kind in (EventKind.HIT, EventKind.FOUND):
            self.seconds_saved += event.seconds
        elif event.kind is EventKind.COMPUTED:
            row.seconds += event.seconds
            row.seconds_before += event.seconds if expected is None else expected
        self._is_settled[event.node] = 1

    def tick(self, tick: Tick) -> None:
        """Take note of what is held back, and where things run."""
        self.held, self._workers = tick.held, max(tick.workers, 1)
        for node, place in tick.places.items():
            if node in self.running:
                self.running[node].place = place

    def end(self) -> None:
        """Take note that the run is over."""
        self.running.clear()
        self.held = {}
        for row in self.rows.values():
            row.running = 0

    # --- how long it will take ---

    def seconds_left(self) -> float | None:
        """Return about how long the run will still take; None where some tasks have never been computed.

        It is the longest of: all work spread over the workers, the work below each limit, the longest chain.
        """
        self._look_up()
        now = time.monotonic()
        work, held = 0.0, dict.fromkeys(self.limits, 0.0)
        for name, row in self.rows.items():
            left = row.seconds_left() if row.settled < row.total else 0.0
            if left is None:
                return None
            work += left
            for limit in self._run.limits_of.get(name, ()):
                held[limit] += left
        done = sum(min(now - item.since, self._known(node)) for node, item in self.running.items())
        bounds = [(work - done) / self._workers, self._longest_chain(now)]
        bounds += [(held[limit] - done) / size for limit, size in self.limits.items()]
        return max(0.0, *bounds)

    def expected_of(self, node: int) -> float | None:
        """Return what a node took before, as far as that was looked up."""
        return self._expected[node] if self._expected else None

    def _known(self, node: int) -> float:
        return self.expected_of(node) or 0.0

    def _look_up(self) -> None:
        """Read what the open instances took before, once."""
        run = self._run
        if self._expected or len(run.instances) > _MOST_EXPECTED:
            return
        self._expected = [None] * len(run.instances)
        for node, instance in enumerate(run.instances):
            expected = None if self._is_settled[node] else run.expected_seconds(node)
            if expected is not None:
                self._expected[node] = expected
                row = self.rows[instance.task.name]
                row.expected += expected
                row.unknown -= 1
        below = [0.0] * len(run.instances)
        for node in reversed(range(len(below))):
            below[node] += self._expected[node] or 0.0
            for above in run.upstream[node]:
                below[above] = max(below[above], below[node])
        self._chains = sorted((seconds, node) for node, seconds in enumerate(below) if not self._is_settled[node])

    def _longest_chain(self, now: float) -> float:
        chains = self._chains
        while chains and self._is_settled[chains[-1][1]]:
            chains.pop()
        if not chains:
            return 0.0
        seconds, node = chains[-1]
        running = self.running.get(node)
        return seconds - (min(now - running.since, self._known(node)) if running is not None else 0.0)

    def open_rows(self) -> Iterator[tuple[str, Row]]:
        """Yield the tasks in the order that a small screen should show them: running, failed, begun, others, done."""
        yield from sorted(
            self.rows.items(),
            key=lambda pair: (
                not pair[1].running,
                not pair[1].failed,
                pair[1].settled == pair[1].total,
                not pair[1].settled,
            ),
        )
