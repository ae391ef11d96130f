"""The errors of workflows, by the names that people catch; each is a CheckpointError.

Must not know: how workflows run.

Next: flows/workflow/cells.py
"""

from __future__ import annotations

from typing import Self

from checkpoint.errors import CheckpointError

__all__ = [
    "ChangedWorkflowError",
    "ConfigError",
    "CycleLimitExceededError",
    "DuplicateTaskError",
    "GraphCompilationError",
    "MergeConflictError",
    "ParallelGroupError",
    "RetryLimitExceededError",
    "WorkflowCanceledError",
    "WorkflowRuntimeError",
]


class WorkflowRuntimeError(CheckpointError, RuntimeError):
    """A run has ended early. Attributes: `task_id`, `reason`, `cause` (a task's exception or None; not sent along)."""

    def __init__(self, task_id: str, reason: str) -> None:
        super().__init__(task_id, reason)
        self.task_id, self.reason = task_id, reason
        self.cause: BaseException | None = None

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), self.args

    def __str__(self) -> str:
        return f"task {self.task_id} failed: {self.reason}; it stays pending, and runs first when the workflow goes on"


class RetryLimitExceededError(WorkflowRuntimeError):
    """A task failed as often as it may. Attributes: `task_id`, `reason`, `max_retries`, `cause`."""

    def __init__(self, task_id: str, reason: str, max_retries: int) -> None:
        super().__init__(task_id, reason)
        self.args = (task_id, reason, max_retries)
        self.max_retries = max_retries

    def __str__(self) -> str:
        return f"task {self.task_id} failed in {self.max_retries + 1} attempts, the last time with {self.reason}"


class CycleLimitExceededError(WorkflowRuntimeError):
    """A task asked for one more iteration than it may have. Attributes: `task_id`, `max_cycles`."""

    def __init__(self, task_id: str, max_cycles: int) -> None:
        super().__init__(task_id, f"it may run {max_cycles} times")
        self.args = (task_id, max_cycles)
        self.max_cycles = max_cycles

    def __str__(self) -> str:
        return (
            f"task {self.task_id} may run {self.max_cycles} times; ask can_iterate() before next_iteration(), "
            "or raise its max_cycles"
        )


class ParallelGroupError(WorkflowRuntimeError):
    """Members of a group failed. Attributes: `group_id`, `failures` (task id -> text), `successful_tasks` (ids)."""

    def __init__(self, group_id: str, failures: dict[str, str], successful_tasks: tuple[str, ...] = ()) -> None:
        super().__init__(group_id, "; ".join(f"{task_id}: {text}" for task_id, text in failures.items()))
        self.args = (group_id, failures, successful_tasks)
        self.group_id, self.failures, self.successful_tasks = group_id, failures, successful_tasks

    @property
    def failed_tasks(self) -> list[tuple[str, str]]:
        """Ids of the failed members with their texts."""
        return list(self.failures.items())

    def __str__(self) -> str:
        count = len(self.failures)
        return f"group {self.group_id} failed in {count} of its members: {self.reason}; the others are kept"


class WorkflowCanceledError(WorkflowRuntimeError):
    """A task called `cancel_workflow`. Attributes: `task_id`, `message`."""

    def __init__(self, task_id: str, message: str) -> None:
        super().__init__(task_id, message)
        self.message = message

    def __str__(self) -> str:
        return f"task {self.task_id} canceled the workflow: {self.message}"


class MergeConflictError(CheckpointError, ValueError):
    """Members of a group wrote different values to one key. Attributes: `group_id`, `key`, `members`."""

    def __init__(self, group_id: str, key: str, members: tuple[str, ...]) -> None:
        super().__init__(group_id, key, members)
        self.group_id, self.key, self.members = group_id, key, members

    def __str__(self) -> str:
        return (
            f"members {', '.join(self.members)} of group {self.group_id} wrote different values to channel key "
            f"{self.key!r}; let them use keys of their own, append or atomic_add, or declare how to merge: "
            f"with_execution(merge={{{self.key!r}: function}})"
        )


class GraphCompilationError(CheckpointError, ValueError):
    """The tasks of a workflow don't make a graph that can run. Attributes: `workflow`, `reason`."""

    def __init__(self, workflow: str, reason: str) -> None:
        super().__init__(workflow, reason)
        self.workflow, self.reason = workflow, reason

    def __str__(self) -> str:
        return f"workflow {self.workflow} cannot run: {self.reason}"


class DuplicateTaskError(GraphCompilationError):
    """Two tasks of a workflow have the same id. Attributes: `workflow`, `task_id`."""

    def __init__(self, workflow: str, task_id: str) -> None:
        super().__init__(workflow, f"two of its tasks have the id {task_id!r}; name one with @task(id=...)")
        self.args = (workflow, task_id)
        self.task_id = task_id


class ConfigError(CheckpointError, ValueError):
    """An option of a workflow has no such value. Attributes: `option`, `reason`."""

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(option, reason)
        self.option, self.reason = option, reason

    def __str__(self) -> str:
        return f"{self.option}: {self.reason}"


class ChangedWorkflowError(CheckpointError, ValueError):
    """What was saved and the code of now don't fit. Attributes: `workflow`, `tasks` (ids), `reason`, `advice`."""

    def __init__(self, workflow: str, tasks: tuple[str, ...], reason: str, advice: str) -> None:
        super().__init__(workflow, tasks, reason, advice)
        self.workflow, self.tasks, self.reason, self.advice = workflow, tasks, reason, advice

    def __str__(self) -> str:
        return f"workflow {self.workflow}: {self.reason}: {', '.join(self.tasks)}; {self.advice}"
