"""Worker: what happens to a batch of instances where it is computed.

It evaluates a body for its arguments, reads the inputs from the store, calls the runner, writes the result to the
store, and reports back. What comes back is small and plain: never a result and, between processes, never a user's
exception as such, so neither can break or hang an executor.

Must not know: graphs, plans, limits, retries, how it was asked.

Next: sources.py
"""

from __future__ import annotations

import contextlib
import enum
import functools
import inspect
import io
import itertools
import os
import pickle
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar, copy_context
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, final

from checkpoint import codec, process
from checkpoint.errors import DamagedEntryError, StoreError, TaskFailedError, TaskTimeoutError
from checkpoint.files import files_in
from checkpoint.graph import Instance, Runner, TaskInfo, with_values
from checkpoint.mutation import Watch
from checkpoint.origin import origin, record_origin
from checkpoint.policy import Policy, policy_in_force
from checkpoint.revisions import record_code
from checkpoint.store import Entry, Epoch, Store, Write, WriteBehind, open_store
from checkpoint.values import changed_files, encoded, load
from checkpoint.version import (
    address_of,
    basis_of,
    edition_of,
    generation_of,
    mark_of,
    row_of,
    unstored_digest_of,
    version_of,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Failure",
    "Job",
    "Kind",
    "Made",
    "Report",
    "dropped_report",
    "is_inside_runner",
    "task_directory",
    "unstored_value",
    "work",
    "work_async",
]


_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Kind(enum.IntEnum):
    """How a batch's instance ended."""

    COMPUTED = 0
    FAILED = 1
    TIMED_OUT = 2
    INTERRUPTED = 3
    #: Inputs are not in the store, or damaged.
    LACKS = 4
    #: It was cleared while it was computed, so the result was not kept.
    SUPERSEDED = 5
    #: A task is not known in this process.
    UNKNOWN = 6
    #: Another run is computing it.
    BUSY = 7
    #: Another run has computed it meanwhile.
    FOUND = 8


class Failure(NamedTuple):
    """An exception in plain parts. `exception` is the object itself, its pickle, or None where it has none."""

    type_name: str
    message: str
    traceback_text: str
    exception: BaseException | bytes | None

    @classmethod
    def of(cls, error: BaseException, *, is_local: bool) -> Self:
        """Take an exception apart; only one that stays in this process is kept as it is."""
        text = "".join(traceback.format_exception(type(error), error, _users_part(error)))
        kept = error if is_local else _pickled(error)
        return cls(type(error).__qualname__, _safe_text(error), text, kept)

    def restore(self) -> BaseException:
        """Return the original exception, or a TaskFailedError in its place."""
        exception = self.exception
        if isinstance(exception, bytes):
            try:
                exception = pickle.loads(exception)
            except Exception:
                exception = None
        if isinstance(exception, Exception):
            return exception
        return TaskFailedError(self.type_name, self.message, self.traceback_text)


class Report(NamedTuple):
    """What is reported of one instance. `place` is host-local: "process 123"."""

    kind: Kind
    generation: bytes = b""
    digest: bytes = b""
    seconds: float = 0.0
    size: int = 0
    place: str = ""
    #: Which of its key's entries the result became.
    edition: str = ""
    failure: Failure | None = None
    #: (task name, key, reason or "") of each missing input; the unknown task's token for UNKNOWN.
    lacking: tuple[tuple[str, str, str], ...] = ()
    #: When the runner began, in seconds since 1970 by the clock of its host; 0 if it didn't.
    began: float = 0.0

    @property
    def has_begun(self) -> bool:
        """Whether the job was begun at all."""
        return self.kind != Kind.INTERRUPTED or self.failure is not None


