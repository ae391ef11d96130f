"""What the decorators, instances and keys promise. Numbers in brackets name the promise that a test proves."""

from __future__ import annotations

import enum
import functools
import inspect
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from programs import applied, chain, choose, square, total, tripled, writes_file

import checkpoint
from checkpoint import (
    Cue,
    CycleError,
    DamagedEntryWarning,
    NotCachedError,
    TaskInstance,
    UnkeyableError,
    memo,
    open_store,
    requires,
    run,
    run_report,
    task,
)
from checkpoint.store import current_store


def computed(instance: Any, **options: Any) -> int:
    """Run serially and return how many instances were computed."""
    report = run_report(instance, executor="serial", **options)
    _ = report.value
    return report.computed


# --- decorators ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"compress": True}, {"max_concurrency": 2}, {"compress": 9, "max_concurrency": 1}]
)
def test_task_takes_options_in_any_combination(options: dict[str, Any]) -> None:
    """`@task(...)` works with its keywords in any combination. [1]"""

    @task(**options)
    def number(n: int) -> Any:
        return lambda: n

    assert number(3).run(executor="serial") == 3


def test_task_works_bare() -> None:
    """`@task` works without parentheses. [1]"""

    @task
    def number(n: int) -> Any:
        return lambda: n

    assert number(3).run(executor="serial") == 3


@pytest.mark.parametrize(
    ("wrong", "kind"), [(0, ValueError), (-1, ValueError), (True, TypeError), (1.5, TypeError), ("2", TypeError)]
)
def test_impossible_limits_are_refused_when_decorating(wrong: Any, kind: type[Exception]) -> None:
    """max_concurrency must be a whole number from 1; the error names task and option. [55]"""
    with pytest.raises(kind, match=r"option max_concurrency of task .*number must be a whole number of at least 1"):

        @task(max_concurrency=wrong)
        def number(n: int) -> Any:
            return lambda: n


def test_calling_a_task_runs_nothing() -> None:
    """A call gives an instance; no runner has run. [2]"""
    ran = []

    @task
    def number(n: int) -> Any:
        return lambda: ran.append(n)

    assert isinstance(number(3), TaskInstance)
    assert ran == []


def test_a_body_without_requirements_returns_a_plain_function() -> None:
    """A body may return a function of no arguments. [3]"""

    @task
    def greeting(name: str) -> Any:
        def run_task() -> str:
            return f"hello {name}"

        return run_task

    assert greeting("you").run(executor="serial") == "hello you"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (lambda: square(3), 9),
        (lambda: [square(3), square(1), square(2)], [9, 1, 4]),
        (lambda: {"b": square(3), "a": square(1)}, {"b": 9, "a": 1}),
        (lambda: (square(3), [square(1), {"x": square(2)}]), (9, [1, {"x": 4}])),
        (lambda: [], []),
        (lambda: {}, {}),
        (lambda: [square(2), square(2)], [4, 4]),
        (lambda: [square(2), "plain", None], [4, "plain", None]),
    ],
    ids=["single", "list", "dict", "nested", "no list", "no dict", "twice", "with plain values"],
)
def test_requires_delivers_values_in_the_shape_asked_for(shape: Any, expected: Any) -> None:
    """An instance, a list, a dict or a nesting arrives as one argument of the same shape and order. [4] [5] [6] [9]"""

    @task
    def consumer() -> Any:
        @requires(shape())
        def run_task(value: Any) -> Any:
            return [value, list(value) if isinstance(value, dict) else None]

        return run_task

    value, order = consumer().run(executor="serial")
    assert expected == value
    assert order is None or list(expected) == order


def test_stacked_requires_deliver_from_top_to_bottom() -> None:
    """Three stacked decorators give their values in the order of the source. [7]"""

    @task
    def consumer() -> Any:
        @requires(square(1))
        @requires(square(2))
        @requires(square(3))
        def run_task(*values: int) -> tuple[int, ...]:
            return values

        return run_task

    assert consumer().run(executor="serial") == (1, 4, 9)


def test_stacked_requires_of_mixed_shapes_deliver_in_source_order() -> None:
    """Single, list and dict may be stacked. [8]"""

    @task
    def consumer() -> Any:
        @requires({"x": square(1)})
        @requires([square(2)])
        @requires(square(3))
        def run_task(*values: Any) -> Any:
            return values

        return run_task

    assert consumer().run(executor="serial") == ({"x": 1}, [4], 9)


def test_an_instance_listed_twice_runs_once() -> None:
    """Two equal requirements are one computation. [10]"""

    @task
    def consumer() -> Any:
        @requires([square(2), square(2)])
        def run_task(values: list[int]) -> int:
            return sum(values)

        return run_task

    assert computed(consumer()) == 2


