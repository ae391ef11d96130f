"""A program that is killed at any moment: tasks that note what they begin and end, in a file that survives them.

    python victims.py KIND SHAPE PACKING

Each note is one line, appended in one write: what, call, round, worker, time.
"""

from __future__ import annotations

import contextlib
import hashlib
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


@contextlib.contextmanager
def noted(call: str) -> Iterator[None]:
    """Note begin and end of a block."""
    worker = f"{os.getpid()}-{threading.get_native_id()}"
    file = os.open(os.environ[NOTES], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        for what in ("begin", "end"):
            line = f"{what} {call} {os.environ[ROUND]} {worker} {time.monotonic_ns()}\n"
            os.write(file, line.encode())
            if what == "begin":
                yield
    finally:
        os.close(file)


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


@task
def everything(shape: str, packing: str) -> Callable[..., str]:
    count = SHAPES[shape][0]

    @requires([digest(number, shape, packing) for number in range(count)])
    def run_task(digests: list[str]) -> str:
        with noted("everything-0"):
            return hashlib.sha256("".join(digests).encode()).hexdigest()

    return run_task


if __name__ == "__main__":
    kind, shape, packing = sys.argv[1:]
    print("started", flush=True)
    report = run_report(everything(shape, packing), executor=kind, max_workers=None if kind == "serial" else 3)
    print(report.value, report.computed, report.hit)
