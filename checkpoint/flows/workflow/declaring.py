"""workflow(name): declares the tasks of a workflow in a `with` block, and executes it.

Must not know: how tasks run.

Next: flows/workflow/checkpoint_manager.py
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType
from typing import Any, Literal, final, overload

from checkpoint.flows.workflow.checkpoints import resumed
from checkpoint.flows.workflow.context import ExecutionContext
from checkpoint.flows.workflow.errors import ChangedWorkflowError, ConfigError
from checkpoint.flows.workflow.graph import CURRENT, REGISTRY, Executable, Graph
from checkpoint.journal import Snapshot, journal_at

__all__ = ["WorkflowContext", "workflow"]


@final
class WorkflowContext:
    """A workflow. In its `with` block, tasks that are declared or connected belong to it; made by `workflow`."""

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise ConfigError("name of a workflow", f"must be a text that is not empty, not {name!r}")
        self.name = name
        #: Its tasks, groups and edges.
        self.graph = Graph(name)
        REGISTRY[name] = self.graph
        self._tokens: list[Token[Graph | None]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return _declared, (self.name,)

    def __enter__(self) -> WorkflowContext:
        self._tokens.append(CURRENT.set(self.graph))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        CURRENT.reset(self._tokens.pop())

    @overload
    def execute(
        self,
        start_node: str | Executable | None = None,
        max_steps: int = 10000,
        ret_context: Literal[False] = False,
        initial_channel: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any: ...
    @overload
    def execute(
        self,
        start_node: str | Executable | None = None,
        max_steps: int = 10000,
        *,
        ret_context: Literal[True],
        initial_channel: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> tuple[Any, ExecutionContext]: ...
    def execute(
        self,
        start_node: str | Executable | None = None,
        max_steps: int = 10000,
        ret_context: bool = False,
        initial_channel: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run the workflow in a new session.

        Args:
            start_node: where to begin; None is the only task that follows nothing.
            max_steps: how many tasks may be completed; what is pending then stays so.
            ret_context: return the session, too.
            initial_channel: keys and values to begin with.
            options: those of `ExecutionContext.create`.

        Returns:
            The last task's result; with `ret_context` a pair of it and the session.

        Raises:
            GraphCompilationError: there is no start node, or more than one.
            WorkflowRuntimeError: a task failed.
        """
        context = ExecutionContext.create(self.graph, start_node, max_steps, **options)
        if initial_channel is not None and not isinstance(initial_channel, Mapping):
            raise ConfigError("initial_channel", f"must be a dict, not {initial_channel!r}")
        for key, value in (initial_channel or {}).items():
            context.channel.set(key, value)
        result = context.execute()
        return (result, context) if ret_context else result

    def run(
        self,
        checkpoint: str | os.PathLike[str] | int | Snapshot | None = None,
        *,
        fresh: bool = False,
        fork: bool = False,
        on_change: Literal["error", "restart"] = "error",
        **options: Any,
    ) -> Any:
        """Go on where the last session of this workflow ended; run a new one if that has finished, or there is none.

        Args:
            checkpoint: where to go on instead: the path of three files, a snapshot or its id.
            fresh: run a new session, whatever was saved.
            fork: go on as a new session, which leaves the old one as it is.
            on_change: what to do if tasks that are pending no longer exist: "error", or "restart" with a new session.
            options: those of `execute` but `ret_context`, for a new session.

        Returns:
            The last task's result.

        Raises:
            ChangedWorkflowError: tasks that are pending no longer exist.
            WorkflowRuntimeError: a task failed; the next call begins with it.
        """
        if on_change not in ("error", "restart"):
            raise ConfigError("on_change", f"must be 'error' or 'restart', not {on_change!r}")
        found = None if fresh else self._last_unfinished() if checkpoint is None else checkpoint
        if found is not None:
            try:
                return resumed(ExecutionContext, found, fork=fork, graph=self.graph)[0].execute()
            except ChangedWorkflowError:
                if on_change == "error":
                    raise
        return self.execute(**options)

    def _last_unfinished(self) -> Snapshot | None:
        newest = journal_at().newest(self.name)
        return None if newest is None or newest.status == "finished" else newest


def _declared(name: str) -> WorkflowContext:
    graph = REGISTRY.get(name)
    found = WorkflowContext(name)
    if graph is not None:
        found.graph = REGISTRY[name] = graph
    return found


def workflow(name: str, tracer: object = None, prompt_manager: object = None) -> WorkflowContext:
    """Return a workflow, to be declared in a `with` block.

    Args:
        name: what it is resumed by; of several workflows of one name, the last one counts.
        tracer: accepted and not used; `prompt_manager` likewise.
    """
    return WorkflowContext(name)