def test_requirements_may_differ_by_argument() -> None:
    """A base case has none. [11]"""
    assert (choose(4, 0).run(executor="serial"), choose(4, 2).run(executor="serial")) == (1, 6)


def test_items_of_instances_are_requirements() -> None:
    """`instance["k"][0]` delivers that part of the value."""

    @memo
    def table() -> dict[str, list[int]]:
        return {"k": [7, 8]}

    @task
    def consumer() -> Any:
        @requires([table()["k"][1], table()["k"]])
        def run_task(values: list[Any]) -> Any:
            return values

        return run_task

    assert consumer().run(executor="serial") == [8, [7, 8]]
    assert run([table()["k"][0]], executor="serial") == [7]


def test_items_of_instances_are_arguments_of_memos() -> None:
    """A memo gets that part of the value, and is stale when the whole is."""

    @memo
    def table() -> dict[str, list[int]]:
        return {"k": [7, 8]}

    @memo
    def add(x: int, rest: list[int]) -> int:
        return x + sum(rest)

    call = add(table()["k"][0], [table()["k"][1], 100])  # type: ignore[list-item]
    assert (115, "add(x=table()['k'][0], rest=[table()['k'][1], 100])") == (call.run(executor="serial"), repr(call))
    assert add(table()["k"][1], [table()["k"][1], 100]) != call  # type: ignore[list-item]
    assert [[repr(part) for part in found.arguments["rest"]] for found in add.entries()] == [
        [f"{table.name}()['k'][1]", "100"]
    ]
    table().clear()
    assert [table()] == [*call.plan().compute]


def test_instances_cannot_be_iterated() -> None:
    """Iterating an instance by mistake is an error, not an endless loop."""
    with pytest.raises(TypeError):
        list(square(1))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "wrong",
    [None, 3, square, [None], [square(1), square], {"a": 3}, {"a": [square]}],
    ids=repr,
)
def test_requires_refuses_what_is_no_instance(wrong: Any) -> None:
    """Values without any instance, and tasks that nobody called, are refused when decorating. [12]"""

    @task
    def consumer() -> Any:
        @requires(wrong)
        def run_task(value: Any) -> Any:
            return value

        return run_task

    with pytest.raises(TypeError, match=r"requires\(\) takes task instances"):
        consumer()


@pytest.mark.parametrize("made", [None, 3, int, "text"])
def test_a_body_must_return_a_function(made: Any) -> None:
    """The error names the task and points to memo. [13]"""

    @task
    def wrong() -> Any:
        return made

    with pytest.raises(TypeError, match=r"wrong must return the function .* use @memo"):
        wrong()


def test_errors_of_a_body_surface_at_the_call() -> None:
    """Bad arguments raise when the instance is made, not when it runs. [14]"""
    with pytest.raises(ValueError, match=r"\(3, 7\)"):
        choose(3, 7)


def test_a_task_looks_like_its_function() -> None:
    """Name, doc, module, signature and __wrapped__ are the function's. [15]"""

    def body(n: int, k: int = 2) -> Any:
        """Do it."""
        return lambda: n

    made = task(body)
    assert ("body", "Do it.", __name__) == (made.__name__, made.__doc__, made.__module__)
    assert body is made.__wrapped__
    assert inspect.signature(body) == inspect.signature(made)


def test_a_cycle_is_an_error_that_shows_the_path() -> None:
    """A task that requires itself raises CycleError, not RecursionError. [16]"""

    @task
    def one(n: int) -> Any:
        return requires(two(n))(lambda value: value)

    @task
    def two(n: int) -> Any:
        return requires(one(n))(lambda value: value)

    with pytest.raises(CycleError) as caught:
        one(1).run(executor="serial")
    assert caught.value.path == ("one(n=1)", "two(n=1)", "one(n=1)")
    assert "one(n=1) -> two(n=1) -> one(n=1)" in str(caught.value)


def test_each_distinct_instance_is_evaluated_once() -> None:
    """choose(40, 20) evaluates 440 bodies, whether planned or run in this process. [17]"""
    calls = []

    @task
    def pascal(n: int, k: int) -> Any:
        calls.append((n, k))
        if k in (0, n):
            return lambda: 1
        return requires([pascal(n - 1, k - 1), pascal(n - 1, k)])(sum)

    root = pascal(40, 20)
    assert len(root.plan().compute) + len(root.plan().maybe) == 440
    calls.clear()
    assert pascal(40, 20).run(executor="serial") == 137846528820
    assert len(calls) == 440


def test_deep_chains_need_no_recursion() -> None:
    """A chain of 5,000 builds and runs at the default recursion limit. [18]"""
    assert sys.getrecursionlimit() <= 1000
    assert chain(5000).run(executor="serial") == 5000


