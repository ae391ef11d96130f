"""Engine: the only place where store, plan and executor meet.

One thread drives the plan: it submits what is ready, waits for completions (callbacks only put into a queue), tells
the plan what happened, and tells observers. Workers write results to the store; the engine reads the roots' values.

Must not know: how tasks are defined, what a worker does inside.

Next: runs.py
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, final

from checkpoint import notices, wire, worker
from checkpoint.durations import Durations
from checkpoint.errors import (
    CheckpointError,
    DamagedEntryError,
    TaskLostError,
    TaskTimeoutError,
)
from checkpoint.events import Event, EventKind, Observer, RunBegun, RunEnded, TaskCount, Tick
from checkpoint.executors import Workers, check_executor, open_workers
from checkpoint.graph import Instance
from checkpoint.parking import Parking
from checkpoint.plan import State
from checkpoint.store import Store
from checkpoint.survey import survey
from checkpoint.traits import ExecutorTraits, Submits
from checkpoint.values import load
from checkpoint.version import row_of
from checkpoint.worker import Job, Kind, Report

__all__ = ["Options", "Outcome", "Run"]

_NONE: Mapping[str, int] = MappingProxyType({})

logger = logging.getLogger("checkpoint")
logger.addHandler(logging.NullHandler())

#: Observers are told how a run stands at most once in this time.
_TICK_SECONDS = 0.1
#: About what reading inputs and keeping a result takes.
_OVERHEAD_SECONDS = 1e-4
#: How often an instance may lose its worker, or find its inputs gone, before the run gives it up.
_MOST_LOST = 2
_MOST_REPEATS = 10


@final
class Options(NamedTuple):
    """How to run; the meaning of each is told at `checkpoint.run`."""

    executor: Submits | str | None = None
    max_workers: int | None = None
    stops_on_error: bool = True
    pools: Mapping[str, int] = _NONE
    limits: Mapping[str, int] = _NONE
    traits: ExecutorTraits | None = None
    observers: Sequence[Observer] = ()
    is_forced: bool = False


@final
@dataclass(slots=True)
class Outcome:
    """What came of a run: failures by instance, in the order they happened, and the skipped ones."""

    failures: dict[Instance, BaseException] = field(default_factory=dict)
    skipped: list[Instance] = field(default_factory=list)
    counts: dict[str, TaskCount] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    seconds: float = 0.0


class _Batch(NamedTuple):
    nodes: list[int]
    #: Tasks that are sent along by value.
    tasks: list[Any]
    submitted: float
    #: Nothing else ran meanwhile, so its loss is its own doing.
    is_alone: bool


@final
class Run:
    """One execution of a graph. Use once: `Run(...).execute()`, then `value_of(root)`."""

    def __init__(self, roots: Sequence[Instance], store: Store, options: Options) -> None:
        """Build the graph and look at the store.

        Raises:
            TypeError, ValueError: options that can't be; and what bodies raise.
        """
        check_executor(options.executor, options.max_workers)
        self.store = store
        self.outcome = Outcome()
        self._options = options
        self.began_at, self._began = time.time(), time.perf_counter()
        #: How many workers it has had; 0 if nothing was to be computed.
        self.worker_count = 0
        self.surveyed = survey(roots, store, pools=options.pools, limits=options.limits, is_forced=options.is_forced)
        self._graph, self._plan, self._revisions = self.surveyed.graph, self.surveyed.plan, self.surveyed.revisions
        self._completions: queue.SimpleQueue[tuple[int, Future[Any]] | None] = queue.SimpleQueue()
        self._batches: dict[int, _Batch] = {}
        self._batch_number = 0
        self._sent_tasks: dict[str, Any] = {}
        self._suspects: deque[int] = deque()
        self._is_stopping = self._is_interrupted = False
        self._failed_attempts: Counter[int] = Counter()
        self._lost_attempts: Counter[int] = Counter()
        self._repeats: Counter[int] = Counter()
        self._seconds_per_task: dict[str, float] = {}
        self._workers: Workers | None = None
        #: Whether a batch may hold an instance and what requires it; not once a worker was lost.
        self._is_deep = True
        self._ticked = 0.0
        self._parking = Parking(store, is_inside_runner=worker.is_inside_runner())
        #: Nodes that are computed without a claim.
        self._unclaimed: set[int] = set()
        #: What was asked for and is computed whatever the store has.
        self.forced = frozenset(self._graph.roots if options.is_forced else ())
        #: Called now and then while something is computed, in the thread of the run; does not raise.
        self.pulse: Callable[[], None] | None = None

    # --- the whole ---

    def execute(self) -> Outcome:
        """Compute what is missing.

        Raises:
            KeyboardInterrupt: after what ran was finished and kept; a second one ends what is ours at once.
            StoreError: the store can't be read or written.
        """
        self.outcome.counts = {instance.task.name: TaskCount() for instance in self._graph.instances}
        for observer in self._options.observers:
            observer.begin(self._begun())
        error: BaseException | None = None
        try:
            for node, state in enumerate(self._plan.states):
                if state is State.FRESH:
                    self._hit(node)
            self._give_notice()
            self._settle_roots()
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.outcome.seconds = time.perf_counter() - self._began
            for observer in self._options.observers:
                observer.end(RunEnded(self.outcome.seconds, self.outcome.counts, error))
            logger.info(
                "run of %d instances took %.3f s: %s",
                len(self._graph),
                self.outcome.seconds,
                self.outcome.counts,
            )
        return self.outcome

    def _settle_roots(self) -> None:
        unsettled = [node for node, state in enumerate(self._plan.states) if state in (State.READY, State.WAITING)]
        if unsettled:
            with self.store.using(creates=True):
                self._work(unsettled)

    def _work(self, nodes: Sequence[int]) -> None:
        options = self._options
        executor = "serial" if worker.is_inside_runner() else options.executor
        if executor is None and any(self._graph.instances[node].task.timeout for node in nodes):
            executor = "processes"  # nothing can be stopped in this thread
        self._workers = open_workers(executor, options.max_workers, self.store, most=len(nodes), traits=options.traits)
        for pool, size in self._workers.traits.pools.items():
            if pool not in options.pools:
                self._plan.resize(f"pool {pool}", size)
        self.worker_count = max(self.worker_count, self._workers.count)
        if self.pulse is not None:
            self.pulse()
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
            if state is State.WAITING and not self._is_stopping:
                self._skip([node])

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
        self._is_stopping = True
        self._parking.clear()
        self._workers.stop()

    def _drive(self) -> None:
        while True:
            self._unpark()
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
        if self._suspects:  # alone, so that the one which ends its worker is known
            if not self._batches and not self._is_stopping:
                self._submit([self._suspects.popleft()], [], is_alone=True)
            return
        while not self._is_stopping and self._has_room(workers):
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
        is_short = node is not None and self._expected_seconds(node) < workers.traits.batch_seconds
        return is_short and len(self._batches) < workers.count + workers.ahead

    def _expected_seconds(self, node: int) -> float:
        """What an instance costs: its runner, and what is done around it; unknown ones are long."""
        assert self._workers is not None
        unknown = self._workers.traits.batch_seconds
        return _OVERHEAD_SECONDS + self._seconds_per_task.get(self._graph.instances[node].task.name, unknown)

    def _ready_seconds(self) -> float:
        return self._plan.ready_count * (_OVERHEAD_SECONDS + max(self._seconds_per_task.values(), default=0.0))

    def _submit(self, nodes: list[int], tasks: list[Any], *, is_alone: bool = False) -> None:
        assert self._workers is not None
        number = self._batch_number
        self._batch_number += 1
        for node in nodes:  # before there is a batch to wait for: an observer may raise
            self._tell(EventKind.STARTED, node)
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
            self._editions_above(node),
            self._graph.take_runner(node),
            self._plan.basis(node) if not self._plan.is_waiting(node) else None,
            self.surveyed.changes,
            node not in self._unclaimed,
            not (instance.is_forced or node in self.forced),
        )

    def _editions_above(self, node: int) -> dict[bytes, str]:
        """Return the editions of what a node reads: its upstream, and that of those which are not stored."""
        found: dict[bytes, str] = {}
        seen = set(self._graph.upstream[node])
        pending = list(seen)
        while pending:
            above = pending.pop()
            version = self._plan.versions[above]
            if not self._graph.instances[above].task.is_stored:
                new = set(self._graph.upstream[above]) - seen
                pending.extend(new)
                seen |= new
            elif version is not None:
                found[version[:16]] = self._plan.edition(above)
        return found

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
            self._handle(node, report)

    def _receive(self, number: int, future: Future[Any]) -> list[Report]:
        assert self._workers is not None
        return self._workers.receive(number, future.result())

    def _next_completion(self) -> tuple[int, Future[Any]] | None:
        """Wait for a completion; None for an interrupt.

        Raises:
            queue.Empty: it is time to look at what is parked.
        """
        assert self._workers is not None
        while True:
            self._tick()
            left, most = self._parking.seconds_left(), self._longest_wait()
            if left is None:
                with contextlib.suppress(queue.Empty):
                    return self._completions.get(timeout=most)
            else:
                with contextlib.nullcontext() if self._batches else self._workers.waiting():
                    return self._completions.get(timeout=left if most is None else min(left, most))

    def _send_along(self, batch: _Batch, report: Report) -> None:
        token, name, _ = report.lacking[0]
        task = wire.known_tasks.get(token)
        if task is None or task in batch.tasks:
            raise TaskLostError(repr(self._graph.instances[batch.nodes[0]]), f"its worker doesn't know {name}")
        self._sent_tasks[token] = task
        for node in batch.nodes:
            self._tell(EventKind.REQUEUED, node)
        self._submit(batch.nodes, list(self._sent_tasks.values()), is_alone=batch.is_alone)

    def _handle(self, node: int, report: Report) -> None:
        kind = Kind(report.kind)
        if kind is Kind.COMPUTED:
            self._computed(node, report)
        elif kind in (Kind.FAILED, Kind.TIMED_OUT):
            self._failed(node, report, kind)
        elif kind is Kind.LACKS:
            self._lacks(node, report)
        elif kind is Kind.BUSY:
            self._park(node, report)
        elif kind is Kind.FOUND:
            self._found(node, report)
        elif kind is Kind.SUPERSEDED:
            self._repeat(node, "it was cleared again and again while it was computed")
        else:
            self._requeue(node)
            if report.failure is not None and not self._is_stopping:
                raise KeyboardInterrupt

    def _computed(self, node: int, report: Report) -> None:
        instance = self._graph.instances[node]
        name = instance.task.name
        known = self._seconds_per_task.get(name, report.seconds)
        self._seconds_per_task[name] = 0.8 * known + 0.2 * report.seconds
        limit = instance.task.timeout
        if limit is not None and report.seconds > limit:
            logger.warning("%r took %.3g s, its timeout is %.3g s; it could not be stopped here and its result is kept",
                           instance, report.seconds, limit)  # fmt: skip
        count = self.outcome.counts[name]
        count.computed += 1
        count.seconds += report.seconds
        count.size += report.size
        self._tell(EventKind.COMPUTED, node, report)
        for fresh in self._plan.computed(node, report.generation, report.digest, report.edition):
            self._hit(fresh)

    def _found(self, node: int, report: Report) -> None:
        count = self.outcome.counts[self._graph.instances[node].task.name]
        count.hit += 1
        count.found += 1
        self._tell(EventKind.FOUND, node, report)
        for fresh in self._plan.found(node, report.generation, report.digest, report.edition):
            self._hit(fresh)

    def _park(self, node: int, report: Report) -> None:
        """Put aside a node that another run is computing."""
        instance = self._graph.instances[node]
        self._plan.park(node)
        self._tell(EventKind.PARKED, node)
        if not self._is_stopping:
            self._parking.add(node, instance.task.name, row_of(instance.key, report.edition))

    def _unpark(self) -> None:
        for node, is_free in self._parking.leaving().items():
            if not is_free:
                self._unclaimed.add(node)
            self._plan.unpark(node)

    def _failed(self, node: int, report: Report, kind: Kind) -> None:
        instance = self._graph.instances[node]
        assert report.failure is not None
        self._failed_attempts[node] += 1
        error = report.failure.restore()
        is_final = isinstance(error, CheckpointError) and kind is not Kind.TIMED_OUT
        if self._failed_attempts[node] <= instance.task.retries and not is_final and not self._is_stopping:
            logger.warning(
                "%r failed (%s: %s), trying again", instance, report.failure.type_name, report.failure.message
            )
            self._tell(EventKind.RETRIED, node, report, error)
            self._plan.again(node)
            return
        note = f"in {instance!r}"
        if report.place and report.place != f"process {os.getpid()}":
            note += f", computed by {report.place}:\n{report.failure.traceback_text}"
        error.add_note(note)
        self._give_up(node, error, EventKind.TIMED_OUT if kind is Kind.TIMED_OUT else EventKind.FAILED, report)

    def _give_up(self, node: int, error: BaseException, kind: EventKind, report: Report | None = None) -> None:
        if self._options.stops_on_error:
            self._stop()
        instance = self._graph.instances[node]
        self.outcome.failures[instance] = error
        self.outcome.counts[instance.task.name].failed += 1
        self._tell(kind, node, report, error)
        self._skip(self._plan.failed(node))

    def _skip(self, nodes: Iterable[int]) -> None:
        for node in nodes:
            instance = self._graph.instances[node]
            self.outcome.skipped.append(instance)
            self.outcome.counts[instance.task.name].skipped += 1
            self._tell(EventKind.SKIPPED, node)

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
        self._tell(EventKind.REQUEUED, node)

    def _requeue(self, node: int) -> None:
        self._plan.again(node)
        self._tell(EventKind.REQUEUED, node)

    def _suspect(self, node: int) -> None:
        """Let a running node run once more, later and alone (after what it requires, if that was lost with it)."""
        if self._plan.is_waiting(node):
            self._requeue(node)
        else:
            self._suspects.append(node)
            self._tell(EventKind.REQUEUED, node)

    def _repeat(self, node: int, reason: str) -> None:
        self._repeats[node] += 1
        if self._repeats[node] > _MOST_REPEATS:
            self._give_up(node, TaskLostError(repr(self._graph.instances[node]), reason), EventKind.LOST)
        else:
            self._requeue(node)

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
                self._repeat(node, "its executor cancelled it again and again")
            return
        is_known = batch.is_alone or (traits.loss == "call" and len(batch.nodes) == 1)
        for node in batch.nodes:
            if is_known:
                reason = f"{type(error).__name__}: {error}"
                self._charge(node, reason, time.monotonic() - batch.submitted, traits.attempts)
            elif traits.attempts == 1 and not self._lost_attempts[node]:
                self._lost_attempts[node] += 1
                self._requeue(node)  # as a rule it was not its doing, and to run alone holds up everything else
            else:
                self._suspect(node)

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
            self._repeats[-1] += 1
            if self._repeats[-1] > _MOST_LOST:
                raise TaskLostError("every worker", f"{reason} while starting; a script that uses processes needs "
                                    'its top level below `if __name__ == "__main__":`') from error  # fmt: skip
        self._is_deep = False
        for batch in batches.values():
            for node in set(batch.nodes) - set(suspected):
                self._requeue(node)
        for batch in batches.values():
            for node in set(batch.nodes) & set(suspected):
                if len(suspected) == 1:
                    self._charge(node, reason, time.monotonic() - batch.submitted)
                else:
                    self._suspect(node)

    def _charge(self, node: int, reason: str, seconds: float, attempts: int = 1) -> None:
        instance = self._graph.instances[node]
        self._lost_attempts[node] += attempts
        limit = instance.task.timeout
        if limit is not None and seconds > limit:
            self._give_up(node, TaskTimeoutError(repr(instance), limit), EventKind.TIMED_OUT)
        elif self._lost_attempts[node] > _MOST_LOST:
            error = TaskLostError(repr(instance), f"its worker died {self._lost_attempts[node]} times ({reason})")
            self._give_up(node, error, EventKind.LOST)
        else:
            logger.warning("%r lost its worker (%s), trying again alone", instance, reason)
            self._suspect(node)

    def _give_notice(self) -> None:
        """Warn of code that changed, or cannot be seen, and keep what was declared of it."""
        for task, revisions in self._revisions.items():
            revisions.keep_findings()
            notices.warn_of_unseen_code(task)
        present = {task: task.fingerprint for task in self._revisions}
        for entry, instance in zip(self._plan.served, self._graph.instances, strict=True):
            if entry is not None and entry.fingerprint != present[instance.task]:
                notices.warn_of_change(instance, entry, self._revisions[instance.task])

    # --- values ---

    def value_of(self, instance: Instance) -> Any:
        """Return the value of a root, computing again what turns out to be gone or damaged.

        Raises:
            what the runner of an instance that isn't stored raises.
        """
        node = self._graph.node_of(instance.task.name, instance.key)
        for _ in range(_MOST_REPEATS):
            if not instance.task.is_stored:
                try:
                    return worker.unstored_value(self.store, instance, self._editions_above(node))
                except LookupError as lacking:
                    if not (lacking.args and isinstance(lacking.args[0], tuple)):
                        raise
                    self._compute_again([self._graph.node_of(name, key) for name, key, _ in lacking.args[0]])
                    continue
            row = row_of(instance.key, self._plan.edition(node))
            try:
                found = load(self.store, instance.task, row)
            except DamagedEntryError as damage:
                found = None
                notices.warn_of_damage(instance, damage.reason)
            if found is not None:
                return found[1]
            self._compute_again([node])
        raise TaskLostError(repr(instance), "its result vanishes again and again")

    def rows_of_roots(self) -> set[tuple[str, str]]:
        """Return task and row of what was asked for, where that is stored and settled."""
        found = set()
        for node in self._graph.roots:
            instance = self._graph.instances[node]
            if instance.task.is_stored and self._plan.versions[node] is not None:
                found.add((instance.task.name, row_of(instance.key, self._plan.edition(node))))
        return found

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

    def _compute_again(self, nodes: Sequence[int]) -> None:
        for node in nodes:
            self._plan.gone(node)
        with self.store.using(creates=True):
            self._work(nodes)
        for error in self.outcome.failures.values():
            raise error

    # --- telling ---

    def _begun(self) -> RunBegun:
        graph, surveyed = self._graph, self.surveyed
        expected = Durations(self.store, surveyed).expected
        return RunBegun(graph.instances, graph.upstream, surveyed.limits, surveyed.limits_of, expected, self.began_at)

    def _longest_wait(self) -> float | None:
        if self._options.observers:
            return 0.25
        return 1.0 if self.pulse is not None else None

    def _tick(self) -> None:
        now = time.perf_counter()
        if now - self._ticked < _TICK_SECONDS:
            return
        self._ticked = now
        if self.pulse is not None:
            self.pulse()
        if not self._options.observers:
            return
        assert self._workers is not None
        places = {
            self._batches[number].nodes[position]: place
            for (number, position), place in (self._workers.begun() or {}).items()
            if number in self._batches
        }
        tick = Tick(now - self._began, self._workers.count, self._plan.held(), places)
        for observer in self._options.observers:
            observer.tick(tick)

    def _hit(self, node: int) -> None:
        instance = self._graph.instances[node]
        self.outcome.counts[instance.task.name].hit += 1
        if self._options.observers:
            entry = self._plan.served[node]
            seconds, size = (entry.seconds, entry.size) if entry is not None else (0.0, 0)
            event = Event(EventKind.HIT, instance, time.perf_counter() - self._began, seconds, size, node=node)
            for observer in self._options.observers:
                observer.notify(event)

    def _tell(
        self, kind: EventKind, node: int, report: Report | None = None, error: BaseException | None = None
    ) -> None:
        is_start = kind is EventKind.STARTED
        if is_start and not self._options.observers:
            return
        seconds, size, place = (report.seconds, report.size, report.place) if report is not None else (0.0, 0, "")
        if is_start and self._workers is not None and self._workers.is_in_this_thread:
            place = f"process {os.getpid()}"
        now, start = time.perf_counter() - self._began, None
        if report is not None and report.began:
            start = max(0.0, min(report.began - self.began_at, now - seconds))
        event = Event(kind, self._graph.instances[node], now, seconds, size, place, node, error, start)
        if not is_start:
            self.outcome.events.append(event)
        for observer in self._options.observers:
            observer.notify(event)
        logger.debug("%s: %r", kind.value, event.instance)
