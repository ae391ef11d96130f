"""Event-driven workflows: forks, resuming in one process, state, waiting, collecting, values, cost."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import logging
import pathlib
import sqlite3
import threading
import uuid
import zoneinfo
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pydantic
import pytest

from checkpoint import BusyFlowError, UnknownSnapshotError, UnsavableError
from checkpoint.codec import encode
from checkpoint.flows.events import (
    Checkpoint,
    Context,
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
    Workflow,
    WorkflowRuntimeError,
    WorkflowTimeoutError,
    WorkflowValidationError,
    step,
)
from checkpoint.journal import journal_at

#: Nothing here takes so long.
LIMIT_S = 60


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, in bounded time."""
    return asyncio.run(asyncio.wait_for(main, LIMIT_S))


class A(Event):
    n: int = 0


class B(Event):
    n: int = 0


class C(Event):
    n: int = 0


class Chain(Workflow):
    """Three steps that write to the state, and note that they ran."""

    def __init__(self) -> None:
        super().__init__(timeout=20)
        self.log: list[str] = []
        self.fails = False

    @step
    async def one(self, ev: StartEvent, ctx: Context) -> A:
        self.log.append("one")
        await ctx.set("first", ev.get("word", "-"))
        return A(n=1)

    @step
    async def two(self, ev: A, ctx: Context) -> B:
        self.log.append("two")
        if self.fails:
            raise OSError("broken")
        await ctx.set("second", await ctx.get("second", 0) + 1)
        return B(n=ev.n + 1)

    @step
    async def three(self, ev: B, ctx: Context) -> StopEvent:
        self.log.append("three")
        await ctx.set("third", True)
        return StopEvent(ev.n + 1)


async def chain(**keywords: Any) -> tuple[Chain, Context, list[Checkpoint]]:
    """Run a chain once."""
    flow = Chain()
    handler = flow.run(**keywords)
    await handler
    flow.log.clear()
    return flow, handler.ctx, handler.ctx.checkpoints


# --- run from --------------------------------------------------------------------------------------------


def test_several_runs_start_from_one_checkpoint_at_once() -> None:
    """Each has an id and values of its own. [27]"""

    async def main() -> None:
        flow, ctx, checkpoints = await chain()
        handlers = [flow.run_from(checkpoints[1], ctx=ctx) for _ in range(5)]
        assert [3] * 5 == await asyncio.gather(*handlers)
        assert 5 == len({handler.run_id for handler in handlers})
        await handlers[0].ctx.set("second", 100)
        assert [100, 1, 1, 1, 1] == [await handler.ctx.get("second") for handler in handlers]
        assert 4 + 5 * 2 == len(ctx.checkpoints)

    run(main())


def test_a_run_from_the_start_is_a_plain_run() -> None:
    """The same steps run once each, with the same keywords, and leave as many checkpoints. [28]"""

    async def main() -> None:
        flow, ctx, checkpoints = await chain(word="hello")
        handler = flow.run_from(checkpoints[0], ctx=ctx)
        assert 3 == await handler
        assert ["one", "two", "three"] == flow.log
        assert ("hello", 8) == (await handler.ctx.get("first"), len(ctx.checkpoints))
        assert checkpoints[0].output_event == ctx.checkpoints[4].output_event

    run(main())


def test_a_run_from_the_end_gives_the_same_result() -> None:
    """No step executes, and no checkpoint is added. [29]"""

    async def main() -> None:
        flow, ctx, checkpoints = await chain()
        assert 3 == await flow.run_from(checkpoints[-1], ctx=ctx)
        assert ([], 4) == (flow.log, len(ctx.checkpoints))

    run(main())


def test_a_fork_has_the_state_of_its_checkpoint() -> None:
    """What was set before is there, what was set later is not. [30]"""
    seen: list[tuple[bool, bool]] = []

    class Watching(Chain):
        @step
        async def three(self, ev: B, ctx: Context) -> StopEvent:
            seen.append((await ctx.get("second", 0) == 1, await ctx.get("third", False)))
            await ctx.set("third", True)
            return StopEvent()

    async def main() -> None:
        flow = Watching()
        ctx = Context(flow)
        await flow.run(ctx=ctx)
        handler = flow.run_from(ctx.checkpoints[2], ctx=ctx)
        await handler
        assert {"first": "-", "second": 1} == ctx.checkpoints[2].ctx_state["globals"]

    run(main())
    assert [(True, False), (True, False)] == seen


def test_the_context_passed_to_a_fork_keeps_its_values() -> None:
    """Only its history grows. [31]"""

    async def main() -> None:
        flow, ctx, checkpoints = await chain()
        await ctx.set("second", "mine")
        handler = flow.run_from(checkpoints[1], ctx=ctx)
        await handler
        assert ("mine", 1) == (await ctx.get("second"), await handler.ctx.get("second"))
        assert handler.ctx.checkpoints == ctx.checkpoints

    run(main())


def test_a_new_object_starts_from_an_id() -> None:
    """The id of a checkpoint is enough; an unknown one is an error. [32]"""

    async def main() -> None:
        _, ctx, checkpoints = await chain()
        flow = Chain()
        assert 3 == await flow.run_from(checkpoints[2].id_)
        assert (["three"], 5) == (flow.log, len(ctx.checkpoints))
        for unknown in ("nothing", f"{uuid.uuid4().hex}.1", f"{checkpoints[0].run_id}.99"):
            with pytest.raises(UnknownSnapshotError, match="look at the checkpoints"):
                flow.run_from(unknown)

    run(main())