def test_memo_computes_with_the_values_of_instances_among_its_arguments() -> None:
    """Instances at any depth of list, tuple and dict are dependencies of a memo."""

    @memo
    def describe(a: Any, *rest: Any, **named: Any) -> Any:
        return a, rest, named

    instance = describe([square(2)], (square(3), {"x": square(1)}), plain=5, part=square(4))
    assert instance.run(executor="serial") == ([4], ((9, {"x": 1}),), {"plain": 5, "part": 16})


def test_memo_reruns_when_an_argument_instance_was_cleared() -> None:
    """An instance among the arguments is part of the key and of what the result was computed from."""
    instance = total([square(1), square(2)])
    assert computed(instance) == 3
    assert computed(instance) == 0
    square(2).clear()
    assert computed(instance) == 2


def test_instances_as_arguments_of_a_task_can_be_required() -> None:
    """A body may require an instance that it got as an argument."""

    @task
    def plus_one(source: Any) -> Any:
        return requires(source)(lambda value: value + 1)

    assert plus_one(square(2)).run(executor="serial") == 5


def test_deeply_nested_memo_arguments() -> None:
    """A memo of a memo of a memo, 3,000 deep, has short keys and runs."""

    @memo
    def step(x: Any) -> int:
        return int(x) + 1

    instance = step(0)
    for _ in range(3000):
        instance = step(instance)
    assert len(instance.key) < 300
    assert instance.run(executor="serial") == 3001


def test_a_task_is_a_method_where_self_has_a_key() -> None:
    """In a class, self is an argument like any other; one without a key is refused by name."""

    class Scale(enum.Enum):
        DOUBLE = 2

        @memo
        def of(self, x: int) -> int:
            return self.value * x

    class Plain:
        @memo
        def of(self, x: int) -> int:
            return x

    assert Scale.DOUBLE.of(3).run(executor="serial") == 6
    with pytest.raises(UnkeyableError, match="argument 'self'"):
        Plain().of(3)


# --- keys ------------------------------------------------------------------------------------------------


def test_spellings_of_a_call_share_an_entry() -> None:
    """Positional, keyword and default spelled out are one key. [19]"""

    @memo
    def power(n: int, exponent: int = 2) -> int:
        return n**exponent

    assert len({power(3), power(n=3), power(3, 2), power(exponent=2, n=3)}) == 1


def test_order_of_keywords_and_dicts_does_not_matter() -> None:
    """Keyword order and insertion order do not change the key. [20]"""

    @memo
    def show(**options: Any) -> int:
        return 1

    assert show(a=1, b={"x": 1, "y": 2}) == show(b={"y": 2, "x": 1}, a=1)


def test_extra_arguments_are_part_of_the_key() -> None:
    """*args and **kwargs make different entries. [21]"""

    @memo
    def show(*args: Any, **options: Any) -> int:
        return len(args)

    assert len({show(), show(1), show(1, 2), show(a=1)}) == 4


def test_values_of_different_types_are_different_entries() -> None:
    """1, 1.0, True and "1"; tuple, list and set; int and str keys; text and bytes. [22] [23] [24] [27]"""

    @memo
    def kind(x: Any) -> str:
        return type(x).__name__

    values = [1, 1.0, True, "1", (1, 2), [1, 2], {1, 2}, {1: 0}, {"1": 0}, b"1", frozenset({1, 2})]
    assert [type(value).__name__ for value in values] == run([kind(value) for value in values], executor="serial")


def test_nan_and_infinity_are_ordinary_arguments() -> None:
    """They are found again, each under its own key. [25]"""

    @memo
    def text(x: float) -> str:
        return repr(x)

    values = [float("nan"), float("inf"), float("-inf")]
    assert run([text(value) for value in values], executor="serial") == ["nan", "inf", "-inf"]
    assert computed([text(value) for value in values]) == 0


def test_nested_json_arguments() -> None:
    """Dicts of lists of dicts, unicode and None work. [26]"""

    @memo
    def same(x: Any) -> Any:
        return x

    value = {"a": [{"b": None, "ü": ["日本", 1.5, {}]}], "": []}
    assert value == same(value).run(executor="serial")
    assert computed(same(dict(value))) == 0


def test_an_argument_without_a_key_is_refused_at_the_call() -> None:
    """The TypeError names the task, the parameter and the path inside the argument. [27]"""

    @memo
    def same(n: int, option: Any) -> Any:
        return n

    with pytest.raises(TypeError, match=r"argument 'option' of .*same\(\): option\['a'\]\[1\]: object has no stable"):
        same(1, {"a": [0, object()]})


