"""What a run tells others while it goes on, and why each instance was computed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import square, total

import checkpoint
from checkpoint import memo, run
from checkpoint.observe import archive
from checkpoint.observe.live import LiveRun, live_runs
from checkpoint.observe.record import RunRecord
from checkpoint.store import current_store, open_store

ROOT = Path(checkpoint.__file__).parents[1]
#: Waits in each call until it may go on; with "limited", one at a time.
WAIT = """
import sys, time
from pathlib import Path
from checkpoint import memo, run

@memo(pool="gpu")
def wait(number: int, folder: str) -> int:
    while not Path(folder, f"go-{number}").exists():
        time.sleep(0.005)
    return number

if __name__ == "__main__":
    folder, executor, size = sys.argv[1:]
    run([wait(i, folder) for i in range(3)], executor=executor, max_workers=2, pools={"gpu": int(size)})
"""


@contextlib.contextmanager
def start(folder: Path, executor: str, size: int = 9) -> Iterator[subprocess.Popen[bytes]]:
    """Run the program that waits; it has ended after this block."""
    (folder / "wait.py").write_text(WAIT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "wait.py", str(folder), executor, str(size)]
    program = subprocess.Popen(command, cwd=folder, env=environment)
    try:
        yield program
    finally:
        program.kill()
        program.wait()


def until(find: Callable[[list[LiveRun]], Any], seconds: float = 60.0) -> Any:
    """Look at the runs that are told of, until something is found in them; return that."""
    end = time.monotonic() + seconds
    while not (found := find(live_runs(current_store()))):
        assert time.monotonic() < end, "it never was"
    return found


def go(folder: Path, *numbers: int) -> None:
    """Let the program go on."""
    for number in numbers:
        (folder / f"go-{number}").touch()


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_a_run_tells_how_it_stands_until_it_ends(tmp_path: Path, executor: str) -> None:
    """In each executor: what is to be done, what runs and where, what was done; at the end a record has its name."""
    with start(tmp_path, executor) as program:
        width = 1 if executor == "serial" else 2
        found: LiveRun = until(lambda runs: [each for each in runs if len(each.running) == width])[0]
        assert (True, program.pid, "wait.py", 3, 0) == (
            found.is_alive, found.process, found.program, found.total, found.settled,
        )  # fmt: skip
        assert [["wait.wait", 3, 0, 0, 0, 0, 0.0]] == found.tasks
        assert f"wait(folder={str(tmp_path)!r}, number=0)" == found.running[0][0]
        go(tmp_path, 0)
        found = until(lambda runs: [each for each in runs if each.settled == 1])[0]
        assert ["computed"] == [kind for _, _, _, kind, _, _ in found.bars]
        assert found.bars[0][1] > 0
        go(tmp_path, 1, 2)
        assert 0 == program.wait(timeout=60)
    assert [] == live_runs(current_store())
    assert [found.name] == [archive.name_of(file) for file in archive.kept(current_store())]


def test_what_waits_for_a_limit_is_told(tmp_path: Path) -> None:
    """A limit that is used up, and how many wait for it."""
    with start(tmp_path, "processes", 1) as program:
        found: LiveRun = until(lambda runs: [each for each in runs if each.held and each.running])[0]
        assert {"pool gpu": 2} == found.held
        assert 1 == len(found.running)
        go(tmp_path, 0, 1, 2)
        assert 0 == program.wait(timeout=60)


def test_a_killed_run_is_no_longer_alive(tmp_path: Path) -> None:
    """What it told last stays, and that its process is gone is seen at once."""
    with start(tmp_path, "serial") as program:
        until(lambda runs: [each for each in runs if each.is_alive])
        program.kill()
        program.wait()
    (found,) = live_runs(current_store())
    assert (False, 1) == (found.is_alive, len(found.running))
    assert [] == archive.kept(current_store())


def test_the_last_twenty_killed_runs_stay(tmp_path: Path) -> None:
    """The next run that tells anything removes what older ones have left."""
    folder = archive.folder_of(current_store())
    assert folder is not None
    folder.mkdir(parents=True)
    for number in range(archive.KEPT + 5):
        (folder / f"2020-01-01-0000{number:02}.000000-1.live").write_text("{}")
    with start(tmp_path, "serial") as program:
        until(lambda runs: runs)
        go(tmp_path, 0, 1, 2)
        assert 0 == program.wait(timeout=60)
    assert [f"2020-01-01-0000{number:02}" for number in range(5, 25)] == sorted(
        file.name.partition(".")[0] for file in folder.glob("*.live")
    )


def test_short_runs_tell_nothing(store: Path) -> None:
    """A run of less than a second makes no file, and leaves no thread."""
    run([square(1), total([square(2)])], executor="serial")
    assert not (store / "checkpoint" / ".runs").exists()
    assert [] == [thread.name for thread in threading.enumerate() if "checkpoint" in thread.name]


def test_a_task_that_took_a_moment_is_watched_by_no_other_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time one is there, as nobody knows how long it will take; so it is again after it took longer."""

    @memo
    def is_watched(number: int) -> bool:
        return any(thread.name == "checkpoint-live" for thread in threading.enumerate())

    monkeypatch.setattr("checkpoint.observe.pulse._MOMENT_SECONDS", 1e9)
    assert [True, False, False] == [is_watched(number).run(executor="serial") for number in range(3)]
    monkeypatch.setattr("checkpoint.observe.pulse._MOMENT_SECONDS", 0.0)
    assert [False, True, True] == [is_watched(number).run(executor="serial") for number in range(3, 6)]