def test_stepwise_runs_and_plain_ones_continue_each_other() -> None:
    """run_step does one step; its checkpoints start a plain run, and a plain run's a stepwise one. [33]"""

    async def main() -> None:
        flow = Chain()
        handler = flow.run(stepwise=True)
        assert A(n=1) == await handler.run_step()
        assert (["one"], False) == (flow.log, handler.is_done())
        assert 3 == await flow.run_from(handler.ctx.checkpoints[-1])
        forked = flow.run_from(handler.ctx.checkpoints[1], stepwise=True)
        assert [B(n=2), StopEvent(3)] == [await forked.run_step(), await forked.run_step()]
        assert (3, None) == (await forked, await forked.run_step())
        assert B(n=2) == await handler.run_step()
        await handler.cancel_run()

    run(main())


def test_a_checkpoint_that_no_longer_fits_is_refused() -> None:
    """A step or an event that is gone is named before anything executes. [34]"""

    class Gone(Event):
        pass

    async def pieces(taker: str, takes: type[Event]) -> tuple[type[Workflow], list[str]]:
        log: list[str] = []

        async def one(ev: StartEvent) -> Event:
            log.append("one")
            return Gone()

        async def later(ev: Event) -> StopEvent:
            log.append(taker)
            return StopEvent()

        one.__annotations__ = {"ev": StartEvent, "return": takes}
        later.__annotations__ = {"ev": takes, "return": StopEvent}
        later.__name__ = taker
        flow: type[Workflow] = type("Flow", (Workflow,), {})
        step(workflow=flow)(one)
        step(workflow=flow)(later)
        return flow, log

    async def main() -> None:
        before, _ = await pieces("two", Gone)
        handler = before().run()
        await handler
        kept = handler.ctx.checkpoints[1]
        renamed, log = await pieces("second", Gone)
        with pytest.raises(WorkflowValidationError, match=f"{kept.id_}: workflow Flow no longer has the step 'two'"):
            renamed().run_from(kept)
        other, log_too = await pieces("two", A)
        with pytest.raises(WorkflowValidationError, match="step 'two' no longer takes Gone"):
            other().run_from(kept)
        assert ([], []) == (log, log_too)

    run(main())


