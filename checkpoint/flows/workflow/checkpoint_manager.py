"""CheckpointManager: finds, makes, compares, checks and removes checkpoints, and resumes them.

Must not know: how tasks run.

Next: flows/workflow/__init__.py
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any, final

from checkpoint.errors import DamagedSnapshotError, UnknownSnapshotError
from checkpoint.flows.workflow.binding import Drift
from checkpoint.flows.workflow.checkpoints import make_checkpoint, resumed
from checkpoint.flows.workflow.context import ExecutionContext
from checkpoint.flows.workflow.declaring import WorkflowContext
from checkpoint.flows.workflow.export import base_of, read_export
from checkpoint.flows.workflow.metadata import CheckpointMetadata
from checkpoint.journal import Difference, Snapshot, journal_at

__all__ = ["CheckpointManager"]

#: The class has a method named list.
_Snapshots = list[Snapshot]
_Problems = list[Exception]
_CHECKPOINT = {"kind": "checkpoint"}


@final
class CheckpointManager:
    """All there is to do with checkpoints; of the current store."""

    @classmethod
    def create_checkpoint(
        cls,
        context: ExecutionContext,
        *,
        path: str | os.PathLike[str] | None = None,
        metadata: Mapping[Any, Any] | None = None,
        resuming_task_id: str | None = None,
    ) -> tuple[str, CheckpointMetadata]:
        """Make a checkpoint of a session; return the path of its `.pkl` and its metadata.

        Args:
            path: of the three files, with or without `.pkl`; None is a new name below `checkpoints/`.
            metadata: plain values to find it by.
            resuming_task_id: a task that runs first when it is resumed.

        Raises:
            UnsavableError: the metadata can't be kept. What was saved before is as it was; also for the others.
            StoreError: the folder can't be written to.
            NotImplementedError: the path is a URL.
        """
        return make_checkpoint(context, path=path, metadata=metadata, resuming_task_id=resuming_task_id)

    @classmethod
    def resume_from_checkpoint(
        cls,
        checkpoint_path: str | os.PathLike[str] | int | Snapshot,
        *,
        on_drift: Drift = "warn",
        fork: bool = False,
        max_steps: int | None = None,
        config: Mapping[str, Any] | None = None,
        workflow: WorkflowContext | None = None,
    ) -> tuple[ExecutionContext, CheckpointMetadata]:
        """Return the session that a checkpoint holds, and its metadata. Runs no task.

        Args:
            checkpoint_path: the base of three files or the path of the `.pkl`; or a snapshot, or its id.
            on_drift: what to do if the code of a task has changed since: "warn" and "allow" go on with that of now.
            fork: go on as a new session, which leaves the old one as it is.
            max_steps: another limit than the one that was saved.
            config: how to reach Redis, if it takes more than was saved: credentials never are.
            workflow: where the tasks are; None is what this process declares under the workflow's name, or the
                modules that declared it then.

        Raises:
            FileNotFoundError: one of the files is missing.
            UnknownSnapshotError: there is no such snapshot.
            DamagedSnapshotError: the files are not what was written, or don't belong together.
            ChangedWorkflowError: pending tasks are gone, or code has changed and `on_drift` is "error".
        """
        graph = None if workflow is None else workflow.graph
        return resumed(
            ExecutionContext, checkpoint_path, on_drift=on_drift, fork=fork, max_steps=max_steps, config=config,
            graph=graph,
        )  # fmt: skip

    @classmethod
    def resume_latest(cls, workflow: str, **options: Any) -> tuple[ExecutionContext, CheckpointMetadata]:
        """Return the session of a workflow that was kept last, at the very last moment that was kept.

        That may be later than the last checkpoint: step boundaries are kept, too, and what tasks wrote since.

        Args:
            workflow: its name.
            options: those of `resume_from_checkpoint`.

        Raises:
            UnknownSnapshotError: nothing was kept of it.
        """
        newest = journal_at().newest(workflow)
        if newest is None:
            raise UnknownSnapshotError(f"snapshot of workflow {workflow}", "execute it first, with this store")
        return cls.resume_from_checkpoint(newest, **options)

    @classmethod
    def list(cls, workflow: str | None = None, *, session: str | None = None, steps: bool = False) -> _Snapshots:
        """Return the checkpoints of a workflow, a session, or all; oldest first. Reads no state.

        Args:
            steps: also the step boundaries at which nobody asked for a checkpoint.

        Notes:
            `metadata["path"]` of each is where its files were written, `metadata["checkpoint"]` what its maker said.
        """
        if not steps:
            return journal_at().snapshots(workflow, run=session, metadata=_CHECKPOINT)
        found = journal_at().snapshots(workflow, run=session)
        return [snapshot for snapshot in found if snapshot.metadata.get("kind", "within") != "within"]

    @classmethod
    def latest(cls, workflow: str | None = None, *, session: str | None = None) -> Snapshot | None:
        """Return the checkpoint that was made last, or None."""
        found = journal_at().snapshots(workflow, run=session, metadata=_CHECKPOINT, newest_first=True, limit=1)
        return found[0] if found else None

    @classmethod
    def prune(cls, workflow: str, *, keep: int = 1) -> int:
        """Remove old checkpoints and step boundaries of a workflow, with the files that were written for them.

        Args:
            keep: so many of the newest checkpoints of each session stay, and the newest snapshot.

        Returns:
            How many snapshots were removed.
        """
        if keep < 0:
            raise ValueError(f"keep must be 0 or more checkpoints, not {keep}")
        journal = journal_at()
        made: dict[str, list[Snapshot]] = {}
        for snapshot in cls.list(workflow):
            made.setdefault(snapshot.run, []).append(snapshot)
        staying = {snapshot.id for each in made.values() for snapshot in each[len(each) - min(keep, len(each)) :]}
        kept_paths = {path for each in made.values() for one in each if one.id in staying and (path := _path(one))}
        going = [one for each in made.values() for one in each if one.id not in staying]
        count = journal.prune(workflow, keep=1, spare=staying)
        for snapshot in going:
            if (path := _path(snapshot)) is not None and path not in kept_paths:
                _remove_files(path)
        return count

    @classmethod
    def verify(cls, checkpoint: str | os.PathLike[str] | None = None) -> _Problems:
        """Read every byte of a checkpoint's files, or of the whole journal; return what is wrong. Decodes no value
        that isn't whole.
        """
        if checkpoint is None:
            return list(journal_at().verify())
        try:
            read_export(checkpoint)
        except (DamagedSnapshotError, FileNotFoundError) as error:
            return [error]
        return []

    @classmethod
    def diff(cls, before: int | Snapshot, after: int | Snapshot) -> Difference:
        """Return which parts of the state one snapshot has more, less or else than another.

        Keys are "channel:name", "record:...", "graph", "execution" and "code:task".
        """
        ids = [each.id if isinstance(each, Snapshot) else each for each in (before, after)]
        return journal_at().diff(*ids)


def _path(snapshot: Snapshot) -> str | None:
    found = snapshot.metadata.get("path")
    return None if found is None else str(found)


def _remove_files(path: str) -> None:
    for ending in (".pkl", ".state.json", ".meta.json"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(base_of(path) + ending)
