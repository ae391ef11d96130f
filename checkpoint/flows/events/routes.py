"""Routes: which step takes which event, and whether a workflow's steps fit together; pure.

Must not know: runs, journals.

Next: flows/events/checkpoints.py
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar, final

from checkpoint.flows.events.errors import WorkflowValidationError
from checkpoint.flows.events.event import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from checkpoint.flows.events.step import Step

__all__ = ["Routes"]

T = TypeVar("T")


@final
class Routes:
    """The graph of a workflow's steps.

    Args:
        workflow: the name that errors show.
        steps: name -> step.

    Raises:
        WorkflowValidationError: an annotation can't be resolved, or is no event.
    """

    def __init__(self, workflow: str, steps: Mapping[str, Step]) -> None:
        self.workflow, self.steps = workflow, steps
        for name, step in steps.items():
            try:
                step.resolve()
            except NameError as error:
                raise WorkflowValidationError(
                    f"step {name!r}", f"its annotations use an unknown name: {error}"
                ) from error
        self._leads_to = {
            name: {taker for cls in step.returns for taker in self.takers(cls)} for name, step in steps.items()
        }
        #: Name of a step that gathers -> the steps from which an event may still come to it.
        self.feeders = {name: self._before(name) for name, step in steps.items() if step.gathers}

    def takers(self, event_type: type[Event]) -> list[str]:
        """Return the names of the steps that take an event of exactly this class."""
        return [name for name, step in self.steps.items() if event_type in step.accepts]

    def event_types(self) -> tuple[type[Event], ...]:
        """Return the classes that the steps take or return."""
        return tuple(dict.fromkeys(cls for step in self.steps.values() for cls in (*step.accepts, *step.returns)))

    def start_type(self) -> type[StartEvent]:
        """Return the class of the event that a run begins with."""
        found = _of_kind(StartEvent, (cls for step in self.steps.values() for cls in step.accepts))
        if len(found) != 1:
            names = ", ".join(cls.__name__ for cls in found) or "none"
            raise self._invalid(f"its steps must take one kind of StartEvent; they take {names}")
        return found[0]

    def check(self) -> None:
        """Compare what is returned with what is taken.

        Raises:
            WorkflowValidationError: naming the events that don't fit, or what is missing.
        """
        if not self.steps:
            raise self._invalid("it has no steps; decorate its methods with @step")
        taken = {cls for step in self.steps.values() for cls in step.accepts}
        returned = {cls for step in self.steps.values() for cls in step.returns}
        start = self.start_type()
        if stops := _of_kind(StopEvent, taken):
            raise self._invalid(f"a step takes {stops[0].__name__}, which ends the run")
        if not _of_kind(StopEvent, returned):
            raise self._invalid("no step returns a StopEvent, so it would never end")
        if lost := {cls for cls in taken - returned - {start} if not issubclass(cls, HumanResponseEvent)}:
            raise self._invalid(f"no step returns {_names(lost)}, which {_users(self.steps, lost)} takes")
        kept = {cls for cls in returned - taken if not issubclass(cls, (StopEvent, InputRequiredEvent))}
        if kept:
            raise self._invalid(f"no step takes {_names(kept)}, which {_makers(self.steps, kept)} returns")

    def _before(self, name: str) -> set[str]:
        found: set[str] = set()
        ahead = [step for step, to in self._leads_to.items() if name in to]
        while ahead:
            step = ahead.pop()
            if step not in found:
                found.add(step)
                ahead += [before for before, to in self._leads_to.items() if step in to]
        return found

    def _invalid(self, reason: str) -> WorkflowValidationError:
        return WorkflowValidationError(f"workflow {self.workflow}", reason)


def _of_kind(kind: type[T], classes: Iterable[type]) -> list[type[T]]:
    return [cls for cls in dict.fromkeys(classes) if issubclass(cls, kind)]


def _names(classes: Iterable[type]) -> str:
    return ", ".join(sorted(cls.__name__ for cls in classes))


def _users(steps: Mapping[str, Step], classes: set[type[Event]]) -> str:
    return ", ".join(name for name, step in steps.items() if classes & set(step.accepts))


def _makers(steps: Mapping[str, Step], classes: set[type[Event]]) -> str:
    return ", ".join(name for name, step in steps.items() if classes & set(step.returns))