def test_a_checkpoint_whose_event_class_is_gone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class is named. [34]"""

    async def main() -> None:
        flow, _, checkpoints = await chain()
        kept, kept.__qualname__ = A, "Renamed"
        monkeypatch.delitem(globals(), "A")
        try:
            with pytest.raises(WorkflowValidationError, match=r"class A of module .* no longer exists"):
                flow.run_from(checkpoints[1])
        finally:
            kept.__qualname__ = "A"
        assert [] == flow.log

    run(main())


def test_runs_form_a_tree() -> None:
    """Each run has the checkpoint that it came from as its parent. [35]"""

    async def main() -> None:
        flow, ctx, checkpoints = await chain()
        await flow.run(ctx=ctx)
        fork = flow.run_from(checkpoints[1], ctx=ctx)
        await fork
        again = flow.run_from(fork.ctx.checkpoints[-2], ctx=ctx)
        await again
        runs = ctx.runs()
        assert [None, checkpoints[3].id_, checkpoints[1].id_, f"{fork.run_id}.1"] == [each.parent for each in runs]
        assert [False, False, True, True] == [each.is_fork for each in runs]
        assert ["finished"] * 4 == [each.status for each in runs]

    run(main())


def test_a_named_context_goes_on_with_its_values() -> None:
    """Another context of that name has the values of the runs, not of the forks, and lists all checkpoints. [32]"""

    async def main() -> None:
        flow = Chain()
        await flow.run(ctx=(ctx := Context(flow, name="mine")))
        await flow.run_from(ctx.checkpoints[1], ctx=ctx)
        await flow.run(ctx=Context(flow, name="mine"))
        last = Context(flow, name="mine")
        assert (2, 10) == (await last.get("second"), len(last.checkpoints))

    run(main())


# --- resume ----------------------------------------------------------------------------------------------


def test_after_a_failure_only_the_failed_step_runs_again() -> None:
    """It leaves no checkpoint; mend it, and both run_from and resume do the rest. [17]"""

    async def main() -> None:
        flow = Chain()
        flow.fails = True
        handler = flow.run()
        with pytest.raises(WorkflowRuntimeError, match="broken"):
            await handler
        assert [None, "one"] == [each.last_completed_step for each in handler.ctx.checkpoints]
        assert "failed" == handler.ctx.runs()[-1].status
        assert "broken" in handler.ctx.runs()[-1].error
        mended = Chain()
        assert 3 == await mended.run_from(handler.ctx.checkpoints[-1])
        assert 3 == await mended.resume(handler.run_id)
        assert ["two", "three"] * 2 == mended.log

    run(main())


def test_a_finished_run_gives_its_result_again() -> None:
    """Resuming it runs nothing; an unknown run is an error."""

    async def main() -> None:
        flow, ctx, checkpoints = await chain()
        assert 3 == await flow.resume(checkpoints[0].run_id)
        assert ([], 4) == (flow.log, len(ctx.checkpoints))
        with pytest.raises(UnknownSnapshotError):
            flow.resume("nothing")

    run(main())


def test_a_run_can_be_resumed_after_timeout_and_cancel() -> None:
    """What was pending is done, and the status tells what had happened."""

    class Slow(Workflow):
        gate: asyncio.Event

        @step
        async def one(self, ev: StartEvent) -> A:
            return A(n=3)

        @step
        async def two(self, ev: A) -> StopEvent:
            await self.gate.wait()
            return StopEvent(ev.n)

    async def main() -> None:
        flow = Slow(timeout=0.1)
        flow.gate = asyncio.Event()
        handler = flow.run()
        with pytest.raises(WorkflowTimeoutError):
            await handler
        assert "timed out" == handler.ctx.runs()[0].status
        resumed = flow.resume(handler.run_id)
        await asyncio.sleep(0)
        await resumed.cancel_run()
        assert "cancelled" == handler.ctx.runs()[0].status
        flow.gate.set()
        assert 3 == await flow.resume(handler.run_id)

    run(main())


def test_a_step_that_returned_none_is_not_repeated() -> None:
    """Its completion is a row that is only listed on request, and counts. [15]"""
    log: list[str] = []

    class Flow(Workflow):
        is_broken = True

        @step
        async def spread(self, ev: StartEvent, ctx: Context) -> A | B | None:
            ctx.send_event(A())
            ctx.send_event(B())
            return None

        @step
        async def note(self, ev: A) -> None:
            log.append("note")

        @step
        async def end(self, ev: B) -> StopEvent:
            log.append("end")
            if self.is_broken:
                while "note" not in log:
                    await asyncio.sleep(0)
                raise OSError
            return StopEvent()

    async def main() -> None:
        flow = Flow()
        handler = flow.run()
        with pytest.raises(WorkflowRuntimeError):
            await handler
        flow.is_broken = False
        await flow.resume(handler.run_id)
        steps = [each.last_completed_step for each in handler.ctx.list_checkpoints(include_hidden=True)]
        assert (1, 1) == (steps.count("spread"), steps.count("note"))
        assert [None, "end"] == [each.last_completed_step for each in handler.ctx.checkpoints]

    run(main())
    assert ["end", "end", "note"] == sorted(log)


def test_a_question_is_not_asked_twice() -> None:
    """The step that returned InputRequiredEvent has a checkpoint, and isn't executed again on resume. [16]"""
    asked: list[str] = []

    class Flow(Workflow):
        @step
        async def ask(self, ev: StartEvent) -> InputRequiredEvent:
            asked.append("ask")
            return InputRequiredEvent(prefix="ok?")

        @step
        async def answer(self, ev: HumanResponseEvent) -> StopEvent:
            return StopEvent(ev.response)

    async def main() -> None:
        flow = Flow(timeout=None)
        handler = flow.run()
        async for event in handler.stream_events():
            assert "ok?" == event.prefix
            await handler.cancel_run()
        kept = handler.ctx.checkpoints[-1]
        assert ("ask", "waiting") == (kept.last_completed_step, kept.status)
        for again in (flow.resume(handler.run_id), flow.run_from(kept)):
            again.ctx.send_event(HumanResponseEvent(response="yes"))
            assert "yes" == await again

    run(main())
    assert ["ask"] == asked


def test_waiting_for_an_event_survives() -> None:
    """A step that waits is called again, gets the answers it had, and doesn't send or edit twice."""
    log: list[str] = []

    class Flow(Workflow):
        @step
        async def ask(self, ev: StartEvent, ctx: Context) -> A | StopEvent:
            log.append("ask")
            ctx.send_event(A(n=1))
            async with ctx.edit_state() as state:
                state.count = state.get("count", 0) + 1
                seen = state.count
            first = await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(prefix="1"))
            second = await ctx.wait_for_event(
                HumanResponseEvent, waiter_event=InputRequiredEvent(prefix="2"), requirements={"user": "me"}
            )
            return StopEvent([first.response, second.response, seen, await ctx.get("count")])

        @step
        async def other(self, ev: A) -> None:
            log.append("other")

    async def main() -> None:
        flow = Flow(timeout=None)
        handler = flow.run()
        async for event in handler.stream_events():
            if event.prefix == "1":
                handler.ctx.send_event(HumanResponseEvent(response="a"))
            else:
                await handler.cancel_run()
        again = flow.resume(handler.run_id)
        async for event in again.stream_events():
            if isinstance(event, InputRequiredEvent):
                assert "2" == event.prefix
                again.ctx.send_event(HumanResponseEvent(response="no", user="you"))
                again.ctx.send_event(HumanResponseEvent(response="b", user="me"))
        assert ["a", "b", 1, 1] == await again

    run(main())
    assert ["ask", "other", "ask"] == log


def test_waiting_can_time_out() -> None:
    """wait_for_event raises TimeoutError, which fails the step unless it is caught."""

    class Flow(Workflow):
        @step
        async def ask(self, ev: StartEvent, ctx: Context) -> StopEvent:
            try:
                await ctx.wait_for_event(HumanResponseEvent, timeout=0.01)
            except TimeoutError:
                return StopEvent("nobody")
            return StopEvent("somebody")

    async def main() -> None:
        assert "nobody" == await Flow().run()

    run(main())


def test_an_event_that_came_early_is_not_lost() -> None:
    """What nobody takes waits for the one who asks for it."""

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent, ctx: Context) -> StopEvent:
            return StopEvent((await ctx.wait_for_event(HumanResponseEvent)).response)

    async def main() -> None:
        handler = Flow().run()
        handler.ctx.send_event(HumanResponseEvent(response=1))
        assert 1 == await handler

    run(main())


