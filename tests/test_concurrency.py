"""Several processes and threads on one store at once: each sees what it could see if they took turns."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from contract_store import CHECKS, TASK, value_at, walk_store, write_of
from linear import Operation, order_of

import checkpoint
from checkpoint.store import Epoch, Store
from checkpoint.store.disk import DiskStore, disk_store

WAIT_S = 120
_numbers = itertools.count()

# --- the checker -----------------------------------------------------------------------------------------


def op(kind: str, called: int, returned: int, outcome: Any = None, value: Any = None, key_epoch: int = 0) -> Operation:
    return Operation(kind, value, (0, key_epoch), outcome, called, returned)


POSSIBLE = {
    "nothing": [],
    "read after write": [op("write", 0, 1, True, "a"), op("read", 2, 3, "a")],
    "read beside write, old": [op("write", 0, 9, True, "a"), op("read", 1, 2, None), op("read", 3, 4, "a")],
    "write beside clear, dropped": [op("clear", 0, 9), op("write", 1, 8, False, "a"), op("epochs", 10, 11, (0, 1))],
    "write beside clear, removed": [op("clear", 0, 9), op("write", 1, 8, True, "a"), op("read", 10, 11, None)],
}
IMPOSSIBLE = {
    "lost write": [op("write", 0, 1, True, "a"), op("read", 2, 3, None)],
    "value from nowhere": [op("read", 0, 1, "a")],
    "back to the old value": [
        *(op("write", 0, 1, True, "a"), op("write", 2, 9, True, "b")),
        *(op("read", 3, 4, "b"), op("read", 5, 6, "a")),
    ],
    "value that was cleared": [op("write", 0, 1, True, "a"), op("clear", 2, 3), op("read", 4, 5, "a")],
    "late write kept": [op("clear", 0, 1), op("write", 2, 3, True, "a")],
    "write dropped for nothing": [op("write", 0, 1, False, "a")],
    "lost clear": [op("clear", 0, 1), op("clear", 0, 1), op("epochs", 2, 3, (0, 1))],
}


@pytest.mark.parametrize("history", POSSIBLE.values(), ids=POSSIBLE)
def test_the_checker_accepts_what_can_happen(history: list[Operation]) -> None:
    """An order is found, and it has all operations."""
    found = order_of(history)
    assert found is not None
    assert set(history) == set(found)


@pytest.mark.parametrize("history", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_the_checker_refuses_what_cannot_happen(history: list[Operation]) -> None:
    """No order explains a lost, revived or invented value."""
    assert order_of(history) is None


# --- histories -------------------------------------------------------------------------------------------

ROWS = ['{"n":1}', '{"n":2}']


def use(store: Store, name: str, count: int, seed: str) -> list[tuple[str, Operation]]:
    """Do random things to two rows; return (row, operation) of each. A clear of the task is one of both rows."""
    dice = random.Random(seed)
    found = []
    for number in range(count):
        row = dice.choice(ROWS)
        (kind,) = dice.choices(["write", "read", "clear", "clear_task", "quarantine", "epochs"], [8, 8, 1, 0.5, 0.5, 1])
        value = f"{row} {name} {number}" + "x" * dice.choice([0, 0, 40_000])
        epoch = store.epochs(TASK, [row])[0] if kind == "write" else Epoch(0, 0)
        called = time.monotonic_ns()
        outcome: Any = None
        if kind == "write":
            outcome = store.write(TASK, [write_of(value, row, epoch=epoch)])[0]
        elif kind == "read":
            try:
                outcome = value_at(store, row)
            except KeyError:
                outcome = None
        elif kind == "epochs":
            outcome = tuple(store.epochs(TASK, [row])[0])
        elif kind == "quarantine":
            store.quarantine(TASK, row)
        else:
            store.clear(TASK, row if kind == "clear" else None)
        operation = Operation(kind, value, tuple(epoch), outcome, called, time.monotonic_ns())
        found += [(each, operation) for each in (ROWS if kind == "clear_task" else [row])]
    return found


def use_in_threads(url: str, name: str, count: int, seed: str) -> list[tuple[str, Operation]]:
    """Let two threads of this process use one store object."""
    store = DiskStore(url)
    found: list[tuple[str, Operation]] = []
    threads = [
        threading.Thread(
            target=lambda each=each: found.extend(use(store, f"{name}{each}", count, f"{seed}{name}{each}"))
        )
        for each in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    return found


PROGRAM = """
import json, sys
from test_concurrency import use_in_threads
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps(use_in_threads(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])))
"""


@pytest.mark.parametrize("rounds", [2, pytest.param(60, marks=pytest.mark.stress)])
def test_the_history_of_a_row_is_that_of_one_user_after_the_other(rounds: int, tmp_path: Path) -> None:
    """Three processes of two threads write, read, clear and set aside: an order explains all that each was told."""
    seed = os.environ.get("HISTORY_SEED", random.randrange(10**6))
    paths = [str(Path(checkpoint.__file__).parents[1]), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    operations = 0
    for number in range(rounds):
        url = str(tmp_path / f"store{number}")
        DiskStore(url).epochs(TASK, ROWS, creates=True)
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, url, name, "25", f"{seed}.{number}"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in "ABC"
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        histories: dict[str, list[Operation]] = {row: [] for row in ROWS}
        for process in processes:
            for row, fields in json.loads(process.communicate(timeout=WAIT_S)[0]):
                kind, value, epoch, outcome, called, returned = fields
                outcome = tuple(outcome) if isinstance(outcome, list) else outcome
                histories[row].append(Operation(kind, value, tuple(epoch), outcome, called, returned))
        for row, history in histories.items():
            assert order_of(history) is not None, (seed, number, row)
            operations += len(history)
    print(f"{rounds} rounds, {operations} operations, seed {seed}")


# --- one after the other, by many ------------------------------------------------------------------------


def call(url: str, method: str, args: Any, kwargs: Any) -> Any:
    """Call a method of the store at a folder in this process; what comes back can travel."""
    found = getattr(disk_store(url), method)(*args, **kwargs)
    if method == "read" and found is not None:
        return found[0], bytes(found[1]), found[2]
    return list(found) if method == "scan" else found


class Crowd:
    """A store each call of which is made by another one of several threads, processes and connections."""

    def __init__(self, url: str, executors: list[Executor]) -> None:
        self.url = url
        self._turns = itertools.cycle([None, *executors])

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def take_turn(*args: Any, **kwargs: Any) -> Any:
            executor = next(self._turns)
            if executor is None:
                found = call(self.url, method, args, kwargs)
            else:
                found = executor.submit(call, self.url, method, args, kwargs).result(WAIT_S)
            if method == "read" and found is not None:
                return found[0], memoryview(found[1]), found[2]
            return iter(found) if method == "scan" else found

        return take_turn


@pytest.fixture(scope="module")
def executors() -> Iterator[list[Executor]]:
    """Return a thread and two processes."""
    context = get_context("forkserver")
    found = [ThreadPoolExecutor(1), ProcessPoolExecutor(1, mp_context=context), ProcessPoolExecutor(1, context)]
    yield found
    for executor in found:
        executor.shutdown()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_a_crowd_keeps_the_contract(
    check: Callable[[Store], None], executors: list[Executor], pools: None, tmp_path: Path
) -> None:
    """What one thread or process has done, the next one sees."""
    check(Crowd(str(tmp_path / "crowd"), executors))  # type: ignore[arg-type]


@pytest.mark.parametrize("walks", [5, pytest.param(300, marks=pytest.mark.stress)])
def test_random_walks_of_a_crowd(walks: int, executors: list[Executor], pools: None, tmp_path: Path) -> None:
    """Whatever threads and processes do in turns, the store has what a dict has."""
    walk_store(lambda: Crowd(str(tmp_path / str(next(_numbers))), executors), walks=walks)  # type: ignore[arg-type,return-value]


@pytest.fixture
def pools() -> None:
    """Say that processes come up when they like."""
