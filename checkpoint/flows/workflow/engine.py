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
from collections.abc import Callable, Iterator
from functools import partial
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
from checkpoint.flows.workflow.lane import Lane
from checkpoint.flows.workflow.queue import TaskSpec
from checkpoint.flows.workflow.remote import call_in_process
from checkpoint.flows.workflow.requests import Requests, SuspendedRun
from checkpoint.flows.workflow.session import MemberLane, Session
from checkpoint.flows.workflow.task_context import TaskExecutionContext
from checkpoint.flows.workflow.tasks import TaskWrapper, result_key

__all__ = ["WorkflowEngine"]

_log = logging.getLogger("checkpoint")

#: Calls a function that takes no arguments.
Handler = Callable[[Callable[[], Any]], Any]


@final
class WorkflowEngine:
    """Executes sessions."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {"direct": lambda call: call()}

    def register_handler(self, name: str, handler: Handler) -> None:
        """Let tasks with `handler=name` be called by a function, which gets a function without arguments."""
        self._handlers[name] = handler

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


@final
class _Run:
    """One execution of a session."""

    def __init__(self, session: Session, handlers: dict[str, Handler]) -> None:
        self.session = session
        self.result: Any = None
        self.has_result = False
        self._handlers = handlers

    def go_on(self) -> None:
        """Run the main lane until nothing is pending, or something ends it."""
        session = self.session
        while (spec := session.main.next()) is not None and self._may_begin():
            node = session.graph.nodes.get(spec.task_id)
            if isinstance(node, ParallelGroup):
                is_over = self._run_group(node, spec)
            elif isinstance(node, TaskWrapper):
                is_over = self._run_task(node, spec, session.main, None)
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
            if backend == "processes":
                result = call_in_process(task, context, channel, args, keywords)
            else:
                result = self._called(task, partial(task.function, *args, **keywords), member is None)
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

    def _called(self, task: TaskWrapper, call: Callable[[], Any], is_interruptible: bool) -> Any:
        if task.handler not in self._handlers:
            raise ConfigError(f"handler of task {task.task_id}", f"no handler {task.handler!r} is registered")
        token = CURRENT.set(None)
        try:
            self.session.in_task = is_interruptible
            return self._handlers[task.handler](call)
        finally:
            self.session.in_task = False
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
            if task.retry_policy is not None:
                time.sleep(task.retry_policy.wait_s(spec.retry_count))
            return
        if session.saving.on_failure and lane is session.main:
            make_checkpoint(session, metadata={"task_id": spec.task_id, "mode": "failure", "error": text})
        if spec.max_retries:
            failure: WorkflowRuntimeError = RetryLimitExceededError(spec.task_id, text, spec.max_retries)
        else:
            failure = WorkflowRuntimeError(spec.task_id, text)
        failure.cause = error
        raise failure from error

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
            lane.queue.remove(spec)
            session.mark_task_completed(spec.task_id)
            session.increment_step()
            is_over = requests.terminates is not None
            if not is_over:
                for queued in requests.queued:
                    lane.queue.add(queued)
                if not requests.skips_successors:
                    lane.follow(spec.task_id, session.graph)
            if member is None:
                session.last_task_id = spec.task_id
                self._boundary(spec.task_id, session.steps - 1)
            else:
                member.checkpoint = requests.checkpoint or member.checkpoint
                member.terminates = requests.terminates
                member.is_done = is_over or lane.next() is None
                self._keep("within", step=spec.task_id)
        return is_over

    # --- a group ---

    def _run_group(self, group: ParallelGroup, spec: TaskSpec) -> bool:
        session, steps = self.session, self.session.steps
        try:
            session.in_task = True
            message = run_group(session, group, lambda lane: self._run_lane(lane, group.backend))
        except ParallelGroupError as error:
            self._group_failed(group, spec, error)
            return False
        finally:
            session.in_task = False
        if group.task_id in session.groups:  # a member waits, or max_steps was reached
            return True
        with session.guard:
            session.main.queue.remove(spec)
            session.mark_task_completed(group.task_id)
            session.last_task_id = group.task_id
            if message is None:
                session.main.follow(group.task_id, session.graph)
            self._boundary(group.task_id, steps)
        self.result, self.has_result = session.get_result(group), True
        return message is not None

    def _group_failed(self, group: ParallelGroup, spec: TaskSpec, error: ParallelGroupError) -> None:
        session = self.session
        spec.last_error = str(error)
        self._keep("failure", step=group.task_id, status="failed")
        if session.saving.on_failure:
            make_checkpoint(session, metadata={"task_id": group.task_id, "mode": "failure", "error": str(error)})
        raise error

    def _run_lane(self, member: MemberLane, backend: str) -> None:
        session = self.session
        if session.saving.autosave:
            trail = trail_of(session)
            member.branch.on_change = lambda key: trail.progress()
        while (spec := member.lane.next()) is not None and self._may_begin():
            node = session.graph.nodes.get(spec.task_id)
            if not isinstance(node, TaskWrapper):
                raise ConfigError(f"group member {spec.task_id}", "only tasks can be members, not groups")
            if self._run_task(node, spec, member.lane, member, backend):
                return

    # --- keeping ---

    def _boundary(self, step: str, steps_before: int) -> None:
        """Keep a step boundary: as a checkpoint if one is due."""
        session = self.session
        every = session.saving.every
        status = "running" if session.main.queue or session.main.arrived else "finished"
        if session.checkpoint_requested:
            metadata, path = session.checkpoint_request_metadata, session.checkpoint_request_path
            session.clear_checkpoint_request()
            make_checkpoint(session, path=path, metadata=metadata)
        elif every is not None and session.steps // every > steps_before // every:
            make_checkpoint(session, metadata={"task_id": step, "mode": "periodic"})
        else:
            self._keep("step", step=step, status=status)

    def _keep(self, kind: str, *, step: str | None, status: str = "running") -> None:
        if self.session.saving.autosave:
            trail_of(self.session).save(kind, step=step, status=status)
