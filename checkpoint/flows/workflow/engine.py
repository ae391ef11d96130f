"""WorkflowEngine: runs what is pending in a session, one step after the other, and keeps each step boundary.

A step ends in one place, `_complete`: its result, what it asked for and what follows it become one snapshot. Whatever
happens before leaves the task pending.

Must not know: how things are kept, files.

Next: flows/workflow/context.py
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, final

from checkpoint.errors import StoreError
from checkpoint.flows.workflow.cells import cell_of
from checkpoint.flows.workflow.channel import Stored
from checkpoint.flows.workflow.checkpoints import make_checkpoint, trail_of
from checkpoint.flows.workflow.errors import (
    ConfigError,
    ParallelGroupError,
    RetryLimitExceededError,
    WorkflowCanceledError,
    WorkflowRuntimeError,
)
from checkpoint.flows.workflow.graph import CURRENT, ParallelGroup
from checkpoint.flows.workflow.groups import run_group
from checkpoint.flows.workflow.handler import DirectTaskHandler, TaskHandler
from checkpoint.flows.workflow.lane import Lane
from checkpoint.flows.workflow.queue import TaskSpec
from checkpoint.flows.workflow.remote import call_in_process
from checkpoint.flows.workflow.requests import Requests, SuspendedRun
from checkpoint.flows.workflow.session import MemberLane, Session
from checkpoint.flows.workflow.task_context import TaskExecutionContext
from checkpoint.flows.workflow.tasks import TaskWrapper, result_key

__all__ = ["WorkflowEngine"]

_log = logging.getLogger("checkpoint")

#: How often a pause looks whether the process was told to end.
_POLL_S = 0.1


@final
class WorkflowEngine:
    """Executes sessions."""

    def __init__(self) -> None:
        self._handlers: dict[str, TaskHandler] = {"direct": DirectTaskHandler()}

    def register_handler(self, handler_type: str, handler: TaskHandler) -> None:
        """Let tasks with `handler=handler_type` be called by a handler.

        Raises:
            ConfigError: it is no handler.
        """
        if not callable(getattr(handler, "execute_task", None)):
            raise ConfigError(f"handler {handler_type}", "must be a TaskHandler, with a method execute_task")
        self._handlers[handler_type] = handler

    def execute(self, context: Session, start_task_id: str | None = None) -> Any:
        """Run what is pending; return the last task's result.

        Args:
            context: a session. One whose workflow has finished runs nothing and returns what it returned.
            start_task_id: a task to run before what is pending.

        Raises:
            WorkflowRuntimeError: a task failed, with the exception as `cause`; it stays pending.
            ParallelGroupError: members of a group failed.
            WorkflowCanceledError: a task canceled the workflow.
            BusyFlowError: the session is being executed already, here or in another process.
        """
        if start_task_id is not None and start_task_id not in context.graph.nodes:
            raise ConfigError("start_task_id", f"workflow {context.name!r} has no task {start_task_id!r}")
        with contextlib.ExitStack() as stack:
            if context.saving.autosave:
                stack.enter_context(trail_of(context).journal.lease(f"session {context.session_id}"))
            if start_task_id is not None:
                context.main.begin_with(start_task_id)
            stack.enter_context(_saved(context))
            stack.enter_context(_stoppable(context))
            run = _Run(context, self._handlers)
            run.go_on()
            if not run.has_result and context.last_task_id is not None:
                return context.get_result(context.last_task_id)
            return run.result


@contextlib.contextmanager
def _saved(session: Session) -> Iterator[None]:
    """Keep the session at its begin, and what is written to its channel while tasks run."""
    session.waiting_for = None
    if not session.saving.autosave:
        yield
        return
    trail = trail_of(session)
    trail.open()
    session.channel.on_change = lambda key: trail.progress()
    try:
        yield
    finally:
        session.channel.on_change = None
        for lanes in session.groups.values():
            for lane in lanes.values():
                lane.branch.on_change = None
        trail.close()


@contextlib.contextmanager
def _stoppable(session: Session) -> Iterator[None]:
    """Let SIGTERM end the task that runs, and the program after what is known was kept."""
    session.is_stopping = False
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        session.is_stopping = True
        if session.in_task and not (session.trail is not None and session.trail.is_saving):
            raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
        if session.is_stopping:
            raise SystemExit(143)
    except SystemExit:
        if session.is_stopping and session.saving.on_sigterm:
            make_checkpoint(session, metadata={"mode": "sigterm"})
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _interruptible(session: Session, member: MemberLane | None) -> Iterator[None]:
    """Let SIGTERM break off what the main lane does; members run in threads that nothing can break off."""
    if member is not None:
        yield
        return
    session.in_task = True
    try:
        yield
    finally:
        session.in_task = False


@final
class _Run:
    """One execution of a session."""

    def __init__(self, session: Session, handlers: Mapping[str, TaskHandler]) -> None:
        self.session = session
        self.result: Any = None
        self.has_result = False
        self._handlers = handlers

    def go_on(self) -> None:
        """Run the main lane until nothing is pending, or something ends it."""
        self._run_lane(self.session.main, None)

    def _run_lane(self, lane: Lane, member: MemberLane | None, backend: str = "") -> None:
        while (spec := lane.next()) is not None and self._may_begin():
            node = self.session.graph.nodes.get(spec.task_id)
            if isinstance(node, ParallelGroup):
                is_over = self._run_group(node, spec, lane, member)
            elif isinstance(node, TaskWrapper):
                is_over = self._run_task(node, spec, lane, member, backend)
            else:
                raise WorkflowRuntimeError(spec.task_id, "the workflow has no task of that name")
            if is_over:
                return

    def _may_begin(self) -> bool:
        session = self.session
        if session.steps >= session.max_steps:
            _log.warning("workflow %s stopped after %d steps, its max_steps", session.name, session.steps)
        return session.steps < session.max_steps and not session.is_stopping

    # --- a task ---

    def _run_task(
        self, task: TaskWrapper, spec: TaskSpec, lane: Lane, member: MemberLane | None, backend: str = ""
    ) -> bool:
        """Run one attempt; return whether the lane is over."""
        session = self.session
        channel = lane.channel
        context = TaskExecutionContext(session, spec, channel, is_member=member is not None)
        was_requested = (session.checkpoint_requested, session.checkpoint_request_metadata,
                         session.checkpoint_request_path)  # fmt: skip
        try:
            args, keywords = task.arguments(context, channel, spec.data)
            if backend == "processes" and task.handler == "direct":
                result = call_in_process(task, context, channel, args, keywords)
            else:
                with _interruptible(session, member):
                    result = self._called(task.called_with(args, keywords), context)
            result = context.requests.result if result is None else result
            cell = cell_of(result, f"result of task {task.task_id}", session.name)
        except SuspendedRun as error:
            self._suspended(spec, error.key, None if member is not None else context.requests.checkpoint)
            return True
        except BaseException as error:
            if member is None:
                (session.checkpoint_requested, session.checkpoint_request_metadata,
                 session.checkpoint_request_path) = was_requested  # fmt: skip
            if isinstance(error, Exception):
                self._failed(spec, lane, task, error)
                return False
            raise
        if member is None:
            self.result, self.has_result = result, True
        return self._complete(spec, lane, member, context.requests, Stored(cell))

    def _called(self, task: TaskWrapper, context: TaskExecutionContext) -> Any:
        if task.handler not in self._handlers:
            raise ConfigError(f"handler of task {task.task_id}", f"no handler {task.handler!r} is registered")
        token = CURRENT.set(None)
        try:
            return self._handlers[task.handler].execute_task(task, context)
        finally:
            CURRENT.reset(token)

    def _failed(self, spec: TaskSpec, lane: Lane, task: TaskWrapper, error: Exception) -> None:
        """Put a failed task at the end of the queue if it may try again; else leave it pending, and raise."""
        session = self.session
        text = f"{type(error).__name__}: {error}"
        with session.guard:
            spec.last_error = session.failures[spec.task_id] = text
            is_final = spec.retry_count >= spec.max_retries
            if not is_final:
                spec.retry_count += 1
                lane.queue.remove(spec)
                lane.queue.add(spec)
            try:
                self._keep("failure", step=spec.task_id, status="failed" if is_final else "running")
            except StoreError as trouble:  # perhaps what the task failed of
                error.add_note(f"the state could not be kept either: {trouble}")
                is_final = True
        if not is_final:
            if (policy := session.retry_controller.get_policy_for_node(spec.task_id)) is not None:
                self._pause(policy.wait_s(spec.retry_count))
            return
        if session.saving.on_failure and lane is session.main:
            make_checkpoint(session, metadata={"task_id": spec.task_id, "mode": "failure", "error": text})
        if spec.max_retries:
            failure: WorkflowRuntimeError = RetryLimitExceededError(spec.task_id, text, spec.max_retries)
        else:
            failure = WorkflowRuntimeError(spec.task_id, text)
        failure.cause = error
        raise failure from error

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.session.is_stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _POLL_S))

    def _suspended(self, spec: TaskSpec, key: str, request: tuple[dict[Any, Any], Any] | None) -> None:
        """End the run with a task pending that waits for a key; as a checkpoint if it had asked for one."""
        session = self.session
        with session.guard:
            session.waiting_for = key
            if request is None:
                self._keep("waiting", step=None, status="waiting")
            else:
                session.clear_checkpoint_request()
                make_checkpoint(session, metadata=request[0], path=request[1], resuming_task_id=spec.task_id)

    def _complete(
        self, spec: TaskSpec, lane: Lane, member: MemberLane | None, requests: Requests, result: Stored
    ) -> bool:
        """End a step: all that it changes, then one snapshot. Return whether the lane is over."""
        session = self.session
        with session.guard:
            if requests.cancels is not None:
                session.clear_checkpoint_request()
                self._keep("canceled", step=None, status="canceled")
                raise WorkflowCanceledError(spec.task_id, requests.cancels)
            listener, lane.channel.on_change = lane.channel.on_change, None
            try:
                lane.channel.write(result_key(spec.task_id), lambda before: result)
            finally:
                lane.channel.on_change = listener
            session.increment_step()
            return self._end_step(spec, lane, member, requests, session.steps - 1)

    def _end_step(
        self, spec: TaskSpec, lane: Lane, member: MemberLane | None, requests: Requests, steps_before: int
    ) -> bool:
        """Take a task or a group from what is pending, queue what comes after it, and keep that."""
        session = self.session
        lane.queue.remove(spec)
        session.mark_task_completed(spec.task_id)
        is_over = requests.terminates is not None
        if not is_over:
            for queued in requests.queued:
                lane.queue.add(queued)
            if not requests.skips_successors:
                lane.follow(spec.task_id, session.graph)
        if member is None:
            session.last_task_id = spec.task_id
            self._boundary(spec.task_id, steps_before, is_over=is_over)
        else:
            member.checkpoint = requests.checkpoint or member.checkpoint
            member.terminates = requests.terminates
            member.is_done = is_over or lane.next() is None
            self._keep("within", step=spec.task_id)
        return is_over

    # --- a group ---

    def _run_group(self, group: ParallelGroup, spec: TaskSpec, lane: Lane, member: MemberLane | None) -> bool:
        session, steps = self.session, self.session.steps
        try:
            with _interruptible(session, member):
                requests = run_group(session, group, member, lambda inner: self._run_member(inner, group.backend))
        except ParallelGroupError as error:
            self._group_failed(group, spec, member, error)
            return False
        if requests is None:
            return True
        with session.guard:
            if member is None and requests.checkpoint is not None:
                session.request_checkpoint(requests.checkpoint[0], path=requests.checkpoint[1])
            is_over = self._end_step(spec, lane, member, requests, steps)
        if member is None:
            self.result, self.has_result = session.get_result(group), True
        return is_over

    def _run_member(self, member: MemberLane, backend: str) -> None:
        if self.session.saving.autosave:
            trail = trail_of(self.session)
            member.branch.on_change = lambda key: trail.progress()
        self._run_lane(member.lane, member, backend)

    def _group_failed(
        self, group: ParallelGroup, spec: TaskSpec, member: MemberLane | None, error: ParallelGroupError
    ) -> None:
        session = self.session
        spec.last_error = str(error)
        self._keep("failure", step=group.task_id, status="failed")
        if session.saving.on_failure and member is None:
            make_checkpoint(session, metadata={"task_id": group.task_id, "mode": "failure", "error": str(error)})
        raise error

    # --- keeping ---

    def _boundary(self, step: str, steps_before: int, *, is_over: bool) -> None:
        """Keep a step boundary: as a checkpoint if one is due."""
        session = self.session
        every = session.saving.every
        is_pending = (session.main.queue or session.main.arrived) and not is_over
        status = "running" if is_pending else "finished"
        if session.checkpoint_requested:
            metadata, path = session.checkpoint_request_metadata, session.checkpoint_request_path
            session.clear_checkpoint_request()
            make_checkpoint(session, path=path, metadata=metadata, status=status)
        elif every is not None and session.steps // every > steps_before // every:
            make_checkpoint(session, metadata={"task_id": step, "mode": "periodic"}, status=status)
        else:
            self._keep("step", step=step, status=status)

    def _keep(self, kind: str, *, step: str | None, status: str = "running") -> None:
        if self.session.saving.autosave:
            trail_of(self.session).save(kind, step=step, status=status)
