"""What can go wrong in a workflow, beside what its steps raise.

As in `checkpoint.errors`, the constructor's arguments are the data, and each error survives pickling.

Next: flows/events/event.py
"""

from __future__ import annotations

from checkpoint.errors import CheckpointError

__all__ = [
    "WorkflowCancelledByUser",
    "WorkflowRuntimeError",
    "WorkflowStepDoesNotExistError",
    "WorkflowTimeoutError",
    "WorkflowValidationError",
]


class WorkflowValidationError(CheckpointError, ValueError):
    """A workflow cannot run as it is written, or not from that checkpoint. `place` and `reason` say why."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)
        self.place, self.reason = place, reason

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class WorkflowRuntimeError(CheckpointError, RuntimeError):
    """A step failed, or was used in a way that it can't serve; its cause is chained.

    Attributes: `step`, `reason`.
    """

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(step, reason)
        self.step, self.reason = step, reason

    def __str__(self) -> str:
        return f"error in step {self.step!r}: {self.reason}"


class WorkflowTimeoutError(CheckpointError, TimeoutError):
    """A run took longer than the workflow's timeout; it can be resumed.

    Attributes: `workflow`, `seconds`, `run_id`, `busy` (names of the steps that were running or waiting).
    """

    def __init__(self, workflow: str, seconds: float, run_id: str, busy: tuple[str, ...]) -> None:
        super().__init__(workflow, seconds, run_id, busy)
        self.workflow, self.seconds, self.run_id, self.busy = workflow, seconds, run_id, busy

    def __str__(self) -> str:
        doing = f"in {', '.join(self.busy)}" if self.busy else "with nothing to do: no step has returned a StopEvent"
        return (
            f"{self.workflow} was stopped {doing} after its timeout of {self.seconds:g} seconds; "
            f"go on with resume({self.run_id!r})"
        )


class WorkflowCancelledByUser(CheckpointError, RuntimeError):
    """A run was ended by `cancel_run()`; it can be resumed. Attributes: `workflow`, `run_id`."""

    def __init__(self, workflow: str, run_id: str) -> None:
        super().__init__(workflow, run_id)
        self.workflow, self.run_id = workflow, run_id

    def __str__(self) -> str:
        return f"{self.workflow} was cancelled; go on with resume({self.run_id!r})"


class WorkflowStepDoesNotExistError(CheckpointError, LookupError):
    """A workflow has no step of that name. Attributes: `workflow`, `step`, `known` (the names it has)."""

    def __init__(self, workflow: str, step: str, known: tuple[str, ...]) -> None:
        super().__init__(workflow, step, known)
        self.workflow, self.step, self.known = workflow, step, known

    def __str__(self) -> str:
        return f"{self.workflow} has no step {self.step!r}; it has {', '.join(self.known) or 'none'}"
