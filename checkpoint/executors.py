"""Executors: where batches of instances are computed, behind one small seam.

Of an executor only `submit` is used, of a future its done-callback, `result()` and `exception()`. In the same
process jobs are handed over as they are; to any other they travel as bytes.

Must not know: graphs, plans, which instance comes next. A caller's executor is never shut down.

Next: counts.py
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import os
import pickle
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any, Protocol, final

from checkpoint import engines, worker
from checkpoint.graph import Instance
from checkpoint.inputs import Made
from checkpoint.job import Job, Report
from checkpoint.policy import current_policy
from checkpoint.store import Store, WriteBehind
from checkpoint.traits import ExecutorTraits, Submits, traits_of, worker_count

__all__ = ["ExecutorTraits", "SerialExecutor", "Workers", "open_workers"]

_ASYNC_COUNT = 100
_LARGEST_BATCH = 256
_PLAIN = ExecutorTraits()


class Workers(Protocol):
    """What the engine needs of an executor."""

    @property
    def traits(self) -> ExecutorTraits:
        """What is known of the executor."""
        ...

    @property
    def count(self) -> int:
        """How many batches run at once."""
        ...

    @property
    def largest_batch(self) -> int:
        """How many instances a batch may have."""
        ...

    @property
    def takes_chains(self) -> bool:
        """Whether a batch may hold an instance and what requires it."""
        ...

    @property
    def is_in_this_thread(self) -> bool:
        """Whether `submit` itself computes."""
        ...

    @property
    def ahead(self) -> int:
        """How many more batches may be submitted, so that no worker waits for work."""
        ...

    def submit(self, batch: int, jobs: Sequence[Job], tasks: Sequence[Any]) -> Future[Any]:
        """Start a batch; what its future gives is for `receive`.

        `tasks` are those that were reported as unknown, to be sent by value.
        """
        ...

    def receive(self, batch: int, result: Any) -> list[Report]:
        """Return a batch's reports. What is not in the store yet is committed."""
        ...

    def forget(self, batch: int) -> None:
        """Expect nothing any more of a batch that was lost."""
        ...

    def waiting(self) -> contextlib.AbstractContextManager[None]:
        """Return a block in which the run waits for others, while nothing they may wait for is held back here."""
        ...

    def stop(self) -> None:
        """Let no job begin any more, of the batches that were submitted."""
        ...

    def begun(self) -> Mapping[tuple[int, int], str] | None:
        """Return (batch, position) of begun, unfinished jobs -> the place; None where that can't be known."""
        ...

    def rebuild(self) -> bool:
        """Replace a broken executor; False if it isn't ours."""
        ...

    def close(self, *, kill: bool = False) -> None:
        """Commit what was gathered and give back what we made; `kill` ends processes that are ours at once."""
        ...


def open_workers(
    executor: Submits | str | None,
    max_workers: int | None,
    store: Store,
    *,
    most: int,
    traits: ExecutorTraits | None = None,
) -> Workers:
    """Return the workers for a run in which at most `most` instances are to be computed.

    Raises:
        TypeError: the store is one that only this process has, and the executor has others.
    """
    count = max_workers or _processor_count()
    if executor == "serial" or (executor is None and most <= 1):
        return _LocalWorkers(SerialExecutor(), 1, store, is_ours=True)
    if executor is None or executor == "processes":
        _check_reachable(store)
        from checkpoint.pool import OwnProcesses

        return OwnProcesses(min(count, most) if most else count, store)
    if executor == "threads":
        return _LocalWorkers(concurrent.futures.ThreadPoolExecutor(count), count, store, is_ours=True)
    if executor == "async":
        return _LocalWorkers(AsyncExecutor(), max_workers or _ASYNC_COUNT, store, is_ours=True)
    from checkpoint.foreign import ForeignProcesses

    if engines.serves(executor):
        connection = engines.connect(executor, max_workers)
        found, close = connection.traits.overridden(traits), connection.close
        return ForeignProcesses(connection.executor, found, store, usual=count, most=max_workers, close=close)
    assert not isinstance(executor, str)
    traits = (
        ExecutorTraits(is_local=True) if isinstance(executor, SerialExecutor) else traits_of(executor)
    ).overridden(traits)
    if traits.is_local:
        return _LocalWorkers(executor, count, store, most=max_workers, traits=traits)
    return ForeignProcesses(executor, traits, store, usual=count, most=max_workers)


