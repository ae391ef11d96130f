"""Bad input: whatever is wrong is refused where it is given, in words that name it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from checkpoint import (
    CheckpointError,
    ExecutorTraits,
    File,
    NotCachedError,
    UnkeyableError,
    memo,
    open_store,
    register,
    requires,
    run,
    run_async,
    run_report,
    task,
    task_directory,
)


@memo
def double(n: int, *, by: int = 2) -> int:
    """Multiply."""
    return n * by


@memo
def never(*args: Any, **kwargs: Any) -> None:
    """Take anything."""


@task
def plan(n: Any) -> Any:
    """Plan nothing but to return an argument."""

    def run_task() -> Any:
        return n

    return run_task


def locking() -> Callable[[], Any]:
    """Return a function that captured what has no key."""
    lock = threading.Lock()
    return lambda: lock


def decorated(**options: Any) -> Callable[[], Any]:
    """Return a function that decorates a function `fit` with options."""

    def decorate() -> Any:
        @task(**options)
        def fit() -> Any:
            return lambda: 1

        return fit

    return decorate


def requiring(*required: Any) -> Callable[[], Any]:
    """Return a function that requires something inside the body of `fit`."""

    def call() -> Any:
        @task
        def fit() -> Any:
            @requires(*required)
            def run_task(value: Any) -> Any:
                return value

            return run_task

        return fit()

    return call


def body_returning(value: Any) -> Callable[[], Any]:
    """Return a function that calls a task whose body returns something."""

    def call() -> Any:
        @task
        def fit() -> Any:
            return value()

        return fit()

    return call


def running(**options: Any) -> Callable[[], Any]:
    """Return a function that runs an instance with options."""
    return lambda: run(double(1), **options)


def decorating(decorator: Any, thing: Any) -> Callable[[], Any]:
    """Return a function that decorates something that may be no function."""
    return lambda: decorator(thing)


def generator() -> Any:
    """Generate."""
    yield 1


async def coroutine() -> Any:
    """Wait for nothing."""


async def async_generator() -> Any:
    """Generate, waiting."""
    yield 1


class Adder:
    """An object that can be called."""

    def __call__(self) -> int:
        """Return a number."""
        return 1


def cyclic() -> list[Any]:
    """Return a list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


