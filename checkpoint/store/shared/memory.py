"""MemoryObjects: objects in the memory of one process, for tests and for a notebook that wants nothing on disk.

Next: store/shared/folder.py
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import final

from checkpoint.store.shared.objects import Parts, Size

__all__ = ["MemoryObjects"]


@final
class MemoryObjects:
    """Objects in a dict. They go with the process."""

    name_limit = 1000
    concurrency = 1

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin with a prefix."""
        with self._lock:
            return [name for name in self._objects if name.startswith(prefix)]

    def sizes(self, prefix: str) -> list[Size]:
        """Return the same with their sizes. What is here is as old as can be: nobody else writes."""
        with self._lock:
            return [Size(name, len(data), 0.0) for name, data in self._objects.items() if name.startswith(prefix)]

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below a prefix."""
        rests = [name.removeprefix(prefix) for name in self.names(prefix)]
        return sorted({rest.partition("/")[0] for rest in rests if "/" in rest})

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Return the bytes of an object, or some of them."""
        data = self._objects.get(name)
        return None if data is None else data[start:end]

    def put(self, name: str, parts: Parts) -> None:
        """Write an object."""
        self._objects[name] = b"".join(parts)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless it is there."""
        with self._lock:
            if name in self._objects:
                return False
            self._objects[name] = data
            return True

    def move(self, name: str, to: str) -> None:
        """Give an object another name."""
        with self._lock:
            if (data := self._objects.pop(name, None)) is not None:
                self._objects[to] = data

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects."""
        with self._lock:
            for name in names:
                self._objects.pop(name, None)

    def check(self) -> None:
        """Nothing to see: a dict keeps its promises."""

    def close(self) -> None:
        """Nothing to close."""
