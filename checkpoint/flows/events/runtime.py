"""Runtime: one run in one event loop: calls steps, and commits what they did before anybody sees it.

A step's completion is one commit: its output, what it wrote, the items that its events become, and the end of its own.
Only then are the new items started. So whatever is killed, what is pending is in the journal.

Must not know: contexts, workflow classes.

Next: flows/events/context.py
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, final

from checkpoint.flows.events.delivery import Delivery, Waiting, deliver, events_of, status_after
from checkpoint.flows.events.errors import WorkflowCancelledByUser, WorkflowRuntimeError, WorkflowTimeoutError
from checkpoint.flows.events.event import Event, InputRequiredEvent, StopEvent
from checkpoint.flows.events.ledger import Item, Ledger
from checkpoint.flows.events.routes import Routes
from checkpoint.flows.events.state import Overlay
from checkpoint.flows.events.step import Step
from checkpoint.flows.events.stream import Stream
from checkpoint.flows.events.values import name_of_class
from checkpoint.flows.events.work import Work

__all__ = ["Runtime", "result_of"]

_LOG = logging.getLogger("checkpoint")
#: How long steps that were cancelled may take to end.
_PATIENCE_S = 5.0
Call = Callable[[Step, Any, Work], Any]


def result_of(stop: StopEvent) -> Any:
    """Return what a run returns that ends with an event."""
    return stop.result if type(stop) is StopEvent else stop


@final
class Runtime:
    """The run of a ledger.

    Args:
        call: calls a step's function with an event, or a list of them, for an attempt.
        hidden: names of the steps whose checkpoints are not listed.
        is_stepwise: start an item only when `step()` asks for one.
    """

    def __init__(self, ledger: Ledger, routes: Routes, call: Call, *, hidden: Iterable[str], is_stepwise: bool) -> None:
        self.ledger, self.routes, self.stream = ledger, routes, Stream()
        self._call, self._hidden = call, frozenset(hidden)
        self._tasks: dict[asyncio.Task[None], Work] = {}
        self._waiting: list[Waiting] = []
        self._edit_lock = asyncio.Lock()
        self._buffers_lock = threading.Lock()
        self._permits: list[asyncio.Future[Any]] | None = [] if is_stepwise else None
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[StopEvent] = self._loop.create_future()
        self._early: list[tuple[Event, str | None]] = []
        self._has_begun = False
        self.is_active = True

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.ledger.recorder.run.id

    # --- the run as a whole ---

    async def run(self, begin: Callable[[], StopEvent | None], seconds: float | None) -> Any:
        """Begin, do everything that is pending until a StopEvent comes, and return its result."""
        try:
            stop = begin()
            self._has_begun = True
            if stop is None:
                stop = await self._stop(seconds)
            self.stream.write(stop)
            return result_of(stop)
        except WorkflowTimeoutError as error:
            self._note_end("timed out", error)
            raise
        except asyncio.CancelledError as error:
            self._note_end("cancelled", error)
            raise
        except Exception as error:
            self._note_end("failed", error)
            raise
        finally:
            self.is_active = False
            await self._stop_tasks()

    async def _stop(self, seconds: float | None) -> StopEvent:
        for event, step in self._early:
            self.receive(event, step)
        self._schedule()
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await self._end
        except TimeoutError:
            if seconds is None or not limit.expired():
                raise
            busy = dict.fromkeys(work.step.name for work in self._tasks.values())
            raise WorkflowTimeoutError(self.routes.workflow, seconds, self.run_id, tuple(busy)) from None

    def cancel(self) -> None:
        """End the run with WorkflowCancelledByUser."""
        error = WorkflowCancelledByUser(self.routes.workflow, self.run_id)
        if not self._end.done():
            self._end.set_exception(error)

    def _note_end(self, status: str, error: BaseException) -> None:
        status = "cancelled" if isinstance(error, WorkflowCancelledByUser) else status
        step = error.step if isinstance(error, WorkflowRuntimeError) else None
        try:
            if self._has_begun:
                self._commit("end", {}, step=step, status=status, error=str(error))
        except Exception as failure:
            _LOG.warning("run %s has ended, which could not be noted: %s", self.run_id, failure)

    async def _stop_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_PATIENCE_S)
        for future in self._permits or ():
            if not future.done():
                future.set_result(None)

    def _commit(self, kind: str, changes: Mapping[str, bytes], removed: Iterable[str] = (), **columns: Any) -> None:
        self.ledger.commit(changes, removed, kind=kind, **columns)

    # --- what may start ---

    async def step(self) -> Any:
        """Do one item; return what the step returned, None when nothing is left to do."""
        if self._permits is None:
            raise WorkflowRuntimeError("", "run_step() needs a run that was started with stepwise=True")
        if not self.is_active:
            return None
        permit = self._loop.create_future()
        self._permits.append(permit)
        self._schedule()
        return await permit

    def _schedule(self) -> None:
        """Start what can be started, unless the run has ended."""
        if self._end.done():
            return
        for step in self.routes.steps.values():
            running = sum(work.step is step for work in self._tasks.values())
            for items in itertools.islice(self._ready(step), step.num_workers - running):
                if self._permits is not None and len(self._tasks) >= sum(not each.done() for each in self._permits):
                    return
                work = Work(step, items, self.ledger.values)
                self._tasks[self._loop.create_task(self._attempts(work))] = work

    def _ready(self, step: Step) -> Iterable[list[Item]]:
        """Return what a step can be called for: its items one by one, or all of them if no more can come."""
        name, busy = step.name, {item.id for work in self._tasks.values() for item in work.items}
        mine = (item for item in self.ledger.items.values() if item.step == name and item.id not in busy)
        if not step.gathers:
            return [[item] for item in itertools.islice(mine, step.num_workers)]
        gathered = {item.id: item for item in mine}
        others = {item.id: item.step for item in self.ledger.items.values() if item.step and item.id not in gathered}
        is_stuck = not busy and all(self.routes.steps[other].gathers for other in others.values())
        is_first = min(gathered, default=0) < min(others, default=1)
        if gathered and (not self.routes.feeders[name] & set(others.values()) or (is_stuck and is_first)):
            return [sorted(gathered.values(), key=lambda item: (item.rank, item.id))]
        return []

    # --- one item ---

    async def _attempts(self, work: Work) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            while True:
                progress = work.item.progress
                if (delay := progress.not_before - time.time()) > 0:
                    await asyncio.sleep(delay)
                began = time.monotonic()
                try:
                    output = await self._called(work)
                    break
                except Exception as error:
                    with self._buffers_lock:  # plain functions collect in threads
                        work.withdraw(self.ledger)
                    progress.elapsed += time.monotonic() - began
                    self._retry(work, error)
                work = self._tasks[task] = Work(work.step, work.items, self.ledger.values)
            if not self._end.done():
                self._complete(work, output, task)
        except asyncio.CancelledError:
            if not task.cancelling() and not self._end.done():  # not by us: the step itself raised it
                self._end.set_exception(WorkflowRuntimeError(work.step.name, "it was cancelled from inside"))
            raise
        except Exception as error:
            if not self._end.done():
                self._end.set_exception(error)
        finally:
            self._tasks.pop(task, None)

    async def _called(self, work: Work) -> Any:
        events = [item.event for item in work.items]
        argument = events if work.step.gathers else events[0]
        if work.step.is_async:
            return await self._call(work.step, argument, work)
        return await asyncio.to_thread(self._call, work.step, argument, work)

    def _retry(self, work: Work, error: Exception) -> None:
        """Keep the failure and when to try again; raise if there is to be no further attempt."""
        policy, progress, name = work.step.retry_policy, work.item.progress, work.step.name
        delay = None if policy is None else policy.next(progress.elapsed, progress.attempts, error)
        if delay is None:
            if progress.attempts:  # who resumes the run has mended something: it begins anew
                progress.attempts, progress.elapsed, progress.not_before = 0, 0.0, 0.0
                self._commit("failed", self.ledger.progress_of(work.item), step=name)
            raise WorkflowRuntimeError(name, f"{type(error).__name__}: {error}") from error
        progress.attempts += 1
        progress.elapsed += delay
        progress.not_before = time.time() + delay
        self._commit("retry", self.ledger.progress_of(work.item), step=name, error=f"{type(error).__name__}: {error}")

    def _complete(self, work: Work, output: Any, task: asyncio.Task[None]) -> None:
        """Commit what a step did, then start what follows from it."""
        outputs = events_of(work.step, output)
        delivery = self._delivery(work.unsent() + [(event, None) for event in outputs], work)
        changes, removed = work.settle(self.ledger)
        removed += [key for item in work.items for key in (item.key, f"progress/{item.id}")]
        if delivery.stop is not None:
            changes, removed = {}, [*removed, *self.ledger.parts_of_all()]
        self._commit(
            "step",
            {**changes, **delivery.changes, **self._input_and_output(work, outputs, output)},
            removed,
            values=work.overlay.changes(),
            step=work.step.name,
            status=status_after(delivery.stop, outputs),
            shown=bool(outputs) and work.step.name not in self._hidden,
            items=[item.id for item in work.items],
            input=[name_of_class(type(item.event)) for item in work.items],
            **({"output": [name_of_class(type(event)) for event in outputs]} if outputs else {}),
            **({"tags": work.tags} if work.tags else {}),
        )
        work.settled(self.ledger)
        for item in work.items:
            del self.ledger.items[item.id]
        del self._tasks[task]
        for event in outputs:
            if isinstance(event, InputRequiredEvent):
                self.stream.write(event)
        self._permitted(output)
        self._follow(delivery)

    def _input_and_output(self, work: Work, outputs: list[Event], output: Any) -> dict[str, bytes]:
        events = [item.event for item in work.items]
        parts = {"input": self.ledger.encoded(events, "input") if work.step.gathers else work.item.data}
        if outputs:
            parts["output"] = self.ledger.encoded(output, "output")
        return parts

    def _permitted(self, output: Any) -> None:
        for permit in self._permits or ():
            if not permit.done():
                permit.set_result(output)
                return

    # --- where events go ---

    def _delivery(self, sent: list[tuple[Event, str | None]], work: Work | None) -> Delivery:
        return deliver(sent, work, self.ledger, self.routes, self._waiting)

    def _follow(self, delivery: Delivery) -> None:
        """Do what a committed delivery asks for."""
        self.ledger.items |= {item.id: item for item in delivery.items}
        for place, event in delivery.answered:
            if not place.future.done():
                place.future.set_result(event)
        if delivery.stop is not None:
            self._end.set_result(delivery.stop)
        else:
            self._schedule()

    def check_taker(self, event: Event, step: str | None) -> None:
        """Raise WorkflowRuntimeError if an event is none, or a step isn't there or doesn't take it."""
        if not isinstance(event, Event):
            raise WorkflowRuntimeError(step or "", f"send_event takes an event, not {type(event).__name__}: {event!r}")
        if step is not None and step not in self.routes.steps:
            raise WorkflowRuntimeError(step, f"workflow {self.routes.workflow} has no such step")
        if step is not None and step not in self.routes.takers(type(event)):
            raise WorkflowRuntimeError(step, f"it does not take {type(event).__name__}")

    def receive(self, event: Event, step: str | None) -> None:
        """Take an event from outside of the steps."""
        self.check_taker(event, step)
        if not self._has_begun:
            self._early.append((event, step))
            return
        if self._end.done() or not self.is_active:
            raise WorkflowRuntimeError(step or "", f"run {self.run_id} has ended and takes no {type(event).__name__}")
        delivery = self._delivery([(event, step)], None)
        self._commit_delivery("sent", delivery, {}, [])
        self._follow(delivery)

    def _commit_delivery(
        self, kind: str, delivery: Delivery, changes: Mapping[str, bytes], removed: list[str], **columns: Any
    ) -> None:
        if delivery.stop is not None:
            changes, removed = {}, self.ledger.parts_of_all()
            columns["status"] = "finished"
        self._commit(kind, {**changes, **delivery.changes}, removed, **columns)

    def flush(self) -> None:
        """Commit values that were set from outside."""
        if self._has_begun:
            self._commit("values", {})

    # --- what steps ask for ---

    def collect(self, work: Work, event: Event, expected: list[type[Event]], buffer: str) -> list[Event] | None:
        """See `Context.collect_events`."""
        with self._buffers_lock:
            return work.collect(self.ledger, event, expected, buffer)

    async def wait(
        self, work: Work, kind: type[Event], wanted: Mapping[str, Any], asking: Event | None, seconds: float | None
    ) -> Event:
        """See `Context.wait_for_event`."""
        self._check_not_editing(work, "wait for an event")
        progress = work.item.progress
        number, work.waits = work.waits, work.waits + 1
        if number < len(progress.answers):
            return progress.answers[number]
        if asking is not None:
            self.stream.write(asking)
        place = Waiting(work.item, kind, wanted, self._loop.create_future())
        mail = [item for item in self.ledger.items.values() if not item.step and place.is_for(item.event)]
        if mail:
            progress.answers.append(mail[0].event)
            self._pause(work, [mail[0].key], "running")
            del self.ledger.items[mail[0].id]
            return mail[0].event
        self._waiting.append(place)
        try:
            self._pause(work, [], "waiting")
            async with asyncio.timeout(seconds):
                return await place.future
        finally:
            self._waiting.remove(place)

    def _pause(self, work: Work, removed: list[str], status: str) -> None:
        """Commit how far an item has come, with the events that its step has sent so far."""
        delivery = self._delivery(work.unsent(), work)
        work.item.progress.emitted = max(work.item.progress.emitted, len(work.sent))
        progress = self.ledger.progress_of(work.item)
        self._commit_delivery("wait", delivery, progress, removed, step=work.step.name, status=status)
        self._follow(delivery)

    def _check_not_editing(self, work: Work, what: str) -> None:
        if work.is_editing:
            raise WorkflowRuntimeError(
                work.step.name, f"it cannot {what} while it edits the state; leave the block first"
            )

    @contextlib.asynccontextmanager
    async def editing(self, work: Work) -> AsyncIterator[Overlay]:
        """Yield the state for a change that is committed at once, unless an earlier attempt has made it."""
        self._check_not_editing(work, "edit it again")
        async with self._edit_lock:
            work.is_editing = True
            number, work.edits = work.edits, work.edits + 1
            overlay, progress = Overlay(self.ledger.values), work.item.progress
            for name, value in work.overlay.changes().items():
                overlay.hold(name, value)
            is_known = number < len(progress.edits)
            if is_known:
                for name, value in progress.edits[number]["before"].items():
                    overlay.hold(name, value)
                for name in progress.edits[number]["absent"]:
                    overlay.hide(name)
            try:
                yield overlay
            finally:
                work.is_editing = False
            if changes := {} if is_known else overlay.changes():
                values = self.ledger.values
                before = {name: values.read(name)[0] for name in changes if name in values}
                progress.edits.append({"before": before, "absent": [name for name in changes if name not in values]})
                self._commit("edit", self.ledger.progress_of(work.item), values=changes, step=work.step.name)
                for name in changes:
                    work.overlay.forget(name)