@pytest.mark.parametrize("decorate", [memo, lambda f: task(lambda x: lambda: f(x))])
def test_changing_an_argument_after_the_call_changes_nothing(decorate: Any) -> None:
    """Arguments are as they were at the call, in the key and in the computation. [28]"""

    @decorate
    def length(x: list[int]) -> int:
        return len(x)

    values = [1, 2]
    instance = length(values)
    values.append(3)
    assert instance.run(executor="serial") == 2
    assert length(values).run(executor="serial") == 3


def test_a_runner_that_changes_its_argument_does_not_change_the_next_run() -> None:
    """Each evaluation gets a copy of its own."""

    @memo
    def drain(x: list[int]) -> int:
        count = len(x)
        x.clear()
        return count

    instance = drain([1, 2])
    assert instance.run(executor="serial") == 2
    instance.clear()
    assert instance.run(executor="serial") == 2
    assert instance.arguments == {"x": [1, 2]}


def test_closures_of_one_name_have_results_of_their_own() -> None:
    """What a closure captured is part of its key."""

    def times(k: int) -> Any:
        @memo
        def scaled(n: int) -> int:
            return n * k

        return scaled

    assert run([times(3)(2), times(4)(2)], executor="serial") == [6, 8]
    assert computed(times(3)(2)) == 0


def test_a_task_among_the_arguments_is_to_be_called() -> None:
    """An uncalled task is no argument, wherever it stands; the error says what to do."""
    for argument, path in [(square, ""), ([square], r"\[0\]"), (functools.partial(square, 2), r"\.func")]:
        with pytest.raises(UnkeyableError, match=rf"total\(\): parts{path}: Task has no stable text; call it"):
            total(argument)  # type: ignore[arg-type]


def test_a_closure_over_a_task_is_an_argument() -> None:
    """A function may use tasks; which ones is in its key."""

    def using(inner: Any) -> Any:
        return lambda x: inner(x).run(executor="serial")

    wanted = [applied(using(one), 2) for one in (square, chain)]
    assert run(wanted, executor="serial") == [4, 2]
    assert computed(applied(using(square), 2)) == 0


def test_closures_over_lists_of_functions_have_results_of_their_own() -> None:
    """What a task captured is told apart also where functions stand inside of it."""

    def pipeline(*steps: Any) -> Any:
        @memo
        def through(n: int) -> int:
            for step in steps:
                n = step(n)
            return n

        return through

    wanted = [pipeline(abs, tripled)(-2), pipeline(tripled, abs, tripled)(-2)]
    assert run(wanted, executor="serial") == [6, 18]


def test_a_call_with_a_function_names_it() -> None:
    """What a person reads has no addresses."""
    assert "applied(function=tripled, x=1)" == repr(applied(tripled, 1))


@pytest.mark.parametrize("executor", ["processes", "spawn"])
def test_functions_of_a_script_are_arguments(executor: str, tmp_path: Path) -> None:
    """Where no worker can import a function, constants and helpers that it uses count all the same."""
    program = f"""
        import multiprocessing, sys
        from concurrent.futures import ProcessPoolExecutor
        from checkpoint import run_report
        from programs import applied_twice
        TABLE = {{"a": 1}}
        def helper(x):
            return x * 10
        def f(x):
            return helper(x) + TABLE["a"]
        def g(k):
            return lambda x: f(x) + k
        if __name__ == "__main__":
            with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
                executor = pool if {executor!r} == "spawn" else {executor!r}
                report = run_report([applied_twice(f, 1), applied_twice(g(5), 1)], executor=executor)
            print(report.value, report.computed)
    """
    assert run_program(program, tmp_path) == "[32, 42] 6\n"
    assert run_program(program, tmp_path) == "[32, 42] 0\n"
    commented = program.replace("x * 10", "x * 10  # ten")
    assert run_program(commented, tmp_path) == "[32, 42] 0\n"
    edited = program.replace("x * 10", "x * 20")
    assert run_program(edited, tmp_path) == "[62, 72] 6\n"


def test_a_function_that_is_another_one_in_the_worker_is_refused(tmp_path: Path) -> None:
    """A worker that has older code says so; nothing is kept under the key of the newer one."""
    program = """
        import importlib, multiprocessing, pathlib, sys
        from concurrent.futures import ProcessPoolExecutor
        from checkpoint import FunctionChangedError
        from programs import applied
        file = pathlib.Path("measures.py")
        if __name__ == "__main__":
            file.write_text("def f(x):\\n    return x + 1\\n")
            import measures
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                print(applied(measures.f, 1).run(executor=pool))
                file.write_text("def f(x):\\n    return x + 100\\n")
                importlib.reload(measures)
                try:
                    applied(measures.f, 1).run(executor=pool)
                except FunctionChangedError as error:
                    print(error.name)
            print(applied(measures.f, 1).run(executor="processes"))
    """
    assert run_program(program, tmp_path, PYTHONDONTWRITEBYTECODE="1") == "2\nmeasures.f\n101\n"


