"""Testing: does an executor do what runs rely on? For executors that this package doesn't know.

Each check is a function of a `Subject` and says in one sentence what holds; it raises AssertionError otherwise, or what
the run raised. They compute small tasks, some of which fail, end their process or return what can't be kept, in a
store of their own.

Must not know: any engine.

Next: flows/__init__.py
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from checkpoint.decorators import memo, requires, task
from checkpoint.errors import TaskFailedError, TaskLostError, UnstorableError
from checkpoint.reports import RunReport
from checkpoint.store import open_store
from checkpoint.tasks import run_report
from checkpoint.traits import ExecutorTraits, Submits

__all__ = ["EXECUTOR_CHECKS", "KILLING_CHECKS", "Subject", "check_executor"]


@final
@dataclass(frozen=True, slots=True)
class Subject:
    """An executor under test, with what `run` takes beside it. `folder` is one that its workers share with us."""

    executor: Submits | str
    traits: ExecutorTraits | None = None
    max_workers: int | None = None
    folder: str | None = None

    def report(self, instances: Any, **options: Any) -> RunReport[Any]:
        """Run instances on it."""
        options = {"traits": self.traits, "max_workers": self.max_workers, **options}
        return run_report(instances, executor=self.executor, progress=False, **options)

    def run(self, instances: Any, **options: Any) -> Any:
        """Return the values of instances."""
        return self.report(instances, **options).value

    def is_in_this_process(self) -> bool:
        """Tell whether it computes here, so that nothing can be killed."""
        return os.getpid() in self.run([process_of(i) for i in range(4)])


Check = Callable[[Subject], None]
#: Name -> check.
EXECUTOR_CHECKS: dict[str, Check] = {}
#: The same, of checks that end worker processes; an executor that breaks by that is broken afterwards.
KILLING_CHECKS: dict[str, Check] = {}


def check_executor(
    executor: Submits | str,
    *,
    traits: ExecutorTraits | None = None,
    max_workers: int | None = None,
    folder: str | None = None,
    kills: bool = True,
) -> list[str]:
    """Check that runs on an executor do what they promise; return the names of the checks, all passed.

    Args:
        executor: what `run(executor=...)` takes.
        traits: what `run(traits=...)` takes.
        max_workers: what `run(max_workers=...)` takes.
        folder: where workers and this process both find files, if not the folder for temporary ones.
        kills: also end worker processes, at last; an executor that does not survive that is broken then.

    Raises:
        ExceptionGroup: what went wrong; a note of each names the check.

    Notes:
        Takes some seconds. Where a worker's computer is another one, `folder` must be one that both can see.
    """
    subject = Subject(executor, traits, max_workers, folder)
    passed: list[str] = []
    failures: list[Exception] = []
    for name, check in (*EXECUTOR_CHECKS.items(), *(KILLING_CHECKS.items() if kills else ())):
        try:
            with _own_store(subject):
                check(subject)
            passed.append(name)
        except Exception as error:
            error.add_note(f"in the check {name}: {check.__doc__}")
            failures.append(error)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(failures) + len(passed)} checks failed", failures)
    return passed


@contextlib.contextmanager
def _own_store(subject: Subject) -> Iterator[None]:
    with tempfile.TemporaryDirectory(dir=subject.folder, ignore_cleanup_errors=True) as folder:
        store = open_store(folder)
        with store:
            yield
        store.store.close()


def _check(function: Check) -> Check:
    EXECUTOR_CHECKS[function.__name__] = function
    return function


def _killing(function: Check) -> Check:
    KILLING_CHECKS[function.__name__] = function
    return function


def _equal(expected: object, actual: object) -> None:
    if expected != actual:
        raise AssertionError(f"expected {expected!r}, found {actual!r}")


@contextlib.contextmanager
def _shared_folder(subject: Subject) -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=subject.folder, ignore_cleanup_errors=True) as folder:
        yield folder


# --- tasks that workers import ----------------------------------------------------------------------------


@task
def paths(n: int, k: int) -> Callable[[], int]:
    """Count the ways through a grid: each instance requires two others."""
    if not 0 < k < n:
        return lambda: 1

    @requires([paths(n - 1, k - 1), paths(n - 1, k)])
    def run_task(values: list[int]) -> int:
        return sum(values)

    return run_task


@memo
def square(x: int) -> int:
    return x * x


@memo
def total(parts: list[int]) -> int:
    return sum(parts)


@memo
def blank(size: int) -> bytes:
    return bytes(size)


@memo
def length(value: bytes) -> int:
    return len(value)


@memo
def process_of(x: int) -> int:
    time.sleep(0.01)
    return os.getpid()


@memo
def inner_total(n: int) -> int:
    value: int = total([square(i) for i in range(n)]).run()
    return value


@memo
async def later(x: int) -> int:
    await asyncio.sleep(0)
    return x


class Awkward(Exception):
    """Cannot be made again from its args."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one)


