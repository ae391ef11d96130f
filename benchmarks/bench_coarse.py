"""Coarse: tasks that wait for 50 ms in two processes, beside the time that these would take with nothing around them.

They wait and don't compute, so that it hardly matters what else the machine does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from benchmarks.measure import Figure, Goal, Pass, compare
from benchmarks.workloads import fresh_store, pause
from checkpoint import requires, task

_SECONDS = 0.05


@task
def slow(number: int) -> Callable[[], int]:
    """Take 50 ms."""
    return lambda: pause(number, _SECONDS)


@task
def all_slow(count: int) -> Callable[[], int]:
    """Add up many of them."""
    return requires([slow(number) for number in range(count)])(sum)


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with half of the sum; the start and the end of the processes count."""
    count = 20 if quick else 200
    name = f"{count} tasks of 50 ms, 2 processes"
    goals = {name: Goal(1 / 0.97, is_ratio=True)}
    subjects = {name: _run(count), f"{count} calls of 50 ms, a plain pool": _pool(count)}
    ideal = ("ideal time", lambda: count * _SECONDS / 2)
    yield from compare(subjects, ideal, "ms", rounds=1 if quick else 3, goals=goals)


def _pool(count: int) -> Pass:
    def timed() -> float:
        began = time.perf_counter()
        with ProcessPoolExecutor(2) as pool:
            sum(pool.map(partial(pause, seconds=_SECONDS), range(count)))
        return time.perf_counter() - began

    return timed


def _run(count: int) -> Pass:
    def timed() -> float:
        with fresh_store():
            began = time.perf_counter()
            all_slow(count).run(executor="processes", max_workers=2, progress=False)
            return time.perf_counter() - began

    return timed
