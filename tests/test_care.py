"""Checking a store, and collecting what is no longer needed."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import chain, choose, square, total

import checkpoint
from checkpoint import (
    Collection,
    Cue,
    DamagedEntryWarning,
    File,
    Problem,
    ProblemKind,
    StoreError,
    collect,
    memo,
    open_store,
    run,
    run_report,
    task_directory,
    verify,
)
from checkpoint.bundles import export_bundle, import_bundle
from checkpoint.inventory import calls, summaries
from checkpoint.journal import journal_at
from checkpoint.room import Value, in_order
from checkpoint.store import current_store, usage
from checkpoint.store.usage import alone

LARGE = 100_000
_log: list[str] = []


@memo
def block(n: int, size: int) -> bytes:
    _log.append(f"block {n}")
    return bytes([n]) * size


@memo
def length(data: bytes) -> int:
    _log.append("length")
    return len(data)


@memo
def report(parts: list[int]) -> int:
    _log.append("report")
    return sum(parts)


def graph() -> Any:
    """Return a report on two large blocks: five instances."""
    return report([length(block(n, LARGE)) for n in (1, 2)])


def computed(instance: Any) -> list[str]:
    """Run an instance and return which runners were called, sorted."""
    _log.clear()
    assert 2 * LARGE == instance.run(executor="serial")
    return sorted(_log)


def folder_of(store: Path, of: checkpoint.Task[..., Any]) -> Path:
    """Return the folder of a task."""
    return store / "checkpoint" / of.name


def sql(folder: Path, statement: str, *values: object) -> None:
    """Change a task's database behind the store's back."""
    connection = sqlite3.connect(folder / "cache.db", isolation_level=None)
    connection.execute(statement, values)
    connection.close()


def value_files(folder: Path) -> list[Path]:
    """Return the files of a task's values."""
    return sorted(folder.rglob("*.val"))