class Job(NamedTuple):
    """One instance to be computed, with its runner where that is at hand."""

    instance: Instance
    #: Address of each stored instance whose value it takes -> edition of that, but for earlier jobs of the batch.
    editions: Mapping[bytes, str]
    runner: Runner | None = None
    #: Hash of the versions of what it requires; None if that is known only after earlier jobs of the batch.
    basis: bytes | None = b""
    #: What `Store.changes` said before it was found missing.
    changes: int | None = None
    #: Whether it is left alone while another run computes it, and not computed if there is a result by now.
    is_claimed: bool = True
    is_looked_for: bool = True
    #: How long it is expected to take; None if nothing is known of that.
    seconds: float | None = None


@final
class _Place(NamedTuple):
    store: Store
    task: str
    row: str


_inside: ContextVar[_Place | None] = ContextVar("checkpoint_inside", default=None)


def is_inside_runner() -> bool:
    """Tell whether the caller is a runner that checkpoint called."""
    return _inside.get() is not None


def task_directory() -> Path:
    """Return the folder of the instance that is being computed, creating it.

    It stays as long as the instance's result and goes when that is cleared; what an interrupted attempt left there
    is there for the next one.

    Raises:
        RuntimeError: not called from a runner.
    """
    place = _inside.get()
    if place is None:
        raise RuntimeError("task_directory() was called outside of a runner; use instance.directory there")
    folder = place.store.directory(place.task, place.row)
    for each in (folder.parent, folder):  # the mode would not hold for a parent that is made along
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


# --- inputs ----------------------------------------------------------------------------------------------


class Made(NamedTuple):
    """A result that was computed here before. `value` is the value itself where it is small and can't be changed."""

    row: str
    version: bytes
    value: Any


#: Stands for a value that a consumer must decode anew, as another one might change it.
_ENCODED = object()
_SMALL_BYTES = 1024
_MOST_MADE = 10_000


@final
class _Inputs:
    """The values that one runner needs, and the versions they have. Instances that aren't stored are computed here."""

    def __init__(self, store: Store, editions: Mapping[bytes, str], made: Mapping[Instance, Made] = _NOTHING) -> None:
        self.values: dict[Instance, Any] = {}
        self.versions: dict[Instance, bytes] = {}
        self.basis = b""
        self.lacking: list[tuple[str, str, str]] = []
        #: (task name, row, mark of the version) of what was read or computed here.
        self.upstream: list[tuple[str, str, str]] = []
        self._store = store
        self._editions = editions
        self._made = made

    def load(self, wanted: Sequence[Instance]) -> None:
        runners: dict[Instance, Runner] = {}
        pending = list(reversed(wanted))
        while pending:
            instance = pending[-1]
            if instance in self.versions:
                pending.pop()
            elif instance.task.is_stored:
                self._read(instance)
            else:
                runner = runners.get(instance) or runners.setdefault(instance, instance.evaluate())
                unloaded = [above for above in runner.upstream() if above not in self.versions]
                if unloaded:
                    pending.extend(reversed(unloaded))
                else:
                    self._compute(instance, runner)

    def _read(self, instance: Instance) -> None:
        task, address = instance.task, address_of(instance.task.name, instance.key)
        edition, made = self._editions.get(address), self._made.get(instance)
        row = made.row if made is not None and edition is None else row_of(instance.key, edition or "")
        if made is not None and made.row == row and made.value is not _ENCODED:
            self.values[instance] = made.value
            self._settle(instance, row, made.version)
            return
        try:
            found = load(self._store, task, row)
        except DamagedEntryError as damage:
            self._lack(instance, damage.reason)
            return
        if found is None:
            self._lack(instance, "")
            return
        entry, value, digest = found
        self.values[instance] = value
        self._settle(instance, row, version_of(address, entry.generation, digest))

    def _lack(self, instance: Instance, reason: str) -> None:
        self.versions[instance] = b""
        self.lacking.append((instance.task.name, instance.key, reason))

    def _settle(self, instance: Instance, row: str, version: bytes) -> None:
        self.versions[instance] = version
        self.upstream.append((instance.task.name, row, mark_of(version)))

    def _compute(self, instance: Instance, runner: Runner) -> None:
        task = instance.task
        upstream = self.versions_above(runner)
        (epoch,) = self._store.epochs(task.name, [instance.key])
        generation, basis = generation_of(epoch, upstream), basis_of(upstream)
        digest = unstored_digest_of(instance, basis)
        row = row_of(instance.key, edition_of(task.fingerprint, basis))
        self._settle(instance, row, version_of(address_of(instance.task.name, instance.key), generation, digest))
        if not self.lacking:
            token = _inside.set(_Place(self._store, task.name, row))
            try:
                value = runner.function(*self.arguments(runner))
                self.values[instance] = _awaited(value) if inspect.isawaitable(value) else value
            except Exception as error:
                error.add_note(f"in {instance!r}, which is not stored and was computed for its consumer")
                raise
            finally:
                _inside.reset(token)

    def versions_above(self, runner: Runner) -> list[bytes]:
        return [self.versions[above] for above in runner.upstream()]

    def arguments(self, runner: Runner) -> list[Any]:
        return [with_values(requirement, self.values.__getitem__) for requirement in runner.requirements]