def test_attempts_and_delays_survive() -> None:
    """A step that was to be tried a third time is, once, when its delay is over. [38]"""
    attempts: list[tuple[int, float]] = []

    class Policy:
        def next(self, elapsed_time: float, attempts_so_far: int, error: Exception) -> float | None:
            attempts.append((attempts_so_far, elapsed_time))
            return 0.0 if attempts_so_far < 2 else 0.2

    class Flow(Workflow):
        executed = 0
        heals = False

        @step(retry_policy=Policy())
        async def one(self, ev: StartEvent) -> StopEvent:
            self.executed += 1
            if self.heals:
                return StopEvent(self.executed)
            raise OSError

    async def main() -> None:
        flow = Flow(timeout=None)
        handler = flow.run()
        while len(attempts) < 3:
            await asyncio.sleep(0)
        await handler.cancel_run()
        loop = asyncio.get_running_loop()
        began = loop.time()
        mended = Flow()
        mended.heals = True
        assert 1 == await mended.resume(handler.run_id)
        assert loop.time() - began > 0.1

    run(main())
    assert [0, 1, 2] == [number for number, _ in attempts]
    assert all(seconds >= 0 for _, seconds in attempts)


def test_equal_events_in_flight_are_all_done() -> None:
    """Of four equal items one is complete when the run fails; resuming does the other three. [36]"""
    done: list[str] = []

    class Flow(Workflow):
        is_broken = True

        @step
        async def spread(self, ev: StartEvent) -> list[A]:
            return [A(n=7)] * 4

        @step(num_workers=4)
        async def work(self, ev: A, ctx: Context) -> B:
            if self.is_broken and done:
                while not ctx.list_checkpoints(step="work"):
                    await asyncio.sleep(0)
                raise OSError
            done.append("x")
            return B(n=ev.n)

        @step
        async def gather(self, evs: list[B]) -> StopEvent:
            return StopEvent([ev.n for ev in evs])

    async def main() -> None:
        flow = Flow()
        handler = flow.run()
        with pytest.raises(WorkflowRuntimeError):
            await handler
        assert 1 == len(done)
        flow.is_broken = False
        assert [7, 7, 7, 7] == await flow.resume(handler.run_id)

    run(main())
    assert 4 == len(done)


def test_plain_functions_in_flight_are_resumed() -> None:
    """Like coroutines, they are pending until their completion is kept. [37]"""

    class Flow(Workflow):
        is_broken = True

        @step
        def spread(self, ev: StartEvent) -> list[A]:
            return [A(n=n) for n in range(3)]

        @step
        def work(self, ev: A) -> B:
            if self.is_broken:
                raise OSError
            return B(n=ev.n)

        @step
        def gather(self, evs: list[B]) -> StopEvent:
            return StopEvent([ev.n for ev in evs])

    async def main() -> None:
        flow = Flow()
        handler = flow.run()
        with pytest.raises(WorkflowRuntimeError):
            await handler
        flow.is_broken = False
        assert [0, 1, 2] == await flow.resume(handler.run_id)

    run(main())


def test_collected_events_survive() -> None:
    """A buffer with one kind of event, kept over a failure, takes further kinds. [39]"""

    class Flow(Workflow):
        is_broken = True

        @step
        async def spread(self, ev: StartEvent, ctx: Context) -> A | B | C | None:
            for event in (A(n=1), B(n=2), A(n=3), C(n=4)):
                ctx.send_event(event)

        @step(num_workers=1)
        async def join(self, ev: A | B | C, ctx: Context) -> StopEvent | None:
            if self.is_broken and isinstance(ev, B):
                raise OSError
            found = ctx.collect_events(ev, [C, A, B, A])
            return None if found is None else StopEvent([each.n for each in found])

    async def main() -> None:
        flow = Flow()
        handler = flow.run()
        with pytest.raises(WorkflowRuntimeError):
            await handler
        flow.is_broken = False
        assert [4, 1, 2, 3] == await flow.resume(handler.run_id)

    run(main())


def test_an_event_is_collected_once_although_its_step_is_repeated() -> None:
    """One that another step has used is not put back by the step that brought it and was still running. [39]"""

    class Flow(Workflow):
        is_broken = True
        gate: asyncio.Event

        @step
        async def spread(self, ev: StartEvent, ctx: Context) -> A | B | None:
            for n in range(4):
                ctx.send_event(A(n=n))

        @step(num_workers=2)
        async def join(self, ev: A, ctx: Context) -> B | None:
            pair = ctx.collect_events(ev, [A, A])
            if ev.n == 0 and self.is_broken:
                await self.gate.wait()
                raise OSError
            return None if pair is None else B(n=10 * pair[0].n + pair[1].n)

        @step
        async def end(self, ev: B, ctx: Context) -> StopEvent | None:
            self.gate.set()
            found = ctx.collect_events(ev, [B, B])
            return None if found is None else StopEvent([each.n for each in found])

    async def main() -> None:
        flow = Flow()
        flow.gate = asyncio.Event()
        handler = flow.run()
        with pytest.raises(WorkflowRuntimeError):
            await handler
        flow.is_broken = False
        assert [1, 23] == await flow.resume(handler.run_id)

    run(main())