def flip(path: Path, offset: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def kinds(problems: tuple[Problem, ...]) -> list[ProblemKind]:
    """Return what kinds of problems there are."""
    return [problem.kind for problem in problems]


# --- verify ----------------------------------------------------------------------------------------------


def test_a_store_as_it_was_written_has_no_problems(tmp_path: Path) -> None:
    """Results of every size, files, flows and cleared keys are in order. [T7]"""
    graph().run(executor="serial")
    with_file("a").run(executor="serial")
    choose(4, 2).run(executor="serial")
    choose(4, 2).clear()
    journal_at().begin("flow").append({"a": 1, "b": bytes(300_000)}, index=1)
    found = verify()
    assert ((), (), 13, 1) == (found.problems, found.damage, found.entry_count, found.snapshot_count)
    assert found.size > 2 * LARGE


def test_a_store_that_is_not_there_has_no_problems(tmp_path: Path) -> None:
    """Checking and collecting make nothing. [T7]"""
    for found in (verify(tmp_path / "none"), collect(tmp_path / "none", apply=True, max_size=0)):
        assert 0 == getattr(found, "entry_count", 0) == getattr(found, "freed", 0)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("offset", [0, 10, 30, 70, 200, LARGE - 1])
def test_a_changed_bit_of_a_value_is_found(store: Path, offset: int) -> None:
    """Every byte is compared with its digest, those of arrays that are mapped too; the call is named. [T7]"""
    block(1, LARGE).run(executor="serial")
    (path,) = value_files(folder_of(store, block))
    flip(path, offset)
    (problem,) = verify().damage
    assert (ProblemKind.DAMAGED, f"test_care.block(n=1, size={LARGE})") == (problem.kind, problem.place)


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_missing_or_cut_value_is_found(store: Path, size: int) -> None:
    """A value whose file is gone or cut off is damage. [T7]"""
    block(1, size).run(executor="serial")
    folder = folder_of(store, block)
    if size == LARGE:
        os.truncate(value_files(folder)[0], 1000)
        assert [ProblemKind.DAMAGED] == kinds(verify().damage)
        value_files(folder)[0].unlink()
    else:
        sql(folder, "UPDATE Cache SET value = substr(value, 1, 50) WHERE key LIKE '{%'")
    assert [ProblemKind.DAMAGED] == kinds(verify().damage)


@pytest.mark.parametrize("offset", [0, 5, 20, 40, 60])
def test_changed_metadata_are_found(store: Path, offset: int) -> None:
    """Metadata that don't fit the value, the row or this version are damage. [T7]"""
    square(1).run(executor="serial")
    folder = folder_of(store, square)
    tag = "cast(substr(tag, 1, ?) || x'FF' || substr(tag, ? + 2) AS BLOB)"
    sql(folder, f"UPDATE Cache SET tag = {tag} WHERE key LIKE '{{%'", offset, offset)
    assert [ProblemKind.DAMAGED] == kinds(verify().damage)


def test_a_database_that_cannot_be_read_is_found(store: Path) -> None:
    """A folder whose database is none is damage; the others are still looked at. [T7]"""
    run([square(1), chain(0)], executor="serial")
    current_store().close()
    for ending in ("", "-wal", "-shm"):
        Path(f"{folder_of(store, square)}/cache.db{ending}").unlink(missing_ok=True)
    (folder_of(store, square) / "cache.db").write_bytes(b"no database" * 1000)
    found = verify()
    assert ([str(folder_of(store, square))], 1) == ([each.place for each in found.damage], found.entry_count)


def test_what_is_left_behind_is_no_damage(store: Path) -> None:
    """Files without a row, half-written ones and entries that were set aside are told, and nothing is lost. [T7]"""
    graph().run(executor="serial")
    folder = folder_of(store, block)
    (path, other) = value_files(folder)
    shutil.copy(path, path.with_name("0" * 30 + ".val"))
    (path.parent / "1.val.tmp").write_bytes(b"half")
    flip(other, 100)
    with pytest.warns(DamagedEntryWarning):
        run([block(1, LARGE), block(2, LARGE)], executor="serial")
    found = verify()
    expected = [ProblemKind.ASIDE, ProblemKind.ORPHAN, ProblemKind.ORPHAN]
    assert ((), expected) == (found.damage, kinds(found.problems))


def test_upstream_that_is_gone_is_told(store: Path) -> None:
    """An entry whose upstream was cleared names it; the entry itself is in order. [T7]"""
    graph().run(executor="serial")
    block(1, LARGE).clear()
    (problem,) = verify().problems
    call = f"test_care.block(n=1, size={LARGE})"
    assert (ProblemKind.UPSTREAM, f"test_care.length(data={call})", call) == (
        problem.kind,
        problem.place,
        problem.detail,
    )


def test_upstream_that_is_not_stored_is_never_gone() -> None:
    """What was computed for a consumer alone is not missed. [T7]"""
    length(passed(3)).run(executor="serial")
    assert () == verify().problems


@memo(store=False)
def passed(n: int) -> bytes:
    return bytes(n)


@memo
def with_file(text: str) -> File:
    path = task_directory() / "note.txt"
    path.write_text(text)
    return File(path)


def test_changed_files_are_told() -> None:
    """A file that belongs to a value is compared with what it was. [T7]"""
    with_file("a").run(executor="serial").path.write_text("changed")
    assert [ProblemKind.FILES] == kinds(verify().problems)


@pytest.mark.parametrize("size", [10, 300_000])
def test_damage_in_flows_is_found(store: Path, size: int) -> None:
    """Every byte of every snapshot is read, too. [T7]"""
    journal_at().begin("flow").append({"a": bytes(range(10)) * (size // 10)}, index=1)
    journal_at().close()
    journal = store / "checkpoint" / ".journal"
    if size == 10:
        connection = sqlite3.connect(journal / "journal.db", isolation_level=None)
        connection.execute("UPDATE blob SET data = cast(substr(data, 1, 82) || x'FF' || substr(data, 84) AS BLOB)")
        connection.close()
    else:
        flip(next(journal.rglob("*.blob")), 5000)
    assert [ProblemKind.SNAPSHOT] == kinds(verify().damage)
    journal_at().close()


@pytest.mark.parametrize("size", [10, LARGE])
def test_what_is_not_signed_is_found(store: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """With a key, entries without its signature are named; `collect` can remove them, and nothing else. [T6]"""
    block(1, size).run(executor="serial")
    monkeypatch.setenv("CP_CACHE_KEY", "a key")
    block(2, size).run(executor="serial")
    assert [ProblemKind.UNSIGNED] == kinds(verify().damage)
    with pytest.raises(StoreError, match="not signed"):
        block(1, size).run(executor="serial")
    assert () == collect(apply=True).leftovers
    (left,) = collect(unsigned=True, apply=True).leftovers
    assert (f"test_care.block(n=1, size={size}) (not signed)", ()) == (left.what, verify().problems)
    assert [1, 0] == [run_report(block(n, size), executor="serial").computed for n in (1, 2)]


def test_other_kinds_of_stores_are_refused() -> None:
    """Only folders and shared stores can be checked and collected."""

    class Elsewhere:
        url = "elsewhere:"

        def lookup(self) -> None: ...

    other: Any = Elsewhere()
    for use in (verify, collect):
        with pytest.raises(StoreError, match="cannot be checked or collected"):
            use(other)


# --- collect: what goes ----------------------------------------------------------------------------------


def test_nothing_goes_without_a_condition() -> None:
    """Leftovers apart, a store is left alone unless somebody says what may go. [T7]"""
    graph().run(executor="serial")
    found = collect(apply=True)
    assert ((), (), 0, []) == (found.values, found.leftovers, found.freed, computed(graph()))


def test_nothing_goes_unless_it_is_applied(store: Path) -> None:
    """The first answer is only told; nothing on the disk is changed. [T7]"""
    graph().run(executor="serial")
    (folder_of(store, block) / "ab").mkdir(exist_ok=True)
    (folder_of(store, block) / "ab" / "1.val.tmp").write_bytes(b"half")
    found = collect(max_size=0)
    files = [path for path in store.rglob("*") if path.is_file()]
    assert (5, 1, False) == (len(found.values), len(found.leftovers), found.is_applied)
    assert (files, []) == ([path for path in store.rglob("*") if path.is_file()], computed(graph()))


def test_leftovers_go(store: Path) -> None:
    """Files that no row names, what was set aside, and blobs of flows that none names go; the rest stays. [T7]"""
    graph().run(executor="serial")
    recorder = journal_at().begin("flow")
    recorder.append({"b": bytes(300_000)}, index=1)
    (path, other) = value_files(folder_of(store, block))
    shutil.copy(path, path.with_name("0" * 30 + ".val"))
    (path.parent / "1.val.tmp").write_bytes(b"half")
    blob = next(store.rglob("*.blob"))
    shutil.copy(blob, blob.with_name("1" * 30 + ".blob"))
    flip(other, 100)
    with pytest.warns(DamagedEntryWarning):
        run([block(1, LARGE), block(2, LARGE)], executor="serial")
    found = collect(apply=True)
    assert (4, ()) == (len(found.leftovers), verify().problems)
    assert (found.freed > 600_000 - LARGE, []) == (True, computed(graph()))
    assert ((), ()) == (collect().leftovers, collect().values)
    journal_at().close()


def whats(found: Collection) -> set[str]:
    """Return the calls whose values go, without their module."""
    return {each.what.removeprefix("test_care.") for each in found.values}


B1, B2 = (f"block(n={n}, size={LARGE})" for n in (1, 2))


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"tasks": [block]}, {B1, B2}),
        ({"tasks": ["test_care.block"]}, {B1, B2}),
        ({"tasks": ["*block", "other"]}, {B1, B2}),
        ({"tasks": []}, set()),
        ({"larger_than": LARGE}, {B1, B2}),
        ({"larger_than": LARGE * 2}, set()),
        ({"older_than": 3600}, set()),
        ({"older_than": 0, "larger_than": LARGE}, {B1, B2}),
        ({"larger_than": LARGE, "tasks": ["*length"]}, set()),
        ({"max_size": 10**9}, set()),
        ({"keep": lambda: graph()}, set()),
        ({"keep": lambda: [length(block(1, LARGE))], "tasks": [block]}, {B2}),
        ({"keep": lambda: {"a": (block(1, LARGE),)}, "tasks": [block]}, {B2}),
        ({"keep": lambda: graph(), "max_size": 0}, set()),
    ],
)
def test_values_go_that_meet_all_conditions(conditions: dict[str, Any], expected: set[str]) -> None:
    """Task, age, size and what is needed for something narrow each other. [T7]"""
    graph().run(executor="serial")
    given = {name: value() if callable(value) and name == "keep" else value for name, value in conditions.items()}
    assert expected == whats(collect(**given))
    assert expected == whats(collect(**given, apply=True))
    assert set() == whats(collect(**given))


def test_what_code_of_old_made_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a call that the present code has computed, what older code made goes; a call with an old result keeps it.

    [T7]
    """
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    text = "from checkpoint import memo\n@memo\ndef f(n):\n    return n + {}\n"

    def edited(number: int) -> Any:
        sys.modules.pop("edited", None)
        (tmp_path / "edited.py").write_text(text.format(number))
        return __import__("edited").f

    for number in (1, 2):
        f = edited(number)
        run([f(1), f(2)] if number == 1 else [f(1)], executor="serial", on_change="rerun")
    assert {"edited.f(n=1)"} == whats(collect(superseded=[f], apply=True))
    assert (3, 0, 1) == (f(1).run(on_change="rerun"), (done := run_report(f(1), on_change="rerun")).computed, done.hit)
    with pytest.warns(checkpoint.CodeChangedWarning):
        assert 3 == f(2).run(executor="serial")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"tasks": "block"}, TypeError),
        ({"tasks": [3]}, TypeError),
        ({"older_than": "1d"}, TypeError),
        ({"older_than": -1}, ValueError),
        ({"older_than": float("nan")}, ValueError),
        ({"larger_than": True}, TypeError),
        ({"max_size": float("inf")}, ValueError),
        ({"superseded": [3]}, TypeError),
        ({"superseded": "train"}, TypeError),
        ({"keep": 3}, TypeError),
        ({"keep": block}, TypeError),
        ({"unsigned": 1}, TypeError),
        ({"apply": "yes"}, TypeError),
    ],
)
def test_arguments_that_cannot_be_are_named(options: dict[str, Any], error: type[Exception]) -> None:
    """The error names the argument."""
    with pytest.raises(error, match=rf"collect\({next(iter(options))}=...\) takes"):
        collect(**options)


# --- collect: what stays ---------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_value_that_went_still_counts(executor: str) -> None:
    """What was computed from collected values is fresh: nothing runs, and nothing is forecast. [T7]"""
    parts = [square(n) for n in range(10)]
    total(parts).run(executor="serial")
    assert 10 == len(collect(tasks=[square], apply=True).values)
    assert ({}, (), 11) == ((plan := total(parts).plan()).compute, plan.maybe, plan.fresh)
    assert 0 == run_report(total(parts), executor=executor, max_workers=2).computed
    done = run_report(total(parts[:5]), executor=executor, max_workers=2)
    assert (30, 6) == (done.value, done.computed)


def test_only_what_is_needed_is_computed_again() -> None:
    """A new consumer of a collected value has it, and what it takes, computed again, and nothing else. [T7]"""
    graph().run(executor="serial")
    collect(tasks=[block, length], apply=True)
    assert [] == computed(graph())
    plan = report([length(block(1, LARGE)), 0]).plan()
    assert ({length(block(1, LARGE)), block(1, LARGE)}, 1) == (
        {*plan.compute, *plan.maybe} - {report([length(block(1, LARGE)), 0])},
        len(plan.compute),
    )
    _log.clear()
    assert LARGE == report([length(block(1, LARGE)), 0]).run(executor="serial")
    assert ["block 1", "length", "report"] == _log
    assert [] == computed(graph())


def test_a_collected_value_that_is_asked_for_is_computed() -> None:
    """It is missing to who asks for it, and the reason is told. [T7]"""
    graph().run(executor="serial")
    collect(tasks=[block], apply=True)
    instance = block(1, LARGE)
    assert (Cue.COLLECTED, False, []) == (instance.why().cue, instance.is_cached(), list(block.entries()))
    with pytest.raises(checkpoint.NotCachedError):
        instance.result()
    _log.clear()
    assert bytes([1]) * LARGE == instance.run(executor="serial")
    assert (["block 1"], [], True) == (_log[:], computed(graph()), instance.is_cached())


def test_a_recomputation_with_other_bytes_reaches_what_is_below(tmp_path: Path) -> None:
    """A value that comes out differently the second time is a changed one: what is below runs again. [T7]"""
    number = tmp_path / "number"
    number.write_text("1")
    doubled(reading(str(number))).run(executor="serial")
    collect(tasks=[reading], apply=True)
    number.write_text("2")
    assert 2 == doubled(reading(str(number))).run(executor="serial")
    assert 2 == reading(str(number)).run(executor="serial")
    assert 4 == doubled(reading(str(number))).run(executor="serial")


@memo
def reading(path: str) -> int:
    return int(Path(path).read_text())


@memo
def doubled(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_long_chain_of_collected_values(executor: str) -> None:
    """The end of a chain without values is computed from its beginning, each once. [T7]"""
    chain(300).run(executor="serial")
    collect(tasks=[chain], apply=True)
    report = run_report(chain(300), executor=executor, max_workers=2)
    assert (300, 301) == (report.value, report.computed)


def test_values_below_what_is_not_stored() -> None:
    """A collected input of an unstored instance is computed again when that is. [T7]"""
    assert 6 == length(twice(block(1, 3))).run(executor="serial")
    collect(tasks=[block, length], apply=True)
    assert 6 == length(twice(block(1, 3))).run(executor="serial")


@memo(store=False)
def twice(data: bytes) -> bytes:
    return data * 2


def test_lineage_outlives_the_value() -> None:
    """What was computed from what is still known, and a clear still reaches what is below. [T7]"""
    graph().run(executor="serial")
    collect(tasks=[length], apply=True)
    above = [line.call for line in graph().lineage().upstream()[0].upstream()]
    assert [f"test_care.{B1}"] == above
    block(1, LARGE).clear(downstream=True)
    assert ["block 1", "length", "length", "report"] == computed(graph())


def test_listings_leave_out_collected_values() -> None:
    """What counts the results of a store counts those that are there. [T7]"""
    graph().run(executor="serial")
    collect(tasks=[block], apply=True)
    found = {summary.task: summary.calls for summary in summaries(current_store())}
    assert ({length.name: 2, report.name: 1}, []) == (found, list(calls(current_store(), block.name)))


def test_a_result_is_exported_without_what_was_collected(tmp_path: Path) -> None:
    """Elsewhere it is fresh, too, though a value that it was computed from went before. [T7]"""
    graph().run(executor="serial")
    collect(tasks=[block], apply=True)
    export_bundle(current_store(), list(calls(current_store(), report.name)), tmp_path / "bundle.zip")
    with open_store(tmp_path / "other") as other:
        import_bundle(other.store, tmp_path / "bundle.zip")
        assert ([], ()) == (computed(graph()), verify().damage)
        assert bytes([1]) * LARGE == block(1, LARGE).run(executor="serial")


def test_files_go_with_their_value() -> None:
    """The folder that a task wrote to goes, and its size counts. [T7]"""
    path = with_file("x" * 1000).run(executor="serial").path
    found = collect(tasks=[with_file], apply=True)
    assert (True, False) == (found.freed > 1000, path.parent.exists())
    assert "x" * 1000 == with_file("x" * 1000).run(executor="serial").path.read_text()


@pytest.mark.parametrize("size", [10, LARGE])
def test_signed_stores_are_collected(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """What is left of a value is signed like the value was. [T6]"""
    monkeypatch.setenv("CP_CACHE_KEY", "a key")
    length(block(1, size)).run(executor="serial")
    collect(tasks=[block], apply=True)
    assert ((), 0) == (verify().problems, run_report(length(block(1, size)), executor="serial").computed)
    assert bytes([1]) * size == block(1, size).run(executor="serial")


def test_a_clear_counts_for_collected_values() -> None:
    """What was cleared after its value went is computed again, and what is below. [T7]"""
    graph().run(executor="serial")
    collect(tasks=[block], apply=True)
    block(1, LARGE).clear()
    assert ["block 1", "length", "report"] == computed(graph())


def test_space_is_given_back(store: Path) -> None:
    """Small values go from the database, which then is smaller; the sizes told are those that there were. [T7]"""
    run([block(n % 256, 20_000 + n) for n in range(100)], executor="serial")
    current_store().close()
    before = (folder_of(store, block) / "cache.db").stat().st_size
    found = collect(max_size=1_000_000, apply=True)
    assert (True, True) == (found.size_after <= 1_000_000 < found.size_before, found.freed > 1_000_000)
    current_store().close()
    assert before - (folder_of(store, block) / "cache.db").stat().st_size > 800_000


# --- order -----------------------------------------------------------------------------------------------


def value(size: int, seconds: float, *upstream: int, gone: bool = False, free: bool = True) -> Value:
    return Value(size, seconds, upstream, gone, free)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([value(10, 1), value(10, 2)], [0, 1]),
        ([value(10, 1), value(100, 1)], [1, 0]),
        ([value(10, 9), value(10, 1, 0)], [0, 1]),
        ([value(10, 1, free=False), value(10, 2), value(10, 3, gone=True)], [1]),
        ([value(10, 5, gone=True), value(10, 1, 0), value(10, 2), value(1, 1, 1, 2)], [2, 1, 3]),
        ([value(10, 1), value(10, 2, 0), value(10, 2.5), value(1, 1, 0, 1, 2)], [0, 2, 1, 3]),
        ([value(0, 0)], [0]),
    ],
    ids=["none", "quick", "large", "intermediate", "kept", "cost above", "cost rises", "empty"],
)
def test_what_goes_first(values: list[Value], expected: list[int]) -> None:
    """Intermediate values before results, and then what is the quickest to compute again for its size. [T7]"""
    assert expected == list(in_order(values))


def test_a_cap_takes_no_more_than_it_must() -> None:
    """Values go until the rest fits; results that nothing was computed from are the last. [T7]"""
    graph().run(executor="serial")
    assert 1 == len(collect(max_size=LARGE + 5_000).values)
    assert {B1, B2} == whats(collect(max_size=5_000, apply=True))
    assert [] == computed(graph())


@pytest.mark.parametrize("how", ["given", "environment"])
def test_a_store_with_a_cap_stays_below_it(store: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """After a run values go until the rest fits; what was asked for stays, and nothing is computed twice. [T7]"""
    if how == "environment":
        monkeypatch.setenv("CP_CACHE_SIZE", "0.15 MB")
    with open_store(store, max_size=150_000 if how == "given" else None):
        graph().run(executor="serial")
        assert [1, 3] == [sum(block(n, LARGE).is_cached() for n in (1, 2)), len(list(length.entries())) + 1]
        assert [] == computed(graph())
        for n in (3, 4):
            block(n, LARGE).run(executor="serial")
            assert [n] == [each.arguments["n"] for each in block.entries()]
        run([block(n, LARGE) for n in range(5, 9)], executor="serial")  # all of them are asked for
        assert [5, 6, 7, 8] == sorted(each.arguments["n"] for each in block.entries())


def test_a_cap_takes_nothing_from_a_run_beside(store: Path) -> None:
    """While the store is in use nothing goes; the next run that ends alone makes room. [T7]"""
    with open_store(store, max_size=10_000):
        with current_store().using(creates=True):
            graph().run(executor="serial")
        assert 2 == len(list(block.entries()))
        square(1).run(executor="serial")
        assert 0 == len(list(block.entries()))


# --- with others -----------------------------------------------------------------------------------------

RUNNING = """
    import sys
    from checkpoint import memo

    @memo
    def waits(n):
        print("running", flush=True)
        sys.stdin.readline()
        return n

    if __name__ == "__main__":
        print(waits(1).run(executor=sys.argv[1]), flush=True)
"""


@pytest.fixture
def started(tmp_path: Path, store: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a program on the test's store."""
    processes: list[subprocess.Popen[str]] = []

    def start(text: str, *arguments: str) -> subprocess.Popen[str]:
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(text))
        paths = [Path(checkpoint.__file__).parents[1], Path(__file__).parent]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        command = [sys.executable, str(path), *arguments]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("ending", ["end", "kill"])