@memo
def misbehave(how: str) -> object:
    """Do what breaks an executor that passes exceptions and results on as they are."""
    if how == "awkward":
        raise Awkward(1, 2)
    if how == "unpicklable":
        raise ValueError("no way", threading.Lock())
    if how == "exit":
        raise SystemExit(3)
    if how == "interrupted text":
        raise RuntimeError("\udcff")
    return {"values": [1, threading.Lock()]}


@memo
def fails_until(file: str) -> str:
    if not Path(file).exists():
        raise FileNotFoundError(file)
    return "there"


@memo(retries=2)
def third_time(folder: str) -> int:
    attempts = len(os.listdir(folder))
    Path(folder, str(attempts)).touch()
    if attempts < 2:
        raise OSError(f"attempt {attempts}")
    return attempts


@memo(max_concurrency=1)
def alone(x: int, folder: str) -> int:
    """Return how many of these ran while this one did."""
    mark = Path(folder, str(x))
    mark.touch()
    time.sleep(0.02)
    count = len(os.listdir(folder))
    mark.unlink()
    return count


@memo
def slow_or_bad(x: int) -> int:
    if x == 0:
        raise KeyError("bad")
    time.sleep(0.05)
    return x


@memo
def die(x: int) -> int:
    if x == 0:
        os._exit(7)
    return x


@memo
def die_once(x: int, folder: str) -> int:
    mark = Path(folder, str(x))
    if not mark.exists():
        mark.touch()
        os._exit(7)
    return x


# --- checks: values and code ------------------------------------------------------------------------------


@_check
def same_values(subject: Subject) -> None:
    """A graph has the values it has anywhere, and a second run computes nothing."""
    wanted = [paths(6, 3), {"total": total([square(i) for i in range(20)])}]
    report = subject.report(wanted)
    _equal([20, {"total": 2470}], report.value)
    _equal(15 + 21, report.computed)
    again = subject.report(wanted)
    _equal(([20, {"total": 2470}], 0), (again.value, again.computed))


@_check
def closures(subject: Subject) -> None:
    """Tasks that are closures, and lambdas as arguments, travel by value."""

    def make(k: int) -> Any:
        @memo(version=k, name=f"closure-{k}")
        def scaled(n: int, function: Callable[[int], int]) -> int:
            return function(n) * k

        return scaled

    _equal([9, 16], subject.run([make(3)(1, lambda n: n + 2), make(4)(2, lambda n: n + 2)]))


_numbers = itertools.count()
_SOURCE = """
from checkpoint import memo, requires, task
FACTOR = 3
def helper(x):
    return x * FACTOR
class Pair:
    def __init__(self, x):
        self.x = x
@memo
def pair(x):
    return Pair(helper(x))
@memo
def scaled(pair):
    return pair.x
@task
def both(x):
    return requires([scaled(pair(x)), scaled(pair(x + 1))])(lambda values: sum(values))
"""


@_check
def code_that_workers_lack(subject: Subject) -> None:
    """A module that no worker can import travels by value, with its functions, globals and other tasks."""
    name = f"checkpoint_testing_{os.getpid()}_{next(_numbers)}"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{name}.py").write_text(_SOURCE)
        sys.path.insert(0, folder)
        try:
            module: Any = importlib.import_module(name)
        finally:
            sys.path.remove(folder)
        _equal([9, 15], subject.run([module.both(1), module.both(2)]))


@_check
def coroutines(subject: Subject) -> None:
    """`async def` runners are awaited where they run."""
    _equal([0, 1, 2], subject.run([later(i) for i in range(3)]))


@_check
def large_values(subject: Subject) -> None:
    """A value of 8 MB arrives whole at the instance that requires it."""
    _equal(8_000_000, subject.run(length(blank(8_000_000))))  # pyright: ignore[reportArgumentType]


@_check
def nested_runs(subject: Subject) -> None:
    """A runner may call run(), however many of them there are: nothing waits for a free worker."""
    _equal([sum(i * i for i in range(n)) for n in range(8)], subject.run([inner_total(n) for n in range(8)]))


@_check
def values_through_this_process(subject: Subject) -> None:
    """Where workers have no way to the store, values travel, and are the same."""
    if subject.is_in_this_process():
        return
    traits = ExecutorTraits(via="parent") if subject.traits is None else subject.traits.overridden(
        ExecutorTraits(via="parent"))  # fmt: skip
    wanted = [paths(5, 2), total([square(i) for i in range(10)])]
    _equal([10, 285], subject.run(wanted, traits=traits))
    _equal(0, subject.report(wanted).computed)


