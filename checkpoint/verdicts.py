"""Verdicts: what a report on an instance means: settled, tried again, put aside, given up.

One object for each run, told of every report by the thread that drives the plan.

Must not know: executors, batches, how anything is submitted.

Next: computing.py
"""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import final

from checkpoint import notices
from checkpoint.errors import CheckpointError, TaskLostError, TaskTimeoutError
from checkpoint.happenings import EventKind, Happening
from checkpoint.job import Kind, Report
from checkpoint.outcome import Telling
from checkpoint.parking import Parking
from checkpoint.survey import Survey
from checkpoint.version import row_of

__all__ = ["MOST_LOST", "Verdicts"]

#: How often an instance may lose its worker, or find its inputs gone, before the run gives it up.
MOST_LOST = 2
_MOST_REPEATS = 10

logger = logging.getLogger("checkpoint")


@final
class Verdicts:
    """What is known of the instances of a run that were begun."""

    def __init__(self, surveyed: Survey, telling: Telling, parking: Parking, give_up: Callable[[], None]) -> None:
        """Start with nothing begun.

        Args:
            surveyed: graph and plan.
            telling: who is told what happens.
            parking: where instances wait that another run computes.
            give_up: called at each failure that is final.
        """
        self._graph, self._plan = surveyed.graph, surveyed.plan
        self._telling, self._outcome, self._parking = telling, telling.outcome, parking
        self._give_up_run = give_up
        #: No instance is tried again, and none is parked.
        self.is_stopping = False
        #: Whether the runners are called in this very thread.
        self.is_in_this_thread = False
        #: Task name -> seconds that its runners take, about.
        self.seconds_per_task: dict[str, float] = {}
        #: Nodes that are computed without a claim.
        self.unclaimed: set[int] = set()
        #: Nodes that may have ended their worker: they run once more, each alone.
        self.suspects: deque[int] = deque()
        self._failed_attempts: Counter[int] = Counter()
        self.lost_attempts: Counter[int] = Counter()
        self._repeats: Counter[int] = Counter()
        self._is_verbose = logger.isEnabledFor(logging.DEBUG)

    def take(self, node: int, report: Report) -> None:
        match report.kind:  # compared by their numbers: a worker may have them from another copy of the module
            case Kind.COMPUTED:
                self._computed(node, report)
            case Kind.FAILED | Kind.TIMED_OUT:
                self._failed(node, report)
            case Kind.LACKS:
                self._lacks(node, report)
            case Kind.BUSY:
                self._park(node, report)
            case Kind.FOUND:
                self._found(node, report)
            case Kind.SUPERSEDED:
                self.repeat(node, "it was cleared again and again while it was computed")
            case Kind.INTERRUPTED:
                self.requeue(node)
                if report.failure is not None and not self.is_stopping:
                    raise KeyboardInterrupt
            case _:
                reason = f"its worker reported {report.kind!r}, which says nothing here; use one version everywhere"
                self._give_up(node, TaskLostError(repr(self._graph.instances[node]), reason), EventKind.LOST)

    def _computed(self, node: int, report: Report) -> None:
        instance = self._graph.instances[node]
        name = instance.task.name
        known = self.seconds_per_task.get(name, report.seconds)
        self.seconds_per_task[name] = 0.8 * known + 0.2 * report.seconds
        limit = instance.task.timeout
        if limit is not None and report.seconds > limit:
            logger.warning("%r took %.3g s, its timeout is %.3g s; it could not be stopped here and its result is kept",
                           instance, report.seconds, limit)  # fmt: skip
        count = self._outcome.counts[name]
        count.computed += 1
        count.seconds += report.seconds
        count.size += report.size
        self.tell(EventKind.COMPUTED, node, report)
        if fresh := self._plan.computed(node, report.generation, report.digest, report.edition):
            self._telling.hits(fresh, self._plan.served)

    def _found(self, node: int, report: Report) -> None:
        count = self._outcome.counts[self._graph.instances[node].task.name]
        count.hit += 1
        count.found += 1
        self.tell(EventKind.FOUND, node, report)
        if fresh := self._plan.found(node, report.generation, report.digest, report.edition):
            self._telling.hits(fresh, self._plan.served)

    def _park(self, node: int, report: Report) -> None:
        """Put aside a node that another run is computing."""
        instance = self._graph.instances[node]
        self._plan.park(node)
        self.tell(EventKind.PARKED, node)
        if not self.is_stopping:
            self._parking.add(node, instance.task.name, row_of(instance.key, report.edition))

    def unpark(self) -> None:
        for node, is_free in self._parking.leaving().items():
            if not is_free:
                self.unclaimed.add(node)
            self._plan.unpark(node)

    def _failed(self, node: int, report: Report) -> None:
        instance = self._graph.instances[node]
        assert report.failure is not None
        is_timeout = report.kind == Kind.TIMED_OUT
        error = report.failure.restore()
        is_final = isinstance(error, CheckpointError) and not is_timeout
        what = f"failed ({report.failure.type_name}: {report.failure.message})"
        if not is_final and self._retry(node, what, error, report):
            return
        note = f"in {instance!r}"
        if report.place and report.place != f"process {os.getpid()}":
            note += f", computed by {report.place}:\n{report.failure.traceback_text}"
        error.add_note(note)
        self._give_up(node, error, EventKind.TIMED_OUT if is_timeout else EventKind.FAILED, report)

    def _retry(self, node: int, what: str, error: BaseException, report: Report | None = None) -> bool:
        """Count an attempt that failed; True if there may be another one, for which the node is put back."""
        instance = self._graph.instances[node]
        self._failed_attempts[node] += 1
        if self._failed_attempts[node] > instance.task.retries or self.is_stopping:
            return False
        logger.warning("%r %s, trying again", instance, what)
        self.tell(EventKind.RETRIED, node, report, error)
        self._plan.again(node)
        return True

    def _give_up(self, node: int, error: BaseException, kind: EventKind, report: Report | None = None) -> None:
        self._give_up_run()
        instance = self._graph.instances[node]
        self._outcome.failures[instance] = error
        self._outcome.counts[instance.task.name].failed += 1
        self.tell(kind, node, report, error)
        self.skip(self._plan.failed(node))

    def skip(self, nodes: Iterable[int]) -> None:
        for node in nodes:
            instance = self._graph.instances[node]
            self._outcome.skipped.append(instance)
            self._outcome.counts[instance.task.name].skipped += 1
            self.tell(EventKind.SKIPPED, node)

    def _lacks(self, node: int, report: Report) -> None:
        missing = set()
        for name, key, reason in report.lacking:
            found = self._graph.node_of(name, key)
            missing.add(found)
            if reason:
                notices.warn_of_damage(self._graph.instances[found], reason)
        self._repeats[node] += 1
        if self._repeats[node] > _MOST_REPEATS:
            self._give_up(node, TaskLostError(repr(self._graph.instances[node]), "its inputs vanish again and again"),
                          EventKind.LOST)  # fmt: skip
            return
        self._plan.lacks(node, sorted(missing))
        self.tell(EventKind.REQUEUED, node)

    def requeue(self, node: int) -> None:
        self._plan.again(node)
        self.tell(EventKind.REQUEUED, node)

    def suspect(self, node: int) -> None:
        """Let a running node run once more, later and alone (after what it requires, if that was lost with it)."""
        if self._plan.is_waiting(node):
            self.requeue(node)
        else:
            self.suspects.append(node)
            self.tell(EventKind.REQUEUED, node)

    def repeat(self, node: int, reason: str) -> None:
        self._repeats[node] += 1
        if self._repeats[node] > _MOST_REPEATS:
            self._give_up(node, TaskLostError(repr(self._graph.instances[node]), reason), EventKind.LOST)
        else:
            self.requeue(node)

    def charge(self, node: int, reason: str, seconds: float, attempts: int = 1) -> None:
        """Take note that an instance lost its worker so many seconds after it was submitted.

        A runner that does not stop at its timeout is ended with its worker a while later. That counts as an attempt
        that timed out, and is tried again like any other; a worker that dies before is just lost.
        """
        from checkpoint.process import GRACE_SECONDS

        instance = self._graph.instances[node]
        limit = instance.task.timeout
        if limit is not None and seconds > limit + GRACE_SECONDS:
            timed_out = TaskTimeoutError(repr(instance), limit)
            if not self._retry(node, f"did not stop at its timeout of {limit:.3g} s", timed_out):
                self._give_up(node, timed_out, EventKind.TIMED_OUT)
            return
        self.lost_attempts[node] += attempts
        if self.lost_attempts[node] > MOST_LOST:
            error = TaskLostError(repr(instance), f"its worker died {self.lost_attempts[node]} times ({reason})")
            self._give_up(node, error, EventKind.LOST)
        else:
            logger.warning("%r lost its worker (%s), trying again alone", instance, reason)
            self.suspect(node)

    def tell(
        self, kind: EventKind, node: int, report: Report | None = None, error: BaseException | None = None
    ) -> None:
        """Note what happened to a node, and tell observers; a start is told to them alone."""
        telling = self._telling
        is_start = kind is EventKind.STARTED
        if is_start and not telling.observers:
            return
        seconds, size, place = (report.seconds, report.size, report.place) if report is not None else (0.0, 0, "")
        if is_start and self.is_in_this_thread:
            place = f"process {os.getpid()}"
        now, start = telling.seconds(), None
        if report is not None and report.began:
            start = max(0.0, min(report.began - telling.began_at, now - seconds))
        happening = Happening(kind, node, now, seconds, size, place, error, start)
        if not is_start:
            self._outcome.happenings.append(happening)
        telling.notify(happening)
        if self._is_verbose:
            logger.debug("%s: %r", kind.value, self._graph.instances[node])