def test_nothing_goes_while_a_run_goes_on(started: Callable[..., subprocess.Popen[str]], ending: str) -> None:
    """A store in use is refused, though it can be looked at; the end or death of the run frees it. [T7]"""
    graph().run(executor="serial")
    process = started(RUNNING, "serial")
    assert process.stdout is not None
    assert "running\n" == process.stdout.readline()
    assert 2 == len(collect(tasks=[block]).values)
    with pytest.raises(StoreError, match="a run is using it, so nothing was removed; try again when"):
        collect(tasks=[block], apply=True)
    assert [] == computed(graph())
    if ending == "kill":
        process.kill()
    process.communicate("\n")
    assert 2 == len(collect(tasks=[block], apply=True).values)


BESIDE = """
    import sys
    from checkpoint import run
    from programs import chain, square, total
    for n in range(int(sys.argv[1])):
        assert 40 == chain(40).run(executor=sys.argv[2])
        assert 285 == total([square(i) for i in range(10)]).run(executor=sys.argv[2], force=n % 2 == 0)
        chain(n % 40).clear()
"""


@pytest.mark.parametrize("rounds", [8, pytest.param(300, marks=pytest.mark.stress)])
@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_collecting_beside_runs(started: Callable[..., subprocess.Popen[str]], executor: str, rounds: int) -> None:
    """Runs that go on while somebody collects, again and again, have the right values; nothing is damaged. [T4] [T7]"""
    processes = [started(BESIDE, str(rounds), executor) for _ in range(2)]
    done, refusals = 0, list[str]()
    while any(process.poll() is None for process in processes):
        try:
            collect(tasks=[chain, square], larger_than=0, apply=True)
            done += 1
        except StoreError as error:
            refusals.append(error.reason)
    assert ([0, 0], ()) == ([process.returncode for process in processes], verify().damage)
    assert (True, set()) == (done + len(refusals) > 0, set(refusals) - {"a run is using it, so nothing was removed"})
    assert () == collect(apply=True).leftovers
    assert 40 == chain(40).run(executor="serial")


