"""SelectiveStore: a view of a store for one run of a pipeline.

Some earlier entries are hidden, so they are computed again and replaced; some tasks' entries live in memory or in a
scratch folder, and go with the run; and of results that are loaded it says that they require nothing, so nothing above
them is looked for. All other tasks pass through. It travels to other processes as it is.

Must not know: stages, pipelines.

Next: flows/pipeline/lines.py
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, final

from checkpoint.store import Entry, Epoch, Store, Write, store_at
from checkpoint.store.disk import DiskStore
from checkpoint.version import basis_of

__all__ = ["SelectiveStore"]

_REQUIRES_NOTHING = basis_of(())
#: All scratch entries share one folder: they are few, and a folder costs more than a row.
_SCRATCH_TASK = "scratch"


@final
class SelectiveStore:
    """A store in which a run finds what it may load, and leaves what is to be kept. Thread-safe."""

    def __init__(
        self,
        kept: Store,
        *,
        scratch: str | DiskStore,
        is_local: bool = False,
        hidden: Collection[tuple[str, str]] = (),
        unkept: frozenset[str],
        loaded: Mapping[tuple[str, str], Entry],
    ) -> None:
        """Make a view.

        Args:
            kept: where results are kept.
            scratch: a folder, or a store, for results that are not.
            is_local: no other process takes part, so these results stay in memory.
            hidden: (task name, row) of each entry that is not to be found, though it may be there.
            unkept: names of tasks whose results go to the scratch folder.
            loaded: (task name, row) -> entry of each result that is loaded.
        """
        self._kept = kept
        self._disk = DiskStore(scratch) if isinstance(scratch, str) else scratch
        self._scratch = _Memory() if is_local else self._disk
        self._hidden, self._unkept = hidden, unkept
        self._loaded = {place: entry._replace(basis=_REQUIRES_NOTHING) for place, entry in loaded.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        loaded = {place: entry for place, entry in self._loaded.items() if place[0] in self._unkept}
        return _opened, (self._kept.url, self._disk.url, self._unkept, loaded)

    @property
    def url(self) -> str:
        """The view itself, pickled as such: no text could say what it hides. `store_at` takes it as it is."""
        return cast("str", self)

    # --- entries ---

    def lookup(self, task: str, rows: Sequence[str]) -> dict[str, Entry]:
        """Return the metadata of those rows that exist and may be loaded."""
        shown = [row for row in rows if task not in self._unkept and (task, row) not in self._hidden]
        found = self._kept.lookup(task, shown) if shown else {}
        loaded = {row: entry for row in rows if (entry := self._loaded.get((task, row))) is not None}
        return {**found, **loaded}

    def read(self, task: str, row: str) -> tuple[Entry, memoryview, bool] | None:
        """Return metadata, frame and whether the frame is a map of a file."""
        if task in self._unkept and (task, row) not in self._loaded:
            return self._scratch.read(_SCRATCH_TASK, _scratch_row(task, row))
        return self._kept.read(task, row)

    def epochs(self, task: str, keys: Sequence[str], *, creates: bool = False) -> list[Epoch]:
        """Return the epoch of each key."""
        if task in self._unkept:
            return [Epoch(0, 0)] * len(keys)
        return self._kept.epochs(task, keys, creates=creates)

    def write(self, task: str, writes: Sequence[Write]) -> list[bool]:
        """Commit entries in one transaction."""
        if task not in self._unkept:
            return self._kept.write(task, writes)
        moved = [write._replace(key=_scratch_row(task, write.key), row=_scratch_row(task, write.row))
                 for write in writes]  # fmt: skip
        return self._scratch.write(_SCRATCH_TASK, moved)

    def quarantine(self, task: str, row: str) -> None:
        """Set a damaged entry aside."""
        if task in self._unkept and (task, row) not in self._loaded:
            self._scratch.quarantine(_SCRATCH_TASK, _scratch_row(task, row))
        else:
            self._kept.quarantine(task, row)

    def directory(self, task: str, row: str) -> Path:
        """Return the folder that belongs to a row."""
        if task in self._unkept:
            return self._disk.directory(_SCRATCH_TASK, _scratch_row(task, row))
        return self._kept.directory(task, row)

    # --- what passes through ---

    def scan(self, task: str) -> Iterator[tuple[str, Entry]]:
        """Yield each kept row of a task and its metadata."""
        return self._kept.scan(task)

    def clear(self, task: str, key: str | None = None, *, creates: bool = False) -> None:
        """Raise an epoch and remove what is kept."""
        self._kept.clear(task, key, creates=creates)

    def tasks(self) -> list[str]:
        """Return the names of the tasks that have a place in the store below."""
        return self._kept.tasks()

    def close(self) -> None:
        """Close what is in the scratch folder; the store below stays open."""
        self._scratch.close()


@final
class _Memory:
    """Frames of results that only this process needs, as long as the run lasts."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Entry, bytes]] = {}

    def read(self, task: str, row: str) -> tuple[Entry, memoryview, bool] | None:
        found = self._found.get(row)
        return (found[0], memoryview(found[1]), False) if found is not None else None

    def write(self, task: str, writes: Sequence[Write]) -> list[bool]:
        self._found.update({write.row: (write.entry, b"".join(write.frame.parts)) for write in writes})
        return [True] * len(writes)

    def quarantine(self, task: str, row: str) -> None:
        self._found.pop(row, None)

    def close(self) -> None:
        self._found.clear()


def _scratch_row(task: str, row: str) -> str:
    return f"{task} {row}"


@functools.lru_cache(maxsize=1)
def _opened_scratch(folder: str) -> DiskStore:
    """Return a worker's store at a scratch folder, the same for all batches of a run."""
    return DiskStore(folder)


def _opened(kept: str, scratch: str, unkept: frozenset[str], loaded: Mapping[tuple[str, str], Entry]) -> SelectiveStore:
    return SelectiveStore(store_at(kept), scratch=_opened_scratch(scratch), unkept=unkept, loaded=loaded)