def test_what_is_no_such_file_is_left_out(store: Path) -> None:
    """Damaged files, and those of other versions, are no runs."""
    folder = store / "checkpoint" / ".runs"
    folder.mkdir(parents=True)
    for number, text in enumerate(["", "nonsense", "[]", "{}", '{"format": 99}', '{"format": 1, "x": 2}']):
        (folder / f"{number}.live").write_text(text)
    assert [] == live_runs(current_store())


# --- why -------------------------------------------------------------------------------------------------


def reasons(*instances: Any, **options: Any) -> list[str]:
    """Run instances; return why each of the graph was computed, "" where it was not, in the order of the graph."""
    run(list(instances), executor="serial", trace="trace.json", **options)
    record = archive.read(archive.kept(current_store())[0])
    return [record.reasons[index] if index >= 0 else "" for index in record.why]


def test_a_record_says_why_each_instance_was_computed() -> None:
    """Missing, fresh, cleared, forced, and below what was cleared."""
    parts = [square(1), square(2)]
    assert ["no entry", "no entry", "no entry"] == reasons(total(parts))
    assert ["", "", "forced"] == reasons(total(parts), force=True)
    square(2).clear()
    assert ["", "cleared", "upstream changed"] == reasons(total(parts))


def test_changed_code_is_named() -> None:
    """An edited task, and what is below it where that gave something else."""

    def made(body: Callable[[int], int]) -> Any:
        return memo(name="study.made", on_change="rerun")(body)

    first, second = made(lambda x: x + 1), made(lambda x: x + 2)
    assert ["no entry", "no entry"] == reasons(total([first(1)]))
    changed = reasons(total([second(1)]))
    assert changed[0].startswith("code changed: ")
    assert changed[1].startswith("upstream changed: ")
    assert changed[1].endswith("(x=1)")


def test_a_record_of_the_first_format_is_still_read() -> None:
    """It has no reasons."""
    run([square(1)], executor="serial", trace="trace.json")
    record = archive.read(archive.kept(current_store())[0])
    old = record.to_json().replace('"format":2', '"format":1').replace('"reasons":["no entry"],"why":[0],', "")
    assert ([], []) == (RunRecord.from_json(old).reasons, RunRecord.from_json(old).why)


def test_a_store_that_is_no_folder_has_no_live_runs() -> None:
    """There is no place where they could tell anything."""
    with open_store("memory://watching"):
        assert [] == live_runs(current_store())
