"""Wire: what travels between processes.

To a worker: names of tasks, and arguments. A task that the other process cannot import in the same form is asked for
(`Kind.UNKNOWN`) and then sent along as dill bytes, with the project's
modules, once per process. Back: one plain tuple for each job.

Must not know: graphs, plans, which executor carries it.

Next: remote.py
"""

from __future__ import annotations

import functools
import importlib
import io
import os
import pickle
import sys
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

from checkpoint import codec, functions, process
from checkpoint.errors import StoreError, UnknownTaskError
from checkpoint.graph import Instance
from checkpoint.inputs import Made
from checkpoint.job import Failure, Job, Kind, Report
from checkpoint.policy import Policy, current_policy
from checkpoint.sources import Source, install, sources_of
from checkpoint.store import Store
from checkpoint.unpickling import dill_loads, loads
from checkpoint.worker import work

__all__ = ["TaskReference", "known_tasks", "pack", "resolve", "serve", "stopped_runs"]


class TaskReference(NamedTuple):
    """How a task is named to another process: where to import it, and the digest it must have there."""

    module: str
    qualname: str
    digest: str
    #: Tells tasks apart that no name can: closures, redefinitions.
    token: str


#: The tasks of this process by token.
known_tasks: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_received_tasks: list[Any] = []
#: Stop file of the run whose jobs were computed here last -> their results.
_made: dict[str, dict[Instance, Made]] = {}
#: Runs, by their stop file, that this process was told to stop.
stopped_runs: set[str] = set()


def resolve(reference: TaskReference) -> Any:
    """Return the task that a reference names.

    Raises:
        UnknownTaskError: this process neither knows nor can import it in the same form.
    """
    task = known_tasks.get(reference.token)
    if task is not None:
        return task
    if "<" not in reference.qualname:
        try:
            found: Any = sys.modules.get(reference.module) or importlib.import_module(reference.module)
            for name in reference.qualname.split("."):
                found = getattr(found, name, None)
        except Exception:
            found = None
        if getattr(getattr(found, "reference", None), "digest", None) == reference.digest:
            return found
    raise UnknownTaskError(f"{reference.module}.{reference.qualname}", reference.token)


def pack(jobs: Sequence[Job], store: Store | None, tasks: Sequence[Any], batch: int, stop_file: str) -> bytes:
    """Return what `serve` takes: jobs, and tasks that are sent by value because they were asked for.

    Once the stop file exists, jobs that have not begun are not begun (where the worker can see it).
    """
    file = io.BytesIO()
    pickler = _JobPickler(file, 5)
    pickler.dump([(job.instance.task, job.instance.key, job.instance.values, job.editions, *job[3:]) for job in jobs])
    by_value = [(task.reference.token, type(task), task.by_value()) for task in tasks]
    modules = {name: tuple(source) for name, source in sources_of(task.reference.module for task in tasks).items()}
    return pickle.dumps((store, tuple(current_policy()), modules, by_value, file.getvalue(), batch, stop_file), 5)


class _JobPickler(codec.Pickler):
    """Sends instances among arguments by task and key alone: their own arguments would drag their ancestry along."""

    def reducer_override(self, obj: Any) -> Any:
        shorten = getattr(type(obj), "reduce_to_key", None)
        if shorten is not None and obj.task.is_stored:
            return shorten(obj)
        return functions.carried(obj, super().reducer_override(obj))


def _receive(tasks: Sequence[tuple[str, type, bytes]]) -> None:
    """Make the tasks that were sent by value; they may refer to each other, so all exist before any is filled."""
    new: list[tuple[Any, str, bytes]] = [
        (object.__new__(cls), token, state) for token, cls, state in tasks if token not in known_tasks
    ]
    try:
        for task, token, _ in new:
            known_tasks[token] = task
        for task, _, state in new:
            task.__setstate__(dill_loads(state))
    except BaseException:
        for _, token, _ in new:
            del known_tasks[token]
        raise
    _received_tasks.extend(task for task, _, _ in new)


def serve(payload: bytes, store: Store | None = None) -> list[tuple[Any, ...]]:
    """Compute the jobs of another process; the one function that is submitted to process pools of ours.

    Args:
        payload: what `pack` made.
        store: instead of the one that was packed.

    Returns one plain tuple, the fields of a `Report`, for each job.
    """
    with process.busy():
        packed_store, policy, modules, tasks, packed_jobs, batch, stop_file = loads(payload)
        try:
            install({name: Source(*source) for name, source in modules.items()})
            _receive(tasks)
            jobs = [
                Job(task.restore(key, values), editions, None, *rest)
                for task, key, values, editions, *rest in loads(packed_jobs)
            ]
        except UnknownTaskError as unknown:
            return [tuple(Report(Kind.UNKNOWN, lacking=((unknown.token, unknown.name, ""),)))]
        except Exception as error:
            return [tuple(Report(Kind.FAILED, failure=Failure.of(error, is_local=False)))]
        try:
            stop, mark = functools.partial(_should_stop, stop_file), functools.partial(process.mark, batch)
            made = _made_in(stop_file) if process.is_ours() else None
            there = store or packed_store
            reports = work(there, jobs, Policy(*policy), is_local=False, should_stop=stop, started=mark, made=made)
        except StoreError as error:
            reports = [Report(Kind.FAILED, failure=Failure.of(error, is_local=False))]
        process.mark_idle()
        return [tuple(report) for report in reports]


def _made_in(run: str) -> dict[Instance, Made]:
    if run not in _made:
        _made.clear()
    return _made.setdefault(run, {})


def _should_stop(stop_file: str) -> bool:
    return stop_file in stopped_runs or os.path.exists(stop_file) or process.is_orphan()
