"""Context: what steps share, and the way to a lineage's checkpoints.

A workflow's runs on one context follow each other: values stay, and all checkpoints are listed together. A step gets
a view of its own, whose writes count when the step is complete.

Must not know: workflow classes beyond their name and steps.

Next: flows/events/handler.py
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, Generic, Protocol, final

from typing_extensions import TypeVar

from checkpoint.checks import flag, text
from checkpoint.errors import BusyFlowError
from checkpoint.flows.events.checkpoints import Checkpoint
from checkpoint.flows.events.errors import WorkflowRuntimeError
from checkpoint.flows.events.event import Event
from checkpoint.flows.events.history import CheckpointDifference, History, RunRecord
from checkpoint.flows.events.ledger import Values
from checkpoint.flows.events.runtime import Runtime
from checkpoint.flows.events.state import Draft, Overlay
from checkpoint.flows.events.values import RAW, ValueCodec, is_unsaved, name_of_class
from checkpoint.flows.events.work import Work
from checkpoint.journal import Snapshot, journal_at
from checkpoint.store import Store

__all__ = ["Context"]

S = TypeVar("S", default=Any)
_MISSING = object()


class HasSteps(Protocol):
    """What a context needs to know of a workflow."""

    def state_defaults(self) -> Mapping[str, Any]: ...


@final
class Context(Generic[S]):
    """The shared state of a workflow's runs, and their checkpoints.

    Args:
        workflow: the workflow that runs on it.
        name: what identifies the lineage of its runs; a context of the same name, in any process, goes on with its
            values and lists its checkpoints. Without a name it is a new one.
        store: where the checkpoints are kept; None is the current store.
        pickle: also keep values that are no plain data, as pickles, and load such values. Only for a store you trust.
        strict: raise UnsavableError where a value can't be kept, instead of marking the checkpoint.

    Notes:
        `Context[Model]` as annotation of a step gives `edit_state()` the fields of a pydantic model and its defaults.
        For the event loop of its runs; one run at a time.
    """

    def __init__(
        self,
        workflow: HasSteps,
        *,
        name: str | None = None,
        store: str | os.PathLike[str] | Store | None = None,
        pickle: bool = False,
        strict: bool = False,
    ) -> None:
        if name is not None:
            text(name, "name of a Context")
        flag(pickle, "pickle of a Context")
        flag(strict, "strict of a Context")
        #: What identifies the lineage among those of the workflow class.
        self.name = name or uuid.uuid4().hex
        flow = f"{name_of_class(type(workflow))}/{self.name}"
        self._workflow, self.is_strict = workflow, strict
        self._setup(History(journal_at(store), flow, ValueCodec(pickle)), "main")
        if name is not None:
            self._load(self.history.head("main"))

    def _setup(self, history: History, branch: str) -> None:
        self.history, self.branch = history, branch
        self.newest: Snapshot | None = None
        self.values = Values(history.codec)
        self._runtime: Runtime | None = None
        self._work: Work | None = None

    def _load(self, snapshot: Snapshot | None) -> None:
        self.newest = snapshot
        if snapshot is not None:
            keys = [key for key in self.history.journal.keys(snapshot.id) if key.startswith("state/")]
            data = self.history.journal.state(snapshot.id, keys, codec=RAW)
            kept = {key.removeprefix("state/"): text for key, text in data.items() if not is_unsaved(text)}
            self.values = Values(self.history.codec, kept)

    def branched(self, flow: str, branch: str, snapshot: Snapshot) -> Context[S]:
        """Return a context that shares a lineage's history and has the values of one of its rows."""
        other = self._copy()
        other._setup(History(self.history.journal, flow, self.history.codec), branch)
        other.name = flow.rpartition("/")[2]
        other._load(snapshot)
        return other

    def _copy(self) -> Context[S]:
        other: Context[S] = object.__new__(Context)
        vars(other).update(vars(self))
        return other

    def of(self, runtime: Runtime, work: Work) -> Context[S]:
        """Return the view for one attempt at a step."""
        view = self._copy()
        view._runtime, view._work = runtime, work
        return view

    def attach(self, runtime: Runtime) -> None:
        """Take a run; raise BusyFlowError if one is going on."""
        self.check_idle()
        self._runtime = runtime

    def check_idle(self) -> None:
        """Raise BusyFlowError while a run is going on."""
        if self._runtime is not None and self._runtime.is_active:
            raise BusyFlowError(self.history.flow, f"run {self._runtime.run_id} on the same context")

    def __repr__(self) -> str:
        return f"Context({self.history.flow!r})"

    # --- values ---

    @property
    def store(self) -> Context[S]:
        """The context itself: `ctx.store.get`, `ctx.store.set` and `ctx.store.edit_state` are its own methods."""
        return self

    @property
    def is_running(self) -> bool:
        """Whether a run is going on."""
        return self._runtime is not None and self._runtime.is_active

    @property
    def item_id(self) -> str:
        """What identifies this execution of a step for the outside: the same when it is repeated after a crash.

        Raises:
            WorkflowRuntimeError: outside of a step.
        """
        runtime, work = self._in_step("item_id")
        return f"{runtime.run_id}.{work.item.id}"

    async def get(self, name: str, default: Any = _MISSING) -> Any:
        """Return a value; a change made to it in place counts like `set`, when the step is complete.

        Raises:
            ValueError: there is none of that name, and no default.
        """
        if self._work is not None and name in self._work.overlay:
            return self._work.overlay.read(name)
        if self._work is None and name in self.values:
            return self.values.read(name)[0]
        defaults = self._workflow.state_defaults()
        if name in defaults and self._work is not None:
            self._work.overlay.hold(name, defaults[name])
        if name in defaults:
            return defaults[name]
        if default is _MISSING:
            raise ValueError(f"the context has no value {name!r}; set it first, or give a default")
        return default

    async def set(self, name: str, value: Any) -> None:
        """Hold a value. In a step it counts, for others too, when the step is complete; outside at once."""
        if type(name) is not str:
            raise TypeError(f"names of values are text, not {type(name).__name__}: {name!r}")
        if self._work is not None:
            self._work.overlay.write(name, value)
        else:
            self._hold({name: value})

    def _hold(self, changes: Mapping[str, Any]) -> None:
        for name, value in changes.items():
            self.values.write(name, value, self.values.encoded(value))
            self.values.changed.add(name)
        if changes and self._runtime is not None and self._runtime.is_active:
            self._runtime.flush()

    @contextlib.asynccontextmanager
    async def edit_state(self) -> AsyncIterator[Any]:
        """Change values so that no other step comes in between: `async with ctx.edit_state() as state: state.n += 1`.

        The change counts for others at once, before the step is complete, and is kept with the step's own progress:
        a step that is repeated sees what it saw, and does not make the change twice. Raise in the block to drop it.
        """
        defaults = self._workflow.state_defaults()
        if self._work is not None and self._runtime is not None:
            async with self._runtime.editing(self._work) as overlay:
                yield Draft(overlay, defaults)
            return
        overlay = Overlay(self.values)
        yield Draft(overlay, defaults)
        self._hold(overlay.changes())

    # --- events ---

    def _in_step(self, what: str) -> tuple[Runtime, Work]:
        if self._runtime is None or self._work is None:
            raise WorkflowRuntimeError("", f"{what} is for steps; annotate a parameter of the step with Context")
        return self._runtime, self._work

    def send_event(self, event: Event, step: str | None = None) -> None:
        """Send an event to all steps that take it, or to one; from a step it leaves when the step is complete or waits.

        Raises:
            WorkflowRuntimeError: there is no such step, or it doesn't take this kind of event, or no run is going on.
        """
        if self._runtime is None:
            raise WorkflowRuntimeError(step or "", "no run is going on that could take an event")
        if self._work is None:
            self._runtime.receive(event, step)
        else:
            self._runtime.check_taker(event, step)
            self._work.sent.append((event, step))

    def collect_events(
        self, event: Event, expected: list[type[Event]], buffer_id: str | None = None
    ) -> list[Event] | None:
        """Add an event to a buffer; once it has all that is expected, return these, in that order, else None.

        Args:
            expected: exact classes, one for each event.
            buffer_id: the buffer; the step's own if it isn't given.
        """
        runtime, work = self._in_step("collect_events")
        return runtime.collect(work, event, expected, buffer_id or work.step.name)

    async def wait_for_event(
        self,
        event_type: type[Any],
        waiter_event: Event | None = None,
        requirements: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Return the next event of a kind that comes from another step or from outside.

        Args:
            waiter_event: written to the stream first, to ask for it.
            requirements: names and values that the event must have.
            timeout: seconds, after which TimeoutError is raised.

        Notes:
            After a crash the step is called again, and gets the events that it has got before.
        """
        runtime, work = self._in_step("wait_for_event")
        return await runtime.wait(work, event_type, dict(requirements or {}), waiter_event, timeout)

    def write_event_to_stream(self, event: Event | None) -> None:
        """Show an event to those who read `handler.stream_events()`, at once."""
        if event is not None and self._runtime is not None:
            self._runtime.stream.write(event)

    def tag(self, text: str) -> None:
        """Mark the checkpoint that this step will leave; `list_checkpoints(tag=...)` finds it."""
        self._in_step("tag")[1].tags.append(text)

    # --- checkpoints ---

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints of the lineage, oldest first; their events and states are read when asked for."""
        return self.history.select()

    def list_checkpoints(
        self,
        *,
        step: str | None = None,
        input_type: type[Event] | None = None,
        output_type: type[Event] | None = None,
        run: str | None = None,
        since: float | None = None,
        until: float | None = None,
        status: str | None = None,
        tag: str | None = None,
        include_subclasses: bool = False,
        include_hidden: bool = False,
        newest_first: bool = False,
        after: Checkpoint | str | None = None,
        limit: int | None = None,
    ) -> list[Checkpoint]:
        """Return the checkpoints that meet all conditions, oldest first; reads no state.

        Args:
            step: name of the step that ended.
            input_type: exact class of what it took; with `include_subclasses` also those below.
            output_type: the same of what it returned.
            run: id of a run.
            since: seconds since 1970; `until` likewise.
            status: "running", "waiting" or "finished".
            tag: what `Context.tag` has marked.
            include_hidden: also rows that are no checkpoints to start from by choice: steps that returned None or
                whose checkpoints are disabled, retries, failures, edits and arrivals.
            newest_first: turn the order.
            after: go on after this one, in that order.
            limit: how many at most.
        """
        return self.history.select(
            step=step, input_type=input_type, output_type=output_type, run=run, since=since, until=until,
            status=status, tag=tag, include_subclasses=include_subclasses, include_hidden=include_hidden,
            newest_first=newest_first, after=after, limit=limit,
        )  # fmt: skip

    def filter_checkpoints(
        self,
        last_completed_step: str | None = None,
        input_event_type: type[Event] | None = None,
        output_event_type: type[Event] | None = None,
        run_id: str | None = None,
    ) -> list[Checkpoint]:
        """Return the checkpoints that meet all conditions; at least one must be given.

        Raises:
            ValueError: none is given.
        """
        if not (last_completed_step or input_event_type or output_event_type or run_id):
            raise ValueError("filter_checkpoints needs a condition; list_checkpoints() returns all")
        return self.history.select(
            step=last_completed_step, input_type=input_event_type, output_type=output_event_type, run=run_id
        )

    def runs(self) -> list[RunRecord]:
        """Return the runs of the lineage, oldest first, each with the checkpoint that it started from."""
        return self.history.runs()

    def diff(self, before: Checkpoint, after: Checkpoint) -> CheckpointDifference:
        """Return which values one checkpoint has more, less or else than another, and the events between them."""
        return self.history.diff(before, after)

    def prune(self, *, keep: int = 1, before: float | None = None, spare: Collection[Checkpoint | str] = ()) -> int:
        """Delete old checkpoints of the lineage; return how many rows. What others need of them stays.

        Args:
            keep: so many of the newest rows of each run stay.
            before: only those stored before this time go, in seconds since 1970.
            spare: checkpoints that stay in any case.
        """
        return self.history.prune(keep=keep, before=before, spare=spare)
