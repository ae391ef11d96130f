"""A program for tests of many runs at once: a random part of a graph that all of them share, on one store."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable

from checkpoint import requires, run_report, task

SIZE = int(os.environ.get("SIZE", "1000"))
WIDTH = 50


def log(line: str) -> None:
    """Append a line to the log of all programs, in one write."""
    descriptor = os.open(os.environ["LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


@task
def cell(number: int) -> Callable[[], int]:
    """Return a number made of three cells of the row above; each attempt is in the log."""
    dice = random.Random(number)
    above = [cell((number // WIDTH - 1) * WIDTH + dice.randrange(WIDTH)) for _ in range(3 if number >= WIDTH else 0)]

    @requires(above)
    def run_task(values: list[int]) -> int:
        log(f"{os.getpgrp()} {number}")
        time.sleep(dice.choice([0.0, 0.0, 0.001, 0.01]) + float(os.environ.get("SECONDS", "0")))
        return (sum(values) * 31 + number) % 1_000_003

    return run_task


def wanted(seed: int, count: int) -> list[int]:
    """Return the cells that a program asks for, in an order of its own."""
    return random.Random(seed).sample(range(SIZE), count)


if __name__ == "__main__":
    from overlapping import cell as shared_cell  # by its importable name, whatever the program is called

    kind, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    report = run_report([shared_cell(number) for number in wanted(seed, count)], executor=kind, max_workers=2)
    print(sum(report.value), report.computed, report.found, flush=True)
