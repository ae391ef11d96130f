"""Advice: what a person can do about an error of the disk or of SQLite.

Must not know: what is stored.

Next: store/usage.py
"""

from __future__ import annotations

import errno

__all__ = ["LOCK_SECONDS", "advice_on"]

#: Longest wait for another process's transaction.
LOCK_SECONDS = 60


#: What SQLite says of a file that isn't what it wrote.
_DAMAGE = (
    *("malformed", "not a database", "could not decode", "no such ", "has no column", "corrupt"),
    *("unsupported file", "syntax error", "unrecognized token"),
)


def advice_on(cause: BaseException, database: str) -> str:
    """Return what to do about an OSError or an error of SQLite in a database file of that name."""
    text = str(cause).lower()
    number = getattr(cause, "errno", None)
    if "full" in text or number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "disk i/o" in text:
        return "free some space, or name another folder with $CP_CACHE_DIR or store="
    if "readonly" in text or "unable to open" in text or number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "make the folder writable for this user, or name another one with $CP_CACHE_DIR or store="
    if "locked" in text:
        return f"another process has held its lock for {LOCK_SECONDS} seconds; end it and run again"
    if isinstance(cause, UnicodeDecodeError) or any(word in text for word in _DAMAGE):
        return f"its {database} is damaged; move the folder away to compute its results again"
    return "check the folder, or name another one with $CP_CACHE_DIR or store="