def test_a_run_waits_for_a_collector_and_not_for_ever(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that begins while somebody is alone in the store waits; should that never end, it is an error. [T3]"""
    square(1).run(executor="serial")
    with alone(str(store / "checkpoint")):
        monkeypatch.setattr(usage, "LOCK_SECONDS", 0.05)
        with pytest.raises(StoreError, match="somebody has been removing things from it"):
            square(1).run(executor="serial")
    assert 1 == square(1).run(executor="serial")


@pytest.mark.usefixtures("impatient")
def test_a_store_is_in_use_from_its_first_run_on(started: Callable[..., subprocess.Popen[str]]) -> None:
    """A run that makes the store holds it as any other does. [T7]"""
    process = started(RUNNING, "serial")
    assert process.stdout is not None
    assert "running\n" == process.stdout.readline()
    with pytest.raises(StoreError, match="a run is using it"):
        collect(apply=True)
    process.communicate("\n")
    assert collect(apply=True).is_applied


KILLED = """
    from checkpoint import collect
    from programs import chain
    print("ready", flush=True)
    while True:
        collect(tasks=[chain], apply=True)
        chain(60).run(executor="serial", force=True)
"""


@pytest.mark.parametrize("rounds", [4, pytest.param(100, marks=pytest.mark.stress)])
def test_a_killed_collector_leaves_a_store_in_order(started: Callable[..., subprocess.Popen[str]], rounds: int) -> None:
    """Whenever a collector is killed, every entry is whole or without its value, and results are right. [T1] [T7]"""
    random.seed(rounds)
    for _ in range(rounds):
        process = started(KILLED)
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        signal_after = random.random() / 2
        try:
            process.wait(signal_after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.wait()
        assert () == verify().damage
        assert 60 == chain(60).run(executor="serial")


_folders = itertools.count()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(["run", "collect", "clear", "cap"]), st.integers(0, 6)), max_size=8))
def test_collecting_never_changes_a_value(tmp_path: Path, steps: list[tuple[str, int]]) -> None:
    """Whatever is collected and cleared in between, every run has the right values and the store is in order. [T7]"""
    with open_store(tmp_path / str(next(_folders))):
        for step, n in steps:
            if step == "run":
                assert [1, 6, 15, 20, 15, 6, 1][n] == choose(6, n).run(executor="serial")
            elif step == "collect":
                keep = [choose(n, n // 2)]
                collect(keep=keep, apply=True)
            elif step == "cap":
                collect(max_size=n * 300, apply=True)
            else:
                choose(n, n // 2).clear()
            assert () == verify().damage
        before = total([square(1), square(2)]).run(executor="serial")
        assert (20, 5) == (choose(6, 3).run(executor="serial"), before)
        current_store().close()