# --- state -----------------------------------------------------------------------------------------------


def test_writes_of_an_unfinished_step_are_absent_elsewhere() -> None:
    """A counter that four parallel steps raise is at four after a crash among them and a resume. [40]"""

    class Flow(Workflow):
        is_broken = True
        gate: asyncio.Event

        @step
        async def spread(self, ev: StartEvent, ctx: Context) -> list[A]:
            await ctx.set("log", [])
            return [A(n=n) for n in range(4)]

        @step(num_workers=4)
        async def work(self, ev: A, ctx: Context) -> B:
            await ctx.set(f"done {ev.n}", True)
            async with ctx.edit_state() as state:
                state.count = state.get("count", 0) + 1
            if ev.n == 0:
                self.gate.set()
            elif self.is_broken:
                await self.gate.wait()
                while not ctx.list_checkpoints(step="work"):
                    await asyncio.sleep(0)
                raise OSError
            return B(n=ev.n)

        @step
        async def gather(self, evs: list[B], ctx: Context) -> StopEvent:
            return StopEvent(await ctx.get("count"))

    async def main() -> None:
        flow = Flow()
        flow.gate = asyncio.Event()
        handler = flow.run()
        with pytest.raises(WorkflowRuntimeError):
            await handler
        kept = handler.ctx.checkpoints[-1]
        assert "work" == kept.last_completed_step
        assert ["done 0"] == [name for name in kept.ctx_state["globals"] if name.startswith("done")]
        flow.is_broken = False
        assert 4 == await flow.resume(handler.run_id)
        assert 4 == await flow.run_from(kept)

    run(main())


def test_edits_of_the_state_do_not_get_in_each_others_way() -> None:
    """Fifty parallel steps that read, wait and write leave a counter at fifty."""

    class Flow(Workflow):
        @step
        async def spread(self, ev: StartEvent) -> list[A]:
            return [A(n=n) for n in range(50)]

        @step(num_workers=50)
        async def work(self, ev: A, ctx: Context) -> B:
            async with ctx.store.edit_state() as state:
                count = state.get("count", 0)
                await asyncio.sleep(0)
                state["count"] = count + 1
            return B()

        @step
        async def gather(self, evs: list[B], ctx: Context) -> StopEvent:
            return StopEvent(await ctx.store.get("count"))

    async def main() -> None:
        assert 50 == await Flow().run()

    run(main())


class Settings(pydantic.BaseModel):
    count: int = 3
    names: list[str] = []


def test_a_model_gives_the_state_its_defaults() -> None:
    """`Context[Model]` fills in what was not set; changes in place count; unknown values raise."""

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent, ctx: Context[Settings]) -> A:
            async with ctx.edit_state() as state:
                state.count += 1
                state.names.append("one")
                with pytest.raises(AttributeError, match="the state has no 'other'"):
                    _ = state.other
            return A()

        @step
        async def two(self, ev: A, ctx: Context[Settings]) -> StopEvent:
            (await ctx.get("names")).append("two")
            return StopEvent()

    async def main() -> None:
        handler = Flow().run()
        await handler
        assert (4, ["one", "two"]) == (await handler.ctx.get("count"), await handler.ctx.get("names"))
        async with handler.ctx.edit_state() as state:
            state.count = 9
        assert 9 == await handler.ctx.get("count")
        with pytest.raises(ValueError, match="no value 'other'"):
            await handler.ctx.get("other")

    run(main())


def test_an_edit_that_raises_changes_nothing() -> None:
    """The lock is free again, and the state is as it was."""

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent, ctx: Context) -> StopEvent:
            try:
                async with ctx.edit_state() as state:
                    state.count = 1
                    raise KeyError
            except KeyError:
                pass
            async with ctx.edit_state() as state:
                return StopEvent(state.get("count"))

    async def main() -> None:
        assert await Flow().run() is None

    run(main())


def test_an_edit_can_neither_be_nested_nor_wait() -> None:
    """Both would never end; they raise at once."""
    reasons: list[str] = []

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent, ctx: Context) -> StopEvent:
            async with ctx.edit_state() as state:
                state.n = 1
                try:
                    async with ctx.edit_state():
                        pass
                except WorkflowRuntimeError as error:
                    reasons.append(error.reason)
                try:
                    await ctx.wait_for_event(HumanResponseEvent)
                except WorkflowRuntimeError as error:
                    reasons.append(error.reason)
            return StopEvent(await ctx.get("n"))

    async def main() -> None:
        assert 1 == await Flow().run()

    run(main())
    text = "it cannot {} while it edits the state; leave the block first"
    assert [text.format("edit it again"), text.format("wait for an event")] == reasons


def test_of_two_event_classes_of_one_name_the_workflows_own_is_restored() -> None:
    """Classes that a function defines anew on each call don't get mixed up."""

    def made() -> type[Workflow]:
        class Job(Event):
            n: int

        class Flow(Workflow):
            @step
            async def one(self, ev: StartEvent) -> Job:
                return Job(n=ev.n)

            @step
            async def two(self, ev: Job) -> StopEvent:
                return StopEvent(type(ev) is Job and ev.n)

        return Flow

    async def main() -> None:
        first, second = made(), made()
        for flow in (first(), second()):
            handler = flow.run(n=3)
            assert 3 == await handler
            assert 3 == await flow.run_from(handler.ctx.checkpoints[1])

    run(main())


