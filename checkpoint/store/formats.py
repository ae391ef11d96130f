"""Formats: the number of the form in which a task's folder is kept, and the way from each older one to the present.

The number is the database's `user_version`; what has none yet is of format 1. A newer one is an error before anything
is changed.

    1  rows, tags and files as `disk.py` and `tag.py` tell
    2  tags may be signed; a row may be left without its value
    3  tags have a digest of themselves and their row; those without one are read

Must not know: how rows are used.

Next: store/mounts.py
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from checkpoint.errors import StoreError
from checkpoint.store.advice import LOCK_SECONDS

__all__ = ["FORMAT", "check_format", "check_number", "migrate"]

#: The present format.
FORMAT = 3
#: Format -> the statements that make the next one of it, in one transaction with its number.
_MIGRATIONS: dict[int, tuple[str, ...]] = {1: (), 2: ()}


@contextlib.contextmanager
def _opened(database: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(database, timeout=LOCK_SECONDS, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def _format_of(connection: sqlite3.Connection) -> int:
    ((found,),) = connection.execute("PRAGMA user_version").fetchall()
    return int(found) or 1


def check_format(folder: str, database: str) -> int:
    """Return the format of a database file; changes nothing.

    Raises:
        StoreError: it is newer than the present one.
    """
    with _opened(database) as connection:
        found = _format_of(connection)
    check_number(folder, found)
    return found


def check_number(folder: str, found: int) -> None:
    """See that a format is one that is read here.

    Raises:
        StoreError: it is newer than the present one.
    """
    if found > FORMAT:
        reason = f"it has format {found} and this version of checkpoint reads formats up to {FORMAT}"
        raise StoreError(folder, reason, "upgrade checkpoint, or name another folder with $CP_CACHE_DIR or store=")


def migrate(database: str) -> None:
    """Bring a database with its tables to the present format, once, whoever else opens it."""
    with _opened(database) as connection:
        connection.execute("BEGIN IMMEDIATE")
        found = _format_of(connection)
        while found in _MIGRATIONS:
            for statement in _MIGRATIONS[found]:
                connection.execute(statement)
            found += 1
        connection.execute(f"PRAGMA user_version = {found}")
        connection.execute("COMMIT")
