"""History: the runs and checkpoints of one lineage in the journal: listing, filtering, comparing, removing.

A lineage is what runs on one context leave, and the runs that were forked from them. Listing reads no state.

Must not know: how runs go on.

Next: flows/events/ledger.py
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple, final

from checkpoint.errors import UnknownSnapshotError
from checkpoint.flows.events.checkpoints import Checkpoint
from checkpoint.flows.events.event import Event
from checkpoint.flows.events.values import ValueCodec, class_of, name_of_class
from checkpoint.journal import Difference, Journal, Snapshot

__all__ = ["CheckpointDifference", "History", "RunRecord"]


@final
@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a lineage: its id, the id of the checkpoint it started from, and how it stands."""

    run_id: str
    lineage: str
    #: Id of the checkpoint that came before it; None for the first run of a context.
    parent: str | None
    #: Whether it was started by `run_from`.
    is_fork: bool
    #: "running", "waiting", "finished", "failed", "cancelled" or "timed out". A killed one stays "running".
    status: str
    #: Seconds since 1970.
    started_at: float
    #: What it failed with, or "".
    error: str


@final
class CheckpointDifference(NamedTuple):
    """How two checkpoints differ: names of values, and the events of the steps from one to the other."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    #: (step, output) of what lies between, from the older one, or their common ancestor, to each.
    path: tuple[tuple[str | None, Event], ...]


@final
class History:
    """The rows of a lineage."""

    def __init__(self, journal: Journal, flow: str, codec: ValueCodec) -> None:
        self.journal, self.flow, self.codec = journal, flow, codec

    def checkpoint(self, id_: str) -> Checkpoint:
        """Return the checkpoint of an id, of any lineage.

        Raises:
            UnknownSnapshotError: there is none.
        """
        run, _, index = id_.rpartition(".")
        found = self.journal.snapshots(run=run, index=int(index)) if run and index.isdecimal() else []
        if not found:
            raise UnknownSnapshotError(f"checkpoint {id_}", "look at the checkpoints that the context lists")
        return Checkpoint(found[0], self.journal, self.codec)

    def select(
        self,
        *,
        step: str | None = None,
        input_type: type[Event] | None = None,
        output_type: type[Event] | None = None,
        run: str | None = None,
        since: float | None = None,
        until: float | None = None,
        status: str | None = None,
        tag: str | None = None,
        include_subclasses: bool = False,
        include_hidden: bool = False,
        newest_first: bool = False,
        after: Checkpoint | str | None = None,
        limit: int | None = None,
    ) -> list[Checkpoint]:
        """Return the checkpoints that meet all conditions; see `Context.list_checkpoints`."""
        last = self.checkpoint(after).snapshot if isinstance(after, str) else after.snapshot if after else None
        rows = self.journal.snapshots(
            self.flow, run=run, step=step, status=status, since=since, until=until, newest_first=newest_first
        )
        found: list[Checkpoint] = []
        for row in rows:
            if limit is not None and len(found) >= limit:
                break
            is_past = last is None or (row.id < last.id if newest_first else row.id > last.id)
            is_meant = include_hidden or row.metadata.get("shown", False)
            if is_past and is_meant and (tag is None or tag in row.metadata.get("tags", ())):
                types = (input_type, "input"), (output_type, "output")
                if all(kind is None or _has(row, key, kind, include_subclasses) for kind, key in types):
                    found.append(Checkpoint(row, self.journal, self.codec))
        return found

    def runs(self) -> list[RunRecord]:
        """Return the runs, oldest first."""
        rows = {row.id: row for row in self.journal.snapshots(self.flow)}
        newest = {row.run: row for row in rows.values()}
        found = []
        for run in self.journal.runs(self.flow):
            source = rows.get(run.source) if run.source is not None else None
            if source is None and run.source is not None:
                source = self.journal.snapshot(run.source)
            row = newest[run.id]
            found.append(RunRecord(
                run.id, self.flow, f"{source.run}.{source.index}" if source else None, run.metadata["kind"] == "fork",
                row.status, run.started_at, row.metadata.get("error", ""),
            ))  # fmt: skip
        return found

    def head(self, branch: str) -> Snapshot | None:
        """Return the newest row of the runs of a branch."""
        runs = [run.id for run in self.journal.runs(self.flow) if run.metadata["branch"] == branch]
        return self.journal.newest(run=runs[-1]) if runs else None

    def diff(self, before: Checkpoint, after: Checkpoint) -> CheckpointDifference:
        """Compare two checkpoints; reads the events between them, and no values."""
        found: Difference = self.journal.diff(before.snapshot.id, after.snapshot.id)
        ours, theirs = list(self._back(before.snapshot)), list(self._back(after.snapshot))
        common = {row.id for row in ours} & {row.id for row in theirs}
        path = [row for row in [*reversed(ours), *reversed(theirs)] if row.id not in common]
        shown = [Checkpoint(row, self.journal, self.codec) for row in path if "output" in row.metadata]
        events = tuple((each.last_completed_step, each.output_event) for each in shown)
        return CheckpointDifference(_values(found.added), _values(found.removed), _values(found.changed), events)

    def _back(self, row: Snapshot) -> Iterator[Snapshot]:
        """Yield a row and those it comes from."""
        yield row
        while row.parent is not None:
            row = self.journal.snapshot(row.parent)
            yield row

    def prune(self, *, keep: int, before: float | None, spare: Collection[Checkpoint | str]) -> int:
        """Delete old rows; return how many."""
        kept = {self.checkpoint(each).snapshot.id if isinstance(each, str) else each.snapshot.id for each in spare}
        return self.journal.prune(self.flow, keep=keep, before=before, spare=kept)


def _has(row: Snapshot, key: str, kind: type[Event], include_subclasses: bool) -> bool:
    names = row.metadata.get(key, ())
    if not include_subclasses:
        return name_of_class(kind) in names
    return any(_is_below(name, kind) for name in names)


def _is_below(name: str, kind: type[Event]) -> bool:
    try:
        return issubclass(class_of(name), kind)
    except LookupError:  # the class is gone
        return False


def _values(keys: Collection[str]) -> tuple[str, ...]:
    return tuple(key.removeprefix("state/") for key in keys if key.startswith("state/"))