def test_the_stream_of_a_run_that_could_not_begin_ends() -> None:
    """Who only listens to a busy run is not left waiting."""

    async def main() -> None:
        flow = Chain()
        handler = flow.run(stepwise=True)
        await handler.run_step()
        other = flow.resume(handler.run_id)
        assert [] == [event async for event in other.stream_events()]
        with pytest.raises(BusyFlowError):
            await other
        await handler.cancel_run()

    run(main())


def test_values_stay_from_run_to_run() -> None:
    """On one context; a run without one is fresh. What is set between runs or from outside counts."""

    async def main() -> None:
        flow = Chain()
        ctx = Context(flow)
        await ctx.set("second", 10)
        await flow.run(ctx=ctx)
        await flow.run(ctx=ctx)
        assert 12 == await ctx.get("second")
        assert {"first": "-", "second": 11, "third": True} == ctx.checkpoints[3].ctx_state["globals"]
        assert 1 == await flow.run().ctx.get("second", 1)
        with pytest.raises(TypeError, match="names of values are text"):
            await ctx.set(3, 4)  # type: ignore[arg-type]

    run(main())


def test_a_busy_context_refuses_a_second_run() -> None:
    """At once, without waiting; afterwards it takes one. [44]"""

    async def main() -> None:
        flow = Chain()
        ctx = Context(flow)
        first = flow.run(ctx=ctx)
        with pytest.raises(BusyFlowError, match=first.run_id):
            flow.run(ctx=ctx)
        await first
        assert 3 == await flow.run(ctx=ctx)

    run(main())


def test_a_running_run_cannot_be_resumed() -> None:
    """It is leased to the one who runs it. [44]"""

    async def main() -> None:
        flow = Chain()
        handler = flow.run(stepwise=True)
        await handler.run_step()
        with pytest.raises(BusyFlowError):
            await flow.resume(handler.run_id)
        await handler.cancel_run()
        assert 3 == await flow.resume(handler.run_id)

    run(main())


def test_a_stream_is_that_of_its_run_alone() -> None:
    """A run that nobody listened to leaves nothing to the next; a stream may be read twice. [43]"""

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent, ctx: Context) -> StopEvent:
            ctx.write_event_to_stream(A(n=ev.n))
            return StopEvent(ev.n)

    async def main() -> None:
        flow = Flow()
        ctx = Context(flow)
        await flow.run(ctx=ctx, n=1)
        handler = flow.run(ctx=ctx, n=2)
        for _ in range(2):
            assert [A(n=2), StopEvent(2)] == [event async for event in handler.stream_events()]

    run(main())


def test_runs_can_be_limited() -> None:
    """`num_concurrent_runs` lets others wait."""
    running: list[int] = []
    most: list[int] = []

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent) -> StopEvent:
            running.append(1)
            most.append(len(running))
            await asyncio.sleep(0)
            running.pop()
            return StopEvent()

    async def main() -> None:
        flow = Flow(num_concurrent_runs=2)
        await asyncio.gather(*(flow.run() for _ in range(6)))

    run(main())
    assert 2 == max(most)


def test_lists_flow_in_order_through_stages() -> None:
    """A list for each of two gathering steps, the second fed by the first; order is that of the first list."""

    class Flow(Workflow):
        @step
        async def spread(self, ev: StartEvent) -> list[A]:
            return [A(n=n) for n in range(5)]

        @step
        async def work(self, ev: A) -> B:
            for _ in range(10 - 2 * ev.n):
                await asyncio.sleep(0)
            return B(n=ev.n)

        @step
        async def middle(self, evs: list[B]) -> list[C]:
            return [C(n=ev.n * 10) for ev in evs]

        @step
        async def end(self, evs: list[C]) -> StopEvent:
            return StopEvent([ev.n for ev in evs])

    async def main() -> None:
        handler = Flow().run()
        assert [0, 10, 20, 30, 40] == await handler
        (gathered,) = handler.ctx.list_checkpoints(step="middle")
        assert [B(n=n) for n in range(5)] == gathered.input_event
        assert [C(n=n * 10) for n in range(5)] == gathered.output_event

    run(main())


def test_loops_go_round() -> None:
    """A step may send its own kind of event; each round leaves a checkpoint."""

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent) -> A:
            return A(n=0)

        @step
        async def again(self, ev: A) -> A | StopEvent:
            return A(n=ev.n + 1) if ev.n < 5 else StopEvent(ev.n)

    async def main() -> None:
        handler = Flow().run()
        assert (5, 8) == (await handler, len(handler.ctx.checkpoints))

    run(main())


def test_an_item_has_an_id_for_the_outside() -> None:
    """It is the same when a step is repeated after a failure, and different for each item and each run."""
    seen: list[str] = []

    class Flow(Workflow):
        is_broken = True

        @step
        async def one(self, ev: StartEvent, ctx: Context) -> StopEvent:
            seen.append(ctx.item_id)
            if self.is_broken:
                raise OSError
            return StopEvent()

    async def main() -> None:
        flow = Flow()
        handler = flow.run()
        with pytest.raises(WorkflowRuntimeError):
            await handler
        flow.is_broken = False
        await flow.resume(handler.run_id)
        await flow.run()
        with pytest.raises(WorkflowRuntimeError, match="item_id is for steps"):
            _ = handler.ctx.item_id

    run(main())
    assert (seen[0], 2) == (seen[1], len(set(seen)))


