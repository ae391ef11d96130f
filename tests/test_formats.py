"""Stores of every format: read, brought to the present one, and refused if they are newer."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import golden_stores
import pytest
from golden_stores import report, section

from checkpoint import StoreError, open_store, run_report
from checkpoint.journal import journal_at
from checkpoint.journal.database import SCHEMA
from checkpoint.store.disk import DiskStore
from checkpoint.store.formats import FORMAT

GOLDEN = sorted(path.name for path in golden_stores.FOLDER.glob("*.zip"))


def numbers(folder: Path) -> set[int]:
    """Return the numbers of all databases of tasks below a folder."""
    found = set()
    for path in folder.glob("checkpoint/golden.*/cache.db"):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            found.add(connection.execute("PRAGMA user_version").fetchone()[0])
    return found


def test_there_is_a_golden_store_of_every_format() -> None:
    """Each format that ever was has a store in the tests; none is made anew when the format changes. [T7]"""
    assert [f"format-{number}.zip" for number in range(1, FORMAT + 1)] == GOLDEN


@pytest.mark.parametrize("name", GOLDEN)
def test_results_of_every_format_are_read(tmp_path: Path, name: str) -> None:
    """Nothing is computed again, whatever the size and the codec; the folders then are of the present format. [T7]"""
    folder = golden_stores.unpack(name, tmp_path / "old")
    with open_store(folder):
        found = run_report(report(3), executor="serial")
        assert (3 + 50_000 + sum(range(3_000)), 0, 6) == (found.value, found.computed, found.hit)
        assert [{"number": 2}, {"number": 1}] == [section(2).result(), section(1).result()]
    assert {FORMAT} == numbers(folder)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_store_of_every_format_is_written(tmp_path: Path, name: str) -> None:
    """A clear, and new results beside old ones, work as in a new store. [T7]"""
    folder = golden_stores.unpack(name, tmp_path / "old")
    with open_store(folder):
        section(1).clear()
        due = 2 if name == "format-1.zip" else 3  # with a value that was collected
        assert [due, 1] == [run_report(report(3), executor="serial").computed, run_report(section(9)).computed]


@pytest.mark.parametrize("name", GOLDEN)
def test_flows_of_every_format_are_read(tmp_path: Path, name: str) -> None:
    """Snapshots come back, with those of the parts that are files, and the history goes on. [T7]"""
    journal = journal_at(golden_stores.unpack(name, tmp_path / "old"))
    snapshots = journal.snapshots()
    states = [journal.state(snapshot.id) for snapshot in snapshots]
    assert ([], b"image" * 40_000) == (journal.verify(), list(states[-1].values())[-1])
    recorder = journal.resume(snapshots[-1].run)
    recorder.update({"more": 1}, index=3)
    assert len(snapshots) + 1 == len(journal.snapshots())
    with contextlib.closing(sqlite3.connect(Path(journal.folder, "journal.db"))) as connection:
        assert (SCHEMA,) == connection.execute("PRAGMA user_version").fetchone()
    journal.close()


@pytest.mark.parametrize("use", ["run", "is_cached", "clear"])
def test_a_newer_store_is_refused(tmp_path: Path, use: str) -> None:
    """The error says both numbers, and nothing is changed. [T7]"""
    folder = golden_stores.unpack(GOLDEN[-1], tmp_path / "newer")
    database = folder / "checkpoint" / "golden.section" / "cache.db"
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = database.read_bytes()
    with (
        open_store(folder),
        pytest.raises(
            StoreError, match=f"has format {FORMAT + 1} and this version of checkpoint reads formats up to {FORMAT}; up"
        ),
    ):
        getattr(section(1), use)()
    assert before == database.read_bytes()


def test_a_new_store_has_the_present_format(tmp_path: Path) -> None:
    """The number is there from the first result on. [T7]"""
    with open_store(tmp_path / "new"):
        section(1).run(executor="serial")
    DiskStore(str(tmp_path / "new")).close()
    assert {FORMAT} == numbers(tmp_path / "new")
