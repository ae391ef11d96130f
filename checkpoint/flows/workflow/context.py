"""ExecutionContext: a session of a workflow as people hold it: made, executed, saved and loaded.

Must not know: how tasks run, how checkpoints are written.

Next: flows/workflow/declaring.py
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self, final

from checkpoint.flows.workflow.backends import open_channel
from checkpoint.flows.workflow.checkpoints import make_checkpoint, resumed
from checkpoint.flows.workflow.engine import WorkflowEngine
from checkpoint.flows.workflow.errors import ConfigError
from checkpoint.flows.workflow.graph import Executable, Graph
from checkpoint.flows.workflow.session import Saving, Session
from checkpoint.flows.workflow.task_context import TaskExecutionContext

__all__ = ["ExecutionContext"]


@final
class ExecutionContext(Session):
    """A session of a workflow. Made by `create`, by `execute(ret_context=True)`, or by resuming.

    One thread at a time may execute it. Attributes are for reading, but for `max_steps`.
    """

    @classmethod
    def create(
        cls,
        graph: Graph,
        start_node: str | Executable | None = None,
        max_steps: int = 10000,
        default_max_cycles: int = 10,
        default_max_retries: int = 0,
        channel_backend: Literal["memory", "redis"] = "memory",
        config: Mapping[str, Any] | None = None,
        tracer: object = None,
        *,
        checkpoint_every: int | None = None,
        on_failure: bool = False,
        on_sigterm: bool = False,
        autosave: bool = True,
    ) -> Self:
        """Return a new session.

        Args:
            graph: of a workflow; this session gets a copy, to which `next_task` may add.
            start_node: where to begin; None is the only task that follows nothing.
            channel_backend: "memory", or "redis" with the extra `checkpoint[redis]`.
            config: for Redis: `redis_client`, or `url`, or `host`, `port`, `db`, `password` and the like.
            tracer: accepted and not used.
            checkpoint_every: make a checkpoint after so many steps.
            on_failure: make one when a task has failed.
            on_sigterm: make one when the process is told to end by SIGTERM.
            autosave: keep every step, and what tasks write meanwhile, in the journal.

        Raises:
            GraphCompilationError: there is no start node, or more than one.
            ConfigError: an option has no such value.
        """
        start = start_node.first.task_id if isinstance(start_node, Executable) else start_node
        start = graph.start() if start is None else start
        if start not in graph.nodes:
            raise ConfigError("start_node", f"workflow {graph.name!r} has no task {start!r}")
        if isinstance(max_steps, bool) or not isinstance(max_steps, int):
            raise ConfigError("max_steps", f"must be a whole number, not {max_steps!r}")
        saving = Saving(checkpoint_every, on_failure, on_sigterm, autosave)
        session = uuid.uuid4().hex
        channel, backend = open_channel(channel_backend, config, graph.name, session)
        return cls(graph.copy(), channel, start, max_steps, default_max_cycles, default_max_retries, session, backend,
                   saving)  # fmt: skip

    @contextlib.contextmanager
    def executing_task(self, task: Executable) -> Iterator[TaskExecutionContext]:
        """Yield the context that a task would get, to call its function by hand; nothing is counted or kept."""
        yield TaskExecutionContext(self, self.new_spec(task.task_id), self.channel)

    def execute(self) -> Any:
        """Run what is pending; return the last task's result."""
        return WorkflowEngine().execute(self)

    def save(self, path: str) -> str:
        """Make a checkpoint; return the path of its `.pkl`."""
        return make_checkpoint(self, path=path)[0]

    @classmethod
    def load(cls, path: str) -> Self:
        """Return the session that a checkpoint holds."""
        return resumed(cls, path)[0]