# --- values ----------------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    when: datetime.date


Pair = collections.namedtuple("Pair", "left right")


class Inner(pydantic.BaseModel):
    size: int
    day: datetime.date | None = None


VALUES = [
    None, True, 1, 2**70, 10**3000, 1.5, float("inf"), "text", "é\ud800", [1, [2]], {"a": {"b": 1}},
    {1: "one", (2, 3): 4},
    {"$set": 1}, {"$a": 1, "b": 2}, (1, (2,)), {1, 2}, frozenset({3}), b"\x00\xff", bytearray(b"x"), 1 + 2j,
    datetime.datetime(2026, 1, 2, 3, 4, 5, 6), datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    datetime.datetime(2026, 1, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")), datetime.date(2026, 1, 2),
    datetime.time(3, 4), datetime.timedelta(days=1, microseconds=5), decimal.Decimal("1.50"), uuid.UUID(int=5),
    pathlib.Path("a/b"), pathlib.PureWindowsPath("a\\b"), Color.RED, Point(1, datetime.date(2026, 1, 2)), Pair(1, (2,)),
    Inner(size=1, day=datetime.date(2026, 1, 2)), [Inner(size=2)], A(n=4, extra={"deep": (1, {2})}), StopEvent(b"x"),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_come_back_equal_in_value_and_type(value: Any) -> None:
    """In the state, in declared fields and in other keywords, after a new context has read them. [46, 53]"""

    class Carrying(Event):
        declared: Any

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent, ctx: Context) -> Carrying:
            await ctx.set("value", value)
            return Carrying(declared=value, other=value)

        @step
        async def two(self, ev: Carrying, ctx: Context) -> StopEvent:
            return StopEvent(await ctx.get("value"))

    async def main() -> None:
        ctx = Context(Flow(), name="values")
        assert value == await Flow().run(ctx=ctx)
        event = Context(Flow(), name="values").checkpoints[1].output_event
        loaded = await Context(Flow(), name="values").get("value")
        assert Carrying is type(event)
        for found in (loaded, event.declared, event.other):
            assert (type(value), value) == (type(found), found)

    run(main())


@pytest.mark.parametrize("place", ["state", "event", "start"])
def test_a_value_that_cannot_be_kept_fails_no_run(place: str, caplog: pytest.LogCaptureFixture) -> None:
    """The run goes on with it; its checkpoints name it, and no run starts from them. [54]"""
    lock = threading.Lock()

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent, ctx: Context) -> A:
            if place == "state":
                await ctx.set("lock", lock)
            return A(n=1, lock=lock) if place == "event" else A(n=1)

        @step
        async def two(self, ev: A, ctx: Context) -> StopEvent:
            if place == "state":
                assert lock is await ctx.get("lock")
            return StopEvent(ev.n)

    async def main() -> None:
        flow = Flow()
        with caplog.at_level(logging.WARNING, "checkpoint"):
            handler = flow.run(**({"lock": lock} if place == "start" else {}))
            assert 1 == await handler
        bad = handler.ctx.checkpoints[0 if place == "start" else 1]
        name = {"state": "lock", "event": "event of two", "start": "event of one"}[place]
        assert (False, True) == (bad.is_resumable, name in bad.unsaved)
        with pytest.raises(WorkflowValidationError, match=rf"{name}.* could not be kept"):
            flow.run_from(bad)
        assert "cannot be kept" in caplog.text
        assert "lock" in repr(bad) or place != "state"

    run(main())


def test_a_value_that_was_not_kept_is_missing_later() -> None:
    """The next run on the context has it, and its checkpoints name it; another context has no such value. [54]"""

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent, ctx: Context) -> StopEvent:
            if ev.first:
                await ctx.set("lock", threading.Lock())
            return StopEvent((await ctx.get("lock")).locked())

    async def main() -> None:
        flow = Flow()
        ctx = Context(flow, name="locked")
        assert [False, False] == [await flow.run(ctx=ctx, first=first) for first in (True, False)]
        assert [(), ("lock",), ("lock",), ("lock",)] == [each.unsaved for each in ctx.checkpoints]
        with pytest.raises(ValueError, match="no value 'lock'"):
            await Context(flow, name="locked").get("lock")

    run(main())


def test_strict_contexts_refuse_what_cannot_be_kept() -> None:
    """The run fails with an error that names the value. [54]"""

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent, ctx: Context) -> StopEvent:
            await ctx.set("lock", threading.Lock())
            return StopEvent()

    async def main() -> None:
        flow = Flow()
        with pytest.raises(UnsavableError, match=r"lock of flow .* cannot be saved: lock is no plain value"):
            await flow.run(ctx=Context(flow, strict=True))

    run(main())


class Trap:
    """Runs something when it is unpickled."""

    sprung: list[str] = []  # noqa: RUF012

    def __reduce__(self) -> Any:
        return _spring, ("trap",)


def _spring(text: str) -> str:
    Trap.sprung.append(text)
    return text


class Keeping(Workflow):
    @step
    async def one(self, ev: StartEvent, ctx: Context) -> StopEvent:
        await ctx.set("value", ev.value)
        return StopEvent()


