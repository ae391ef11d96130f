"""Tiny tasks and graphs of them, in a module that workers can import."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import checkpoint
from checkpoint import memo, requires, task
from checkpoint.flows.pipeline import Pipeline, Stage


@task
def leaf(number: int) -> Callable[[], int]:
    """Compute next to nothing."""
    return lambda: number


@task
def total(count: int) -> Callable[[], int]:
    """Add up many leaves: a wide graph of count + 1 tasks."""
    return requires([leaf(number) for number in range(count)])(sum)


@task
def link(length: int) -> Callable[[], int]:
    """Add one to the link before: a chain of length + 1 tasks."""
    if length == 0:
        return lambda: 0
    return requires(link(length - 1))(lambda before: before + 1)


@task
def choose(n: int, k: int) -> Callable[[], int]:
    """Follow Pascal's rule: a graph in which most results have two consumers."""
    if k in (0, n):
        return lambda: 1
    return requires([choose(n - 1, k - 1), choose(n - 1, k)])(sum)


def choose_count(n: int, k: int) -> int:
    """Return how many tasks choose(n, k) consists of."""
    return (k + 1) * (n - k + 1) - 1


@memo
def square(number: int) -> int:
    """Compute next to nothing in a plain function."""
    return number * number


@Stage.wrap()
def zero() -> int:
    """Compute next to nothing, from nothing."""
    return 0


@Stage.wrap()
def increment(number: int) -> int:
    """Compute next to nothing from what is above."""
    return number + 1


def stages(count: int) -> Pipeline:
    """Return a chain of stages."""
    pipeline = Pipeline(zero)
    for _ in range(count - 1):
        pipeline = pipeline >> increment
    return pipeline


@contextmanager
def fresh_folder() -> Iterator[Path]:
    """Give a folder that goes when the block ends, and with it the store inside."""
    with TemporaryDirectory(prefix="checkpoint-benchmark-") as name:
        yield Path(name)


@contextmanager
def fresh_store() -> Iterator[Path]:
    """Make an empty store the current one for a block."""
    with fresh_folder() as folder, checkpoint.open_store(folder) as opened:
        try:
            yield folder
        finally:
            opened.store.close()


def pause(number: int, seconds: float) -> int:
    """Take some time, if any."""
    if seconds:
        time.sleep(seconds)
    return number


@memo
def paused(number: int, seconds: float) -> int:
    """Do the same, and be kept."""
    return pause(number, seconds)