# --- the cache -------------------------------------------------------------------------------------------


def run_program(text: str, folder: Path, **environment: str) -> str:
    """Run a script in a fresh interpreter and return what it printed."""
    (folder / "train.py").write_text(textwrap.dedent(text))
    root = Path(checkpoint.__file__).parents[1]
    settings = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{Path(__file__).parent}", **environment}
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=folder, env=settings, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.stdout


FIT = """
    from checkpoint import memo
    @memo
    def fit(x):
        return x + 1
    if __name__ == "__main__":
        print(fit(1).run())
"""


def test_entries_of_a_script_live_under_its_importable_name(store: Path, tmp_path: Path) -> None:
    """$CP_CACHE_DIR/checkpoint/{module}.{function}/; `train.py` is `train`. [29]"""
    assert run_program(FIT, tmp_path) == "2\n"
    assert [name for name in os.listdir(store / "checkpoint") if name[0] != "."] == ["train.fit"]


def test_the_default_store_is_below_the_working_directory(tmp_path: Path) -> None:
    """Without $CP_CACHE_DIR results go to .cache. [29]"""
    run_program(FIT, tmp_path, CP_CACHE_DIR="")
    assert [name for name in os.listdir(tmp_path / ".cache" / "checkpoint") if name[0] != "."] == ["train.fit"]


def test_the_store_does_not_move_with_the_working_directory(tmp_path: Path) -> None:
    """A relative $CP_CACHE_DIR is resolved once; changing directory between call and run is harmless. [30]"""
    program = """
        import os
        from programs import choose
        choose(4, 2).run(executor="serial")
        instance = choose(5, 2)
        os.mkdir("elsewhere"); os.chdir("elsewhere")
        print(instance.run(), choose(4, 2).is_cached(), os.listdir("."))
    """
    assert run_program(program, tmp_path, CP_CACHE_DIR="here") == "10 True []\n"


def test_importing_and_decorating_create_nothing(tmp_path: Path) -> None:
    """Neither importing, decorating, calling, planning nor looking makes a file. [31]"""
    program = """
        import os
        from programs import choose
        choose(4, 2).plan(); choose(4, 2).is_cached(); choose(4, 2).clear(); choose.clear(); list(choose.entries())
        print(os.listdir("."))
    """
    assert run_program(program, tmp_path, CP_CACHE_DIR="") == "['train.py']\n"


def test_cold_warm_and_cleared_runs_compute_what_they_must() -> None:
    """choose(6, 3): 15 cold, 0 warm, 4 after choose(3, 3).clear(), 15 after choose.clear(). [32] [33] [34] [35]"""
    cold = run_report(choose(6, 3), executor="serial")
    assert (cold.value, cold.computed) == (20, 15)
    assert computed(choose(6, 3)) == 0
    choose(3, 3).clear()
    assert computed(choose(6, 3)) == 4
    choose.clear()
    assert computed(choose(6, 3)) == 15


def test_a_new_process_computes_nothing_again(tmp_path: Path) -> None:
    """A second run from another process finds everything. [33]"""
    program = """
        from checkpoint import run_report
        from programs import choose
        report = run_report(choose(6, 3))
        print(report.value, report.computed, report.hit)
    """
    assert run_program(program, tmp_path) == "20 15 0\n"
    assert run_program(program, tmp_path) == "20 0 15\n"


@pytest.mark.parametrize(("cleared", "expected"), [(0, 3), (1, 2), (2, 1)])
def test_clearing_reruns_everything_below(cleared: int, expected: int) -> None:
    """In a chain of three, clearing the first, second or third reruns 3, 2 or 1. [36]"""
    chain(2).run(executor="serial")
    chain(cleared).clear()
    assert expected == computed(chain(2))


def test_rerunning_upstream_alone_makes_the_rest_rerun_later() -> None:
    """A cleared upstream that was computed again by another run is noticed below. [36]"""
    chain(2).run(executor="serial")
    chain(0).clear()
    assert computed(chain(0)) == 1
    assert computed(chain(2)) == 2


def test_clearing_downstream_discards_what_was_computed_from_it() -> None:
    """`clear(downstream=True)` removes the entries below, and only these."""
    run([choose(6, 3), choose(5, 5)], executor="serial")
    choose(3, 3).clear(downstream=True)
    gone = [choose(3, 3), choose(4, 3), choose(5, 3), choose(6, 3)]
    assert [instance.is_cached() for instance in gone] == [False] * 4
    assert choose(5, 5).is_cached()
    assert choose(3, 2).is_cached()


