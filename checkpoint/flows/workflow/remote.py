"""Remote: a task of a group in a process of its own.

The process gets the function and its arguments. Its channel and context are stand-ins that ask the parent, which keeps
what they write as it does for threads. It ends when its parent does.

Must not know: groups, the engine.

Next: flows/workflow/groups.py
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, Pipe
from typing import Any, final

from checkpoint.errors import TaskFailedError, TaskLostError
from checkpoint.flows.workflow.binding import code_of, locate
from checkpoint.flows.workflow.cells import cell_of, value_in
from checkpoint.flows.workflow.channel import Channel
from checkpoint.flows.workflow.ledger import Effects
from checkpoint.flows.workflow.task_context import TaskExecutionContext
from checkpoint.flows.workflow.tasks import TaskWrapper
from checkpoint.unpickling import dill_loads

__all__ = ["call_in_process", "serve"]

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from checkpoint.flows.workflow.remote import serve
serve(int(sys.argv[2]), int(sys.argv[3]))
"""
_KNOWN = ("task_id", "session_id", "trace_id", "cycle_count", "max_cycles", "retry_count", "max_retries", "start_time")

#: How often a waiting thread looks whether the run is to end.
_POLL_S = 0.1

Ask = Callable[..., Any]


# --- in the parent ---------------------------------------------------------------------------------------


def call_in_process(
    task: TaskWrapper, context: TaskExecutionContext, channel: Channel, args: list[Any], keywords: dict[str, Any]
) -> Any:
    """Call a task's function in a new process; return its result.

    Raises:
        TaskLostError: the process ended without a word.
        TaskFailedError: stands for an exception that can't be sent.
        Exception: what the function raised.
    """
    place = task.function.__module__, task.function.__qualname__
    code = code_of(task)
    payload = {
        "place": None if code is not None else place,
        "code": code,
        "args": args[task.inject_context :],
        "keywords": keywords,
        "known": {name: getattr(context, name) for name in _KNOWN} if task.inject_context else None,
    }
    ours, theirs = Pipe()
    life_read, life_write = os.pipe()
    command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(theirs.fileno()), str(life_read)]
    try:
        ours_sent = cell_of(payload, f"arguments of task {task.task_id}", task.task_id)
        process = subprocess.Popen(command, pass_fds=(theirs.fileno(), life_read), stdin=subprocess.DEVNULL)
    finally:
        theirs.close()
        os.close(life_read)
    try:
        ours.send_bytes(ours_sent)
        return _Host(context, channel, ours).serve(task.task_id, process)
    finally:
        os.close(life_write)  # the process ends when this closes
        ours.close()
        process.kill()
        process.wait()


@final
class _Host:
    """Answers what a process asks of its task's context and channel."""

    def __init__(self, context: TaskExecutionContext, channel: Channel, connection: Connection) -> None:
        self._targets: dict[str, Any] = {"context": context, "channel": channel}
        self._connection = connection
        self._locks: dict[str, contextlib.ExitStack] = {}

    def serve(self, task_id: str, process: subprocess.Popen[bytes]) -> Any:
        try:
            while True:
                while not self._connection.poll(_POLL_S):
                    if self._targets["context"].execution_context.is_stopping:
                        raise SystemExit(143)
                try:
                    kind, *rest = value_in(self._connection.recv_bytes())
                except (EOFError, OSError):
                    raise TaskLostError(f"task {task_id}", f"its process ended with code {process.wait()}") from None
                if kind == "done":
                    return rest[0]
                if kind == "failed":
                    raise rest[0]
                self._answer(*rest)
        finally:
            for lock in self._locks.values():
                lock.close()

    def _answer(self, target: str, name: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        answer: tuple[bool, Any] = True, None
        try:
            if name == "lock":
                lock, number = contextlib.ExitStack(), uuid.uuid4().hex
                lock.enter_context(self._targets[target].lock(*args, **keywords))
                self._locks[number] = lock
                answer = True, number
            elif name == "unlock":
                self._locks.pop(*args).close()
            else:
                answer = True, getattr(self._targets[target], name)(*args, **keywords)
        except Exception as error:
            answer = False, error
        self._connection.send_bytes(_sendable(answer))


def _sendable(message: tuple[Any, ...]) -> bytes:
    """Return a message as bytes, with a stand-in for an exception that can't be sent."""
    try:
        cell = cell_of(message, "a message", "workflow")
        value_in(cell)
        return cell
    except Exception:
        *rest, last = message
        if not isinstance(last, BaseException):
            raise
        text = "".join(traceback.format_exception(last))
        return cell_of((*rest, TaskFailedError(type(last).__name__, str(last), text)), "a message", "workflow")


# --- in the process --------------------------------------------------------------------------------------


def serve(connection: int, life: int) -> None:
    """Run the task that the parent sends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    threading.Thread(target=_end_with_parent, args=(life,), daemon=True).start()
    pipe = Connection(connection)
    guard = threading.Lock()

    def ask(target: str, name: str, *args: Any, **keywords: Any) -> Any:
        with guard:
            pipe.send_bytes(cell_of(("ask", target, name, args, keywords), f"arguments of {name}()", "workflow"))
            is_right, answer = value_in(pipe.recv_bytes())
        if not is_right:
            raise answer
        return answer

    try:
        message = "done", _run(value_in(pipe.recv_bytes()), ask)
    except BaseException as error:
        message = "failed", error if isinstance(error, Exception) else RuntimeError(f"it ended with {error!r}")
    try:
        pipe.send_bytes(_sendable(message))
    except Exception as error:
        pipe.send_bytes(_sendable(("failed", error)))


def _end_with_parent(life: int) -> None:
    os.read(life, 1)
    os._exit(1)


def _run(payload: dict[str, Any], ask: Ask) -> Any:
    bound: dict[str, Any] = {}
    if payload["code"] is not None:
        function, bound = dill_loads(payload["code"])
    else:
        task = locate(tuple(payload["place"]))
        if task is None:
            raise LookupError(f"{'.'.join(payload['place'])} is not a task in a new process")
        function = task.function
    first = [] if payload["known"] is None else [RemoteContext(payload["known"], ask)]
    return function(*first, *payload["args"], **{**bound, **payload["keywords"]})


@final
class RemoteChannel:
    """A channel's methods, each of which asks the parent."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or not hasattr(Channel, name):
            raise AttributeError(f"a channel has no {name!r}")
        return lambda *args, **keywords: self._ask("channel", name, *args, **keywords)

    @contextlib.contextmanager
    def lock(self, key: str, timeout: float = 10.0) -> Iterator[None]:
        """Keep out the other tasks of the run."""
        number = self._ask("channel", "lock", key, timeout)
        try:
            yield
        finally:
            self._ask("channel", "unlock", number)


@final
class RemoteContext(Effects):
    """A task context whose methods ask the parent."""

    def __init__(self, known: dict[str, Any], ask: Ask) -> None:
        for name, value in known.items():
            setattr(self, name, value)
        self._ask = ask

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or not hasattr(TaskExecutionContext, name):
            raise AttributeError(f"a task context has no {name!r} in a process")
        return lambda *args, **keywords: self._ask("context", name, *args, **keywords)

    def get_channel(self) -> RemoteChannel:
        """Return the channel."""
        return RemoteChannel(self._ask)

    def recalled(self, key: str) -> bytes | None:
        """Return what was recorded at a key."""
        found: bytes | None = self._ask("context", "recalled", key)
        return found

    def record(self, key: str, cell: bytes) -> None:
        """Record what a key has led to."""
        self._ask("context", "record", key, cell)
