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
import os
import sqlite3
from collections.abc import Iterator

from checkpoint.errors import StoreError
from checkpoint.store.advice import LOCK_SECONDS
from checkpoint.store.cache import blank_database

__all__ = ["FORMAT", "check_number", "format_of", "migrate", "place_blank"]

#: The present format.
FORMAT = 3
#: Where a database file has its `user_version`.
_NUMBER_AT = 60
#: Format -> the statements that make the next one of it, in one transaction with its number.
_MIGRATIONS: dict[int, tuple[str, ...]] = {1: (), 2: ()}


@contextlib.contextmanager
def _opened(database: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(database, timeout=LOCK_SECONDS, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def _number_of(connection: sqlite3.Connection) -> int:
    ((found,),) = connection.execute("PRAGMA user_version").fetchall()
    return int(found) or 1


def format_of(folder: str, connection: sqlite3.Connection) -> int:
    """Return the format of an open database; changes nothing.

    Raises:
        StoreError: it is newer than the present one.
    """
    found = _number_of(connection)
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


def place_blank(database: str) -> None:
    """Make a database of the present format that is empty and whole from its first moment on, whoever else makes it.

    Nothing happens where files can't be made without a name: then its tables are made one by one, for longer.
    """
    blank = blank_database() if hasattr(os, "O_TMPFILE") else b""
    if not blank:
        return
    try:
        descriptor = os.open(os.path.dirname(database), os.O_WRONLY | os.O_TMPFILE, 0o600)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):
            os.write(descriptor, blank[:_NUMBER_AT] + FORMAT.to_bytes(4, "big") + blank[_NUMBER_AT + 4 :])
            os.fsync(descriptor)
            # With a descriptor, which an absolute path doesn't need, Python asks for links to be followed.
            os.link(f"/proc/self/fd/{descriptor}", database, src_dir_fd=descriptor, follow_symlinks=True)
    finally:
        os.close(descriptor)


def migrate(database: str) -> None:
    """Bring a database with its tables to the present format, once, whoever else opens it."""
    with _opened(database) as connection:
        connection.execute("BEGIN IMMEDIATE")
        found = _number_of(connection)
        while found in _MIGRATIONS:
            for statement in _MIGRATIONS[found]:
                connection.execute(statement)
            found += 1
        connection.execute(f"PRAGMA user_version = {found}")
        connection.execute("COMMIT")