def unstored_value(store: Store, instance: Instance, editions: Mapping[bytes, str]) -> Any:
    """Compute an instance that isn't stored, and what it needs of the same kind, in the calling thread.

    Args:
        store: where the stored ones among its inputs are.
        instance: what is wanted.
        editions: address of each stored input -> its edition.

    Raises:
        LookupError: inputs are missing; args[0] is what `Report.lacking` says.
    """
    inputs = _Inputs(store, editions)
    with open_store(store):
        inputs.load([instance])
    if inputs.lacking:
        raise LookupError(tuple(inputs.lacking))
    return inputs.values[instance]


def _awaited(awaitable: Awaitable[Any]) -> Any:
    """Wait for an awaitable in an event loop of its own, in another thread where this one has a running loop."""
    import asyncio

    async def wait() -> Any:
        return await awaitable

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    outcome: list[Callable[[], Any]] = []
    context = copy_context()
    thread = threading.Thread(target=lambda: outcome.append(_captured(lambda: context.run(asyncio.run, wait()))))
    thread.start()
    thread.join()
    return outcome[0]()


def _captured(call: Callable[[], Any]) -> Callable[[], Any]:
    try:
        value = call()
    except BaseException as error:
        return functools.partial(_raise, error)
    return lambda: value


def _raise(error: BaseException) -> Any:
    raise error


_NO_LIMIT = contextlib.nullcontext()

# --- one batch -------------------------------------------------------------------------------------------


#: How many jobs are looked for together.
_LOOK_AHEAD = 16


@final
class _Looked(NamedTuple):
    """What the store had of some jobs after so many changes: those of a task, up to a position."""

    task: TaskInfo
    end: int
    changes: int
    entries: Mapping[str, Sequence[Entry]]


