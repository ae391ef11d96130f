"""Overlay: a store over another one, where the results of some tasks go to a place that ends with the run.

What is kept already is found through it, for those tasks as well, but nothing that is done for them reaches the store
below. It travels to other processes as it is.

Must not know: stages, pipelines.

Next: flows/pipeline/lines.py
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from checkpoint.store import Entry, Epoch, Store, Write
from checkpoint.store.disk import DiskStore
from checkpoint.version import key_of

__all__ = ["Overlay"]


@final
class Overlay:
    """A store for one run, over the one with what is kept. Thread-safe."""

    def __init__(self, below: Store, scratch: DiskStore, tasks: frozenset[str], *, is_local: bool = False) -> None:
        """Lay it over a store.

        Args:
            below: where the other tasks' results are kept.
            scratch: where these tasks' results, and files of their own, are.
            tasks: names of the tasks whose results are not kept.
            is_local: no other process takes part, so these results stay in memory.
        """
        self._below, self._scratch, self._tasks = below, scratch, tasks
        self._frames: _Frames | DiskStore = _Frames() if is_local else scratch
        self._begun: set[tuple[str, str]] = set()
        self.url, self.settings = below.url, below.settings
        self.lookup, self.scan, self.tasks = below.lookup, below.scan, below.tasks
        self.records, self.cleared_at, self.damaged = below.records, below.cleared_at, below.damaged
        self.clear = below.clear
        self.claims, self.changes = below.claims, below.changes

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self._below, self._scratch.url, self._tasks)

    def _is_own(self, task: str, row: str) -> bool:
        """Tell whether a row is of this run: computed by it, or being computed here."""
        if task not in self._tasks:
            return False
        return (task, key_of(row)) in self._begun or self._frames.read(task, row) is not None

    def read(self, task: str, row: str) -> tuple[Entry, memoryview, bool] | None:
        """Return metadata, frame and whether the frame is a map of a file."""
        found = self._frames.read(task, row) if task in self._tasks else None
        return found if found is not None else self._below.read(task, row)

    def epochs(self, task: str, keys: Sequence[str], *, creates: bool = False) -> list[Epoch]:
        """Return the epoch of each key; who asks with `creates` is about to compute them."""
        if creates and task in self._tasks:
            self._begun.update((task, key) for key in keys)
        return self._below.epochs(task, keys, creates=creates and task not in self._tasks)

    def write(self, task: str, writes: Sequence[Write]) -> list[bool]:
        """Commit entries in one transaction; a clear in the store below doesn't concern those that are not kept."""
        if task not in self._tasks:
            return self._below.write(task, writes)
        return self._frames.write(task, [write._replace(epoch=Epoch(0, 0)) for write in writes])

    def quarantine(self, task: str, row: str) -> None:
        """Set a damaged entry aside."""
        (self._frames if self._is_own(task, row) else self._below).quarantine(task, row)

    def record(self, task: str, name: str, text: str) -> None:
        """Keep a text beside the entries of a task that is kept."""
        if task not in self._tasks:
            self._below.record(task, name, text)

    def directory(self, task: str, row: str) -> Path:
        """Return the folder that belongs to a row."""
        return (self._scratch if self._is_own(task, row) else self._below).directory(task, row)

    def using(self, *, creates: bool = False) -> contextlib.AbstractContextManager[None]:
        """Return a block in which nothing is collected below; a run that keeps nothing leaves nothing there."""
        return self._below.using()

    def close(self) -> None:
        """Close what is not kept; the store below stays open."""
        self._frames.close()


@final
class _Frames:
    """Frames of results that only this process needs, in memory."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[Entry, bytes]] = {}

    def read(self, task: str, row: str) -> tuple[Entry, memoryview, bool] | None:
        found = self._found.get((task, row))
        return (found[0], memoryview(found[1]), False) if found is not None else None

    def write(self, task: str, writes: Sequence[Write]) -> list[bool]:
        self._found.update({(task, write.row): (write.entry, b"".join(write.frame.parts)) for write in writes})
        return [True] * len(writes)

    def quarantine(self, task: str, row: str) -> None:
        self._found.pop((task, row), None)

    def close(self) -> None:
        self._found.clear()


@functools.lru_cache(maxsize=1)
def _scratch_at(folder: str) -> DiskStore:
    """Return a worker's store at a scratch folder, the same for all batches of a run."""
    return DiskStore(folder)


def _opened(below: Store, folder: str, tasks: frozenset[str]) -> Overlay:
    return Overlay(below, _scratch_at(folder), tasks)