def test_pickles_are_kept_and_read_on_request_only() -> None:
    """With pickle=True any value comes back; without, reading runs nothing and says so. [55]"""

    async def main() -> None:
        flow = Keeping()
        ctx = Context(flow, name="pickled", pickle=True)
        await flow.run(ctx=ctx, value=Trap())
        Trap.sprung.clear()
        with pytest.raises(TypeError, match="it is a pickle"):
            await Context(flow, name="pickled").get("value")
        assert [] == Trap.sprung
        assert "trap" == await Context(flow, name="pickled", pickle=True).get("value")
        assert ["trap"] == Trap.sprung

    run(main())


class OtherCodec:
    """Writes what another version may write."""

    name = "events-2"

    def encode(self, value: Any) -> bytes:
        return b"1"

    def decode(self, data: bytes) -> Any:
        raise AssertionError


@pytest.mark.parametrize("codec", [None, OtherCodec()], ids=["pickle", "events-2"])
def test_frames_that_others_wrote_are_refused(codec: Any) -> None:
    """A pickle, or another format, in place of what was kept is damage; nothing of it is run. [55]"""

    async def main() -> None:
        flow = Keeping()
        ctx = Context(flow, name="forged")
        await flow.run(ctx=ctx, value=1)
        recorder = ctx.history.journal.resume(ctx.checkpoints[-1].run_id)
        frame = encode(Trap(), "value", codec=codec)
        recorder.update({"state/value": frame}, index=9, status="finished", metadata={"shown": True, "next": 9})
        Trap.sprung.clear()
        with pytest.raises(ValueError, match=r"was written by the codec '(pickle|events-2)', which is not read here"):
            Context(flow, name="forged")
        assert [] == Trap.sprung

    run(main())


# --- cost, listing, comparing, removing ------------------------------------------------------------------


class Rounds(Workflow):
    @step
    async def begin(self, ev: StartEvent, ctx: Context) -> A:
        for number in range(20):
            await ctx.set(f"key {number}", "x" * 500)
        self.most = ev.most
        return A(n=0)

    @step
    async def turn(self, ev: A) -> A | StopEvent:
        return A(n=ev.n + 1) if ev.n < self.most else StopEvent()


def test_a_checkpoint_costs_what_changed(tmp_path: Path) -> None:
    """400 steps over constant state write at most twice the bytes per step of 50 steps. [56]"""

    async def main() -> None:
        sizes = {}
        for count in (50, 400):
            flow = Rounds()
            ctx = Context(flow, store=tmp_path / str(count))
            await flow.run(ctx=ctx, most=count)
            ctx.history.journal.close()
            sizes[count] = sum(path.stat().st_size for path in (tmp_path / str(count)).rglob("*") if path.is_file())
        assert sizes[400] / 400 <= 2 * sizes[50] / 50

    run(main())


def test_listing_reads_no_states() -> None:
    """Ten thousand checkpoints are listed and filtered although every blob is gone. [57]"""

    async def main() -> None:
        _, ctx, _ = await chain()
        journal = journal_at()
        recorder = journal.begin(ctx.history.flow, metadata={"kind": "run", "branch": "x"})
        row = recorder.update({}, index=0, metadata={"shown": True, "next": 0})
        with sqlite3.connect(Path(journal.folder, "journal.db")) as sql:
            sql.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)"
                " INSERT INTO snapshot(run, flow, parent, step, position, status, stored_at, size, written,"
                " is_exported, metadata, base, weight, digest) SELECT run, flow, parent, 'turn', i, status,"
                " stored_at, size, written, 0, metadata, NULL, 0, digest FROM snapshot, n WHERE id = ?",
                (row.id,),
            )
            sql.execute("UPDATE blob SET data = NULL")
        sql.close()
        assert 4 + 10_000 == len(ctx.checkpoints)
        assert 9_999 == len(ctx.list_checkpoints(step="turn"))
        assert 1 == len(ctx.filter_checkpoints(output_event_type=StopEvent))

    run(main())


def test_checkpoints_are_compared() -> None:
    """Names of values that were added, removed and changed, and the events from one to the other. [58]"""

    async def main() -> None:
        flow, ctx, checkpoints = await chain()
        found = ctx.diff(checkpoints[1], checkpoints[3])
        assert (("second", "third"), (), ()) == found[:3]
        assert (("two", B(n=2)), ("three", StopEvent(3))) == found.path
        assert (("second", "third"), ()) == (ctx.diff(checkpoints[3], checkpoints[1]).removed, found.removed)
        fork = flow.run_from(checkpoints[1], ctx=ctx)
        await fork.ctx.set("second", 7)
        await fork
        apart = ctx.diff(checkpoints[2], fork.ctx.checkpoints[-1])
        assert (("third",), (), ("second",)) == apart[:3]
        assert ["two", "two", "three"] == [name for name, _ in apart.path]

    run(main())


def test_pruning_keeps_what_is_needed() -> None:
    """The newest of each run and those that are spared stay, whole and usable. [59]"""

    async def main() -> None:
        flow, ctx, checkpoints = await chain()
        await flow.run(ctx=ctx)
        states = {each: each.ctx_state for each in (checkpoints[1], checkpoints[3], ctx.checkpoints[-1])}
        assert 5 == ctx.prune(keep=1, spare=[checkpoints[1].id_])
        assert list(states) == ctx.checkpoints
        assert states == {each: each.ctx_state for each in ctx.checkpoints}
        assert 3 == await flow.run_from(ctx.checkpoints[0], ctx=ctx)
        assert 0 == ctx.prune(keep=1, before=0)
        assert [] == ctx.history.journal.verify()

    run(main())
