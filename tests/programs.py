"""Tasks in an importable module, for tests whose workers are other processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from checkpoint import memo, requires, task, task_directory


@task
def choose(n: int, k: int) -> Callable[[], int]:
    if 0 < k < n:

        @requires([choose(n - 1, k - 1), choose(n - 1, k)])
        def run_task(prev_two: list[int]) -> int:
            return sum(prev_two)

    elif k == 0 or k == n:

        def run_task() -> int:
            return 1

    else:
        raise ValueError(f"{(n, k)}")
    return run_task


@task
def chain(length: int) -> Callable[[], int]:
    if length == 0:
        return lambda: 0

    @requires(chain(length - 1))
    def run_task(value: int) -> int:
        return value + 1

    return run_task


@memo
def square(x: int) -> int:
    return x * x


@memo
def total(parts: list[int]) -> int:
    return sum(parts)


@memo
def fail(name: str) -> int:
    raise KeyError(name)


@memo
def leave(code: int) -> int:
    raise SystemExit(code)


class Awkward(Exception):
    """Cannot be rebuilt from its args."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one)


@memo
def fail_awkwardly(x: int) -> int:
    raise Awkward(x, 2)


class Unpicklable(Exception):
    """Cannot be pickled at all."""

    def __init__(self, text: str) -> None:
        super().__init__(text, threading.Lock())


@memo
def fail_unpicklably(x: int) -> int:
    raise Unpicklable("no way")


@memo
def unstorable(x: int) -> object:
    return {"values": [1, threading.Lock()]}


@memo
def die(x: int) -> int:
    if x == 0:
        os._exit(7)
    return x


@memo
def die_once(x: int, marks: str) -> int:
    mark = Path(marks, f"died-{x}")
    if not mark.exists():
        mark.touch()
        os._exit(7)
    return x


@memo(retries=2)
def flaky(x: int, marks: str, failures: int) -> int:
    attempts = len(list(Path(marks).glob(f"{x}-*")))
    Path(marks, f"{x}-{attempts}").touch()
    if attempts < failures:
        raise OSError(f"attempt {attempts}")
    return x


@memo(timeout=0.3)
def endless(x: int) -> int:
    while x:
        pass
    return x


@memo(timeout=0.2)
def stubborn(x: int) -> int:
    """Run for ever, deaf to the signal that a time limit sends."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    while True:
        pass


def _is_first(marks: str, name: str) -> bool:
    """Tell whether this is the first attempt."""
    mark = Path(marks, name)
    is_first = not mark.exists()
    mark.touch()
    return is_first


def _refuse_to_stop(seconds: float) -> None:
    """Run for so long, whatever is raised meanwhile."""
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        with contextlib.suppress(BaseException):
            time.sleep(left)


@memo(timeout=0.3)
def die_late_once(x: int, marks: str) -> int:
    """End the process after the timeout, before anybody else does, at the first attempt."""
    if _is_first(marks, f"late-{x}"):
        _refuse_to_stop(0.5)
        os._exit(7)
    return x


@memo(timeout=0.3, retries=1)
def stubborn_once(x: int, marks: str) -> int:
    """Run for ever at the first attempt."""
    if _is_first(marks, f"stubborn-{x}"):
        _refuse_to_stop(3600.0)
    return x


@memo(max_concurrency=2)
def limited(x: int, folder: str) -> int:
    """Return how many instances of this task were running while this one did."""
    return _crowd(x, folder)


@memo(pool="gpu")
def pooled(x: int, folder: str) -> int:
    return _crowd(x, folder)


@memo(pool="gpu")
def pooled_too(x: int, folder: str) -> int:
    return _crowd(x + 1000, folder)


def _crowd(x: int, folder: str) -> int:
    """Look for a moment who is here; the first ones wait for as many as a test has named in a file."""
    mark, expected, reached = Path(folder, str(x)), Path(f"{folder}.expected"), Path(f"{folder}.reached")
    least = int(expected.read_text()) if expected.exists() else 0
    mark.touch()
    most = 0
    began = time.monotonic()
    while (spent := time.monotonic() - began) < 0.05 or (most < least and not reached.exists() and spent < 60):
        most = max(most, len(os.listdir(folder)))
    reached.touch()
    mark.unlink()
    return most


@memo
def fail_when_two_run(x: int, folder: str) -> int:
    """The first fails once the second runs; the second ends once a file says that the failure is known."""
    marks = Path(folder, "marks")
    marks.mkdir(exist_ok=True)
    (marks / f"begun-{x}").touch()
    while len(os.listdir(marks)) < 2:
        time.sleep(0.001)
    if x == 0:
        raise OSError("first")
    while not Path(folder, "failed").exists():
        time.sleep(0.001)
    return x


@memo
async def fetch(x: int) -> int:
    await asyncio.sleep(0)
    return x


@task
def fetch_sum(n: int) -> Callable[[], int]:
    @requires([fetch(i) for i in range(n)])
    async def run_task(values: list[int]) -> int:
        await asyncio.sleep(0)
        return sum(values)

    return run_task


@memo
def nested(n: int) -> int:
    return total([square(i) for i in range(n)]).run()


@memo
def writes_file(text: str) -> str:
    path = task_directory() / "note.txt"
    path.write_text(text)
    return str(path)


@memo
def process_of(x: int) -> int:
    return os.getpid()


def tripled(x: int) -> int:
    return x * 3


class Scale:
    """Is found by name."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return x * self.factor


@memo
def applied(function: Callable[[int], int], x: int) -> int:
    return function(x)


@task
def applied_twice(function: Callable[[int], int], x: int) -> Callable[[], int]:
    """Pass a function on to another task, in the worker."""

    @requires([applied(function, x), applied(function, x + 1)])
    def run_task(values: list[int]) -> int:
        return sum(values)

    return run_task


@memo
def made_with(kind: type, x: int) -> int:
    return int(kind(x)(x))
