"""Computing: what is to be computed goes to workers, in batches, and what comes back goes to the plan.

One thread drives it: it submits what is ready and waits for completions; callbacks only put into a queue. Made when
there is something to compute.

Must not know: how tasks are defined, what a worker does inside.

Next: engine.py
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from typing import Any, NamedTuple, final

from checkpoint.choice import Options
from checkpoint.errors import CheckpointError, TaskLostError
from checkpoint.executors import Workers, open_workers
from checkpoint.happenings import EventKind
from checkpoint.inside import is_inside_runner
from checkpoint.job import Job, Kind, Report
from checkpoint.outcome import Telling
from checkpoint.parking import Parking
from checkpoint.plan import State
from checkpoint.store import Store
from checkpoint.survey import Survey
from checkpoint.verdicts import MOST_LOST, Verdicts

__all__ = ["Computing"]

logger = logging.getLogger("checkpoint")
logger.addHandler(logging.NullHandler())

#: Observers are told how a run stands at most once in this time.
_TICK_SECONDS = 0.1
#: What takes less may be submitted before a worker is free.
_AHEAD_SECONDS = 0.1
#: About what reading inputs and keeping a result takes.
_OVERHEAD_SECONDS = 1e-4


class _Batch(NamedTuple):
    nodes: list[int]
    #: Tasks that are sent along by value.
    tasks: list[Any]
    submitted: float
    #: Nothing else ran meanwhile, so its loss is its own doing.
    is_alone: bool


@final
class Computing:
    """The workers of one run, and what they are at."""

    def __init__(
        self, surveyed: Survey, store: Store, options: Options, telling: Telling, beat: Callable[[], None]
    ) -> None:
        """Prepare; starts nothing.

        Args:
            surveyed, store, options: of the run.
            telling: counts what happens.
            beat: called now and then while something is computed, in this thread.
        """
        self._beat = beat
        self._surveyed, self._graph, self._plan = surveyed, surveyed.graph, surveyed.plan
        self._store, self._options, self._telling = store, options, telling
        self._completions: queue.SimpleQueue[tuple[int, Future[Any]] | None] = queue.SimpleQueue()
        self._batches: dict[int, _Batch] = {}
        self._batch_number = 0
        self._sent_tasks: dict[str, Any] = {}
        self._is_interrupted = False
        self._workers: Workers | None = None
        #: How many workers it has had.
        self.worker_count = 0
        #: Whether a batch may hold an instance and what requires it; not once a worker was lost.
        self._is_deep = True
        self._ticked = -_TICK_SECONDS
        self._lost_at_start = 0
        self._parking = Parking(store, is_inside_runner=is_inside_runner())
        self._verdicts = Verdicts(surveyed, telling, self._parking, self._fail)
        self._forced = frozenset(self._graph.roots if options.is_forced else ())

    def compute(self, nodes: Sequence[int]) -> None:
        options = self._options
        executor = "serial" if is_inside_runner() else options.executor
        if executor is None and any(self._graph.instances[node].task.timeout for node in nodes):
            executor = "processes"  # nothing can be stopped in this thread
        self._workers = open_workers(executor, options.max_workers, self._store, most=len(nodes), traits=options.traits)
        for pool, size in self._workers.traits.pools.items():
            if pool not in options.pools:
                self._plan.resize(f"pool {pool}", size)
        self.worker_count = max(self.worker_count, self._workers.count)
        self._verdicts.is_in_this_thread = self._workers.is_in_this_thread
        self._beat()
        is_killed = True
        try:
            with self._gentle_interrupts():
                try:
                    self._drive()
                except BaseException as error:
                    if isinstance(error, KeyboardInterrupt):
                        logger.warning("interrupted: waiting for what runs; interrupt again to end it at once")
                    self._stop()
                    self._drain()
                    is_killed = False
                    raise
            is_killed = False
        finally:
            self._parking.clear()
            self._workers.close(kill=is_killed)
        for node, state in enumerate(self._plan.states):
            if state is State.WAITING and not self._verdicts.is_stopping:
                self._verdicts.skip([node])

    # --- for who looks on ---

    @property
    def keeps_its_thread(self) -> bool:
        """Whether runners are computed in the thread of the run, so that nothing is told while one goes on."""
        return self._workers is not None and self._workers.is_in_this_thread

    def running(self) -> list[tuple[int, float, str]]:
        """Return node, when it was submitted by the monotonic clock, and place of what is being computed.

        Of a batch in an executor that tells nothing it is the first one, and the place is "". From any thread.
        """
        begun = self._workers.begun() if self._workers is not None else None
        batches = dict(self._batches)
        if begun is None:
            place = f"process {os.getpid()}" if self.keeps_its_thread else ""
            return [(batch.nodes[0], batch.submitted, place) for batch in batches.values()]
        return [
            (batches[number].nodes[position], batches[number].submitted, place)
            for (number, position), place in begun.items()
            if number in batches
        ]

    def held(self) -> dict[str, int]:
        """Return limit -> how many are ready and wait for it alone."""
        return self._plan.held()

    # --- the way of a run ---

    @contextlib.contextmanager
    def _gentle_interrupts(self) -> Iterator[None]:
        """Take the first Ctrl-C as a message, so that it can't hit between two steps that belong together."""
        is_main = threading.current_thread() is threading.main_thread()
        is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._workers is None or self._workers.is_in_this_thread or not (is_main and is_default):
            yield
            return
        owner = os.getpid()

        def interrupt(number: int, frame: Any) -> None:
            if os.getpid() != owner or self._is_interrupted:
                signal.default_int_handler(number, frame)
            self._is_interrupted = True
            self._completions.put(None)

        signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _stop(self) -> None:
        assert self._workers is not None
        self._verdicts.is_stopping = True
        self._parking.clear()
        self._workers.stop()

    def _fail(self) -> None:
        """Stop at a failure that is final, if one failure is enough."""
        if self._options.stops_on_error:
            self._stop()

    def _drive(self) -> None:
        while True:
            self._verdicts.unpark()
            self._submit_ready()
            if not self._batches and not self._parking:
                return
            self._handle_next()

    def _drain(self) -> None:
        """Wait for what runs, on the way out with an exception."""
        while self._batches:
            with contextlib.suppress(CheckpointError):  # the first one is on its way
                self._handle_next()

    # --- submitting ---

    def _submit_ready(self) -> None:
        workers = self._workers
        assert workers is not None
        if self._verdicts.suspects:  # alone, so that the one which ends its worker is known
            if not self._batches and not self._verdicts.is_stopping:
                self._submit([self._verdicts.suspects.popleft()], [], is_alone=True)
            return
        while not self._verdicts.is_stopping and self._has_room(workers):
            longest = workers.traits.batch_seconds
            budget = max(longest / 4, min(longest, self._ready_seconds() / (2 * workers.count)))
            nodes = self._plan.take(
                workers.largest_batch, self._expected_seconds, budget, is_deep=self._is_deep and workers.takes_chains
            )
            if not nodes:
                return
            self._submit(nodes, [])

    def _has_room(self, workers: Workers) -> bool:
        """Tell whether to submit more: one batch a worker, and short ones ahead, as they would cost it a wait.

        Long ones are not queued ahead: they would begin after a failure or an interrupt.
        """
        if len(self._batches) < workers.count:
            return True
        node = self._plan.upcoming()
        if node is None or len(self._batches) >= workers.count + workers.ahead:
            return False
        known = self._verdicts.seconds_per_task.get(self._graph.instances[node].task.name)
        return known is not None and known < max(_AHEAD_SECONDS, workers.traits.batch_seconds)

    def _expected_seconds(self, node: int) -> float:
        """What an instance costs: its runner, and what is done around it; unknown ones are long."""
        assert self._workers is not None
        unknown = self._workers.traits.batch_seconds
        return _OVERHEAD_SECONDS + self._verdicts.seconds_per_task.get(self._graph.instances[node].task.name, unknown)

    def _ready_seconds(self) -> float:
        return self._plan.ready_count * (_OVERHEAD_SECONDS + max(self._verdicts.seconds_per_task.values(), default=0.0))

    def _submit(self, nodes: list[int], tasks: list[Any], *, is_alone: bool = False) -> None:
        assert self._workers is not None
        number = self._batch_number
        self._batch_number += 1
        for node in nodes:  # before there is a batch to wait for: an observer may raise
            self._verdicts.tell(EventKind.STARTED, node)
        self._batches[number] = _Batch(nodes, tasks, time.monotonic(), is_alone)
        jobs = [self._job(node) for node in nodes]
        try:
            future = self._workers.submit(number, jobs, tasks)
        except BrokenExecutor as error:  # it broke since the last completion was seen
            future = Future()
            future.set_exception(error)
        except BaseException:
            del self._batches[number]
            raise
        future.add_done_callback(lambda done: self._completions.put((number, done)))

    def _job(self, node: int) -> Job:
        instance = self._graph.instances[node]
        return Job(
            instance,
            self._plan.editions_above(node),
            self._graph.take_runner(node),
            self._plan.basis(node) if not self._plan.is_waiting(node) else None,
            self._surveyed.changes,
            node not in self._verdicts.unclaimed,
            not (instance.is_forced or node in self._forced),
            self._usual_seconds(node),
        )

    def _usual_seconds(self, node: int) -> float | None:
        """Return how long an instance takes as far as is known: others of its task in this run, itself before."""
        seconds = self._verdicts.seconds_per_task.get(self._graph.instances[node].task.name)
        if seconds is None:
            seconds = max((entry.seconds for entry in self._surveyed.entries[node]), default=None)
        return seconds

    # --- completions ---

    def _handle_next(self) -> None:
        try:
            completion = self._next_completion()
        except queue.Empty:
            return
        if completion is None:
            raise KeyboardInterrupt
        number, future = completion
        batch = self._batches.pop(number)
        error = future.exception() if not future.cancelled() else None
        if isinstance(error, CheckpointError):
            raise error
        if error is not None or future.cancelled():
            self._lost_batch(number, batch, error)
            return
        self._handle_all(batch, self._receive(number, future))

    def _handle_all(self, batch: _Batch, reports: list[Report]) -> None:
        if reports[0].kind == Kind.UNKNOWN:
            self._send_along(batch, reports[0])
            return
        if len(reports) < len(batch.nodes):
            reports = [reports[0]] * len(batch.nodes)  # the whole batch could not be begun
        ended = list(zip(batch.nodes, reports, strict=True))
        # What was not begun goes back before a failure is spread to what is below it.
        for node, report in sorted(ended, key=lambda end: end[1].has_begun):
            self._verdicts.take(node, report)

    def _receive(self, number: int, future: Future[Any]) -> list[Report]:
        assert self._workers is not None
        return self._workers.receive(number, future.result())

    def _next_completion(self) -> tuple[int, Future[Any]] | None:
        """Wait for a completion; None for an interrupt.

        Raises:
            queue.Empty: it is time to look at what is parked, and whether there are more workers by now.
        """
        assert self._workers is not None
        self._tick()
        left, most = self._parking.seconds_left(), 0.25 if self._telling.observers else 1.0
        with contextlib.nullcontext() if self._batches else self._workers.waiting():
            return self._completions.get(timeout=most if left is None else min(left, most))

    def _tick(self) -> None:
        now = self._telling.seconds()
        if now - self._ticked < _TICK_SECONDS:
            return
        self._ticked = now
        self._beat()
        if not self._telling.observers:
            return
        from checkpoint.events import Tick

        assert self._workers is not None
        places = {
            self._batches[number].nodes[position]: place
            for (number, position), place in (self._workers.begun() or {}).items()
            if number in self._batches
        }
        tick = Tick(now, self._workers.count, self._plan.held(), places)
        for observer in self._telling.observers:
            observer.tick(tick)

    def _send_along(self, batch: _Batch, report: Report) -> None:
        token, name, _ = report.lacking[0]
        from checkpoint import wire

        task = wire.known_tasks.get(token)
        if task is None or task in batch.tasks:
            raise TaskLostError(repr(self._graph.instances[batch.nodes[0]]), f"its worker doesn't know {name}")
        self._sent_tasks[token] = task
        for node in batch.nodes:
            self._verdicts.tell(EventKind.REQUEUED, node)
        self._submit(batch.nodes, list(self._sent_tasks.values()), is_alone=batch.is_alone)

    # --- lost workers ---

    def _lost_batch(self, number: int, batch: _Batch, error: BaseException | None) -> None:
        """A batch did not come back: find out how much was lost with it."""
        assert self._workers is not None
        traits = self._workers.traits
        if traits.loss == "executor" or isinstance(error, BrokenExecutor):
            self._lost({number: batch}, error)
            return
        self._workers.forget(number)
        if error is None:
            for node in batch.nodes:
                self._verdicts.repeat(node, "its executor cancelled it again and again")
            return
        is_known = batch.is_alone or (traits.loss == "call" and len(batch.nodes) == 1)
        for node in batch.nodes:
            if is_known:
                reason = f"{type(error).__name__}: {error}"
                self._verdicts.charge(node, reason, time.monotonic() - batch.submitted, traits.attempts)
            elif traits.attempts == 1 and not self._verdicts.lost_attempts[node]:
                self._verdicts.lost_attempts[node] += 1
                self._verdicts.requeue(
                    node
                )  # as a rule it was not its doing, and to run alone holds up everything else
            else:
                self._verdicts.suspect(node)

    def _lost(self, batches: dict[int, _Batch], error: BaseException | None) -> None:
        """A worker died and took its executor along: rebuild it, and find out which instance did it."""
        assert self._workers is not None
        reason = f"{type(error).__name__}: {error}" if error is not None else "its executor cancelled it"
        begun = self._workers.begun()
        while self._batches:  # the others of a broken executor are lost as well, or just finished
            completion = self._completions.get()
            if completion is None:
                raise KeyboardInterrupt
            number, future = completion
            batch = self._batches.pop(number)
            if future.cancelled() or future.exception() is not None:
                batches[number] = batch
            else:
                self._handle_all(batch, self._receive(number, future))
        if not self._workers.rebuild():
            culprits = [node for batch in batches.values() for node in batch.nodes]
            call = ", ".join(repr(self._graph.instances[node]) for node in culprits[:4])
            raise TaskLostError(call, f"{reason}; the executor is broken, run again with a new one") from error
        suspected = [
            node
            for number, batch in batches.items()
            for position, node in enumerate(batch.nodes)
            if begun is None or (number, position) in begun
        ]
        if not suspected:
            self._lost_at_start += 1
            if self._lost_at_start > MOST_LOST:
                raise TaskLostError("every worker", f"{reason} while starting; a script that uses processes needs "
                                    'its top level below `if __name__ == "__main__":`') from error  # fmt: skip
        self._is_deep = False
        for batch in batches.values():
            for node in set(batch.nodes) - set(suspected):
                self._verdicts.requeue(node)
        for batch in batches.values():
            for node in set(batch.nodes) & set(suspected):
                if len(suspected) == 1:
                    self._verdicts.charge(node, reason, time.monotonic() - batch.submitted)
                else:
                    self._verdicts.suspect(node)