@final
class _Batch:
    """Reports of some jobs, in their order, on results that are gathered and then committed together."""

    def __init__(self, store: Store, jobs: Sequence[Job], is_local: bool, made: dict[Instance, Made]) -> None:
        self._is_gathering_on = isinstance(store, WriteBehind)
        self.store = store if isinstance(store, WriteBehind) else WriteBehind(store)
        self.jobs = jobs
        self._reports: list[Report | None] = [None] * len(jobs)
        self._rows = [""] * len(jobs)
        self._upstream: list[Sequence[Instance]] = [()] * len(jobs)
        self._made = made
        for oldest in list(itertools.islice(made, max(0, len(made) - _MOST_MADE))):
            del made[oldest]
        self._recorded: set[TaskInfo] = set()
        self._is_local = is_local
        self._place = f"process {os.getpid()}"
        self._epochs = self._read_epochs()
        #: Task name and row of the claim on the job that was begun.
        self._claimed: tuple[str, str] | None = None
        self._looked: _Looked | None = None
        #: Jobs that were begun, or not, and gave nothing that later ones could take.
        self._absent: set[Instance] = set()

    def _read_epochs(self) -> list[Epoch]:
        by_task: dict[TaskInfo, list[int]] = {}
        for position, job in enumerate(self.jobs):
            by_task.setdefault(job.instance.task, []).append(position)
        found = [Epoch(0, 0)] * len(self.jobs)
        for task, positions in by_task.items():
            keys = [self.jobs[position].instance.key for position in positions]
            for position, epoch in zip(positions, self.store.epochs(task.name, keys, creates=True), strict=True):
                found[position] = epoch
        return found

    def begin(self, position: int, basis: bytes) -> bool:
        """Claim a job; False, and a report, if another run computes it or has done so."""
        job = self.jobs[position]
        instance, task = job.instance, job.instance.task
        edition = edition_of(task.fingerprint, basis)
        row = self._rows[position] = row_of(instance.key, edition)
        if job.is_claimed:
            if not self.store.claim(task.name, row, job.seconds):
                self._reports[position] = Report(Kind.BUSY, edition=edition)
                self._absent.add(instance)
                return False
            self._claimed = task.name, row
        entry = self._entry(position, basis) if job.is_looked_for else None
        if entry is None:
            return True
        version = version_of(address_of(task.name, instance.key), entry.generation, entry.digest)
        self._made[instance] = Made(row, version, _ENCODED)
        self._reports[position] = Report(Kind.FOUND, entry.generation, entry.digest, size=entry.size, edition=edition)
        return False

    def _entry(self, position: int, basis: bytes) -> Entry | None:
        """Return the entry that a job is to make, if it is there by now."""
        job = self.jobs[position]
        task, changes, looked = job.instance.task, self.store.changes(), self._looked
        if changes == job.changes:
            return None
        if looked is None or looked.task is not task or looked.end <= position or looked.changes != changes:
            end = position + _LOOK_AHEAD
            keys = [other.instance.key for other in self.jobs[position:end] if other.instance.task is task]
            looked = self._looked = _Looked(task, end, changes, self.store.look(task.name, keys))
        for entry in looked.entries.get(job.instance.key, ()):
            if (entry.basis, entry.fingerprint) == (basis, task.fingerprint) and not entry.is_collected:
                is_changed = entry.has_files and changed_files(self.store, task.name, self._rows[position])
                return None if is_changed else entry
        return None

    def end(self) -> None:
        """Give back the claim on the job that was begun, now or with the commit of its result."""
        if self._claimed is not None:
            self.store.release(*self._claimed)
            self._claimed = None

    def inputs(self, position: int, runner: Runner) -> _Inputs | None:
        """Load what a runner needs; None, and a report, if something is missing.

        None without a report if an earlier job, of which it needs the result, has none.
        """
        job = self.jobs[position]
        if self._absent and not self._absent.isdisjoint(runner.upstream()):
            self._absent.add(job.instance)
            return None
        inputs = _Inputs(self.store, job.editions, self._made)
        if runner.requirements:
            inputs.load(runner.upstream())
            if inputs.lacking:
                self._reports[position] = Report(Kind.LACKS, lacking=tuple(inputs.lacking))
                self._absent.add(job.instance)
                return None
        task = job.instance.task
        inputs.basis = basis_of(inputs.versions_above(runner))
        if job.basis is not None and inputs.basis != job.basis:
            self._rows[position] = row_of(job.instance.key, edition_of(task.fingerprint, inputs.basis))
        if job.basis is None and not self.begin(position, inputs.basis):
            return None
        _inside.set(_Place(self.store, task.name, self._rows[position]))
        return inputs

    def keep(self, position: int, runner: Runner, inputs: _Inputs, value: Any, seconds: float) -> None:
        """Encode a result and give it to the store."""
        began = time.time() - seconds
        instance = self.jobs[position].instance
        task, epoch = instance.task, self._epochs[position]
        self._upstream[position] = runner.upstream()
        generation, row = generation_of(epoch, inputs.versions_above(runner)), self._rows[position]
        for file in files_in(instance.values):
            file.check()
        frame, has_files = encoded(self.store, instance, row, value, inputs.upstream)
        entry = Entry(
            generation,
            frame.digest,
            inputs.basis,
            task.fingerprint,
            origin(),
            seconds,
            time.time(),
            frame.size,
            has_files,
        )
        if task not in self._recorded:
            record_code(self.store, task)
            record_origin(self.store, task)
            self._recorded.add(task)
        yields = self.jobs[position].is_looked_for and not has_files
        self.store.write(task.name, [Write(instance.key, row, epoch, entry, frame, yields)])
        version = version_of(address_of(task.name, instance.key), generation, frame.digest)
        is_plain = type(value) in codec.ATOMS and frame.size <= _SMALL_BYTES
        self._made[instance] = Made(row, version, value if is_plain else _ENCODED)
        if self._claimed is not None and self._claimed[1] == row:
            self._claimed = None
        edition = row[len(instance.key) + 1 :]
        self._reports[position] = Report(
            Kind.COMPUTED, generation, frame.digest, seconds, frame.size, self._place, edition, began=began
        )

    def fail(self, position: int, error: BaseException, seconds: float = 0.0) -> None:
        """Report an exception."""
        kind = Kind.FAILED
        if isinstance(error, KeyboardInterrupt):
            kind = Kind.INTERRUPTED
        elif isinstance(error, TaskTimeoutError):
            kind = Kind.TIMED_OUT
        failure = Failure.of(error, is_local=self._is_local)
        began = time.time() - seconds
        self._reports[position] = Report(kind, seconds=seconds, place=self._place, failure=failure, began=began)

    def finished(self) -> list[Report]:
        """Return all reports, with results committed unless a store was given that gathers on.

        What was not begun counts as interrupted, and so does what was computed from a result that was dropped. Where
        another result was there first, that is reported as found.
        """
        try:
            if not self._is_gathering_on:
                self.store.close()
        except StoreError as error:
            for position, report in enumerate(self._reports):
                if report is not None and report.kind is Kind.COMPUTED:
                    self.fail(position, error)
        dropped: set[Instance] = set()
        for position, job in enumerate(self.jobs) if self.store.dropped else ():
            report = self._reports[position]
            is_dropped = (job.instance.task.name, self._rows[position]) in self.store.dropped
            if is_dropped and report is not None and report.kind is Kind.COMPUTED:
                self._reports[position] = dropped_report(self.store, job.instance, report)
            elif dropped.intersection(self._upstream[position]):
                self._reports[position] = None
            else:
                continue
            dropped.add(job.instance)
            self._made.pop(job.instance, None)
        return [report or Report(Kind.INTERRUPTED) for report in self._reports]


