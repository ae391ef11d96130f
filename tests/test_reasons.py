"""Why an instance would be computed, what a run would cost, and where a value comes from."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from programs import choose, total

from checkpoint import (
    Cue,
    DamagedEntryWarning,
    Lineage,
    NotCachedError,
    Reason,
    forecast,
    memo,
    requires,
    run_report,
    task,
)

_given: dict[str, Any] = {}


@memo
def source(name: str) -> int:
    """Give a value that the test decides."""
    return int(_given.get(name, 0))


@memo
def doubled(value: int) -> int:
    return 2 * value


@task
def summed(total: str) -> Callable[[], int]:
    """Require what the test decides."""

    @requires([source(name) for name in _given.get("required", ["a"])])
    def run_task(values: list[int]) -> int:
        return sum(values)

    return run_task


@memo(store=False)
def passed_on(value: int) -> int:
    return value


@pytest.fixture(autouse=True)
def nothing_given() -> None:
    _given.clear()


def computed(instance: Any, **options: Any) -> int:
    """Run serially and return how many instances were computed."""
    report = run_report(instance, executor="serial", **options)
    _ = report.value
    return report.computed


def recompute(name: str, value: int) -> None:
    """Let a source have another value."""
    _given[name] = value
    source(name).run(executor="serial", force=True)


# --- why -------------------------------------------------------------------------------------------------


def test_why_nothing_was_computed_yet() -> None:
    """Without an entry, that is the reason."""
    assert source("a").why().cue is Cue.MISSING


def test_why_it_is_fresh() -> None:
    """A fresh instance tells when its entry was made."""
    before = time.time()
    source("a").run(executor="serial")
    reason = source("a").why()
    assert reason.cue is Cue.FRESH
    assert reason.at is not None
    assert before <= reason.at <= time.time()


@pytest.mark.parametrize("clear", [lambda: source("a").clear(), lambda: source.clear()], ids=["instance", "task"])
def test_why_it_was_cleared(clear: Callable[[], None]) -> None:
    """A clear is the reason, with its time."""
    source("a").run(executor="serial")
    before = time.time()
    clear()
    reason = source("a").why()
    assert reason.cue is Cue.CLEARED
    assert reason.at is not None
    assert before <= reason.at <= time.time()


def test_why_upstream_is_computed_first() -> None:
    """What is below something that is missing waits for it, and names it."""
    doubled(source("a")).run(executor="serial")
    source("a").clear()
    reason = doubled(source("a")).why()
    assert (Cue.PENDING, ("source(name='a')",)) == (reason.cue, reason.calls)


def test_why_upstream_has_another_value() -> None:
    """The upstream whose value changed is named, and no other."""
    _given["required"] = ["a", "b", "c"]
    summed("x").run(executor="serial")
    recompute("b", 5)
    reason = summed("x").why()
    assert (Cue.UPSTREAM, ("source(name='b')",)) == (reason.cue, reason.calls)


def test_why_upstream_was_cleared_and_computed_again() -> None:
    """A clear counts although the value came out the same."""
    doubled(source("a")).run(executor="serial")
    source("a").clear()
    source("a").run(executor="serial")
    reason = doubled(source("a")).why()
    assert (Cue.UPSTREAM, ("source(name='a')",)) == (reason.cue, reason.calls)


def test_why_something_else_is_required() -> None:
    """What is newly and what is no longer required is named."""
    _given["required"] = ["a", "b"]
    summed("x").run(executor="serial")
    _given["required"] = ["b", "c"]
    source("c").run(executor="serial")
    reason = summed("x").why()
    assert reason.cue is Cue.REQUIREMENTS
    assert ("+ source(name='c')", "- test_reasons.source(name='a')") == reason.calls


def test_why_an_unstored_upstream_changed() -> None:
    """The reason reaches through what is not stored."""
    instance = doubled(passed_on(source("a")))
    instance.run(executor="serial")
    recompute("a", 5)
    reason = instance.why()
    assert reason.cue is Cue.UPSTREAM
    assert "source(name='a')" in reason.calls


def test_why_nothing_is_kept() -> None:
    """Tasks whose results are not kept say so."""
    assert passed_on(1).why().cue is Cue.UNSTORED


def test_why_it_was_damaged() -> None:
    """An entry that was set aside is the reason."""
    source("a").run(executor="serial")
    (folder,) = Path().resolve().glob("**/test_reasons.source")
    with sqlite3.connect(folder / "cache.db") as connection:
        connection.execute("UPDATE Cache SET value = x'00' WHERE key LIKE '{%'")
    connection.close()
    with pytest.warns(DamagedEntryWarning), pytest.raises(NotCachedError):
        source("a").result()
    assert source("a").why().cue is Cue.DAMAGED


def test_why_it_is_forced() -> None:
    """A forced run says that it is."""
    source("a").run(executor="serial")
    assert source("a").why(force=True).cue is Cue.FORCED


def scaled(factor: int, **options: Any) -> Any:
    """Return a task of one name whose code differs by a number."""
    codes = {1: lambda n: n * 1, 2: lambda n: n * 2, 3: lambda n: n * 3}
    return memo(name="lab.scaled", **options)(codes[factor])


def test_why_the_code_changed() -> None:
    """The reason is the edit, with the lines that differ."""
    scaled(1)(7).run(executor="serial")
    reason = scaled(2, on_change="rerun")(7).why()
    assert reason.cue is Cue.CODE
    assert reason.changes is not None
    assert len(reason.changes) == 1
    assert "n * 2" in str(reason)


def test_why_the_version_changed() -> None:
    """Another pinned version is told apart from an edit."""
    scaled(1, version=1)(7).run(executor="serial")
    assert scaled(1, version=2)(7).why().cue is Cue.VERSION


def test_a_fresh_result_of_older_code_shows_the_difference() -> None:
    """Where changed code is only warned of, `why` has the difference."""
    scaled(1)(7).run(executor="serial")
    reason = scaled(2)(7).why()
    assert reason.cue is Cue.FRESH
    assert "n * 2" in str(reason)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Reason("f(1)", Cue.MISSING), "f(1): no entry"),
        (Reason("f(1)", Cue.UPSTREAM, ("g(2)", "h(3)")), "f(1): upstream changed\n  g(2)\n  h(3)"),
        (
            Reason("f(1)", Cue.PENDING, tuple(f"g({n})" for n in range(12))),
            "f(1): upstream to be computed\n" + "".join(f"  g({n})\n" for n in range(10)) + "  and 2 more",
        ),
        (Reason("f(1)", Cue.CODE, changes=None), "f(1): code changed\n  by code that is not on record"),
    ],
)
def test_a_reason_is_text_for_a_person(reason: Reason, text: str) -> None:
    """`str` says it in a line, and one for each thing that it is about."""
    assert text == str(reason)


# --- plan ------------------------------------------------------------------------------------------------


def test_a_plan_counts_what_would_be_computed_loaded_and_skipped() -> None:
    """Fresh values are read where something takes them, and skipped elsewhere."""
    choose(6, 3).run(executor="serial")
    warm = choose(6, 3).plan()
    choose(5, 3).clear()
    cleared = choose(6, 3).plan()
    assert (0, 1, 14) == (len(warm.compute), warm.loaded, warm.skipped)
    assert (1, 1, 3, 10) == (len(cleared.compute), len(cleared.maybe), cleared.loaded, cleared.skipped)


def test_a_plan_knows_how_long_things_took() -> None:
    """Durations are those of the last time, or of other calls of the task."""
    _given["required"] = ["a", "b"]
    first = summed("x").plan()
    summed("x").run(executor="serial")
    (own,) = [call.seconds for call in summed.entries()]
    took = {call.arguments["name"]: call.seconds for call in source.entries()}
    source("a").clear()
    one_left = summed("y").plan()
    source("b").clear()
    none_left = summed("y").plan()
    assert (3, 0.0, 0, 2) == (first.unknown, first.seconds, one_left.unknown, none_left.unknown)
    assert (pytest.approx(own + took["b"]), pytest.approx(own)) == (one_left.seconds, none_left.seconds)


def test_a_plan_of_several_instances_is_that_of_one_run() -> None:
    """What they share counts once; what was asked for is loaded, whatever else reads it."""
    source("a").run(executor="serial")
    found = forecast({"x": [doubled(source("a")), source("a")], "y": (source("b"), source("b"))})
    assert {doubled(source("a")): Cue.MISSING, source("b"): Cue.MISSING} == {
        instance: reason.cue for instance, reason in found.compute.items()
    }
    assert (1, 0, 1, 0) == (found.loaded, found.skipped, forecast(source("a")).loaded, len(forecast([]).compute))


def test_a_plan_of_something_else_is_refused() -> None:
    """The text is that of `run`, with the function's own name."""
    with pytest.raises(TypeError, match=r"^forecast\(\) takes task instances, .*; int is none"):
        forecast([source("a"), 3])


