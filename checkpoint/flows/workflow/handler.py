"""Handlers: where and how the function of a task is called.

Must not know: sessions, queues, what becomes of a result.

Next: flows/workflow/remote.py
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, final

from checkpoint.flows.workflow.task_context import TaskExecutionContext
from checkpoint.flows.workflow.tasks import TaskWrapper

__all__ = ["DirectTaskHandler", "TaskHandler"]


class TaskHandler(ABC):
    """Calls the functions of tasks with `@task(handler=name)`, once it is registered under that name.

    Called in the thread that runs the task: members of a group come at the same time.
    """

    def get_name(self) -> str:
        """Return a name for messages."""
        return type(self).__name__

    @abstractmethod
    def execute_task(self, task: TaskWrapper, context: TaskExecutionContext) -> Any:
        """Call a task's function.

        Args:
            task: the task with all its arguments: `task.run()` calls the function.
            context: its context; `context.set_result(task.task_id, value)` does the same as returning the value.

        Returns:
            The task's result.

        Raises:
            Exception: the attempt has failed.
        """


@final
class DirectTaskHandler(TaskHandler):
    """Calls them right here."""

    def execute_task(self, task: TaskWrapper, context: TaskExecutionContext) -> Any:
        """Call the function."""
        return task.run()
