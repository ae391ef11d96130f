"""What type checkers know of tasks; checked by mypy --strict and pyright, never run.

A line with an ignore is a mistake that both must see: an ignore that isn't needed is an error, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_type

from checkpoint import RunReport, Task, TaskInstance, memo, requires, run, run_report, task


@task
def choose(n: int, k: int) -> Callable[[], int]:
    """Plan with instances of itself."""
    if 0 < k < n:

        @requires([choose(n - 1, k - 1), choose(n - 1, k)])
        def add(prev_two: list[int]) -> int:
            return sum(prev_two)

        return add

    def one() -> int:
        return 1

    return one


@task(compress=True, max_concurrency=2, on_change="rerun", codec="json")
def label(n: int, *, prefix: str = "") -> Callable[[], str]:
    """Plan with options."""

    def run_task() -> str:
        return prefix + str(n)

    return run_task


@memo
def length(text: str) -> int:
    """Compute directly."""
    return len(text)


@memo(retries=2)
def total(numbers: list[int]) -> float:
    """Compute directly, with options."""
    return sum(numbers) / 2


@task
def fetch(url: str) -> Callable[[], Any]:
    """Plan an asynchronous runner of any type."""

    async def run_task() -> bytes:
        return url.encode()

    return run_task


@memo
async def download(url: str) -> bytes:
    """Compute asynchronously."""
    return url.encode()


# --- calls -----------------------------------------------------------------------------------------------

assert_type(choose(6, 3), TaskInstance[int])
assert_type(choose(n=6, k=3).run(), int)
assert_type(choose(6, 3).result(), int)
assert_type(label(1, prefix="a").run(executor="serial", max_workers=1), str)
assert_type(choose(6, 3).is_cached(), bool)
choose(6)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
choose("6", 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
choose(6, 3, 1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
label(1, "a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

# --- memo ------------------------------------------------------------------------------------------------

assert_type(length("abc").run(), int)
assert_type(total([length("a"), length("b")]).run(), float)
assert_type(download("x").run(), bytes)

# --- async runners ---------------------------------------------------------------------------------------


async def runner_of_bytes() -> bytes:
    """Compute asynchronously."""
    return b""


@task
def planned(url: str) -> Callable[[], Any]:
    """Plan."""
    return runner_of_bytes


# --- requirements ----------------------------------------------------------------------------------------


@requires(choose(1, 1))
def takes_one(value: int) -> str:
    """Take one value."""
    return str(value)


@requires([choose(1, 1)])
def takes_list(values: list[int]) -> str:
    """Take a list."""
    return str(values)


@requires({"a": choose(1, 1)})
def takes_dict(values: dict[str, int]) -> str:
    """Take a dict."""
    return str(values)


@requires(label(1))
@requires([choose(1, 1)])
def takes_two(text: str, values: list[int]) -> float:
    """Take two values, top to bottom."""
    return len(text) + sum(values)


assert_type(takes_one(), str)
assert_type(takes_two(), float)


@requires(choose(1, 1))  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
def takes_text(value: str) -> str:
    """Take text where there is a number."""
    return value


@requires([choose(1, 1)])  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
def takes_number(values: int) -> int:
    """Take a number where there is a list."""
    return values


@requires({"a": choose(1, 1)})  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
def takes_numbered(values: dict[int, int]) -> int:
    """Take other keys than there are."""
    return len(values)


# --- runs ------------------------------------------------------------------------------------------------

assert_type(run(choose(6, 3)), int)
assert_type(run([choose(6, 3), choose(5, 2)]), list[int])
assert_type(run((choose(6, 3), choose(5, 2))), tuple[int, ...])
assert_type(run({"a": label(1)}), dict[str, str])
assert_type(run([[choose(6, 3)]], executor="threads"), Any)
assert_type(run_report(choose(6, 3)), RunReport[Any])
assert_type(run_report([choose(6, 3)]).computed, int)
run(choose)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
run(3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
choose(6, 3).run(workers=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
choose(6, 3).run(on_error="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# --- options ---------------------------------------------------------------------------------------------

task(compres=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
task(on_change="sometimes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
task(3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


# --- tasks -----------------------------------------------------------------------------------------------


def reset(any_task: Task[..., Any]) -> None:
    """Take any task."""
    any_task.clear()


reset(choose)
reset(length)
assert_type([call.seconds for call in choose.entries()], list[float])


async def wait() -> None:
    """Wait for a run."""
    assert_type(await choose(6, 3).run_async(), int)
