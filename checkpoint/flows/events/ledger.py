"""Ledger: what a run still has to do and what its context holds, each change of which is one commit to the journal.

Its parts in a snapshot are named `state/{name}`, `item/{id}/{rank}/{step}`, `progress/{id}`,
`collected/{entry}/{rank}/{buffer}`, `input`, `output` and `stop`. An item is one event on its way to
one step; its id is never used twice in a run, and equal events are different items.

Must not know: event loops, how steps are called.

Next: flows/events/state.py
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from typing import Any, final

from checkpoint.errors import UnsavableError
from checkpoint.flows.events.checkpoints import shown_name
from checkpoint.flows.events.errors import WorkflowValidationError
from checkpoint.flows.events.event import Event
from checkpoint.flows.events.routes import Routes
from checkpoint.flows.events.values import RAW, Unsaved, ValueCodec, framed, is_unsaved
from checkpoint.journal import Journal, Recorder, Snapshot

__all__ = ["Entry", "Item", "Ledger", "Progress", "Rank", "Values"]

_LOG = logging.getLogger("checkpoint")
#: Where an event stands among those that were sent together, and these among others.
Rank = tuple[int, ...]


@dataclasses.dataclass(slots=True)
class Progress:
    """What is kept of an item that was begun: its attempts, and what a further one must not do again."""

    attempts: int = 0
    #: Seconds since the first attempt began.
    elapsed: float = 0.0
    #: When the next attempt may begin, in seconds since 1970.
    not_before: float = 0.0
    #: How many of the events that the step sends were sent.
    emitted: int = 0
    #: What `wait_for_event` returned, in order.
    answers: list[Event] = dataclasses.field(default_factory=list)
    #: For each edit of the state that was made, the values before it.
    edits: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    #: Entries of a buffer that another item has used.
    spent: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(eq=False, slots=True)
class Item:
    """An event on its way to a step; without a step it waits for somebody who asks for it."""

    id: int
    rank: Rank
    step: str
    event: Event
    data: bytes
    progress: Progress = dataclasses.field(default_factory=Progress)

    @property
    def key(self) -> str:
        """Its name in a snapshot."""
        return f"item/{self.id}/{_text(self.rank)}/{self.step}"


@dataclasses.dataclass(eq=False, slots=True)
class Entry:
    """An event in a buffer of `collect_events`."""

    id: str
    rank: Rank
    buffer: str
    event: Event
    data: bytes
    is_kept: bool = False
    #: The item that has it in hand.
    taker: int | None = None

    @property
    def key(self) -> str:
        """Its name in a snapshot."""
        return f"collected/{self.id}/{_text(self.rank)}/{self.buffer}"


def _text(rank: Rank) -> str:
    return ".".join(map(str, rank))


def _rank(text: str) -> Rank:
    return tuple(map(int, text.split("."))) if text else ()


@final
class Values:
    """What a context holds. Every reader gets a copy, except of what can't be encoded."""

    def __init__(self, codec: ValueCodec, data: Mapping[str, bytes] | None = None) -> None:
        self._codec = codec
        self._data = dict(data or {})
        self._live: dict[str, Any] = {}
        #: Names that no commit has seen yet.
        self.changed: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._data or name in self._live

    def __iter__(self) -> Any:
        return iter(dict.fromkeys([*self._data, *self._live]))

    def read(self, name: str) -> tuple[Any, bytes | None]:
        """Return a value, and its bytes if the value is a copy."""
        if name in self._live:
            return self._live[name], None
        data = self._data[name]
        return self._codec.decode(data), data

    def write(self, name: str, value: Any, data: bytes | None) -> None:
        """Hold a value: its bytes, or itself where it has none."""
        self._data.pop(name, None)
        self._live.pop(name, None)
        if data is None:
            self._live[name] = value
        else:
            self._data[name] = data

    def encoded(self, value: Any) -> bytes | None:
        """Return a value's bytes, None if it can't be encoded."""
        try:
            return self._codec.encode(value)
        except Exception:
            return None

    def copy(self) -> Values:
        """Return values that change independently."""
        other = Values(self._codec, self._data)
        other._live, other.changed = dict(self._live), set(self.changed)
        return other


