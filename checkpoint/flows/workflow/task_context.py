"""TaskExecutionContext: a running task's view of its session, and what it may ask for.

Must not know: the engine.

Next: flows/workflow/handler.py
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, final, overload

from checkpoint.flows.workflow.channel import Channel
from checkpoint.flows.workflow.checkpoints import make_checkpoint
from checkpoint.flows.workflow.errors import CycleLimitExceededError
from checkpoint.flows.workflow.export import base_of
from checkpoint.flows.workflow.graph import Executable, Graph
from checkpoint.flows.workflow.ledger import Effects
from checkpoint.flows.workflow.metadata import CheckpointMetadata, frozen
from checkpoint.flows.workflow.queue import TaskSpec
from checkpoint.flows.workflow.requests import Requests, SuspendedRun
from checkpoint.flows.workflow.session import Session
from checkpoint.flows.workflow.tasks import TaskReference, TaskWrapper, result_key

__all__ = ["TaskExecutionContext"]

T = TypeVar("T")
_POLL_S = 0.05


@final
class TaskExecutionContext(Effects):
    """What a task with `inject_context` gets as its first argument. Valid while the task runs."""

    def __init__(self, session: Session, spec: TaskSpec, channel: Channel, *, is_member: bool = False) -> None:
        #: The session that the task belongs to.
        self.execution_context = session
        self.task_id = spec.task_id
        self.session_id = session.session_id
        self.retry_count, self.max_retries = spec.retry_count, spec.max_retries
        #: How often the task has run in this session, with this time.
        self.cycle_count = session.cycle_counts.get(spec.task_id, 0) + 1
        #: Seconds since 1970.
        self.start_time = time.time()
        self.requests = Requests()
        self._spec, self._channel, self._is_member = spec, channel, is_member
        self._started = time.monotonic()

    # --- what it knows ---

    @property
    def trace_id(self) -> str:
        """The session's id."""
        return self.session_id

    @property
    def graph(self) -> Graph:
        """The session's graph."""
        return self.execution_context.graph

    @property
    def max_cycles(self) -> int:
        """How often the task may run in this session."""
        return self.execution_context.cycle_controller.get_max_cycles_for_node(self.task_id)

    def elapsed_time(self) -> float:
        """Return for how many seconds the attempt has been running."""
        return time.monotonic() - self._started

    def can_iterate(self) -> bool:
        """Tell whether `next_iteration` is allowed once more."""
        return self.cycle_count < self.max_cycles

    def get_channel(self) -> Channel:
        """Return the channel; what is written to it survives a kill at once."""
        return self._channel

    def get_typed_channel(self, message_type: type) -> Channel:
        """Return the channel; values keep their types in any case."""
        return self._channel

    def get_result(self, node: str | Executable, default: Any = None) -> Any:
        """Return what a task returned last."""
        return self.execution_context.result_in(self._channel, node, default)

    def set_result(self, node: str | Executable, value: Any) -> None:
        """Set the result of a task. Of the one that runs, that is what counts if its handler returns None.

        An exception is never a result: raise it.
        """
        task_id = node.task_id if isinstance(node, Executable) else node
        if isinstance(value, BaseException):
            return
        if task_id == self.task_id:
            self.requests.result = value
        else:
            self._channel.set(result_key(task_id), value)

    def set_local_data(self, key: str, value: Any) -> None:
        """Keep a value for later attempts of this task in this process; it is not saved."""
        self.execution_context.local_data.setdefault(self.task_id, {})[key] = value

    def get_local_data(self, key: str, default: Any = None) -> Any:
        """Return what `set_local_data` kept."""
        return self.execution_context.local_data.get(self.task_id, {}).get(key, default)

    # --- what it asks for ---

    @overload
    def checkpoint(
        self,
        metadata: Mapping[Any, Any] | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        deferred: Literal[True] = True,
    ) -> None: ...
    @overload
    def checkpoint(
        self,
        metadata: Mapping[Any, Any] | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        deferred: Literal[False],
    ) -> tuple[str, CheckpointMetadata]: ...
    def checkpoint(
        self,
        metadata: Mapping[Any, Any] | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        deferred: bool = True,
    ) -> Any:
        """Ask for a checkpoint when this task has succeeded; or make one now.

        Args:
            metadata: plain values to find it by; task_id, cycle_count, elapsed_time and mode are added.
            path: of the three files, with or without `.pkl`; None is a new name below `checkpoints/`.
            deferred: False makes the checkpoint now; resuming it runs this task again.

        Returns:
            None; of one that was made now, the path and the metadata.

        Raises:
            UnsavableError: the metadata can't be kept.
        """
        session = self.execution_context
        if path is not None:
            base_of(path)
        said = {
            "task_id": self.task_id,
            "cycle_count": self.cycle_count,
            "elapsed_time": self.elapsed_time(),
            "mode": "deferred" if deferred else "immediate",
            **frozen(metadata, session.name),
        }
        if not deferred:
            resuming = None if self._is_member else self.task_id
            return make_checkpoint(session, path=path, metadata=said, resuming_task_id=resuming)
        self.requests.checkpoint = (said, path)
        if not self._is_member:
            session.request_checkpoint(said, path=path)
        return None

    def next_iteration(self, data: Any = None) -> str:
        """Run this task once more instead of what follows it; that runs after the last iteration.

        Args:
            data: the task's first argument after the context, next time.

        Returns:
            A name of the iteration.

        Raises:
            CycleLimitExceededError: it has run as often as it may.
        """
        if not self.can_iterate():
            raise CycleLimitExceededError(self.task_id, self.max_cycles)
        task = self.graph.nodes.get(self.task_id)
        if data is not None and isinstance(task, TaskWrapper) and not task.takes_data:
            raise TypeError(f"task {self.task_id} takes no data: give its function one more parameter")
        spec = self.execution_context.new_spec(self.task_id)
        spec.data = () if data is None else (data,)
        self.requests.queued.append(spec)
        self.requests.skips_successors = True
        return f"{self.task_id}_cycle_{self.cycle_count}"

    def next_task(self, executable: Executable | str, goto: bool = False) -> str:
        """Run a task after this one.

        Args:
            executable: a task of the workflow, by itself or by id, runs instead of what follows this one; a new one
                runs before that.
            goto: a new one runs instead of it, too.

        Returns:
            The id of the task.
        """
        graph = self.graph
        first = executable if isinstance(executable, str) else executable.first
        task_id = first if isinstance(first, str) else first.task_id
        is_known = task_id in graph.nodes and task_id not in graph.added
        if isinstance(first, (str, TaskReference)):
            if task_id not in graph.nodes:
                raise KeyError(f"workflow {graph.name!r} has no task {task_id!r}")
        elif not is_known:
            with self.execution_context.guard:
                graph.add_new(first)
        self.requests.queued.append(self.execution_context.new_spec(task_id))
        self.requests.skips_successors |= goto or is_known
        return task_id

    def terminate_workflow(self, message: str) -> None:
        """End the run when this task has succeeded; what follows it isn't queued, what was queued before stays."""
        self.requests.terminates = message

    def cancel_workflow(self, message: str) -> None:
        """End the run with an error when this task returns; it doesn't count as completed."""
        self.requests.cancels = message

    def wait_for(self, key: str, timeout: float = 0.0) -> Any:
        """Return the value at a channel key, once somebody has set it.

        Args:
            timeout: seconds to wait here. After that the run ends with this task pending, and with a checkpoint if the
                task has asked for one. Set the key in the resumed session, or from another program in Redis, and go on.
        """
        end = time.monotonic() + timeout
        pause = threading.Event()
        while True:
            if self._channel.exists(key):
                return self._channel.get(key)
            if time.monotonic() >= end:
                raise SuspendedRun(key)
            pause.wait(_POLL_S)

    # --- effects ---

    def recalled(self, key: str) -> bytes | None:
        """Return what was recorded at a key by this task in this session."""
        return self.execution_context.records.get(f"{self.task_id}:{key}")

    def record(self, key: str, cell: bytes) -> None:
        """Record what a key has led to."""
        session = self.execution_context
        with session.guard:
            session.records[f"{self.task_id}:{key}"] = cell
            session.unsaved_records[f"{self.task_id}:{key}"] = cell
            if session.trail is not None:
                session.trail.progress()
