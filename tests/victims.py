"""A program that is killed at any moment: tasks that note what they begin and end, in a file that survives them.

    python victims.py KIND SHAPE PACKING

Some tasks fail at the first attempt of each round, one takes too long then. Each note is one line, appended in one
write: what (begin, end or fail), call, round, worker (group of processes, process, thread), time.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from checkpoint import memo, requires, run_report, task

#: Environment variables: the file of notes, and the number of the round.
NOTES, ROUND = "VICTIM_NOTES", "VICTIM_ROUND"

#: Shape -> how many parts of how many bytes, and how many seconds each takes at least.
SHAPES = {"small": (80, 200, 0.003), "mixed": (40, 60_000, 0.01), "large": (4, 50 << 20, 0.0)}
#: How many tasks fail at the first attempt of a round.
FLAKY = 6


@contextlib.contextmanager
def noted(call: str) -> Iterator[None]:
    """Note begin and end of a block."""
    worker = f"{os.getpgrp()}-{os.getpid()}-{threading.get_native_id()}"
    file = os.open(os.environ[NOTES], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(what: str) -> None:
        os.write(file, f"{what} {call} {os.environ[ROUND]} {worker} {time.monotonic_ns()}\n".encode())

    try:
        note("begin")
        try:
            yield
        except Exception:
            note("fail")
            raise
        note("end")
    finally:
        os.close(file)


def is_first_attempt(call: str) -> bool:
    """Tell whether a call is attempted for the first time in this round, by whatever process."""
    try:
        os.close(os.open(f"{os.environ[NOTES]}.{os.environ[ROUND]}.{call}", os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


def content(number: int, size: int) -> Any:
    """Return a value of a size, half of which can't be compressed; a large one is an array."""
    noise = random.Random(number).randbytes(size // 2) + bytes(size - size // 2)
    if size < 1 << 20:
        return noise
    import numpy

    return numpy.frombuffer(noise, numpy.uint8)


def make(number: int, size: int, seconds: float) -> Any:
    """Return the content, not before some seconds of work."""
    enough = time.perf_counter() + seconds * (number % 5)
    value = content(number, size)
    while time.perf_counter() < enough:
        hashlib.sha256(b"work" * 1000).digest()
    return value


@memo
def part(number: int, size: int, seconds: float) -> Any:
    with noted(f"part-{number}"):
        return make(number, size, seconds)


@memo(compress=True)
def packed(number: int, size: int, seconds: float) -> Any:
    with noted(f"packed-{number}"):
        return make(number, size, seconds)


@task
def digest(number: int, shape: str, packing: str) -> Callable[..., str]:
    count, size, seconds = SHAPES[shape]
    source = packed if packing == "packed" else part

    @requires([source(number, size, seconds), source((number + 1) % count, size, seconds)])
    def run_task(values: list[Any]) -> str:
        with noted(f"digest-{number}"):
            return hashlib.sha256(b"".join(map(bytes, values))).hexdigest()

    return run_task


@memo(retries=1)
def flaky(number: int) -> str:
    """Fail at the first attempt."""
    with noted(f"flaky-{number}"):
        if is_first_attempt(f"flaky-{number}"):
            raise ConnectionError(number)
        return str(number)


@memo(retries=3, timeout=1.0)
def late(number: int) -> str:
    """Take too long at the first attempt, where that can be stopped."""
    with noted(f"late-{number}"):
        if is_first_attempt(f"late-{number}") and multiprocessing.parent_process() is not None:
            time.sleep(60.0)
        return str(number)


@task
def everything(shape: str, packing: str) -> Callable[..., str]:
    count = SHAPES[shape][0]
    awkward = [*(flaky(number) for number in range(FLAKY)), late(0)]

    @requires([*(digest(number, shape, packing) for number in range(count)), *awkward])
    def run_task(digests: list[str]) -> str:
        with noted("everything-0"):
            return hashlib.sha256("".join(digests).encode()).hexdigest()

    return run_task


if __name__ == "__main__":
    kind, shape, packing = sys.argv[1:]
    print("started", flush=True)
    report = run_report(everything(shape, packing), executor=kind, max_workers=None if kind == "serial" else 3)
    print(report.value, report.computed, report.hit)