# --- checks: calls ----------------------------------------------------------------------------------------


@_check
def equal_calls(subject: Subject) -> None:
    """Equal instances are one call."""
    report = subject.report([square(3)] * 5)
    _equal(([9] * 5, 1), (report.value, report.computed))


@_check
def many_calls(subject: Subject) -> None:
    """Five hundred small instances are all computed, once."""
    report = subject.report([square(i) for i in range(500)])
    _equal(([i * i for i in range(500)], 500), (report.value, report.computed))


@_check
def limits(subject: Subject) -> None:
    """max_concurrency holds."""
    with _shared_folder(subject) as folder:
        _equal({1}, set(subject.run([alone(i, folder) for i in range(4)])))


@_check
def runs_side_by_side(subject: Subject) -> None:
    """Several threads may use it for runs at once."""
    with ThreadPoolExecutor(3) as pool:
        store = tempfile.mkdtemp(dir=subject.folder)
        found = pool.map(lambda k: subject.run(paths(5, k), store=store), range(6))
        _equal([1, 5, 10, 10, 5, 1], list(found))


# --- checks: failures -------------------------------------------------------------------------------------


@_check
def bad_exceptions_and_results(subject: Subject) -> None:
    """Exceptions and results that can't be pickled, and sys.exit(), are reported; it works on afterwards."""
    ways = ("awkward", "unpicklable", "exit", "result", "interrupted text")
    report = subject.report([*(misbehave(how) for how in ways), square(2)], on_error="continue")
    kinds = {instance.arguments["how"]: error for instance, error in report.failures.items()}
    _equal((set(ways), 1), (set(kinds), report.computed))
    _equal(True, isinstance(kinds["result"], UnstorableError))
    _equal(True, isinstance(kinds["exit"], (TaskFailedError, SystemExit)))
    _equal(9, subject.run(square(3)))


@_check
def failures_are_not_kept(subject: Subject) -> None:
    """A call that failed is made again by the next run, not answered from memory."""
    with _shared_folder(subject) as folder:
        file = Path(folder, "file")
        instance = fails_until(str(file))
        _equal(FileNotFoundError, type(subject.report(instance, on_error="continue").failures[instance]))
        file.touch()
        _equal("there", subject.run(instance))


@_check
def retries(subject: Subject) -> None:
    """retries=2 gives three attempts."""
    with _shared_folder(subject) as folder:
        _equal(2, subject.run(third_time(folder)))


@_check
def a_failure_stops_the_rest(subject: Subject) -> None:
    """After a failure no further instance is begun, and what ran is kept."""
    wanted = [slow_or_bad(x) for x in range(200)]
    report = subject.report(wanted)
    _equal([KeyError], [type(error) for error in report.failures.values()])
    _equal(True, report.computed < 150)
    _equal(report.computed, sum(instance.is_cached() for instance in wanted))


@_check
def independent_work_goes_on(subject: Subject) -> None:
    """With on_error="continue" everything that doesn't depend on a failure is computed."""
    wanted: Sequence[Any] = [total([slow_or_bad(0), square(1)]), total([square(2), square(3)])]
    report = subject.report(wanted, on_error="continue")
    _equal((4, 1, [wanted[0]]), (report.computed, report.failed, list(report.skipped)))


# --- checks: lost workers ---------------------------------------------------------------------------------


@_killing
def a_deadly_call_is_named(subject: Subject) -> None:
    """A call that ends its worker is lost, by name; where the executor survives that, all others are computed."""
    if subject.is_in_this_process():
        return
    wanted = [die(x) for x in range(8)]
    try:
        report = subject.report(wanted, on_error="continue")
    except TaskLostError as error:
        _equal(True, "die(x=" in error.call)
        return
    _equal([(wanted[0], TaskLostError)], [(call, type(error)) for call, error in report.failures.items()])
    _equal(list(range(1, 8)), [instance.result() for instance in wanted[1:]])


@_killing
def a_lost_worker_is_replaced(subject: Subject) -> None:
    """Where the executor survives the death of a worker, the call is made again elsewhere."""
    try:
        if subject.is_in_this_process():
            return
    except TaskLostError:
        return  # the check before has broken it, as it may
    with _shared_folder(subject) as folder:
        try:
            _equal([0, 1], subject.run([die_once(x, folder) for x in range(2)]))
        except TaskLostError as error:
            _equal(True, "die_once(x=" in error.call)
