"""Tier: frames that were read or written lately, on a disk of this host, in front of a shared store.

It is asked by the name of an entry's object, which stands for the same bytes for ever, and only after the shared
store has said that the entry counts; so nothing that comes from here is stale. Each frame is compared with its digest
when it is read. Losing it costs time alone: whatever goes wrong here is logged once and done without.

Next: store/shared/place.py
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any, final

import diskcache
import xxhash

from checkpoint.codec import Frame
from checkpoint.store.cache import FolderCache
from checkpoint.store.mounts import network_kind_of

__all__ = ["Tier", "local_folder"]

_SIZE_LIMIT_BYTES = 10 * 1024**3
#: Frames that are larger would push too much out.
_LARGEST_BYTES = _SIZE_LIMIT_BYTES // 10
_SETTINGS: dict[str, Any] = {
    "eviction_policy": "least-recently-stored",
    "cull_limit": 10,
    "size_limit": _SIZE_LIMIT_BYTES,
}

_inherited: list[FolderCache] = []


def local_folder() -> str:
    """Return the folder of this host for what belongs to shared stores: $CP_LOCAL_DIR, or one in the user's cache."""
    setting = os.environ.get("CP_LOCAL_DIR")
    if setting:
        return os.path.abspath(os.path.expanduser(setting))
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "checkpoint")


@final
class Tier:
    """Frames in a DiskCache folder, at most 10 GiB; the oldest go first. Safe between threads and processes."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._cache: FolderCache | None = None
        self._is_broken = False
        self._lock = threading.Lock()

    def get(self, name: str) -> tuple[memoryview, bool] | None:
        """Return a frame, and whether it is a map of a file; None if it isn't here or isn't what was put here."""
        with self._tolerant():
            cache = self._opened()
            if cache is None:
                return None
            kept: Any = cache.get(name, tag=True)
            found, digest = kept
            if found is None:
                return None
            frame = memoryview(found)
            if xxhash.xxh3_128_digest(frame) == digest:
                return frame, not isinstance(found, bytes)
            cache.delete(name)
        return None

    def put(self, name: str, frame: Frame) -> None:
        """Keep a frame."""
        if frame.size > _LARGEST_BYTES:
            return
        with self._tolerant():
            cache = self._opened()
            if cache is not None:
                hasher = xxhash.xxh3_128()
                for part in frame.parts:
                    hasher.update(part)
                cache.set(name, frame, tag=hasher.digest())

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            cache, self._cache = self._cache, None
        if cache is not None:
            cache.close()

    def forget(self) -> None:
        """Start afresh in a forked child; the parent's connections are kept from being closed here."""
        if self._cache is not None:
            _inherited.append(self._cache)
        self._cache, self._lock = None, threading.Lock()

    def _opened(self) -> FolderCache | None:
        if self._is_broken:
            return None
        with self._lock:
            if self._cache is None or not self._cache.is_in_place():
                if kind := network_kind_of(self._folder):
                    raise OSError(f"it is on a network file system ({kind}); name a local one with $CP_LOCAL_DIR")
                os.makedirs(self._folder, mode=0o700, exist_ok=True)
                cache = FolderCache(self._folder)
                cache.set_up(**_SETTINGS)
                self._cache = cache
            return self._cache

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, diskcache.Timeout, OSError, ValueError) as error:
            with self._lock:
                is_known, self._is_broken = self._is_broken, True
            if not is_known:
                logging.getLogger("checkpoint").warning(
                    "the local copies of shared results in %r are not used: %s", self._folder, error
                )
