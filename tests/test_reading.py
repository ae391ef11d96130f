"""Databases that are only read: what others write meanwhile is seen, and never half of it."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from checkpoint.store.reading import Reader, is_refusal, reading

COUNT = "SELECT count(*), min(round), max(round) FROM numbers"


@contextlib.contextmanager
def writer(file: Path) -> Iterator[sqlite3.Connection]:
    """Open a database with a log for writing; the last one who closes it removes the log."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        yield connection


def fill(connection: sqlite3.Connection, number: int) -> None:
    """Put another round of rows in the place of those that are there, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE IF NOT EXISTS numbers(round, text)")
    connection.execute("DELETE FROM numbers")
    connection.executemany("INSERT INTO numbers VALUES (?, ?)", [(number, "x" * 200)] * 500)
    connection.execute("COMMIT")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return a database that nobody has open."""
    file = tmp_path / "it is 100% #1?.db"
    with writer(file) as connection:
        fill(connection, 0)
    assert [file] == list(tmp_path.iterdir())
    return file


def test_reading_makes_no_file(database: Path) -> None:
    """Without a log the database is read as it is."""
    reader = Reader(str(database))
    with reading(str(database)) as connection:
        assert [(500, 0, 0)] == connection.execute(COUNT).fetchall() == reader.rows(COUNT)
    assert [database] == list(database.parent.iterdir())


def test_what_others_commit_is_seen(database: Path) -> None:
    """In the log, and in the database after the log is gone."""
    reader = Reader(str(database))
    seen = [reader.rows(COUNT)]
    with writer(database) as connection:
        for number in (1, 2):
            fill(connection, number)
            seen.append(reader.rows(COUNT))
    seen.append(reader.rows(COUNT))
    with writer(database) as connection:
        fill(connection, 3)
    seen.append(reader.rows(COUNT))
    assert [[(500, number, number)] for number in (0, 1, 2, 2, 3)] == seen


def test_reading_beside_a_writer_gives_one_state(database: Path) -> None:
    """Whatever moment a writer opens, commits and closes at, all rows are of one round."""

    def write() -> None:
        for number in range(1, 60):
            with writer(database) as connection:
                fill(connection, number)

    with ThreadPoolExecutor(1) as threads:
        writing, seen = threads.submit(write), []
        while not writing.done():
            reader = Reader(str(database))
            seen += [reader.rows(COUNT)[0] for _ in range(3)]
            reader.close()
        writing.result()
    seen.append(Reader(str(database)).rows(COUNT)[0])
    assert [] == [row for row in seen if row[0] != 500 or row[1] != row[2]]
    assert (500, 59, 59) == seen[-1]


def test_a_write_that_cannot_be_seen_is_an_error(database: Path) -> None:
    """Who reads in one block without a log, while somebody writes, is told."""

    def read_too_long() -> None:
        with reading(str(database)) as connection, writer(database) as other:
            connection.execute(COUNT).fetchall()
            fill(other, 1)

    with pytest.raises(sqlite3.OperationalError, match="while it was read"):
        read_too_long()


@pytest.mark.parametrize("endings", [["", "-wal", "-shm"], ["", "-wal"]])
def test_a_killed_writers_log_is_read(endings: list[str], database: Path, tmp_path: Path) -> None:
    """What was committed and not yet brought to the database counts, with the index of the log or without."""
    with writer(database) as connection:
        fill(connection, 1)
        copy = tmp_path / "copy.db"
        for ending in endings:
            copy.with_name(copy.name + ending).write_bytes(database.with_name(database.name + ending).read_bytes())
    assert [(500, 1, 1)] == Reader(str(copy)).rows(COUNT)


def _sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("it")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (_sqlite_error(sqlite3.SQLITE_FULL), True),
        (_sqlite_error(sqlite3.SQLITE_READONLY_DIRECTORY), True),
        (_sqlite_error(sqlite3.SQLITE_BUSY), False),
        (_sqlite_error(sqlite3.SQLITE_CORRUPT), False),
        (OSError(errno.EROFS, "it"), True),
        (OSError(errno.ENOENT, "it"), False),
        (sqlite3.OperationalError("it"), False),
        (None, False),
    ],
)
def test_refusals_are_told_from_damage(error: BaseException | None, expected: bool) -> None:
    """Only where something can't be written it may be read nevertheless."""
    assert expected == is_refusal(error)
