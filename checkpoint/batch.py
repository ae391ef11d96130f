"""Batch: some jobs that one worker computes one after the other: their claims, their inputs, what is kept of them.

Results are gathered and committed together.

Must not know: graphs, plans, how a runner is called.

Next: worker.py
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

from checkpoint import codec
from checkpoint.errors import StoreError, TaskTimeoutError
from checkpoint.files import files_in
from checkpoint.graph import Instance, Runner, TaskInfo
from checkpoint.inputs import ENCODED, MOST_MADE, SMALL_BYTES, Inputs, Made
from checkpoint.inside import Place, inside
from checkpoint.job import Failure, Job, Kind, Report
from checkpoint.keys import are_immutable
from checkpoint.origin import origin, record_origin
from checkpoint.revisions import record_code
from checkpoint.store import Entry, Epoch, Store, Write, WriteBehind
from checkpoint.values import changed_files, encoded
from checkpoint.version import edition_of, generation_of, row_of, version_of

__all__ = ["Batch", "dropped_report"]

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
class Batch:
    """Reports of some jobs, in their order, on results that are gathered and then committed together."""

    def __init__(self, store: Store, jobs: Sequence[Job], is_local: bool, made: dict[Instance, Made]) -> None:
        self._is_gathering_on = isinstance(store, WriteBehind)
        self.store = store if isinstance(store, WriteBehind) else WriteBehind(store)
        self.jobs = jobs
        self._reports: list[Report | None] = [None] * len(jobs)
        self._rows = [""] * len(jobs)
        self._upstream: list[Sequence[Instance]] = [()] * len(jobs)
        self._made = made
        for oldest in list(itertools.islice(made, max(0, len(made) - MOST_MADE))):
            del made[oldest]
        self._recorded: set[TaskInfo] = set()
        #: Those of the code at the beginning of the batch; made when first needed.
        self._fingerprints: dict[TaskInfo, bytes] = {}
        self._is_local = is_local
        self._place = f"process {os.getpid()}"
        self._epochs = self._read_epochs()
        #: Task name and row of the claim on the job that was begun.
        self._claimed: tuple[str, str] | None = None
        self._looked: _Looked | None = None
        #: Jobs that were begun, or not, and gave nothing that later ones could take.
        self._absent: set[Instance] = set()

    def _fingerprint(self, task: TaskInfo) -> bytes:
        found = self._fingerprints.get(task)
        if found is None:
            found = self._fingerprints[task] = task.fingerprint
        return found

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
        edition = edition_of(self._fingerprint(task), basis)
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
        version = version_of(task.name, instance.key, entry.generation, entry.digest)
        self._made[instance] = Made(row, version, ENCODED)
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
            if (entry.basis, entry.fingerprint) == (basis, self._fingerprint(task)) and not entry.is_collected:
                is_changed = entry.has_files and changed_files(self.store, task.name, self._rows[position])
                return None if is_changed else entry
        return None

    def end(self) -> None:
        """Give back the claim on the job that was begun, now or with the commit of its result."""
        if self._claimed is not None:
            self.store.release(*self._claimed)
            self._claimed = None

    def inputs(self, position: int, runner: Runner) -> Inputs | None:
        """Load what a runner needs; None, and a report, if something is missing.

        None without a report if an earlier job, of which it needs the result, has none.
        """
        job = self.jobs[position]
        if self._absent and not self._absent.isdisjoint(runner.upstream()):
            self._absent.add(job.instance)
            return None
        inputs = Inputs(self.store, job.editions, self._made)
        if runner.requirements:
            inputs.load(runner.upstream())
            if inputs.lacking:
                self._reports[position] = Report(Kind.LACKS, lacking=tuple(inputs.lacking))
                self._absent.add(job.instance)
                return None
            inputs.require(runner)
        task = job.instance.task
        if job.basis is not None and inputs.basis != job.basis:
            self._rows[position] = row_of(job.instance.key, edition_of(self._fingerprint(task), inputs.basis))
        if job.basis is None and not self.begin(position, inputs.basis):
            return None
        inside.set(Place(self.store, task.name, self._rows[position]))
        return inputs

    def keep(self, position: int, runner: Runner, inputs: Inputs, value: Any, seconds: float) -> None:
        """Encode a result and give it to the store."""
        began = time.time() - seconds
        instance = self.jobs[position].instance
        task, epoch = instance.task, self._epochs[position]
        self._upstream[position] = runner.upstream()
        generation, row = generation_of(epoch, inputs.required), self._rows[position]
        if not are_immutable(instance.values or ()):
            for file in files_in(instance.values):
                file.check()
        frame, has_files = encoded(self.store, instance, row, value, inputs.upstream)
        entry = Entry(
            generation,
            frame.digest,
            inputs.basis,
            self._fingerprint(task),
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
        version = version_of(task.name, instance.key, generation, frame.digest)
        is_plain = type(value) in codec.ATOMS and frame.size <= SMALL_BYTES
        self._made[instance] = Made(row, version, value if is_plain else ENCODED)
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