@final
class Ledger:
    """The items, buffers and values of a run.

    Args:
        recorder: the writing end of the run.
        values: those of the context; they are changed by commits.
        is_strict: raise where a value can't be kept, instead of marking the checkpoint.
    """

    def __init__(self, recorder: Recorder, codec: ValueCodec, values: Values, *, is_strict: bool = False) -> None:
        self.recorder, self.values, self._codec, self._is_strict = recorder, values, codec, is_strict
        self.items: dict[int, Item] = {}
        self.entries: dict[str, Entry] = {}
        self._next = 0
        kept = () if recorder.newest is None else recorder.newest.metadata.get("unsaved", ())
        self._unsaved = {key for key in kept if key.startswith("state/")}

    @property
    def newest(self) -> Snapshot | None:
        """The row that was committed last."""
        return self.recorder.newest

    def restore(self, journal: Journal, routes: Routes) -> None:
        """Take over what the newest row holds.

        Raises:
            WorkflowValidationError: a step or an event class of it is gone, or something in it could not be kept.
        """
        snapshot = self.recorder.newest
        assert snapshot is not None
        place = f"checkpoint {snapshot.run}.{snapshot.index}"
        if unsaved := snapshot.metadata.get("unsaved"):
            names = ", ".join(map(shown_name, unsaved))
            raise WorkflowValidationError(place, f"{names} could not be kept; start from another one")
        self._codec.known = routes.event_types()
        self._next = snapshot.metadata["next"]
        raw: dict[str, bytes] = journal.state(snapshot.id, codec=RAW)
        progress = {}
        for key, data in raw.items():
            kind, _, rest = key.partition("/")
            if kind == "state":
                self.values.write(rest, None, data)
            elif kind == "progress":
                progress[int(rest)] = Progress(**self._decoded(place, key, data))
            elif kind in ("item", "collected"):
                number, rank, name = rest.split("/", 2)
                event = self._decoded(place, key, data)
                if kind == "collected":
                    self.entries[number] = Entry(number, _rank(rank), name, event, data, is_kept=True)
                else:
                    _check_taker(place, routes, name, event)
                    self.items[int(number)] = Item(int(number), _rank(rank), name, event, data)
        for id_, found in progress.items():
            if id_ in self.items:
                self.items[id_].progress = found

    def _decoded(self, place: str, key: str, data: bytes) -> Any:
        try:
            return self._codec.decode(data)
        except Exception as error:
            raise WorkflowValidationError(place, f"{key} cannot be read: {error}") from error

    # --- changes ---

    def encoded(self, value: Any, key: str) -> bytes:
        """Return a value's bytes; what can't be encoded is logged, and something that says so takes its place."""
        try:
            return self._codec.encode(value)
        except Exception as error:
            if self._is_strict:
                raise UnsavableError(self.recorder.run.flow, key, str(error)) from error
            _LOG.warning("%s cannot be kept, so no run can start from the checkpoints that need it: %s", key, error)
            return self._codec.encode(Unsaved(type(value).__name__, str(error)))

    def new_item(self, step: str, event: Event, rank: Rank, data: bytes) -> Item:
        """Return an item with a new id; it counts once it is committed and in `items`."""
        self._next += 1
        return Item(self._next, rank, step, event, data)

    def progress_of(self, item: Item) -> dict[str, bytes]:
        """Return the part that keeps an item's progress."""
        fields = {field.name: getattr(item.progress, field.name) for field in dataclasses.fields(Progress)}
        return {f"progress/{item.id}": self.encoded(fields, f"progress of step {item.step}")}

    def parts_of_all(self) -> list[str]:
        """Return the names of everything that a finished run leaves behind: all but the values."""
        return [
            *(item.key for item in self.items.values()),
            *(f"progress/{id_}" for id_ in self.items),
            *(entry.key for entry in self.entries.values() if entry.is_kept),
        ]

    def commit(
        self,
        changes: Mapping[str, bytes],
        removed: Iterable[str] = (),
        *,
        values: Mapping[str, Any] | None = None,
        step: str | None = None,
        status: str = "running",
        **metadata: Any,
    ) -> Snapshot:
        """Append a row, in one transaction.

        Args:
            changes: parts, encoded.
            removed: names of parts that go, if they are there.
            values: names and values that the context now holds.
            metadata: JSON of the row.
        """
        state = {name: self.values.read(name)[0] for name in self.values.changed} | dict(values or {})
        data = {name: self.encoded(value, name) for name, value in state.items()}
        parts = {**changes, **{f"state/{name}": text for name, text in data.items()}}
        gone = set(removed) - set(parts)
        unsaved = (self._unsaved - gone - set(parts)) | {key for key, text in parts.items() if is_unsaved(text)}
        if unsaved:
            metadata["unsaved"] = sorted(unsaved)
        newest = self.recorder.newest
        index = newest.index + 1 if newest is not None and newest.run == self.recorder.run.id else 0
        snapshot = self.recorder.update(
            {key: framed(text) for key, text in parts.items()},
            gone,
            index=index,
            step=step,
            status=status,
            metadata={**metadata, "next": self._next},
        )
        self._unsaved = unsaved
        for name, text in data.items():
            self.values.write(name, state[name], None if is_unsaved(text) else text)
        self.values.changed.clear()
        return snapshot


def _check_taker(place: str, routes: Routes, step: str, event: Event) -> None:
    if not step:
        return
    if step not in routes.steps:
        raise WorkflowValidationError(place, f"workflow {routes.workflow} no longer has the step {step!r}")
    if step not in routes.takers(type(event)):
        raise WorkflowValidationError(place, f"step {step!r} no longer takes {type(event).__name__}")
