"""Folders that only their owner can enter, and what makes names in them as lasting as the files.

Must not know: what is in them.

Next: store/cache.py
"""

from __future__ import annotations

import contextlib
import os

__all__ = ["make_folder", "sync_folder"]


def make_folder(folder: str) -> None:
    """Make a folder, and those above it that are missing, for this user alone; they last when this returns."""
    if not os.path.isdir(folder):
        make_folder(os.path.dirname(folder))
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with contextlib.suppress(PermissionError):  # one may be allowed to add to a folder and not to read it
            sync_folder(os.path.dirname(folder))


def sync_folder(folder: str) -> None:
    """Make the names in a folder as lasting as its files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
