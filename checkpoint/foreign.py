"""ForeignProcesses: an executor that somebody else made, whose calls may run anywhere.

Workers write results to the store where they can open it; otherwise inputs travel to them and results back, and are
committed here. Of a worker nothing is taken for granted: neither its versions nor its disk nor that it lives.

Must not know: graphs, plans, which instance comes next. An executor of the caller's is never shut down.

Next: executors.py
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, final

from checkpoint import remote, wire
from checkpoint.batch import dropped_report
from checkpoint.errors import TaskLostError
from checkpoint.job import Job, Kind, Report
from checkpoint.store import Store
from checkpoint.store.parcel import Parcel
from checkpoint.traits import ExecutorTraits, Submits, worker_count
from checkpoint.version import address_of, row_of

__all__ = ["ForeignProcesses"]

_LARGEST_BATCH = 256
logger = logging.getLogger("checkpoint")


@final
class ForeignProcesses:
    """The workers of such an executor. One thread drives it."""

    is_in_this_thread = False
    largest_batch = _LARGEST_BATCH

    def __init__(
        self,
        executor: Submits,
        traits: ExecutorTraits,
        store: Store,
        *,
        usual: int,
        most: int | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        """Start to use an executor.

        Args:
            executor: where calls go.
            traits: what is known of it.
            store: where results go.
            usual: how many batches run at once where the traits don't tell.
            most: how many may be there at once.
            close: gives the executor back.
        """
        import tempfile

        self.traits = traits
        self._executor, self._store, self._close = executor, store, close
        self._usual, self._most = usual, most
        self._facts = tuple(remote.facts_of_here())
        self._place: remote.Place | None = None
        self._travels = traits.via == "parent" or not _is_picklable(store)
        self._jobs: dict[int, Sequence[Job]] = {}
        self._futures: dict[int, Any] = {}
        self._folder = tempfile.mkdtemp(prefix="checkpoint-")
        self._stop_file = os.path.join(self._folder, "stop")

    @property
    def count(self) -> int:
        """How many batches run at once."""
        return worker_count(self.traits, self._usual, self._most)

    @property
    def takes_chains(self) -> bool:
        """Whether a batch may hold an instance and what requires it: not where inputs have to travel along."""
        return not self._travels

    @property
    def ahead(self) -> int:
        """How many more short ones may be submitted."""
        return self.count

    # --- there ---

    def submit(self, batch: int, jobs: Sequence[Job], tasks: Sequence[Any]) -> Future[Any]:
        """Start a batch; `receive` takes what its future gives."""
        call: tuple[Any, ...]
        if self._travels:
            payload = wire.pack(jobs, None, tasks, batch, self._stop_file)
            call = remote.compute_parcel, self._facts, pickle.dumps(_parcel(self._store, jobs), 5), payload
        else:
            payload = wire.pack(jobs, self._store, tasks, batch, self._stop_file)
            call = remote.compute, self._facts, self._place_for(jobs), payload
        pool = jobs[0].instance.task.pool
        keywords = self.traits.keywords.get(pool, {}) if pool is not None else {}
        submit = self.traits.submit or _submit
        future: Future[Any] = submit(self._executor, *call, **keywords)
        self._jobs[batch], self._futures[batch] = jobs, future
        return future

    def _place_for(self, jobs: Sequence[Job]) -> tuple[Any, ...] | None:
        if self.traits.via == "worker":
            return None
        if self._place is None:
            self._place = remote.place_of(self._store, jobs[0].instance.task.name)
        return tuple(self._place)

    # --- and back ---

    def receive(self, batch: int, result: Any) -> list[Report]:
        """Return the reports of a batch, with results committed.

        Raises:
            TaskLostError: the worker doesn't fit this process; StoreError.
        """
        jobs = self._jobs.pop(batch)
        self._futures.pop(batch, None)
        kind, *content = result
        if kind == "differs":
            raise TaskLostError(repr(jobs[0].instance), content[0])
        if kind == "away":
            if not self._travels:
                logger.warning(
                    "workers of %r cannot open the store %s, so values travel through this process; a store that they "
                    "share would be faster", self._executor, self._store.url)  # fmt: skip
                self._travels = True
            return [Report(Kind.INTERRUPTED)] * len(jobs)  # to be submitted again
        reports = [Report(*fields) for fields in content[0]]
        if kind == "parcel":
            dropped = Parcel.unpack(content[1], self._store)
            for position, (job, report) in enumerate(zip(jobs, reports, strict=False)):
                row = row_of(job.instance.key, report.edition)
                if report.kind == Kind.COMPUTED and (job.instance.task.name, row) in dropped:
                    reports[position] = dropped_report(self._store, job.instance, report)
        return reports

    def forget(self, batch: int) -> None:
        """Expect nothing any more of a batch that was lost."""
        self._jobs.pop(batch, None)
        self._futures.pop(batch, None)

    # --- the end ---

    def stop(self) -> None:
        """Let no job begin any more."""
        Path(self._stop_file).touch()
        if self.traits.stop is not None:
            self.traits.stop(self._stop_file)

    def waiting(self) -> contextlib.AbstractContextManager[None]:
        """Return a block: nothing is held back here."""
        return contextlib.nullcontext()

    def begun(self) -> Mapping[tuple[int, int], str] | None:
        """Return None: it can't be known."""
        return None

    def rebuild(self) -> bool:
        """Return False: it isn't ours."""
        return False

    def close(self, *, kill: bool = False) -> None:
        """Give the executor back; what is left of our calls is cancelled, as far as it does that."""
        for future in list(self._futures.values()):
            with contextlib.suppress(Exception):
                future.cancel()
        if self._close is not None:
            self._close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _submit(executor: Submits, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    return executor.submit(function, *args, **keywords)


def _is_picklable(store: Store) -> bool:
    try:
        pickle.dumps(store)
    except Exception:
        return False
    return True


def _parcel(store: Store, jobs: Sequence[Job]) -> Parcel:
    """Return what a batch needs, in a parcel."""
    rows: list[tuple[str, str]] = []
    keys: dict[str, list[str]] = {}
    for job in jobs:
        keys.setdefault(job.instance.task.name, []).append(job.instance.key)
        rows += _inputs(job, keys)
    return Parcel.of(store, rows, keys)


def _inputs(job: Job, keys: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Yield (task name, row) of what a job reads; what isn't stored is added to `keys`, and its inputs are read."""
    pending = list((job.runner or job.instance.evaluate()).upstream())
    seen = set(pending)
    while pending:
        instance = pending.pop()
        name = instance.task.name
        if instance.task.is_stored:
            yield name, row_of(instance.key, job.editions.get(address_of(name, instance.key), ""))
        else:
            keys.setdefault(name, []).append(instance.key)
            new = [above for above in instance.evaluate().upstream() if above not in seen]
            pending += new
            seen.update(new)
