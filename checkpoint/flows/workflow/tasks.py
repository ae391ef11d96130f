"""Tasks of a workflow: decorated functions, and where their arguments come from.

Arguments, by falling priority: given at the call, the context, bound ones, the channel (the result of the task of that
name, then the key of that name), the parameter's default.

Must not know: runs.

Next: flows/workflow/binding.py
"""

from __future__ import annotations

import functools
import inspect
import random
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, final, overload

from checkpoint.checks import flag, number, whole
from checkpoint.fingerprint import Tracker
from checkpoint.flows.workflow.channel import Channel
from checkpoint.flows.workflow.errors import ConfigError
from checkpoint.flows.workflow.graph import CURRENT, REGISTRY, Executable, Graph

__all__ = ["RetryPolicy", "TaskReference", "TaskWrapper", "result_key", "task"]


@final
@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a failed task is tried again, and how long to wait before; times in seconds."""

    max_retries: int = 0
    initial_interval: float = 1.0
    backoff_factor: float = 2.0
    max_interval: float = 60.0
    #: Wait between half of the time and one and a half of it, but not longer than `max_interval`.
    jitter: bool = False

    def __post_init__(self) -> None:
        whole(self.max_retries, "max_retries of RetryPolicy", 0)
        for name in ("initial_interval", "backoff_factor", "max_interval"):
            number(getattr(self, name), f"{name} of RetryPolicy")
        flag(self.jitter, "jitter of RetryPolicy")

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    def wait_s(self, retry: int) -> float:
        """Return how long to wait before a retry, counted from 1."""
        wait = min(self.max_interval, self.initial_interval * self.backoff_factor ** (retry - 1))
        return min(self.max_interval, wait * random.uniform(0.5, 1.5)) if self.jitter else wait


def result_key(task_id: str) -> str:
    """Return the channel key that has the result of a task."""
    return f"{task_id}.__result__"


@final
class TaskWrapper(Executable):
    """A function as a task of workflows; made by `task`, or by `TaskWrapper(task_id, function)` with its options."""

    def __init__(
        self,
        task_id: str,
        function: Callable[..., Any],
        *,
        inject_context: bool = False,
        handler: str | None = None,
        resolve_keyword_args: bool = True,
        max_cycles: int | None = None,
        max_retries: int | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        for option, value in (("max_cycles", max_cycles), ("max_retries", max_retries)):
            if value is not None and (not isinstance(value, int) or value < (option == "max_cycles")):
                raise ConfigError(f"{option} of task {task_id}", f"must be a whole number, not {value!r}")
        if handler is not None and not isinstance(handler, str):
            raise ConfigError(f"handler of task {task_id}", f"must be the name of a handler, not {handler!r}")
        if retry_policy is not None and not isinstance(retry_policy, RetryPolicy):
            raise ConfigError(f"retry_policy of task {task_id}", f"must be a RetryPolicy, not {retry_policy!r}")
        self.task_id = task_id
        self.function = function
        self.inject_context, self.handler = inject_context, handler or "direct"
        self.resolve_keyword_args = resolve_keyword_args
        self.max_cycles, self.retry_policy = max_cycles, retry_policy
        if max_retries is None and retry_policy is not None:
            max_retries = retry_policy.max_retries
        self.max_retries = max_retries
        #: Arguments that it is called with: those of a bound copy, or all of them while it runs.
        self.bound: dict[str, Any] = {}
        self.positional: tuple[Any, ...] = ()
        #: Whether the function came from the bytes that a snapshot had of it.
        self.is_from_bytes = False
        self.tracker = Tracker(function)
        functools.update_wrapper(self, function, updated=())
        if (graph := CURRENT.get()) is not None:
            graph.add(self)

    def __repr__(self) -> str:
        return f"TaskWrapper({self.task_id!r})"

    def __call__(self, *args: Any, task_id: str | None = None, **kwargs: Any) -> Any:
        """Return a copy with bound arguments; with positional arguments, or without any, call the function.

        Inside a `with workflow(...)` a call without arguments makes a copy, too.
        """
        graph = CURRENT.get()
        if args or (task_id is None and graph is None and not kwargs):
            return self.run(*args, **kwargs)
        bound = self._copy(task_id or self._unused_id(graph))
        bound.home = None
        bound.bound = {**self.bound, **kwargs}
        if graph is not None:
            graph.add(bound)
        return bound

    def called_with(self, positional: Iterable[Any], keywords: Mapping[str, Any]) -> TaskWrapper:
        """Return a copy whose `run()` calls the function with these arguments."""
        copy = self._copy(self.task_id)
        copy.positional, copy.bound = tuple(positional), dict(keywords)
        return copy

    def _copy(self, task_id: str) -> TaskWrapper:
        copy = object.__new__(TaskWrapper)
        copy.__dict__.update(self.__dict__)
        copy.task_id = task_id
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return _referenced, ("" if self.home is None else self.home.name, self.task_id)

    def _unused_id(self, graph: Graph | None) -> str:
        if graph is None:  # it may come to any workflow, and to one that goes on in another process
            return f"{self.task_id}_{uuid.uuid4().hex[:8]}"
        number = 1
        while f"{self.task_id}_{number}" in graph.nodes:
            number += 1
        return f"{self.task_id}_{number}"

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, without any workflow."""
        return self.function(*self.positional, *args, **{**self.bound, **kwargs})

    @property
    def takes_data(self) -> bool:
        """Whether an iteration can be given data: there is a positional parameter for it after the context."""
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        found = list(inspect.signature(self.function).parameters.values())
        positional = [each for each in found if each.kind in kinds]
        is_open = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in found)
        return is_open or len(positional) > self.inject_context

    def arguments(self, context: object, channel: Channel, data: tuple[Any, ...]) -> tuple[list[Any], dict[str, Any]]:
        """Return what to call the function with in a run; `data` is empty, or has what `next_iteration` was given."""
        args = [*([context] if self.inject_context else []), *data]
        keywords = dict(self.bound)
        if not self.resolve_keyword_args:
            return args, keywords
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        named = [each for each in inspect.signature(self.function).parameters.values() if each.kind in kinds]
        for parameter in named[len(args) :]:
            if parameter.name not in keywords:
                for key in (result_key(parameter.name), parameter.name):
                    if channel.exists(key):
                        keywords[parameter.name] = channel.get(key)
                        break
        return args, keywords


