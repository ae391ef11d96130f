"""Outcome: what came of a run so far, and telling it to those who look on.

Must not know: plans, executors, who looks on. What only observers are told is made only for them.

Next: notices.py
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, final

from checkpoint.counts import TaskCount
from checkpoint.graph import Instance
from checkpoint.store import Entry

if TYPE_CHECKING:
    from checkpoint.events import Event, Observer, RunBegun
    from checkpoint.happenings import Happening

__all__ = ["Outcome", "Telling", "is_notebook", "is_watched"]


def is_watched() -> bool:
    """Tell whether somebody is watching: a terminal, or a notebook."""
    return is_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def is_notebook() -> bool:
    """Tell whether this is a notebook."""
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"


@final
class Outcome:
    """What came of a run: failures by instance, in the order they happened, and the skipped ones."""

    def __init__(self, instances: Sequence[Instance]) -> None:
        """Start with nothing; `instances` are those that the run can reach, by node."""
        self.failures: dict[Instance, BaseException] = {}
        self.skipped: list[Instance] = []
        self.counts: dict[str, TaskCount] = {}
        self.happenings: list[Happening] = []
        self.seconds = 0.0
        self._instances = instances

    def events(self) -> tuple[Event, ...]:
        """Return what happened, in order, as observers are told it."""
        from checkpoint.events import Event

        return tuple([Event.of(each, self._instances[each.node]) for each in self.happenings])


@final
class Telling:
    """Counts what happens to instances, and tells observers of it. For the thread that drives the run."""

    def __init__(
        self,
        instances: Sequence[Instance],
        tasks: Iterable[str],
        observers: Sequence[Observer],
        *,
        began_at: float,
        began: float,
    ) -> None:
        """Start with nothing counted.

        Args:
            instances: those that the run can reach, by node.
            tasks: names of their tasks.
            observers: whom to tell.
            began_at, began: when the run began, in seconds since 1970 and by the performance counter.
        """
        self.outcome = Outcome(instances)
        self.outcome.counts = {name: TaskCount() for name in tasks}
        self.began_at, self.began = began_at, began
        self.observers = observers
        self._instances = instances

    def seconds(self) -> float:
        """Return how long the run has taken."""
        return time.perf_counter() - self.began

    def begin(self, begun: RunBegun) -> None:
        """Tell what the run is about to do."""
        for observer in self.observers:
            observer.begin(begun)

    def end(self, error: BaseException | None) -> None:
        """Note how long the run took, and tell what came of it."""
        self.outcome.seconds = self.seconds()
        if self.observers:
            from checkpoint.events import RunEnded

            for observer in self.observers:
                observer.end(RunEnded(self.outcome.seconds, self.outcome.counts, error))

    def hits(self, nodes: Sequence[int], served: Sequence[Entry | None]) -> None:
        """Count fresh instances, and tell of each.

        Args:
            nodes: which they are.
            served: node -> its entry.
        """
        self.count_hits(Counter([self._instances[node].task.name for node in nodes]))
        self.tell_hits(nodes, served)

    def count_hits(self, counts: Mapping[str, int]) -> None:
        """Count fresh instances of tasks, by their names."""
        for name, count in counts.items():
            self.outcome.counts[name].hit += count

    def tell_hits(self, nodes: Iterable[int], served: Sequence[Entry | None]) -> None:
        """Tell of each of some fresh instances."""
        if not self.observers:
            return
        from checkpoint.happenings import EventKind, Happening

        for node in nodes:
            entry = served[node]
            seconds, size = (entry.seconds, entry.size) if entry is not None else (0.0, 0)
            self.notify(Happening(EventKind.HIT, node, self.seconds(), seconds, size))

    def notify(self, happening: Happening) -> None:
        """Tell observers of something that happened."""
        if not self.observers:
            return
        from checkpoint.events import Event

        event = Event.of(happening, self._instances[happening.node])
        for observer in self.observers:
            observer.notify(event)
