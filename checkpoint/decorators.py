"""Decorators: `@task` makes a Task of a body, `@memo` of a plain function, `@requires` names a runner's inputs.

`observe/` shows runs, and is nobody's foundation.

Next: journal/records.py
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, Unpack, overload

from checkpoint import keys
from checkpoint.errors import name_of
from checkpoint.graph import Instance, Item, Runner
from checkpoint.options import TaskOptions, TaskSettings
from checkpoint.tasks import Task, TaskInstance

__all__ = ["memo", "requires", "task"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
D = TypeVar("D")
K = TypeVar("K")


class _TaskDecorator(Protocol):
    @overload
    def __call__(self, body: Callable[P, Callable[[], Coroutine[Any, Any, R]]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, body: Callable[P, Callable[[], R]], /) -> Task[P, R]: ...


class _MemoDecorator(Protocol):
    @overload
    def __call__(self, function: Callable[..., Coroutine[Any, Any, R]], /) -> Task[..., R]: ...
    @overload
    def __call__(self, function: Callable[..., R], /) -> Task[..., R]: ...


@overload
def task(body: Callable[P, Callable[[], Coroutine[Any, Any, R]]], /) -> Task[P, R]: ...
@overload
def task(body: Callable[P, Callable[[], R]], /) -> Task[P, R]: ...
@overload
def task(**options: Unpack[TaskSettings]) -> _TaskDecorator: ...
def task(body: Callable[..., Any] | None = None, /, **options: Unpack[TaskSettings]) -> Any:
    """Make a task of a body: a function that plans, and returns the function (the runner) that computes.

    Used bare, `@task`, or with options, `@task(compress=True)`. Creates nothing on disk.

    Args:
        body: a pure function of its arguments; it may be evaluated more than once, in other processes too.
        compress: keep results compressed with zstandard: True for level 3, or a level from -7 to 22.
        max_concurrency: at most so many instances of this task run at once in a run.
        version: pins the code by hand: edits of the code no longer matter, another version computes again.
        on_change: what to do with results of edited code: "warn" (once per process) and use them, "rerun", "ignore".
        depends_on: functions, classes, modules or plain values whose change counts as a change of this task.
        retries: how often a failed instance is tried again in a run.
        timeout: seconds after which a runner is stopped, in processes that checkpoint started; elsewhere it is
            noted in the log and the result is kept.
        pool: a resource shared by several tasks; `run(pools={name: size})` says how many may hold it (default 1).
        name: the name under which results are kept, instead of module and function.
        store: False for a result that is not kept: each consumer computes it in its own process.
        defaults_added: parameters that this function did not always have, each with the value that does what it did
            without: `{"top": 10}`. A call with that value finds the results from before.
        codec: "json" for results that other programs read, or an object with `name`, `encode` and `decode`.

    Raises:
        TypeError, ValueError: the body is no plain function, or an option cannot be.
    """
    return _decorator(body, options, is_memo=False)


@overload
def memo(function: Callable[..., Coroutine[Any, Any, R]], /) -> Task[..., R]: ...
@overload
def memo(function: Callable[..., R], /) -> Task[..., R]: ...
@overload
def memo(**options: Unpack[TaskSettings]) -> _MemoDecorator: ...
def memo(function: Callable[..., Any] | None = None, /, **options: Unpack[TaskSettings]) -> Any:
    """Make a task of a plain function: what it returns is the result.

    Instances among its arguments, at any depth of lists, tuples and dicts, are its dependencies: the function is
    called with their values. The options are those of `task`.

    Raises:
        TypeError, ValueError: it is no plain function, or an option cannot be.
    """
    return _decorator(function, options, is_memo=True)


#: Flags of code, as in `inspect`, which takes long to import.
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200


def _decorator(function: Any, options: TaskSettings, *, is_memo: bool) -> Any:
    decorate = functools.partial(_make, options, is_memo)
    return decorate if function is None else decorate(function)


def _make(options: TaskSettings, is_memo: bool, function: Any) -> Task[..., Any]:
    decorator = "memo" if is_memo else "task"
    if isinstance(function, Task):
        raise TypeError(f"@{decorator}: {function.name} is a task already")
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"@{decorator} takes a function, not {name_of(function)}: {function!r}")
    name = f"{keys.module_name(function.__module__)}.{function.__qualname__}"
    flags = function.__code__.co_flags
    if flags & (_GENERATOR | _ASYNC_GENERATOR):
        raise TypeError(f"@{decorator}: {name} is a generator, whose values cannot be kept; return a list")
    if flags & _COROUTINE and not is_memo:
        raise TypeError(
            f"@task: the body of {name} plans and must be a plain function; "
            "make the runner inside it `async def`, or use @memo"
        )
    return Task(function, TaskOptions.of(name, options), is_memo=is_memo)


class _Requirement(Protocol[R_co]):
    """What `requires` returns. A runner of one argument is checked; of several, only their number is."""

    @overload
    def __call__(self, function: Callable[[R_co], R], /) -> Callable[[], R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, Any, P], R], /) -> Callable[Concatenate[Any, P], R]: ...


@overload
def requires(required: TaskInstance[D], /) -> _Requirement[D]: ...
@overload
def requires(required: list[TaskInstance[D]], /) -> _Requirement[list[D]]: ...
@overload
def requires(required: dict[K, TaskInstance[D]], /) -> _Requirement[dict[K, D]]: ...
@overload
def requires(required: Any, /) -> Callable[[Callable[..., R]], Callable[..., R]]: ...
def requires(required: Any, /) -> Any:
    """Say, inside a body, which values a runner takes: one more argument, before those of decorators below.

    Args:
        required: an instance, a part of one (`instance["k"]`), or lists, tuples and dicts of these at any depth,
            which arrive in the same shape. Plain values among them are passed as they are.

    Raises:
        TypeError: there is no instance in it, or a task, function or class, which somebody forgot to call.
    """
    found: list[Instance] = []
    _gather(required, found)
    is_empty = type(required) in (list, tuple, dict) and not required
    if not found and not is_empty:
        raise TypeError(f"requires() takes task instances; {name_of(required)} {repr(required)[:60]} is or holds none")

    def decorate(function: Callable[..., Any]) -> Runner:
        if isinstance(function, Runner):
            return Runner(function.function, (required, *function.requirements), [*found, *function.required()])
        if not callable(function) or isinstance(function, Task):
            raise TypeError(f"@requires decorates the function that computes, not {name_of(function)}")
        return Runner(function, (required,), found)

    return decorate


def _gather(structure: Any, found: list[Instance], path: tuple[Any, ...] = ()) -> None:
    """Find the instances in a structure; raise if there is what somebody forgot to call."""
    if isinstance(structure, TaskInstance):
        found.append(structure)
    elif isinstance(structure, Item):
        found.append(structure.instance)
    elif type(structure) in (list, tuple):
        for index, part in enumerate(structure):
            if type(part) is TaskInstance:
                found.append(part)
            else:
                _gather(part, found, (*path, index))
    elif type(structure) is dict:
        for name, part in structure.items():
            _gather(part, found, (*path, name))
    elif isinstance(structure, (Task, Runner, type, types.FunctionType, types.GeneratorType)):
        place = f", at {''.join(f'[{step!r}]' for step in path)}" if path else ""
        advice = "call it" if callable(structure) else "make a list of it"
        raise TypeError(f"requires() takes task instances{place}, not {name_of(structure)}; {advice}")
