"""Trail: keeps a session in the journal: at each step boundary, and when a task has written something.

A step boundary is one transaction: result, channel, counters and what is pending. What a task writes meanwhile is kept
with the task still pending, so a run that is killed goes on with what it had written. Such snapshots give way to the
boundary that follows them.

Must not know: files of checkpoints, the engine.

Next: flows/workflow/export.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from checkpoint.errors import UnknownSnapshotError
from checkpoint.flows.workflow.binding import code_of, graph_part
from checkpoint.flows.workflow.channel import Channel
from checkpoint.flows.workflow.session import Session
from checkpoint.flows.workflow.tasks import TaskWrapper
from checkpoint.journal import Journal, Recorder, Snapshot, journal_at

__all__ = ["CHANNEL", "CODE", "RECORD", "Trail", "static_parts"]

#: How the keys of parts begin.
CHANNEL, CODE, RECORD = "channel:", "code:", "record:"
#: Code that drags more with it, such as a table among a script's globals, is not kept: the program has it.
_MOST_CODE_BYTES = 4 * 1024 * 1024
#: So many snapshots within steps are kept before the older ones go.
_MANY = 100


def static_parts(session: Session) -> dict[str, Any]:
    """Return the parts that only change when tasks are added: the graph, and code that can't be imported."""
    code = {
        CODE + task_id: found
        for task_id, node in session.graph.nodes.items()
        if isinstance(node, TaskWrapper) and (found := code_of(node)) is not None and len(found) <= _MOST_CODE_BYTES
    }
    return {"graph": graph_part(session.graph), **code}


@final
class Trail:
    """What a session leaves in a journal. Safe to use from the threads of its groups."""

    def __init__(self, session: Session, journal: Journal | None = None) -> None:
        self.session = session
        self.journal = journal or journal_at()
        self._recorder: Recorder | None = None
        self._known_nodes: set[str] = set()
        self._static: dict[str, Any] = {}
        #: What has changed and isn't kept yet; None for what is gone.
        self._changed: dict[str, Any] = {}
        self._within: list[int] = []
        self.is_saving = False

    def open(self) -> None:
        """Keep the whole session, unless the journal's newest snapshot of it is ours."""
        newest = self.journal.newest(run=self.session.session_id)
        recorder = self._recorder
        if recorder is None or newest is None or recorder.newest is None or recorder.newest.id != newest.id:
            self._recorder = None
        self.save("begin")

    def progress(self) -> None:
        """Keep what a task has written, while it runs."""
        with self.session.guard:
            self._within.append(self.save("within").id)
            if len(self._within) > _MANY:
                self._forget(self._within[:-1])
        if self.session.is_stopping:  # it was told to while this was being kept
            raise SystemExit(143)

    def save(
        self, kind: str, *, step: str | None = None, status: str = "running", metadata: Mapping[str, Any] | None = None
    ) -> Snapshot:
        """Keep the session as it is now, in one transaction."""
        with self.session.guard:
            self.is_saving = True
            try:
                return self._save(kind, step, status, metadata)
            except BaseException as error:
                if not isinstance(error, Exception):  # whether it was kept is unknown: begin anew
                    self._recorder = None
                raise
            finally:
                self.is_saving = False

    def _save(self, kind: str, step: str | None, status: str, metadata: Mapping[str, Any] | None) -> Snapshot:
        session = self.session
        self._collect()
        kept = {"kind": kind, "session_id": session.session_id, **(metadata or {})}
        options: dict[str, Any] = {"index": session.steps, "step": step, "status": status, "metadata": kept}
        if self._recorder is None:
            snapshot = self._begin(options)
        else:
            changes = {key: value for key, value in self._changed.items() if value is not None}
            removed = [key for key, value in self._changed.items() if value is None]
            changes["execution"] = session.execution_part()
            snapshot = self._recorder.update(changes, removed, **options)
        self._changed.clear()
        if kind != "within" and len(self._within) > _MANY // 2:
            self._forget(self._within)
        return snapshot

    def _begin(self, options: dict[str, Any]) -> Snapshot:
        session = self.session
        try:
            recorder = self.journal.resume(session.session_id)
        except UnknownSnapshotError:
            source = None if session.source is None else self.journal.snapshot(session.source)
            recorder = self.journal.begin(session.name, source=source, run_id=session.session_id)
        snapshot = recorder.append(self.parts(), **options)
        self._recorder = recorder
        return snapshot

    def _collect(self) -> None:
        """Note what has changed since the last snapshot."""
        session = self.session
        for key, stored in session.channel.changes().items():
            self._changed[CHANNEL + key] = None if stored is None else (stored.cell, stored.expires_at)
        self._changed |= {RECORD + key: cell for key, cell in session.unsaved_records.items()}
        session.unsaved_records.clear()
        if self._known_nodes != set(session.graph.nodes):
            self._known_nodes = set(session.graph.nodes)
            self._static = static_parts(session)
            self._changed |= self._static

    def parts(self) -> dict[str, Any]:
        """Return the whole session as parts, as it was kept last: key -> value."""
        session = self.session
        with session.guard:
            return {
                "execution": session.execution_part(),
                **self._static,
                **channel_parts(session.channel),
                **{RECORD + key: cell for key, cell in session.records.items()},
            }

    def close(self) -> None:
        """Remove what the last boundary has made needless."""
        with self.session.guard:
            newest = None if self._recorder is None else self._recorder.newest
            if newest is not None:
                self._forget([each for each in self._within if each != newest.id])

    def _forget(self, snapshots: list[int]) -> None:
        self.journal.delete(snapshots)
        self._within = [each for each in self._within if each not in set(snapshots)]


def channel_parts(channel: Channel) -> dict[str, Any]:
    """Return all that a channel holds, as parts."""
    found = {key: channel.read(key) for key in channel.keys()}  # noqa: SIM118
    return {CHANNEL + key: (stored.cell, stored.expires_at) for key, stored in found.items() if stored is not None}
