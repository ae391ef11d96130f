"""Coarse: tasks of 50 ms in two processes, beside the time that these would take without anything around them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks.measure import Figure, Goal, Pass, compare
from benchmarks.programs.work import long_leaf
from benchmarks.workloads import fresh_store
from checkpoint import requires, task


@task
def slow(number: int) -> Callable[[], int]:
    """Take 50 ms."""
    return lambda: long_leaf(number)


@task
def all_slow(count: int) -> Callable[[], int]:
    """Add up many of them."""
    return requires([slow(number) for number in range(count)])(sum)


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with half of the sum; the start and the end of the processes count."""
    count = 20 if quick else 200
    name = f"{count} tasks of 50 ms, 2 processes"
    goals = {name: Goal(1 / 0.97, is_ratio=True)}
    ideal = ("ideal time", lambda: count * 0.05 / 2)
    yield from compare({name: _run(count)}, ideal, "ms", rounds=1 if quick else 3, goals=goals)


def _run(count: int) -> Pass:
    def timed() -> float:
        with fresh_store():
            began = time.perf_counter()
            all_slow(count).run(executor="processes", max_workers=2, progress=False)
            return time.perf_counter() - began

    return timed