def test_clearing_downstream_reaches_through_what_is_not_stored() -> None:
    """An unstored task between two others doesn't hide one from the other, nor itself."""

    @memo(store=False)
    def half(x: Any) -> float:
        return float(x) / 2

    @memo
    def consumer(x: Any) -> Any:
        return x

    wanted = consumer(half(square(4)))
    for cleared in (square(4), half(square(4))):
        assert 8.0 == wanted.run(executor="serial")
        cleared.clear(downstream=True)
        assert not wanted.is_cached()


def test_clearing_what_was_never_computed_does_nothing(store: Path) -> None:
    """`clear()` of an uncomputed instance is no error and makes no files. [37]"""
    choose(3, 3).clear()
    choose.clear()
    assert not store.exists()


def test_an_instance_made_before_a_clear_is_like_a_fresh_one() -> None:
    """An instance remembers nothing of the store. [38]"""
    instance = choose(6, 3)
    assert computed(instance) == 15
    assert computed(instance) == 0
    choose(3, 3).clear()
    assert computed(instance) == 4
    choose.clear()
    assert computed(instance) == 15


class Watched:
    """A store that notes which of its methods are called."""

    def __init__(self, store: Any) -> None:
        self.store, self.calls = store, list[str]()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if callable(found):
            self.calls.append(name)
        return found


def test_a_hit_of_what_requires_nothing_is_one_read(store: Path) -> None:
    """Its row is known beforehand, so a run asks the store for nothing else, and neither does `result()`."""
    with open_store(Watched(current_store())) as opened:  # type: ignore[arg-type]
        square(3).run(executor="serial")
        watched: Any = opened.store
        watched.calls.clear()

        assert (9, 9) == (square(3).run(progress=False), square(3).result())
        assert ["read", "read"] == watched.calls


def test_a_damaged_value_of_what_requires_nothing_is_computed_again(store: Path) -> None:
    """The run that finds it says so, and returns the right value."""
    square(3).run(executor="serial")
    with sqlite3.connect(next(store.rglob("cache.db"))) as connection:
        connection.execute("UPDATE Cache SET value = x'00' WHERE key LIKE '{%'")
    connection.close()

    with pytest.warns(DamagedEntryWarning, match="is computed again"):
        assert 9 == square(3).run()
    assert 9 == square(3).run()


def test_none_is_a_result() -> None:
    """None is kept and found. [39]"""

    @memo
    def nothing() -> None:
        return None

    assert computed(nothing()) == 1
    assert nothing().result() is None
    assert computed(nothing()) == 0


def test_compression_shrinks_what_can_shrink() -> None:
    """compress=True stores less and gives the same value. [40]"""

    @memo(compress=True, name="packed")
    def packed(n: int) -> str:
        return "word " * n

    @memo(name="plain")
    def plain(n: int) -> str:
        return "word " * n

    assert packed(100_000).run(executor="serial") == plain(100_000).run(executor="serial")
    assert next(packed.entries()).size * 50 < next(plain.entries()).size


def test_toggling_compression_reads_old_entries() -> None:
    """Entries are read whatever the option is now. [41]"""

    def make(compress: bool) -> Any:
        @memo(compress=compress, name="report")
        def report(n: int) -> str:
            return "word " * n

        return report

    assert computed(make(True)(1000)) == 1
    assert computed(make(False)(1000)) == 0
    assert make(False)(1000).result() == "word " * 1000