def _check_reachable(store: Store) -> None:
    """Refuse a store that another process would not have."""
    try:
        pickle.dumps(store)
    except Exception as error:
        text = f"other processes cannot open the store {store!r} ({error}); use executor='serial', 'threads' or 'async'"
        raise TypeError(text) from None


def _processor_count() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@final
class SerialExecutor(Executor):
    """Runs each call at once, in the thread that submits it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call the function and return a future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@final
class AsyncExecutor(Executor):
    """Runs coroutine functions together in one event loop, in a thread that starts with the first call."""

    def __init__(self) -> None:
        self._loop: Any = None
        self._thread: threading.Thread | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start `await fn(...)` in the loop."""
        import asyncio

        if self._thread is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="checkpoint-async", daemon=True)
            self._thread.start()
        coroutine: Coroutine[Any, Any, Any] = fn(*args, **kwargs)
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stop the loop; what still runs is cancelled."""
        if self._thread is None:
            return
        import asyncio

        async def finish() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self._loop.shutdown_default_executor()

        with contextlib.suppress(concurrent.futures.CancelledError):
            asyncio.run_coroutine_threadsafe(finish(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._thread = None


def _submit(executor: Submits, function: Callable[..., Any], *args: Any) -> Any:
    return executor.submit(function, *args)


@final
class _LocalWorkers:
    """Serial, threads, an event loop: the same process, so jobs are called directly."""

    takes_chains = True

    def __init__(
        self,
        executor: Submits,
        usual: int,
        store: Store,
        *,
        most: int | None = None,
        traits: ExecutorTraits = _PLAIN,
        is_ours: bool = False,
    ) -> None:
        self.traits, self._usual, self._most = traits, usual, most
        self.largest_batch = 1 if isinstance(executor, AsyncExecutor) else _LARGEST_BATCH
        self.is_in_this_thread = isinstance(executor, SerialExecutor)
        self._executor, self._submit, self._is_ours = executor, traits.submit or _submit, is_ours
        self._stop = threading.Event()
        # One writer alone may gather results of several batches; several writers see each other's through the store.
        # A run inside of a runner shares the writer of that, and its claims.
        self._is_writer = isinstance(executor, SerialExecutor) and not isinstance(store, WriteBehind)
        self._store = WriteBehind(store) if self._is_writer else store
        self._made: dict[Instance, Made] | None = {} if isinstance(executor, SerialExecutor) else None

    @property
    def count(self) -> int:
        return worker_count(self.traits, self._usual, self._most)

    @property
    def ahead(self) -> int:
        return 0 if isinstance(self._executor, (SerialExecutor, AsyncExecutor)) else self.count

    def submit(self, batch: int, jobs: Sequence[Job], tasks: Sequence[Any]) -> Future[Any]:
        if isinstance(self._executor, AsyncExecutor):
            return self._executor.submit(worker.work_async, self._store, jobs[0], current_policy(), self._stop.is_set)
        work = functools.partial(worker.work, should_stop=self._stop.is_set, made=self._made)
        future: Future[Any] = self._submit(self._executor, work, self._store, jobs, current_policy())
        return future

    def receive(self, batch: int, result: Any) -> list[Report]:
        reports: list[Report] = result
        return reports

    def forget(self, batch: int) -> None:
        pass

    def waiting(self) -> contextlib.AbstractContextManager[None]:
        return self._store.waiting() if isinstance(self._store, WriteBehind) else contextlib.nullcontext()

    def stop(self) -> None:
        self._stop.set()

    def begun(self) -> Mapping[tuple[int, int], str] | None:
        return None

    def rebuild(self) -> bool:
        return False

    def close(self, *, kill: bool = False) -> None:
        if self._is_ours and isinstance(self._executor, Executor):
            self._executor.shutdown(wait=not kill)
        if isinstance(self._store, WriteBehind):
            self._store.close() if self._is_writer else self._store.note_inner_run()
