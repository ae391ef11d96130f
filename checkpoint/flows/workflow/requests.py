"""What a task asks for while it runs; it counts when the attempt succeeds, and is dropped when it fails.

Must not know: tasks' contexts, the engine.

Next: flows/workflow/task_context.py
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

from checkpoint.flows.workflow.queue import TaskSpec

__all__ = ["Requests", "SuspendedRun"]


@final
@dataclass(slots=True)
class Requests:
    """The requests of one attempt."""

    #: Tasks to queue, in the order of the calls.
    queued: list[TaskSpec] = field(default_factory=list)
    #: Whether what follows the task is left out this time.
    skips_successors: bool = False
    terminates: str | None = None
    cancels: str | None = None
    #: (metadata, path) of the last `checkpoint()`.
    checkpoint: tuple[dict[Any, Any], Any] | None = None
    #: What a handler has set as the task's result.
    result: Any = None


@final
class SuspendedRun(BaseException):
    """Ends a task that waits for a channel key. Not an Exception, so that tasks don't catch it by chance."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key