def dropped_report(store: Store, instance: Instance, report: Report) -> Report:
    """Return what to report of a result that was not kept: what was there first, or that it was cleared."""
    for entry in store.lookup(instance.task.name, [instance.key]).get(instance.key, ()):
        is_same = edition_of(entry.fingerprint, entry.basis) == report.edition and not entry.is_collected
        if is_same and entry.generation == report.generation:
            return Report(Kind.FOUND, entry.generation, entry.digest, size=entry.size, edition=report.edition)
    return Report(Kind.SUPERSEDED)


def _pickled(error: BaseException) -> bytes | None:
    """Return the pickle of an exception that comes back as itself; None for any other."""
    try:
        file = io.BytesIO()
        codec.Pickler(file, 5).dump(error)
        copy = pickle.loads(file.getvalue())
        is_same = type(copy).__name__ == type(error).__name__ and str(copy) == str(error)
        return file.getvalue() if is_same else None
    except Exception:
        return None


def _users_part(error: BaseException) -> Any:
    """Return the traceback without the frames of this package at its top."""
    trace = error.__traceback__
    package = os.path.dirname(__file__)
    while trace is not None and trace.tb_next and trace.tb_frame.f_code.co_filename.startswith(package):
        trace = trace.tb_next
    return trace


def _safe_text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its text cannot be made)"


