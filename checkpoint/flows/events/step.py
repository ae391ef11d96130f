"""Step: a function of a workflow, and what its annotations say: which events it takes and which it returns.

Must not know: workflows' other steps, runs, journals. Annotations that can't be resolved yet when the decorator runs
are resolved when the steps are first needed.

Next: flows/events/routes.py
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, final, overload

from checkpoint.flows.events.errors import WorkflowValidationError
from checkpoint.flows.events.event import Event
from checkpoint.flows.events.retry import RetryPolicy

__all__ = ["Step", "step", "step_of"]

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__checkpoint_step__"
_UNIONS = (typing.Union, types.UnionType)


@final
@dataclasses.dataclass(slots=True)
class Step:
    """What a workflow knows of one of its functions; `accepts` and the like are there after `resolve()`."""

    function: Callable[..., Any]
    num_workers: int
    retry_policy: RetryPolicy | None
    is_method: bool
    #: Names that the annotations may use, beside the globals of the function's module.
    names: Mapping[str, Any] = dataclasses.field(repr=False)
    is_resolved: bool = False
    event_name: str = ""
    context_name: str | None = None
    #: The model in `Context[Model]`, if there is one.
    state_type: type | None = None
    accepts: tuple[type[Event], ...] = ()
    returns: tuple[type[Event], ...] = ()
    #: It takes a list: all events of that kind at once.
    gathers: bool = False
    #: It may return a list: each event of it goes its own way.
    scatters: bool = False

    @property
    def name(self) -> str:
        """The function's name."""
        return str(self.function.__name__)

    @property
    def is_async(self) -> bool:
        """Whether it is awaited; others run in a thread."""
        return inspect.iscoroutinefunction(self.function)

    def resolve(self) -> None:
        """Read the annotations.

        Raises:
            WorkflowValidationError: they don't say what the step takes and returns.
            NameError: they use a name that isn't defined (yet).
        """
        if self.is_resolved:
            return
        hints = typing.get_type_hints(self.function, localns=dict(self.names))
        names = list(inspect.signature(self.function).parameters)[1 if self.is_method else 0 :]
        events = []
        for name in names:
            hint = hints.get(name)
            if _is_context(hint):
                self.context_name = name
                arguments = typing.get_args(hint)
                self.state_type = arguments[0] if arguments and isinstance(arguments[0], type) else None
            else:
                self.accepts, self.gathers = _events_in(hint)
                if not self.accepts:
                    raise self._invalid(f"parameter {name!r} must be annotated with events or Context, not {hint!r}")
                events.append(name)
        if len(events) != 1:
            raise self._invalid(f"it must take one parameter with an event; it has {', '.join(events) or 'none'}")
        (self.event_name,) = events
        if "return" not in hints:
            raise self._invalid("its return annotation is missing; name the events it returns, or None")
        self.returns, self.scatters = _events_in(hints["return"])
        if not self.returns and hints["return"] is not type(None):
            raise self._invalid(f"it must return events or None, not {hints['return']!r}")
        self.is_resolved = True

    def _invalid(self, reason: str) -> WorkflowValidationError:
        return WorkflowValidationError(f"step {self.name!r}", reason)


def _is_context(hint: object) -> bool:
    return getattr(typing.get_origin(hint) or hint, "__name__", "") == "Context"


def _events_in(hint: Any) -> tuple[tuple[type[Event], ...], bool]:
    """Return the event classes of an annotation, and whether any is in a list; none if it names anything else."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _events_in(typing.get_args(hint)[0])
    if origin in _UNIONS:
        parts = [_events_in(part) for part in typing.get_args(hint) if part is not type(None)]
        if not all(classes for classes, _ in parts):
            return (), False
        found = dict.fromkeys(cls for classes, _ in parts for cls in classes)
        return tuple(found), any(is_list for _, is_list in parts)
    if origin is list:
        return _events_in(typing.get_args(hint)[0])[0], True
    return ((hint,), False) if isinstance(hint, type) and issubclass(hint, Event) else ((), False)


def step_of(function: Any) -> Step | None:
    """Return what the decorator has noted of a function."""
    return getattr(function, _MARK, None)


@overload
def step(function: F, /) -> F: ...
@overload
def step(
    *,
    workflow: Any = None,
    num_workers: int = 4,
    retry_policy: RetryPolicy | None = None,
    pass_context: bool = False,
) -> Callable[[F], F]: ...
def step(
    function: Any = None,
    /,
    *,
    workflow: Any = None,
    num_workers: int = 4,
    retry_policy: RetryPolicy | None = None,
    pass_context: bool = False,
) -> Any:
    """Make a method of a `Workflow`, or with `workflow=` a function, one of its steps; with or without parentheses.

    Args:
        workflow: the class that a function outside of it belongs to.
        num_workers: how many executions of the step a run has at a time.
        retry_policy: an object with `next(elapsed_time, attempts, error)`, which returns seconds or None.
        pass_context: has no effect: a parameter annotated with `Context` gets the context.

    Raises:
        WorkflowValidationError: the annotations don't say which events it takes and returns, or an option is wrong.

    Notes:
        A step takes one event, `A`, `A | B`, or `list[A]`: then it is called once, with all of them, when nothing that
        is still under way can lead to another one. It returns an event, None, or a list whose events go their own ways.
        A plain function runs in a thread.
    """
    if function is not None:
        return _marked(function, workflow, num_workers, retry_policy, sys._getframe(1))
    return lambda decorated: _marked(decorated, workflow, num_workers, retry_policy, sys._getframe(1))


def _marked(function: Any, workflow: Any, num_workers: Any, policy: Any, frame: types.FrameType) -> Any:
    place = f"step {getattr(function, '__name__', function)!r}"
    if type(num_workers) is not int or num_workers < 1:
        raise WorkflowValidationError(place, f"num_workers must be a whole number above 0, not {num_workers!r}")
    if policy is not None and not callable(getattr(policy, "next", None)):
        raise WorkflowValidationError(place, f"retry_policy must have a method next, and {policy!r} has none")
    is_method = workflow is None and "." in function.__qualname__.rpartition("<locals>.")[2]
    if workflow is None and not is_method:
        raise WorkflowValidationError(place, "a function outside of a class needs its workflow: @step(workflow=...)")
    found = Step(function, num_workers, policy, is_method, _names_around(frame))
    try:
        found.resolve()
    except NameError:  # a class that is defined further down
        pass
    setattr(function, _MARK, found)
    if workflow is not None:
        workflow.add_step(function)
    return function


def _names_around(frame: types.FrameType | None) -> dict[str, Any]:
    """Return the local names where a decorator runs: those of the class body and of the functions around it."""
    scopes: list[dict[str, Any]] = []
    while frame is not None and frame.f_locals is not frame.f_globals and len(scopes) < 3:
        scopes.append(dict(frame.f_locals))
        frame = frame.f_back
    return {name: value for scope in reversed(scopes) for name, value in scope.items()}