def test_a_plan_has_the_options_of_a_run() -> None:
    """A forced run's plan computes what has a fresh result."""
    source("a").run(executor="serial")
    assert [Cue.FORCED] == [reason.cue for reason in forecast([source("a")], force=True).compute.values()]


# --- accepting -------------------------------------------------------------------------------------------


def test_changes_are_what_accept_accepts() -> None:
    """Asking changes nothing; after `accept` there is nothing left."""
    scaled(1)(7).run(executor="serial")
    scaled(2)(8).run(executor="serial")
    present = scaled(3)
    last, every = present.changes(), present.changes(every=True)
    assert (1, 2, True) == (len(last), len(every), "n * 2" in last[0].before)
    assert last == present.accept()
    assert [change for change in every if "n * 1" in change.before] == present.accept(every=True)
    assert [] == present.changes(every=True)


def test_changes_since_code_that_is_not_on_record() -> None:
    """Where the old code is unknown, all of the present code is what would be accepted."""
    scaled(1)(7).run(executor="serial")
    (folder,) = Path().resolve().glob("**/lab.scaled")
    with sqlite3.connect(folder / "cache.db") as connection:
        assert connection.execute("DELETE FROM Cache WHERE key LIKE 'record:code:%'").rowcount > 0
    connection.close()
    (change,) = scaled(2).changes()
    assert ("", True) == (change.before, "n * 2" in change.after)
    assert [change] == scaled(2).accept()
    assert [] == scaled(2).changes()