def test_freshness_needs_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that steps back, or a time zone that changes, makes nothing stale or fresh. [45]"""
    now = iter(range(10_000_000, 0, -1000))
    monkeypatch.setattr("time.time", lambda: float(next(now)))
    assert computed(choose(6, 3)) == 15
    assert computed(choose(6, 3)) == 0
    choose(3, 3).clear()
    assert computed(choose(6, 3)) == 4
    assert computed(choose(6, 3)) == 0


def test_a_changed_set_of_requirements_is_noticed() -> None:
    """A task that now requires something else is computed again, even if that is older. [46]"""
    wanted = [square(1)]

    @task
    def consumer() -> Any:
        return requires(list(wanted))(sum)

    run([square(1), square(2), square(3)], executor="serial")
    assert consumer().run(executor="serial") == 1
    wanted[:] = [square(2), square(3)]
    assert consumer().run(executor="serial") == 13
    wanted.reverse()
    assert computed(consumer()) == 1


def test_large_values_come_back() -> None:
    """Values above 32 KiB, which live in files of their own, round-trip. [47]"""

    @memo
    def block(n: int) -> bytes:
        return bytes(range(256)) * n

    assert [bytes(range(256)) * n for n in (127, 129, 4000)] == run(
        [block(n) for n in (127, 129, 4000)], executor="serial"
    )


def test_an_equal_value_computed_again_stops_the_rerun() -> None:
    """What depends on a value that came out with the same bytes, without a clear, is not computed again."""

    def make(version: int) -> Any:
        @memo(version=version, name="source")
        def source() -> int:
            return 7

        return source

    @memo
    def consumer(x: Any) -> Any:
        return x

    assert computed(consumer(make(1)())) == 2
    report = run_report(consumer(make(2)()), executor="serial")
    assert (report.computed, report.hit) == (1, 1)


def test_a_result_can_be_read_without_a_run() -> None:
    """`result()` gives the kept value, or a KeyError that names the call."""
    with pytest.raises(KeyError, match=r"square\(x=3\) has no result"):
        square(3).result()
    with pytest.raises(NotCachedError):
        square(3).result()
    square(3).run(executor="serial")
    assert (square(3).is_cached(), square(3).result()) == (True, 9)


def test_entries_tell_arguments_and_cost() -> None:
    """`entries()` yields each kept call, in the order of keys, without reading results."""
    run([choose(2, 1), choose(3, 0)], executor="serial")
    found = list(choose.entries())
    assert [dict(call.arguments) for call in found] == [
        {"n": 1, "k": 0},
        {"n": 3, "k": 0},
        {"n": 1, "k": 1},
        {"n": 2, "k": 1},
    ]
    assert all(call.seconds >= 0 and call.size > 0 and call.stored_at > 0 for call in found)


def test_plan_tells_what_would_run_and_runs_nothing() -> None:
    """`plan()` names what is missing, what is stale, and what depends on these."""
    assert (len(choose(6, 3).plan().compute), len(choose(6, 3).plan().maybe)) == (6, 9)
    choose(6, 3).run(executor="serial")
    assert choose(6, 3).plan().fresh == 15
    choose(3, 3).clear()
    plan = choose(6, 3).plan()
    assert {choose(3, 3): Cue.CLEARED} == {instance: reason.cue for instance, reason in plan.compute.items()}
    assert (choose(4, 3), choose(5, 3), choose(6, 3)) == plan.maybe
    choose(3, 3).run(executor="serial")
    (reason,) = choose(6, 3).plan().compute.values()
    assert (Cue.UPSTREAM, ("choose(n=3, k=3)",)) == (reason.cue, reason.calls)


def test_a_directory_belongs_to_an_instance() -> None:
    """`task_directory()` is the instance's folder; it stays with the result and goes with it."""
    instance = writes_file("hello")
    path = Path(instance.run(executor="serial"))
    assert instance.directory == path.parent
    assert path.read_text() == "hello"
    writes_file("other").run(executor="serial")
    writes_file("other").clear()
    assert path.exists()
    instance.clear()
    assert not path.exists()


def test_clearing_a_task_clears_its_directories() -> None:
    """`task.clear()` removes the folders of all instances."""
    path = Path(writes_file("hello").run(executor="serial"))
    writes_file.clear()
    assert not path.exists()


def test_another_store_for_a_block_and_for_a_run(tmp_path: Path) -> None:
    """`open_store` and `run(store=...)` name another store; the current one is untouched."""
    with open_store(tmp_path / "a"):
        assert computed(square(1)) == 1
        assert computed(square(1)) == 0
    assert computed(square(1), store=tmp_path / "b") == 1
    assert not square(1).is_cached()


def test_a_store_that_is_removed_meanwhile_starts_afresh(store: Path) -> None:
    """Removing the folder under a living process loses what was there and nothing that comes after."""
    square(3).run(executor="serial")
    shutil.rmtree(store)
    assert not square(3).is_cached()
    square(4).run(executor="serial")
    assert (square(4).is_cached(), store.exists()) == (True, True)


def test_unstored_tasks_are_computed_where_they_are_needed() -> None:
    """store=False keeps nothing; consumers stay fresh, and clears above still reach them."""
    ran: list[int] = []

    @memo(store=False)
    def loaded(x: int) -> Any:
        ran.append(x)
        return {"lambda": lambda: x}

    @memo
    def used(source: Any) -> int:
        return int(source["lambda"]())

    assert used(loaded(square(4))).run(executor="serial") == 16
    assert (computed(used(loaded(square(4)))), ran) == (0, [16])
    assert not loaded(square(4)).is_cached()
    square(4).clear()
    assert computed(used(loaded(square(4)))) == 2
    assert loaded(square(4)).run(executor="serial")["lambda"]() == 16