@final
class TaskReference(Executable):
    """A task that another one names, in a process that has only its id."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id


def _referenced(workflow: str, task_id: str) -> Executable:
    """Return the task of a workflow that this process declares, or a reference to it."""
    graph = REGISTRY.get(workflow)
    found = None if graph is None else graph.nodes.get(task_id)
    return TaskReference(task_id) if found is None else found


@overload
def task(function: Callable[..., Any], /) -> TaskWrapper: ...
@overload
def task(
    id: str | None = None,
    /,
    *,
    inject_context: bool = False,
    handler: str | None = None,
    resolve_keyword_args: bool = True,
    max_cycles: int | None = None,
    max_retries: int | None = None,
    retry_policy: RetryPolicy | None = None,
) -> Callable[[Callable[..., Any]], TaskWrapper]: ...
@overload
def task(
    *,
    id: str | None = None,
    inject_context: bool = False,
    handler: str | None = None,
    resolve_keyword_args: bool = True,
    max_cycles: int | None = None,
    max_retries: int | None = None,
    retry_policy: RetryPolicy | None = None,
) -> Callable[[Callable[..., Any]], TaskWrapper]: ...
def task(first: Any = None, /, *, id: str | None = None, **options: Any) -> Any:
    """Make a task of a function; with or without parentheses.

    Args:
        id: names the task in its workflow; the function's name if it isn't given.
        inject_context: the function's first argument is a `TaskExecutionContext`.
        handler: name of the `TaskHandler` that calls the function; see `WorkflowEngine.register_handler`.
        resolve_keyword_args: fill parameters from the channel, by name.
        max_cycles: how often it may run in one session, by `next_iteration`.
        max_retries: how often it is tried again when it fails.
        retry_policy: how long to wait between.

    Notes:
        Inside a `with workflow(...)` the task belongs to that workflow at once; elsewhere, when it is connected.
    """
    if callable(first):
        return TaskWrapper(first.__name__, first, **options)
    name = id if id is not None else first
    if name is not None and not isinstance(name, str):
        raise TypeError(f"the id of a task is text, not {type(name).__name__}")
    return lambda function: TaskWrapper(name or function.__name__, function, **options)
