"""Checkpoints: making one of a session, and a session of one.

A checkpoint is a snapshot in the journal and its export to three files. A session can be had from either.

Must not know: how tasks run.

Next: flows/workflow/requests.py
"""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

from checkpoint.errors import DamagedSnapshotError
from checkpoint.flows.workflow.backends import restored_channel
from checkpoint.flows.workflow.binding import Drift, bind
from checkpoint.flows.workflow.channel import Stored
from checkpoint.flows.workflow.errors import ChangedWorkflowError, ConfigError
from checkpoint.flows.workflow.export import SCHEMA, base_of, read_export, write_export
from checkpoint.flows.workflow.graph import Graph, ParallelGroup
from checkpoint.flows.workflow.metadata import CheckpointMetadata, frozen
from checkpoint.flows.workflow.session import Session, later
from checkpoint.flows.workflow.trail import CHANNEL, CODE, RECORD, Trail
from checkpoint.journal import Journal, Snapshot, journal_at

__all__ = ["make_checkpoint", "metadata_of", "resumed", "trail_of"]

S = TypeVar("S", bound=Session)


def trail_of(session: Session) -> Trail:
    """Return what keeps a session in the journal, begun if there is none."""
    if not isinstance(session.trail, Trail):
        session.trail = Trail(session)
    return session.trail


def make_checkpoint(
    session: Session,
    *,
    path: str | os.PathLike[str] | None = None,
    metadata: Mapping[Any, Any] | None = None,
    resuming_task_id: str | None = None,
    status: str = "running",
) -> tuple[str, CheckpointMetadata]:
    """Keep a session in the journal and in three files; return the path of the `.pkl` and the metadata."""
    with session.guard:
        said = frozen(metadata, session.name)
        base = base_of(_automatic_path(session) if path is None else path)
        if resuming_task_id is not None:
            _put_first(session, resuming_task_id)
        made = CheckpointMetadata.create(session.session_id, session.steps, session.start_node, session.backend, said)
        before = session.checkpoint_metadata
        session.checkpoint_metadata = said
        try:
            trail = trail_of(session)
            kept = {"path": f"{os.path.abspath(base)}.pkl", "checkpoint": made.to_dict()}
            snapshot = trail.save("checkpoint", step=session.last_task_id, status=status, metadata=kept)
            state = _state_of(session, resuming_task_id)
            saved = write_export(base, {**trail.parts(), "snapshot": snapshot.id}, state, made.to_dict())
        except BaseException:
            session.checkpoint_metadata = before
            raise
        trail.journal.mark_exported(snapshot)
        session.last_checkpoint_path = saved
        return saved, made


def _automatic_path(session: Session) -> str:
    name = f"session_{session.session_id}_step_{session.steps}_{uuid.uuid4().hex[:8]}"
    return os.path.join("checkpoints", session.session_id, name)


def _put_first(session: Session, task_id: str) -> None:
    if task_id not in session.graph.nodes:
        raise ConfigError("resuming_task_id", f"workflow {session.name!r} has no task {task_id!r}")
    session.main.begin_with(task_id)


def _state_of(session: Session, resuming_task_id: str | None) -> dict[str, Any]:
    """Return what the `.state.json` says, besides what all three files say."""
    return {
        "session_id": session.session_id,
        "trace_id": session.trace_id,
        "workflow": session.name,
        "start_node": session.start_node,
        "steps": session.steps,
        "completed_tasks": list(session.completed_tasks),
        "cycle_counts": dict(session.cycle_counts),
        "backend": dict(session.backend),
        "pending_tasks": [spec.to_dict() for spec in session.main.queue.get_pending_task_specs()],
        "waiting_joins": {join: list(arrived) for join, arrived in session.main.arrived.items()},
        "failures": dict(session.failures),
        "resuming_task_id": resuming_task_id,
    }


def metadata_of(snapshot: Snapshot) -> CheckpointMetadata:
    """Return what is told of a snapshot, a checkpoint or not."""
    if (kept := snapshot.metadata.get("checkpoint")) is not None:
        return CheckpointMetadata.from_dict(kept)
    made = datetime.datetime.fromtimestamp(snapshot.stored_at, datetime.UTC).isoformat()
    return CheckpointMetadata(f"snapshot {snapshot.id}", snapshot.metadata["session_id"], made, snapshot.index, None)


