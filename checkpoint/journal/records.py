"""What the journal tells of runs and snapshots: plain values that hold no part of a state.

Must not know: databases, files, how values are encoded.

Next: journal/manifest.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, final

__all__ = ["Difference", "Run", "Snapshot"]


@final
@dataclass(frozen=True, slots=True)
class Run:
    """One run of a flow. Its snapshots follow each other; `source` is the snapshot that it was forked from."""

    id: str
    flow: str
    #: Id of the snapshot that the run started from, if it didn't start afresh.
    source: int | None
    #: Seconds since 1970, for people; the order of runs doesn't depend on it.
    started_at: float
    #: What the front-end keeps with the run: JSON.
    metadata: Mapping[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a run at a step boundary. Ids rise in the order of commits and are never used twice."""

    id: int
    run: str
    flow: str
    #: Id of the snapshot before it, in its run or in the one that it was forked from.
    parent: int | None
    #: Name of the step that ended here; None where a run starts.
    step: str | None
    #: How many steps were complete.
    index: int
    #: A word of the front-end's, such as "running" or "finished".
    status: str
    #: Seconds since 1970, for people.
    stored_at: float
    #: Bytes of the whole state, encoded.
    size: int
    #: Bytes of it that no earlier snapshot had.
    written: int
    #: Whether what is kept outside the journal has followed; see `Journal.mark_exported`.
    is_exported: bool
    #: What the front-end keeps with the snapshot: JSON.
    metadata: Mapping[str, Any]


@final
class Difference(NamedTuple):
    """What a state has more, less, or else than another one: keys, in the order of the states."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)
