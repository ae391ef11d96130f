"""Delivery: what becomes of the events that a step or the outside sends: items, answers, or the end of the run.

Must not know: event loops beyond futures, when any of it is committed.

Next: flows/events/stream.py
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from checkpoint.flows.events.errors import WorkflowRuntimeError
from checkpoint.flows.events.event import Event, InputRequiredEvent, StopEvent
from checkpoint.flows.events.ledger import Item, Ledger
from checkpoint.flows.events.routes import Routes
from checkpoint.flows.events.step import Step
from checkpoint.flows.events.work import Work

__all__ = ["Delivery", "Waiting", "deliver", "events_of", "status_after"]


@dataclasses.dataclass(eq=False, slots=True)
class Waiting:
    """An item whose step waits for an event."""

    item: Item
    kind: type[Event]
    wanted: Mapping[str, Any]
    future: asyncio.Future[Event]

    def is_for(self, event: Event) -> bool:
        """Tell whether it waits for this event."""
        is_kind = isinstance(event, self.kind) and not self.future.done()
        return is_kind and all(getattr(event, name, None) == value for name, value in self.wanted.items())


@dataclasses.dataclass(slots=True)
class Delivery:
    """What becomes of events: a StopEvent ends the run; others are items, or answers."""

    stop: StopEvent | None
    items: list[Item] = dataclasses.field(default_factory=list)
    answered: list[tuple[Waiting, Event]] = dataclasses.field(default_factory=list)
    #: Parts of the snapshot that say so.
    changes: dict[str, bytes] = dataclasses.field(default_factory=dict)


def deliver(
    sent: Sequence[tuple[Event, str | None]],
    work: Work | None,
    ledger: Ledger,
    routes: Routes,
    waiting: Iterable[Waiting],
) -> Delivery:
    """Return what becomes of events that are sent, each to all steps that take it or to one.

    An event that nobody takes stays without a step until somebody waits for it.
    """
    found = Delivery(next((event for event, _ in sent if isinstance(event, StopEvent)), None))
    if found.stop is not None:
        found.changes["stop"] = ledger.encoded(found.stop, "StopEvent")
        return found
    base, first = (work.rank, work.item.progress.emitted) if work is not None else ((), 0)
    for index, (event, only) in enumerate(sent, first):
        rank = base if len(sent) == 1 and not first else (*base, index)
        data = ledger.encoded(event, f"event of {work.step.name if work else 'send_event'}")
        places = [place for place in waiting if place.is_for(event)]
        takers = routes.takers(type(event)) if only is None else [only]
        if not takers and not places and not isinstance(event, InputRequiredEvent):
            takers = [""]
        found.items += [ledger.new_item(taker, event, rank, data) for taker in takers]
        for place in places:
            place.item.progress.answers.append(event)
            found.answered.append((place, event))
            found.changes |= ledger.progress_of(place.item)
    found.changes |= {item.key: item.data for item in found.items}
    return found


def events_of(step: Step, output: Any) -> list[Event]:
    """Return the events that a step returned.

    Raises:
        WorkflowRuntimeError: it returned something else.
    """
    outputs: list[Any] = output if isinstance(output, list) and step.scatters else [output]
    outputs = [event for event in outputs if event is not None or outputs is output]
    for event in outputs:
        if not isinstance(event, Event):
            text = f"it must return events or None, not {type(event).__name__}: {event!r}"
            raise WorkflowRuntimeError(step.name, text)
    if isinstance(output, list) and not output:
        raise WorkflowRuntimeError(step.name, "it returned an empty list, so nothing can follow; return another event")
    return outputs


def status_after(stop: StopEvent | None, outputs: list[Event]) -> str:
    """Return how a run stands after a step that returned these events."""
    if stop is not None:
        return "finished"
    return "waiting" if any(isinstance(event, InputRequiredEvent) for event in outputs) else "running"