def resumed(
    kind: type[S],
    checkpoint: str | os.PathLike[str] | int | Snapshot,
    *,
    on_drift: Drift = "warn",
    fork: bool = False,
    max_steps: int | None = None,
    config: Mapping[str, Any] | None = None,
    graph: Graph | None = None,
    journal: Journal | None = None,
) -> tuple[S, CheckpointMetadata]:
    """Return the session that a checkpoint holds, and its metadata; runs nothing. See `CheckpointManager`."""
    journal = journal or journal_at()
    path: str | None
    if isinstance(checkpoint, (int, Snapshot)):
        snapshot = journal.snapshot(checkpoint) if isinstance(checkpoint, int) else checkpoint
        parts, made, place = journal.state(snapshot.id), metadata_of(snapshot), f"snapshot {snapshot.id}"
        path, source = snapshot.metadata.get("path"), snapshot.id
    else:
        exported = read_export(checkpoint)
        parts, made, place = exported.parts, CheckpointMetadata.from_dict(exported.meta), os.fspath(checkpoint)
        path, source = f"{base_of(checkpoint)}.pkl", parts.pop("snapshot")
    session = _session_of(kind, parts, place, on_drift, fork, config, graph, journal)
    session.last_checkpoint_path = path
    session.source = source if fork and _is_known(journal, source) else None
    session.max_steps = session.max_steps if max_steps is None else max_steps
    return session, made


def _session_of(
    kind: type[S],
    parts: Mapping[str, Any],
    place: str,
    on_drift: Drift,
    fork: bool,
    config: Mapping[str, Any] | None,
    graph: Graph | None,
    journal: Journal,
) -> S:
    values = parts["execution"]
    if values["format"] != kind.FORMAT:
        reason = f"its state has format {values['format']}, and this version reads {kind.FORMAT}"
        raise DamagedSnapshotError(place, reason, f"use the version of checkpoint that wrote it (schema {SCHEMA})")
    name = values["workflow"]
    code = {key.removeprefix(CODE): value for key, value in parts.items() if key.startswith(CODE)}
    bound = bind(name, parts["graph"], code, values["python"], graph=graph, on_drift=on_drift)
    _check_pending(name, values, bound)
    records = {key.removeprefix(RECORD): value for key, value in parts.items() if key.startswith(RECORD)}
    session_id = uuid.uuid4().hex if fork else values["session_id"]
    if not fork:
        records |= _later_records(journal, session_id)
    stored = {key.removeprefix(CHANNEL): Stored(*value) for key, value in parts.items() if key.startswith(CHANNEL)}
    alive = {key: found for key, value in stored.items() if (found := later(value, values)) is not None}
    channel = restored_channel(values["backend"], config, name, session_id, alive)
    return kind.restored({**values, "session_id": session_id}, bound, channel, records)


def _check_pending(name: str, values: Mapping[str, Any], graph: Graph) -> None:
    lanes = [values["main"], *(lane for lanes in values["groups"].values() for lane in lanes.values())]
    wanted = [spec["task_id"] for lane in lanes for spec in lane["pending"]]
    wanted += [join for lane in lanes for join in lane["arrived"]]
    gone = [group for group in values["groups"] if not isinstance(graph.nodes.get(group), ParallelGroup)]
    wanted += gone
    missing = tuple(dict.fromkeys(task_id for task_id in wanted if task_id not in graph.nodes or task_id in gone))
    if missing:
        advice = "bring them back, or resume from a checkpoint without them"
        raise ChangedWorkflowError(
            name, missing, "these tasks are pending, and the workflow no longer has them", advice
        )


def _later_records(journal: Journal, session_id: str) -> dict[str, bytes]:
    """Return what a session has recorded up to now: effects on the world are not undone by going back."""
    newest = journal.newest(run=session_id)
    if newest is None:
        return {}
    keys = [key for key in journal.keys(newest.id) if key.startswith(RECORD)]
    return {key.removeprefix(RECORD): value for key, value in journal.state(newest.id, keys).items()}


def _is_known(journal: Journal, snapshot: int | None) -> bool:
    return snapshot is not None and any(each.id == snapshot for each in journal.snapshots())
