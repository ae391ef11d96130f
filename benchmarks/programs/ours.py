"""The work with checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.programs import work
from checkpoint import requires, run, task


@task
def choose(n: int, k: int) -> Callable[[], int]:
    """Follow Pascal's rule."""
    if 0 < k < n:
        return requires([choose(n - 1, k - 1), choose(n - 1, k)])(sum)
    return lambda: work.one()


@task
def leaf(number: int) -> Callable[[], int]:
    """Compute next to nothing."""
    return lambda: work.leaf(number)


@task
def wide(count: int) -> Callable[[], int]:
    """Add up many leaves."""
    return requires([leaf(number) for number in range(count)])(sum)


@task
def chain(length: int) -> Callable[[], int]:
    """Add one to the link before."""
    if length:
        return requires(chain(length - 1))(work.increment)
    return lambda: work.leaf(0)


def serial(work: work.Work, folder: str) -> Any:
    """Compute in this thread."""
    return _run(work, folder, "serial")


def processes(work: work.Work, folder: str) -> Any:
    """Compute in two processes."""
    return _run(work, folder, "processes")


def _run(work: work.Work, folder: str, executor: str) -> Any:
    tasks = {"choose": choose, "wide": wide, "chain": chain}
    return run(tasks[work.kind](*work.root[1:]), store=folder, executor=executor, max_workers=2, progress=False)
