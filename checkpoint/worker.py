"""Worker: what happens to a batch of instances where it is computed.

It evaluates a body for its arguments, reads the inputs from the store, calls the runner, writes the result to the
store, and reports back.

Must not know: graphs, plans, limits, retries, how it was asked.

Next: sources.py
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from checkpoint.batch import Batch
from checkpoint.errors import TaskTimeoutError
from checkpoint.graph import Instance
from checkpoint.inputs import Made, awaited
from checkpoint.inside import Place, inside
from checkpoint.job import Job, Report
from checkpoint.mutation import Watch
from checkpoint.policy import Policy, policy_in_force
from checkpoint.store import Store, open_store

__all__ = ["work", "work_async"]

_NO_LIMIT = contextlib.nullcontext()


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
    batch = Batch(store, jobs, is_local, made if made is not None else {})
    with open_store(batch.store), policy_in_force(policy):
        for position, job in enumerate(jobs):
            if should_stop():
                break
            if started is not None:
                started(position)
            token = inside.set(Place(batch.store, job.instance.task.name, ""))
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
                    with _time_limit(job.instance, seconds) if seconds else _NO_LIMIT:
                        value = awaited(runner.function(*arguments))
                    took = time.perf_counter() - began
                    if watch is not None:
                        watch.check()
                    batch.keep(position, runner, inputs, value, took)
            except BaseException as error:
                batch.fail(position, error, time.perf_counter() - began)
                break
            finally:
                inside.reset(token)
                batch.end()
    return batch.finished()


def _time_limit(instance: Instance, seconds: float) -> contextlib.AbstractContextManager[None]:
    from checkpoint import process

    return process.time_limit(instance, seconds)


async def work_async(store: Store, job: Job, policy: Policy, should_stop: Callable[[], bool]) -> list[Report]:
    """Compute one job in the running event loop: a coroutine there, a plain function in a thread beside it."""
    import asyncio
    import inspect

    batch = Batch(store, [job], True, {})
    if should_stop():
        return batch.finished()
    seconds = job.instance.task.timeout
    limit = asyncio.timeout(seconds)
    began = time.perf_counter()
    with open_store(batch.store), policy_in_force(policy):
        token = inside.set(Place(batch.store, job.instance.task.name, ""))
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
            inside.reset(token)
            batch.end()
    return batch.finished()