#: name -> (call, exception, words that the message must have)
CASES: dict[str, tuple[Callable[[], Any], type[Exception], list[str]]] = {
    # options
    "an unknown option": (decorated(compres=True), TypeError, ["fit", "'compres'", "compress, max_concurrency"]),
    "compress text": (decorated(compress="yes"), TypeError, ["compress", "fit", "'yes'", "-7 to 22"]),
    "compress None": (decorated(compress=None), TypeError, ["compress", "fit", "None"]),
    "compress too high": (decorated(compress=23), ValueError, ["compress", "fit", "23", "22"]),
    "compress too low": (decorated(compress=-8), ValueError, ["compress", "fit", "-8", "-7"]),
    "max_concurrency 0": (decorated(max_concurrency=0), ValueError, ["max_concurrency", "fit", "at least 1", "0"]),
    "max_concurrency -1": (decorated(max_concurrency=-1), ValueError, ["max_concurrency", "fit", "-1"]),
    "max_concurrency True": (decorated(max_concurrency=True), TypeError, ["max_concurrency", "fit", "True"]),
    "max_concurrency 1.5": (decorated(max_concurrency=1.5), TypeError, ["max_concurrency", "fit", "1.5"]),
    "max_concurrency text": (decorated(max_concurrency="2"), TypeError, ["max_concurrency", "fit", "'2'"]),
    "version list": (decorated(version=[1]), TypeError, ["version", "fit", "[1]"]),
    "version True": (decorated(version=True), TypeError, ["version", "fit", "True"]),
    "version 1.0": (decorated(version=1.0), TypeError, ["version", "fit", "1.0"]),
    "version empty": (decorated(version=""), ValueError, ["version", "fit", "''"]),
    "version with blanks": (decorated(version="a b"), ValueError, ["version", "fit", "'a b'"]),
    "version too long": (decorated(version="a" * 65), ValueError, ["version", "fit", "64"]),
    "on_change unknown": (decorated(on_change="rerunn"), ValueError, ["on_change", "fit", "rerun", "'rerunn'"]),
    "on_change True": (decorated(on_change=True), TypeError, ["on_change", "fit", "True"]),
    "depends_on text": (decorated(depends_on="numpy"), TypeError, ["depends_on", "fit", "list", "'numpy'"]),
    "depends_on function": (decorated(depends_on=generator), TypeError, ["depends_on", "fit", "list"]),
    "retries -1": (decorated(retries=-1), ValueError, ["retries", "fit", "at least 0", "-1"]),
    "retries True": (decorated(retries=True), TypeError, ["retries", "fit", "True"]),
    "retries None": (decorated(retries=None), TypeError, ["retries", "fit", "None"]),
    "timeout 0": (decorated(timeout=0), ValueError, ["timeout", "fit", "above 0"]),
    "timeout nan": (decorated(timeout=float("nan")), ValueError, ["timeout", "fit", "nan"]),
    "timeout infinite": (decorated(timeout=float("inf")), ValueError, ["timeout", "fit", "inf"]),
    "timeout text": (decorated(timeout="1h"), TypeError, ["timeout", "fit", "seconds", "'1h'"]),
    "timeout True": (decorated(timeout=True), TypeError, ["timeout", "fit", "True"]),
    "pool number": (decorated(pool=1), TypeError, ["pool", "fit", "text", "1"]),
    "pool blank": (decorated(pool=" "), ValueError, ["pool", "fit", "' '"]),
    "name number": (decorated(name=1), TypeError, ["name", "fit", "text"]),
    "name empty": (decorated(name=""), ValueError, ["name", "fit", "''"]),
    "name with NUL": (decorated(name="a\0b"), ValueError, ["name", "fit", r"a\x00b"]),
    "store number": (decorated(store=1), TypeError, ["store", "fit", "True or False", "1"]),
    "store path": (decorated(store="/tmp"), TypeError, ["store", "fit", "'/tmp'"]),
    "codec unknown": (decorated(codec="yaml"), ValueError, ["codec", "fit", "'yaml'", "'json'"]),
    "codec number": (decorated(codec=3), TypeError, ["codec", "fit", "encode", "3"]),
    "codec without methods": (decorated(codec=object()), TypeError, ["codec", "fit", "decode"]),
    "memo with a bad option": (
        lambda: memo(retries=-1)(lambda: 1),
        ValueError,
        ["retries", "<lambda>", "-1"],
    ),
    # what is decorated
    "task of text": (decorating(task, "fit"), TypeError, ["@task", "'fit'"]),
    "task of a class": (decorating(task, Adder), TypeError, ["@task", "function", "Adder"]),
    "task of an object": (decorating(task, Adder()), TypeError, ["@task", "function", "Adder"]),
    "task of a builtin": (decorating(memo, len), TypeError, ["@memo", "function", "len"]),
    "task of a partial": (decorating(memo, partial(len)), TypeError, ["@memo", "function", "partial"]),
    "task of a static method": (decorating(task, staticmethod(generator)), TypeError, ["@task", "staticmethod"]),
    "task of a task": (decorating(memo, double), TypeError, ["@memo", "double", "already"]),
    "task of a generator": (decorating(memo, generator), TypeError, ["@memo", "generator", "return a list"]),
    "task of an async generator": (decorating(memo, async_generator), TypeError, ["async_generator", "return a list"]),
    "task of an async body": (decorating(task, coroutine), TypeError, ["@task", "coroutine", "async def", "@memo"]),
    "options twice": (lambda: task(double, compress=True), TypeError, ["double"]),  # type: ignore[call-overload]
    # calls
    "an argument too few": (lambda: double(), TypeError, ["test_bad_input.double", "'n'"]),
    "an argument too many": (lambda: double(1, 2), TypeError, ["test_bad_input.double", "too many"]),
    "an unknown argument": (lambda: double(1, to=2), TypeError, ["test_bad_input.double", "'to'"]),
    "an argument twice": (lambda: double(1, n=1), TypeError, ["test_bad_input.double", "'n'"]),
    "an unkeyable argument": (lambda: double(object()), UnkeyableError, ["double", "'n'", "object", "plain data"]),
    "an unkeyable part": (lambda: plan({"a": [1, object()]}), UnkeyableError, ["plan", "'n'", "n['a'][1]", "object"]),
    "a module": (lambda: plan([threading]), UnkeyableError, ["plan", "n[0]", "module"]),
    "an unkeyable extra": (lambda: never(1, {2: object()}), UnkeyableError, ["never", "args[1][2]", "object"]),
    "an unkeyable keyword": (lambda: never(x=object()), UnkeyableError, ["never", "kwargs['x']"]),
    "a closure over a lock": (lambda: plan(locking()), UnkeyableError, ["plan", "'n'", "captured 'lock'"]),
    "a task": (lambda: plan(double), UnkeyableError, ["plan", "'n'", "Task", "call it"]),
    "a lock": (lambda: plan(threading.Lock()), UnkeyableError, ["plan", "'n'", "lock"]),
    "a circle": (lambda: plan(cyclic()), UnkeyableError, ["plan", "'n'", "nested", "flatter"]),
    # requirements
    "requires None": (requiring(None), TypeError, ["requires()", "None"]),
    "requires a number": (requiring(3), TypeError, ["requires()", "3"]),
    "requires a task": (requiring(double), TypeError, ["requires()", "double", "call it"]),
    "requires a function": (requiring(generator), TypeError, ["requires()", "generator", "call it"]),
    "requires a list with a task": (requiring([double(1), double]), TypeError, ["requires()", "[1]", "double"]),
    "requires a dict with a task": (requiring({"a": [double]}), TypeError, ["requires()", "['a'][0]", "double"]),
    "requires a generator": (requiring(double(n) for n in range(2)), TypeError, ["requires()", "generator", "list"]),
    "requires a list of numbers": (requiring([1, 2]), TypeError, ["requires()", "[1, 2]"]),
    "requires a set": (requiring({double(1)}), TypeError, ["requires()", "set"]),
    "requires nothing": (requiring(), TypeError, ["required"]),
    "requires two things": (requiring(double(1), double(2)), TypeError, ["1 positional"]),
    "requires decorates a number": (lambda: requires(double(1))(3), TypeError, ["@requires", "int"]),  # type: ignore[arg-type]
    "requires decorates a task": (lambda: requires(double(1))(double), TypeError, ["@requires", "double"]),
    # bodies
    "a body that returns None": (body_returning(lambda: None), TypeError, ["fit", "None", "@memo"]),
    "a body that computes": (body_returning(lambda: 42), TypeError, ["fit", "int", "@memo"]),
    "a body that returns a class": (body_returning(lambda: Adder), TypeError, ["fit", "Adder"]),
    "a body that returns a task": (body_returning(lambda: double), TypeError, ["fit", "double"]),
    "a body that returns a coroutine": (body_returning(coroutine), TypeError, ["fit", "coroutine"]),
    "a body that returns an instance": (body_returning(lambda: double(1)), TypeError, ["fit", "TaskInstance"]),
    # run
    "run of a number": (lambda: run(3), TypeError, ["run()", "int"]),  # type: ignore[call-overload]
    "run of None": (lambda: run(None), TypeError, ["run()", "None"]),  # type: ignore[call-overload]
    "run of a task": (lambda: run(double), TypeError, ["run()", "double", "call it first"]),  # type: ignore[call-overload]
    "run of a list with a task": (lambda: run([double(1), double]), TypeError, ["run()", "double", "call it first"]),
    "run of a list of numbers": (lambda: run([1]), TypeError, ["run()", "int"]),
    "run of text": (lambda: run("double"), TypeError, ["run()", "str"]),
    "run of a set": (lambda: run({double(1)}), TypeError, ["run()", "set"]),  # type: ignore[call-overload]
    "run of a generator": (lambda: run(double(n) for n in range(2)), TypeError, ["run()", "generator"]),  # type: ignore[call-overload]
    "run_report of a number": (lambda: run_report(3), TypeError, ["run()", "int"]),
    "run_async of a number": (lambda: asyncio.run(run_async(3)), TypeError, ["run()", "int"]),
    "an unknown option of run": (running(worker=2), TypeError, ["'worker'", "max_workers"]),
    "an unknown option of .run": (lambda: double(1).run(worker=2), TypeError, ["'worker'", "max_workers"]),  # type: ignore[call-arg]
    "an unknown option of .plan": (lambda: double(1).plan(worker=2), TypeError, ["'worker'", "max_workers"]),  # type: ignore[call-arg]
    "an unknown executor": (running(executor="thread"), ValueError, ["'thread'", "threads"]),
    "an executor class": (running(executor=ThreadPoolExecutor), TypeError, ["instance", "ThreadPoolExecutor()"]),
    "a number as executor": (running(executor=4), TypeError, ["executor", "4", "submit"]),
    "max_workers 0": (running(max_workers=0), ValueError, ["max_workers", "at least 1", "0"]),
    "max_workers -1": (running(max_workers=-1), ValueError, ["max_workers", "-1"]),
    "max_workers True": (running(max_workers=True), TypeError, ["max_workers", "True"]),
    "max_workers 2.5": (running(max_workers=2.5), TypeError, ["max_workers", "2.5"]),
    "max_workers text": (running(max_workers="2"), TypeError, ["max_workers", "'2'"]),
    "on_error unknown": (running(on_error="ignore"), ValueError, ["on_error", "raise", "continue", "'ignore'"]),
    "on_error False": (running(on_error=False), TypeError, ["on_error", "False"]),
    "on_change of a run": (running(on_change="never"), ValueError, ["on_change", "rerun", "'never'"]),
    "pools as a list": (running(pools=["gpu"]), TypeError, ["pools", "dict", "gpu"]),
    "pools of 0": (running(pools={"gpu": 0}), ValueError, ["pools", "'gpu'", "at least 1", "0"]),
    "pools of text": (running(pools={"gpu": "2"}), TypeError, ["pools", "'gpu'", "'2'"]),
    "pools of True": (running(pools={"gpu": True}), TypeError, ["pools", "'gpu'", "True"]),
    "pools without names": (running(pools={3: 1}), TypeError, ["pools", "3"]),
    "limits as a number": (running(limits=2), TypeError, ["limits", "dict", "2"]),
    "limits of 0": (running(limits={double: 0}), ValueError, ["limits", "double", "at least 1"]),
    "limits of 1.5": (running(limits={"double": 1.5}), TypeError, ["limits", "double", "1.5"]),
    "progress text": (running(progress="yes"), TypeError, ["progress", "'yes'"]),
    "progress 1": (running(progress=1), TypeError, ["progress", "1"]),
    "traits dict": (running(traits={"workers": 2}), TypeError, ["traits", "ExecutorTraits", "dict"]),
    "a number as store": (running(store=3), TypeError, ["store", "3", "path"]),
    "an empty store": (running(store=""), ValueError, ["store", "''"]),
    "a store with NUL": (running(store="a\0b"), ValueError, ["store", r"a\x00b"]),
    "a store of bytes": (running(store=b"cache"), TypeError, ["store", "bytes"]),
    "a store of an unknown kind": (running(store="s3x://bucket"), ValueError, ["s3x", "file:///"]),
    "open_store of a number": (lambda: open_store(3), TypeError, ["store", "3"]),  # type: ignore[arg-type]
    "open_store of None": (lambda: open_store(None), TypeError, ["store", "None"]),  # type: ignore[arg-type]
    "open_store of an unknown kind": (lambda: open_store("s3x://b"), ValueError, ["s3x"]),
    # the rest
    "clear with a word": (lambda: double(1).clear(downstream="no"), TypeError, ["downstream", "'no'"]),  # type: ignore[arg-type]
    "changes with 1": (lambda: double.changes(every=1), TypeError, ["every", "changes()", "1"]),  # type: ignore[arg-type]
    "accept with None": (lambda: double.accept(every=None), TypeError, ["every", "accept()", "None"]),  # type: ignore[arg-type]
    "traits with 0 workers": (lambda: ExecutorTraits(workers=0), ValueError, ["workers", "at least 1", "0"]),
    "traits with text": (lambda: ExecutorTraits(workers="2"), TypeError, ["workers", "'2'"]),  # type: ignore[arg-type]
    "traits with a number": (lambda: ExecutorTraits(is_local=1), TypeError, ["is_local", "1"]),  # type: ignore[arg-type]
    "traits without a function": (lambda: ExecutorTraits(submit=3), TypeError, ["submit", "function", "3"]),  # type: ignore[arg-type]
    "a file without a name": (lambda: File(""), ValueError, ["File()", "''"]),
    "a file with NUL": (lambda: File("a\0b"), ValueError, ["File()", r"a\x00b"]),
    "a file that is none": (lambda: File(3), TypeError, ["File()", "int"]),  # type: ignore[arg-type]
    "task_directory outside": (task_directory, RuntimeError, ["task_directory()", "instance.directory"]),
    "a result that isn't there": (lambda: double(123).result(), NotCachedError, ["double(n=123", ".run()"]),
    "an instance that is looped over": (lambda: list(double(1)), TypeError, ["not iterable"]),  # type: ignore[call-overload]
    "a part that is looped over": (lambda: list(double(1)[0]), TypeError, ["not iterable"]),
    "register of an object": (lambda: register(3, "a", str), TypeError, ["register()", "int"]),  # type: ignore[arg-type]
    "register with a bad tag": (lambda: register(Adder, "a b", str), ValueError, ["Adder", "'a b'"]),
    "register with a tag of ours": (lambda: register(Adder, "tuple", str), ValueError, ["Adder", "'tuple'"]),
    "register without a tag": (lambda: register(Adder, None, str), TypeError, ["Adder", "None"]),  # type: ignore[arg-type]
    "register without a function": (lambda: register(Adder, "a", "x"), TypeError, ["Adder", "'x'"]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("call", "kind", "words"), CASES.values(), ids=CASES)
def test_bad_input_is_refused(call: Callable[[], Any], kind: type[Exception], words: list[str]) -> None:
    """The exception is of the stated kind, and its message names what is wrong."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert [word for word in words if word not in str(caught.value)] == []


def test_the_environment_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong `$CP_ON_CHANGE` is refused by the run that needs it."""
    monkeypatch.setenv("CP_ON_CHANGE", "always")
    with pytest.raises(ValueError, match="CP_ON_CHANGE must be one of warn, rerun, ignore, not 'always'"):
        double(1).run()


def test_the_store_of_the_environment_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `$CP_CACHE_DIR` of an unknown kind is refused by the run that needs it."""
    with monkeypatch.context() as context:
        context.setenv("CP_CACHE_DIR", "s3x://bucket")
        with pytest.raises(ValueError, match="unknown scheme 's3x'"):
            double(1).run()


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_an_executor_that_was_shut_down_is_refused(kind: Any) -> None:
    """The executor's own error reaches the caller at once; nothing waits."""
    executor = kind(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        run([double(1), double(2)], executor=executor)


def test_bad_input_does_not_break_what_follows() -> None:
    """After any refusal, tasks work as before."""
    for call, kind, _ in CASES.values():
        with pytest.raises(kind):
            call()
    assert run([double(1), double(3)], executor="serial") == [2, 6]


def test_errors_of_this_package_have_one_base() -> None:
    """What isn't a plain TypeError or ValueError is a CheckpointError."""
    kinds = {kind for _, kind, _ in CASES.values()} - {TypeError, ValueError, RuntimeError}
    assert {True} == {issubclass(kind, CheckpointError) for kind in kinds}
