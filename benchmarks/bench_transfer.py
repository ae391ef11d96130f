"""Transfer: large values from the task that makes them to the task that takes them, in two processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy

from benchmarks.measure import Figure, Goal, Pass, compare
from benchmarks.workloads import fresh_folder, fresh_store
from checkpoint import requires, task

_MEGABYTES = 5


def make(number: int) -> numpy.ndarray:
    """Return an array of that size."""
    return numpy.full(_MEGABYTES * 125_000, float(number))


def ends(array: numpy.ndarray) -> float:
    """Look at both ends of an array."""
    return float(array[0] + array[-1])


@task
def made(number: int) -> Callable[[], numpy.ndarray]:
    """Make an array."""
    return lambda: make(number)


@task
def taken(number: int) -> Callable[[], float]:
    """Take an array."""
    return requires(made(number))(ends)


@task
def all_taken(count: int) -> Callable[[], float]:
    """Add up what was taken of many arrays."""
    return requires([taken(number) for number in range(count)])(sum)


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with a worker that writes a `.npy` file and one that maps it; the pool has started."""
    count = 20 if quick else 200
    name = f"{count} tasks of {_MEGABYTES} MB, each with a consumer, 2 processes"
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(ends, [make(0)] * 4))
        yield from compare(
            {name: _run(pool, count)},
            ("worker writes .npy, consumer maps it", _by_files(pool, count)),
            "ms",
            rounds=1 if quick else 5,
            goals={name: Goal(1.3, is_ratio=True)},
        )


def _run(pool: ProcessPoolExecutor, count: int) -> Pass:
    def timed() -> float:
        with fresh_store():
            began = time.perf_counter()
            all_taken(count).run(executor=pool, progress=False)
            return time.perf_counter() - began

    return timed


def _saved(path: str, number: int) -> str:
    numpy.save(path, make(number))
    return path


def _ends_of_file(path: str) -> float:
    return ends(numpy.load(path, mmap_mode="r"))


def _by_files(pool: ProcessPoolExecutor, count: int) -> Pass:
    def timed() -> float:
        with fresh_folder() as folder:
            began = time.perf_counter()
            saved = [pool.submit(_saved, str(Path(folder, f"{number}.npy")), number) for number in range(count)]
            sum(each.result() for each in [pool.submit(_ends_of_file, done.result()) for done in as_completed(saved)])
            return time.perf_counter() - began

    return timed