# --- forced runs -----------------------------------------------------------------------------------------


def test_a_forced_run_computes_what_was_asked_for_and_nothing_above() -> None:
    """`force` computes the given instance; equal bytes then leave what is below as it was."""
    instance = doubled(source("a"))
    instance.run(executor="serial")
    assert (1, 1) == (computed(source("a"), force=True), computed(instance, force=True))
    assert computed(instance) == 0


# --- lineage ---------------------------------------------------------------------------------------------


def test_lineage_goes_up_and_down() -> None:
    """From a value to what it was computed from, and back to everything computed from that."""
    instance = doubled(source("a"))
    instance.run(executor="serial")
    doubled(source("b")).run(executor="serial")
    lineage = instance.lineage()
    (above,) = lineage.upstream()
    (below,) = above.downstream()
    assert [{"name": "a"}, []] == [above.arguments, above.upstream()]
    assert (lineage.task, lineage.stored_at) == (below.task, below.stored_at)


def test_lineage_has_facts() -> None:
    """It knows code, times, place and size."""
    import platform
    import socket

    source("a").run(executor="serial")
    lineage = source("a").lineage()
    (call,) = source.entries()
    assert (call.stored_at, call.seconds, call.size) == (lineage.stored_at, lineage.seconds, lineage.size)
    assert (socket.gethostname(), platform.python_version()) == (lineage.origin["host"], lineage.origin["python"])
    assert lineage.code is not None
    assert lineage.code.fingerprint == lineage.fingerprint
    assert "source(name='a'): " in str(lineage)


def test_lineage_of_a_value_whose_upstream_was_made_anew() -> None:
    """What a value was computed from is no longer kept once that was replaced by another value."""
    instance = doubled(source("a"))
    instance.run(executor="serial")
    recompute("a", 3)
    (above,) = instance.lineage().upstream()
    assert (False, None, []) == (above.is_kept, above.stored_at, above.upstream())
    assert "no longer kept" in str(instance.lineage())
    assert source("a").lineage().downstream() == []


def test_lineage_as_text_goes_as_far_up_as_asked() -> None:
    """`str` is one step; each further step is indented once more."""
    instance = doubled(doubled(source("a")))
    instance.run(executor="serial")
    lineage = instance.lineage()
    indents = [[len(line) - len(line.lstrip()) for line in lineage.describe(depth).splitlines()] for depth in range(4)]
    assert [[0], [0, 2], [0, 2, 4], [0, 2, 4]] == indents
    assert str(lineage) == lineage.describe()


def test_lineage_as_text_tells_once_what_comes_up_again() -> None:
    """A graph with many ways up has few lines."""
    choose(12, 6).run(executor="serial")
    lines = choose(12, 6).lineage().describe(12).splitlines()
    calls = {line.partition("from ")[2].partition(":")[0] for line in lines[1:]}
    assert len(calls) == len({(n, k) for n in range(1, 12) for k in range(7) if 0 <= k <= n and n - k <= 6})
    assert len(lines) < 2 * len(calls)


def test_lineage_as_text_goes_on_where_there_are_steps_left() -> None:
    """What was the last step on one way up is followed on a shorter one."""
    short = doubled(source("a"))
    total([doubled(short), short]).run(executor="serial")
    lines = total([doubled(short), short]).lineage().describe(2).splitlines()
    assert [0, 2, 4, 2, 4] == [len(line) - len(line.lstrip()) for line in lines]
    assert "source(name='a'): " in lines[-1]


def test_lineage_of_nothing() -> None:
    """Without a stored value there is no lineage."""
    with pytest.raises(NotCachedError):
        source("a").lineage()


def test_lineage_is_made_by_instances() -> None:
    """The class is public for annotations."""
    source("a").run(executor="serial")
    assert isinstance(source("a").lineage(), Lineage)