@pytest.mark.parametrize(("policy", "expected"), [("warn", 1), ("rerun", 1), ("ignore", 0)])
def test_changed_code_of_an_unstored_task_reruns_its_consumers(policy: Any, expected: int) -> None:
    """Nothing is there to warn of, so what was computed from another version of the code is computed again."""

    def make(is_edited: bool) -> Any:
        if is_edited:

            @memo(store=False, name="source", on_change=policy)
            def source() -> int:
                return 2

            return source

        @memo(store=False, name="source", on_change=policy)
        def source() -> int:
            return 1

        return source

    @memo
    def consumer(x: Any) -> Any:
        return x

    assert 1 == computed(consumer(make(False)()))
    assert 0 == computed(consumer(make(False)()), on_change="ignore")
    assert 0 == computed(consumer(make(False)()))
    assert expected == computed(consumer(make(True)()))
    assert 0 == computed(consumer(make(True)()))


def test_clearing_an_unstored_task_reruns_its_consumers() -> None:
    """A clear counts for what isn't kept, too."""

    @memo(store=False)
    def source() -> int:
        return 1

    @memo
    def consumer(x: Any) -> Any:
        return x

    assert computed(consumer(source())) == 1
    source().clear()
    assert computed(consumer(source())) == 1
    source.clear()
    assert computed(consumer(source())) == 1
    assert computed(consumer(source())) == 0


# --- changed code ----------------------------------------------------------------------------------------

VERSIONED = """
    import sys
    from checkpoint import memo, run_report
    @memo
    def fit(x):
        {comment}
        return x + {step}
    if __name__ == "__main__":
        report = run_report(fit(1), on_change=(sys.argv[1:] or [None])[0])
        print(report.value, report.computed)
"""


def edit_and_run(folder: Path, step: int, policy: str, comment: str = "") -> str:
    """Run a script whose code is an edit of the last one's; return what it printed, and warned."""
    (folder / "train.py").write_text(textwrap.dedent(VERSIONED).format(step=step, comment=comment or '"""Fit."""'))
    environment = {**os.environ, "CP_ON_CHANGE": policy, "PYTHONPATH": str(Path(checkpoint.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip() + ("" if "CodeChangedWarning" not in done.stderr else " warned")


def test_changed_code_is_warned_of_and_old_results_are_used(tmp_path: Path) -> None:
    """By default an edit is warned of; a comment is no edit."""
    assert edit_and_run(tmp_path, 1, "") == "2 1"
    assert edit_and_run(tmp_path, 1, "", comment="# another comment") == "2 0"
    assert edit_and_run(tmp_path, 5, "") == "2 0 warned"
    assert edit_and_run(tmp_path, 5, "ignore") == "2 0"


def test_changed_code_can_rerun_and_going_back_finds_the_old_results(tmp_path: Path) -> None:
    """With "rerun" an edit computes again, and reverting it computes nothing."""
    assert edit_and_run(tmp_path, 1, "rerun") == "2 1"
    assert edit_and_run(tmp_path, 5, "rerun") == "6 1"
    assert edit_and_run(tmp_path, 1, "rerun") == "2 0"


def test_a_version_pins_the_code() -> None:
    """version= makes edits of the code irrelevant; another version has results of its own."""

    def make(version: int, step: int) -> Any:
        if step == 1:

            @memo(version=version, name="fit", on_change="rerun")
            def fit(x: int) -> int:
                return x + 1

            return fit

        @memo(version=version, name="fit", on_change="rerun")
        def fit(x: int) -> int:
            return x + 2

        return fit

    assert make(1, 1)(1).run(executor="serial") == 2
    assert make(1, 2)(1).run(executor="serial") == 2
    assert make(2, 2)(1).run(executor="serial") == 3
    assert make(1, 2)(1).run(executor="serial") == 2


def test_depends_on_counts_as_code() -> None:
    """A change of what depends_on names is a change of the task."""

    def make(constant: int) -> Any:
        @memo(depends_on=[constant], name="fit", on_change="rerun")
        def fit(x: int) -> int:
            return x

        return fit

    assert computed(make(1)(1)) == 1
    assert computed(make(2)(1)) == 1
    assert computed(make(1)(1)) == 0


def test_a_body_is_asked_again_by_every_run(tmp_path: Path) -> None:
    """A body that lists a folder finds a new file at the next run: a warm run evaluates all bodies again."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a").touch()

    @memo
    def size_of(name: str) -> int:
        return len(name)

    @task
    def listing(folder: str) -> Any:
        return requires([size_of(name) for name in sorted(os.listdir(folder))])(list)

    assert [1] == listing(str(folder)).run(executor="serial")
    (folder / "bc").touch()
    assert [1, 2] == listing(str(folder)).run(executor="serial")