def work(
    store: Store,
    jobs: Sequence[Job],
    policy: Policy,
    *,
    is_local: bool = True,
    should_stop: Callable[[], bool] = bool,
    started: Callable[[int], None] | None = None,
    made: dict[Instance, Made] | None = None,
) -> list[Report]:
    """Compute jobs one after the other in the calling thread; report on each, in order.

    Args:
        store: where inputs are and results go.
        jobs: instances, each after those of them that it requires.
        policy: what changed code means in this run.
        is_local: the reports stay in this process, so exceptions need no pickling.
        should_stop: asked before each job; once it says True the remaining jobs are not begun.
        started: called with each position before it begins.
        made: results of earlier batches of the same run; those of this one are added.

    Notes:
        Raises nothing of what a task raises, KeyboardInterrupt included. After an exception the remaining jobs are
        not begun: whether they shall be is not decided here.
    """
    batch = _Batch(store, jobs, is_local, made if made is not None else {})
    with open_store(batch.store), policy_in_force(policy):
        for position, job in enumerate(jobs):
            if should_stop():
                break
            if started is not None:
                started(position)
            token = _inside.set(_Place(batch.store, job.instance.task.name, ""))
            began = time.perf_counter()
            try:
                if job.basis is not None and not batch.begin(position, job.basis):
                    continue
                runner = job.runner or job.instance.evaluate()
                inputs = batch.inputs(position, runner)
                if inputs is not None:
                    arguments = inputs.arguments(runner)
                    seconds = job.instance.task.timeout
                    watch = Watch(job.instance, inputs.values) if policy.checks_mutation else None
                    began = time.perf_counter()
                    with process.time_limit(job.instance, seconds) if seconds else _NO_LIMIT:
                        value = runner.function(*arguments)
                        if type(value) not in codec.ATOMS and inspect.isawaitable(value):
                            value = _awaited(value)
                    took = time.perf_counter() - began
                    if watch is not None:
                        watch.check()
                    batch.keep(position, runner, inputs, value, took)
            except BaseException as error:
                batch.fail(position, error, time.perf_counter() - began)
                break
            finally:
                _inside.reset(token)
                batch.end()
    return batch.finished()


async def work_async(store: Store, job: Job, policy: Policy, should_stop: Callable[[], bool]) -> list[Report]:
    """Compute one job in the running event loop: a coroutine there, a plain function in a thread beside it."""
    import asyncio

    batch = _Batch(store, [job], True, {})
    if should_stop():
        return batch.finished()
    seconds = job.instance.task.timeout
    limit = asyncio.timeout(seconds)
    began = time.perf_counter()
    with open_store(batch.store), policy_in_force(policy):
        token = _inside.set(_Place(batch.store, job.instance.task.name, ""))
        try:
            if job.basis is not None and not batch.begin(0, job.basis):
                return batch.finished()
            runner = job.runner or job.instance.evaluate()
            inputs = batch.inputs(0, runner)
            if inputs is not None:
                arguments = inputs.arguments(runner)
                watch = Watch(job.instance, inputs.values) if policy.checks_mutation else None
                began = time.perf_counter()
                async with limit:
                    if inspect.iscoroutinefunction(runner.function):
                        value = await runner.function(*arguments)
                    else:
                        value = await asyncio.to_thread(runner.function, *arguments)
                        if inspect.isawaitable(value):
                            value = await value
                took = time.perf_counter() - began
                if watch is not None:
                    watch.check()
                batch.keep(0, runner, inputs, value, took)
        except BaseException as error:
            if isinstance(error, TimeoutError) and seconds is not None and limit.expired():
                error = TaskTimeoutError(repr(job.instance), seconds)
            batch.fail(0, error, time.perf_counter() - began)
        finally:
            _inside.reset(token)
            batch.end()
    return batch.finished()
