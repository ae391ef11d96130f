"""Pool: worker processes of our own: made for a run, rebuilt when one of them dies, ended with the run.

Must not know: graphs, plans, which instance comes next.

Next: foreign.py
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from multiprocessing.process import BaseProcess
from typing import Any, final

from checkpoint import process, wire
from checkpoint.job import Job, Report
from checkpoint.store import Store
from checkpoint.traits import ExecutorTraits

__all__ = ["OwnProcesses"]

_LARGEST_BATCH = 256
#: How long to wait for the end of workers between two looks at how they ended.
_LOOK_SECONDS = 0.1


def _touch(path: str) -> None:
    with open(path, "wb"):
        pass


@final
class OwnProcesses:
    """A process pool that we make, rebuild when it breaks, and end."""

    takes_chains = True

    def __init__(self, count: int, store: Store) -> None:
        self.traits = ExecutorTraits()
        self.count = self.ahead = count
        self.largest_batch = _LARGEST_BATCH
        self.is_in_this_thread = False
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise RuntimeError(
                "this script starts a run while a worker process imports it; "
                'put what it does at top level below `if __name__ == "__main__":`'
            )
        self._store = store
        self._marks = tempfile.mkdtemp(prefix="checkpoint-")
        self._stop_file = os.path.join(self._marks, "stop")
        self._context = multiprocessing.get_context(_start_method())
        self._pool = self._new_pool()

    def _new_pool(self) -> concurrent.futures.ProcessPoolExecutor:
        shutil.rmtree(self._marks, ignore_errors=True)
        os.mkdir(self._marks, 0o700)
        return concurrent.futures.ProcessPoolExecutor(
            self.count,
            mp_context=self._context,
            initializer=process.initialize,
            initargs=(self._marks, dict(os.environ)),
        )

    def submit(self, batch: int, jobs: Sequence[Job], tasks: Sequence[Any]) -> Future[Any]:
        return self._pool.submit(wire.serve, wire.pack(jobs, self._store, tasks, batch, self._stop_file))

    def receive(self, batch: int, result: Any) -> list[Report]:
        return [Report(*fields) for fields in result]

    def forget(self, batch: int) -> None:
        pass

    def waiting(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def stop(self) -> None:
        _touch(self._stop_file)

    def begun(self) -> Mapping[tuple[int, int], str] | None:
        return process.begun_jobs(self._marks)

    def rebuild(self) -> bool:
        self._pool.shutdown(wait=True)
        self._pool = self._new_pool()
        return True

    def close(self, *, kill: bool = False) -> None:
        workers = list((self._pool._processes or {}).values())
        manager: Any = self._pool._executor_manager_thread
        if kill:
            for worker in workers:
                worker.kill()
        self._pool.shutdown(wait=False, cancel_futures=True)
        _see_off(workers)
        if manager is not None:
            manager.join()
        shutil.rmtree(self._marks, ignore_errors=True)


def _see_off(workers: Sequence[BaseProcess]) -> None:
    """Wait for the end of idle workers that were told to end.

    One that is killed at that moment may have held the lock of their queue, for which the others then wait for ever;
    the pool itself notices such a death only while it runs. So they are killed, too.
    """
    while alive := [worker for worker in workers if worker.exitcode is None]:
        if any(worker.exitcode for worker in workers):
            for worker in alive:
                worker.kill()
        multiprocessing.connection.wait([worker.sentinel for worker in alive], timeout=_LOOK_SECONDS)


def _start_method() -> str:
    """Fork where it is safe (Linux, one thread), as it needs no import of the caller's script; else start afresh."""
    methods = multiprocessing.get_all_start_methods()
    if "fork" in methods and sys.platform == "linux" and len(os.listdir("/proc/self/task")) == 1:
        return "fork"
    return "forkserver" if "forkserver" in methods else "spawn"
