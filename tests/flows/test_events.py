"""Event-driven workflows: events, steps, validation, runs and their checkpoints."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Optional, Union

import pydantic
import pytest

from checkpoint.flows.events import (
    Checkpoint,
    ConstantDelayRetryPolicy,
    Context,
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
    Workflow,
    WorkflowCancelledByUser,
    WorkflowRuntimeError,
    WorkflowStepDoesNotExistError,
    WorkflowTimeoutError,
    WorkflowValidationError,
    step,
)

ROOT = Path(__file__).parents[2]
#: Nothing here takes so long.
LIMIT_S = 30


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, in bounded time."""
    return asyncio.run(asyncio.wait_for(main, LIMIT_S))


class Model:
    """Stands in for a language model."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def acomplete(self, prompt: str) -> object:
        self.calls.append(prompt)
        return f"answer {len(self.calls)} to: {prompt}"


class JokeEvent(Event):
    joke: str


class Done(Event):
    text: str


class Jokes(Workflow):
    def __init__(self) -> None:
        super().__init__()
        self.llm = Model()

    @step
    async def generate_joke(self, ev: StartEvent) -> JokeEvent:
        return JokeEvent(joke=str(await self.llm.acomplete(ev.topic)))

    @step
    async def critique_joke(self, ev: JokeEvent) -> StopEvent:
        return StopEvent(result=str(await self.llm.acomplete(ev.joke)))


async def three_runs() -> tuple[Jokes, Context]:
    flow = Jokes()
    ctx = Context(workflow=flow)
    for topic in ("tea", "rain", "maps"):
        await flow.run(ctx=ctx, topic=topic)
    return flow, ctx


def steps_of(checkpoints: list[Checkpoint]) -> list[str | None]:
    return [each.last_completed_step for each in checkpoints]


# --- the first flow --------------------------------------------------------------------------------------


CELLS = [
    """
    from checkpoint.flows.events import Workflow, step, StartEvent, StopEvent, Event, Context

    class Reply(Event):
        text: str

    class Chat(Workflow):
        llm = Model()

        @step
        async def draft(self, ev: StartEvent) -> Reply:
            return Reply(text=str(await self.llm.acomplete(ev.topic)))

        @step
        async def polish(self, ev: Reply) -> StopEvent:
            return StopEvent(result=str(await self.llm.acomplete(ev.text)))
    """,
    "chat = Chat()\nctx = Context(workflow=chat)\nhandler = chat.run(ctx=ctx, topic='tea')\nawait handler",
    "handler.ctx.checkpoints",
    "seen.append(len(handler.ctx.checkpoints))",
    "for topic in ['rain', 'maps']:\n    handler = chat.run(ctx=ctx, topic=topic)\n    await handler",
    "seen.append(len(handler.ctx.checkpoints))",
    "stops = ctx.filter_checkpoints(output_event_type=StopEvent)\n[each.output_event.result[:150] for each in stops]",
    "drafts = ctx.filter_checkpoints(last_completed_step='draft')\n[each.output_event.text[:150] for each in drafts]",
    "handler = chat.run_from(checkpoint=drafts[1], ctx=ctx)\nawait handler",
    "seen.append(len(ctx.checkpoints))",
]


def test_a_notebook_runs_cell_by_cell() -> None:
    """Cells with a flow, three runs, filters and a run from a checkpoint see 3, 9 and 10 checkpoints. [1]"""
    names: dict[str, Any] = {"Model": Model, "seen": [], "__name__": "notebook"}

    async def notebook() -> None:
        for cell in CELLS:
            code = compile(textwrap.dedent(cell), "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if inspect.isawaitable(result):
                await result

    run(notebook())
    assert [3, 9, 10] == names["seen"]


def test_a_context_is_made_before_any_run() -> None:
    """A context for a workflow has no checkpoints, and takes a run. [2]"""

    async def main() -> tuple[int, int]:
        flow = Jokes()
        ctx = Context(workflow=flow)
        before = len(ctx.checkpoints)
        await flow.run(ctx=ctx, topic="tea")
        return before, len(ctx.checkpoints)

    assert (0, 3) == run(main())


def test_a_handler_is_awaited_more_than_once() -> None:
    """Each await gives the stop event's result. [3]"""

    async def main() -> list[Any]:
        handler = Jokes().run(topic="tea")
        return [await handler, await handler, handler.result(), handler.is_done()]

    text = "answer 2 to: answer 1 to: tea"
    assert [text, text, text, True] == run(main())


def test_a_run_leaves_a_checkpoint_for_its_start_and_each_step() -> None:
    """Two steps leave three, in order; the end of the run leaves none. [4, 6, 13]"""

    async def main() -> list[Checkpoint]:
        handler = Jokes().run(topic="tea")
        await handler
        return handler.ctx.checkpoints

    checkpoints = run(main())
    assert [None, "generate_joke", "critique_joke"] == steps_of(checkpoints)
    assert len({each.id_ for each in checkpoints}) == 3


def test_the_first_checkpoint_has_the_start_event() -> None:
    """It has no step and no input; its output carries the keywords of the run. [5]"""

    async def main() -> Checkpoint:
        handler = Jokes().run(topic="tea", tone="dry")
        await handler
        return handler.ctx.checkpoints[0]

    first = run(main())
    assert (None, None) == (first.last_completed_step, first.input_event)
    assert StartEvent(topic="tea", tone="dry") == first.output_event
    assert first.ctx_state["is_running"] is False


def test_runs_on_one_context_share_its_history() -> None:
    """Three runs leave nine checkpoints, in the order of the runs; the handler's context lists the same. [7]"""

    async def main() -> None:
        flow = Jokes()
        ctx = Context(workflow=flow)
        for topic in ("tea", "rain", "maps"):
            handler = flow.run(ctx=ctx, topic=topic)
            await handler
        assert ctx.checkpoints == handler.ctx.checkpoints
        assert [None, "generate_joke", "critique_joke"] * 3 == steps_of(ctx.checkpoints)
        assert ["tea", "rain", "maps"] == [each.output_event.topic for each in ctx.checkpoints[::3]]

    run(main())


def test_filters_find_results_and_steps() -> None:
    """By stop output there is one for each finished run, by step one for each run, oldest first. [8, 9]"""

    async def main() -> None:
        _, ctx = await three_runs()
        stops = ctx.filter_checkpoints(output_event_type=StopEvent)
        jokes = ctx.filter_checkpoints(last_completed_step="generate_joke")
        assert ["answer 2 to", "answer 4 to", "answer 6 to"] == [each.output_event.result[:11] for each in stops]
        assert ["answer 1 to: tea", "answer 3 to: rain", "answer 5 to: maps"] == [
            each.output_event.joke for each in jokes
        ]

    run(main())


def test_a_run_from_a_checkpoint_executes_what_follows() -> None:
    """From the first step's checkpoint one call is made; one checkpoint is added, under a new run id. [10, 11]"""

    async def main() -> None:
        flow, ctx = await three_runs()
        known = {each.run_id for each in ctx.checkpoints}
        chosen = ctx.filter_checkpoints(last_completed_step="generate_joke")[1]
        handler = flow.run_from(checkpoint=chosen, ctx=ctx)
        assert "answer 7 to: answer 3 to: rain" == await handler
        assert (7, 10) == (len(flow.llm.calls), len(ctx.checkpoints))
        assert handler.run_id not in known
        assert handler.run_id == ctx.checkpoints[-1].run_id

    run(main())


def test_a_checkpoint_shows_what_it_holds() -> None:
    """Its repr has id, step, events and state; a start event is shown without its keywords. [12]"""

    async def main() -> Checkpoint:
        handler = Jokes().run(topic="tea")
        await handler
        return handler.ctx.checkpoints[1]

    found = run(main())
    text = repr(found)
    assert text.startswith(f"Checkpoint(id_='{found.id_}', last_completed_step='generate_joke', ")
    assert "input_event=StartEvent(), output_event=JokeEvent(joke='answer 1 to: tea'), ctx_state={'globals': {}" in text


def test_nobody_gets_an_event_before_it_is_kept() -> None:
    """When a step begins, the checkpoint of the step before is listed. [14]"""
    seen: list[list[str | None]] = []

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent) -> JokeEvent:
            return JokeEvent(joke="")

        @step
        async def two(self, ev: JokeEvent, ctx: Context) -> StopEvent:
            seen.append(steps_of(ctx.checkpoints))
            return StopEvent()

    async def main() -> None:
        await Flow().run()

    run(main())
    assert [[None, "one"]] == seen


def test_each_parallel_execution_leaves_a_checkpoint() -> None:
    """Six events to one step leave six of its checkpoints, and they have the order of their commits. [13, 20]"""

    class Flow(Workflow):
        @step
        async def spread(self, ev: StartEvent) -> list[JokeEvent]:
            return [JokeEvent(joke=str(n)) for n in range(6)]

        @step(num_workers=3)
        async def work(self, ev: JokeEvent) -> Done:
            return Done(text=ev.joke)

        @step
        async def gather(self, evs: list[Done]) -> StopEvent:
            return StopEvent(result=[ev.text for ev in evs])

    async def main() -> tuple[Any, list[Checkpoint]]:
        handler = Flow().run()
        return await handler, handler.ctx.checkpoints

    result, checkpoints = run(main())
    assert ["0", "1", "2", "3", "4", "5"] == result
    assert [None, "spread", *["work"] * 6, "gather"] == steps_of(checkpoints)
    assert sorted(each.snapshot.id for each in checkpoints) == [each.snapshot.id for each in checkpoints]


def test_a_retried_step_leaves_one_checkpoint() -> None:
    """Two failures and a success are one completion. [18]"""
    attempts: list[int] = []

    class Flow(Workflow):
        @step(retry_policy=ConstantDelayRetryPolicy(maximum_attempts=3, delay=0))
        async def one(self, ev: StartEvent) -> StopEvent:
            attempts.append(len(attempts))
            if len(attempts) < 3:
                raise OSError("not yet")
            return StopEvent()

    async def main() -> list[Checkpoint]:
        handler = Flow().run()
        await handler
        return handler.ctx.checkpoints

    assert [None, "one"] == steps_of(run(main()))
    assert [0, 1, 2] == attempts


def test_a_policy_allows_so_many_retries() -> None:
    """Three retries are four executions, of plain functions too; then the step has failed."""
    attempts: list[int] = []

    class Flow(Workflow):
        @step(retry_policy=ConstantDelayRetryPolicy(maximum_attempts=3, delay=0))
        def one(self, ev: StartEvent) -> StopEvent:
            attempts.append(len(attempts))
            raise OSError("never")

    async def main() -> None:
        await Flow().run()

    with pytest.raises(WorkflowRuntimeError, match="never"):
        run(main())
    assert [0, 1, 2, 3] == attempts


def test_a_step_can_leave_no_listed_checkpoints() -> None:
    """Switching is per step, works between runs, may be repeated, and refuses unknown steps. [19]"""

    async def main() -> list[int]:
        flow = Jokes()
        counts = []
        for switch in (
            flow.disable_checkpoint,
            flow.disable_checkpoint,
            flow.enable_checkpoint,
            flow.enable_checkpoint,
        ):
            switch("generate_joke")
            handler = flow.run(topic="tea")
            await handler
            counts.append(len(handler.ctx.checkpoints))
        with pytest.raises(WorkflowStepDoesNotExistError, match="no step 'tell'; it has generate_joke, critique_joke"):
            flow.disable_checkpoint("tell")
        with pytest.raises(WorkflowStepDoesNotExistError):
            flow.enable_checkpoint("tell")
        return counts

    assert [2, 2, 3, 3] == run(main())


def test_what_is_kept_never_changes() -> None:
    """Changing events, values and what a checkpoint returned leaves the checkpoints equal to before. [21]"""

    class Box(Event):
        content: list[int]

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent, ctx: Context) -> Box:
            await ctx.set("log", [1])
            return Box(content=[1])

        @step
        async def two(self, ev: Box, ctx: Context) -> StopEvent:
            ev.content.append(99)
            (await ctx.get("log")).append(2)
            return StopEvent(result=ev.content)

    async def main() -> None:
        flow = Flow()
        handler = flow.run()
        assert [1, 99] == await handler
        kept = handler.ctx.checkpoints[1]
        kept.output_event.content.append(5)
        kept.ctx_state["globals"]["log"].append(5)
        assert [1, 99] == await flow.run_from(kept)
        assert ([1], {"log": [1]}) == (kept.output_event.content, kept.ctx_state["globals"])
        assert [1] == handler.ctx.checkpoints[2].input_event.content
        assert {"log": [1, 2]} == handler.ctx.checkpoints[2].ctx_state["globals"]

    run(main())


# --- filters ---------------------------------------------------------------------------------------------


def test_a_filter_needs_a_condition() -> None:
    """Without one filter_checkpoints raises; list_checkpoints returns all. [22]"""

    async def main() -> int:
        _, ctx = await three_runs()
        with pytest.raises(ValueError, match="needs a condition"):
            ctx.filter_checkpoints()
        return len(ctx.list_checkpoints())

    assert 9 == run(main())


def test_conditions_are_combined() -> None:
    """All that are given must hold: step, input, output and run. [23]"""

    async def main() -> None:
        _, ctx = await three_runs()
        last = ctx.checkpoints[-1]
        both = ctx.filter_checkpoints("critique_joke", JokeEvent, StopEvent, last.run_id)
        assert [last] == both
        assert [] == ctx.filter_checkpoints("critique_joke", StartEvent)

    run(main())


def test_types_match_exactly_unless_asked() -> None:
    """`Event` matches nothing by itself, and everything with `include_subclasses`. [24]"""

    async def main() -> None:
        _, ctx = await three_runs()
        assert [] == ctx.filter_checkpoints(output_event_type=Event)
        assert 9 == len(ctx.list_checkpoints(output_type=Event, include_subclasses=True))
        assert 6 == len(ctx.list_checkpoints(input_type=Event, include_subclasses=True))

    run(main())


def test_unknown_conditions_find_nothing() -> None:
    """A step, run or type that isn't there gives an empty list; so does an empty history. [25]"""

    async def main() -> None:
        flow, ctx = await three_runs()
        empty = Context(flow)
        for context in (ctx, empty):
            assert [] == context.filter_checkpoints(last_completed_step="tell")
            assert [] == context.filter_checkpoints(run_id=uuid.uuid4().hex)
            assert [] == context.filter_checkpoints(output_event_type=HumanResponseEvent)
        assert [] == empty.checkpoints

    run(main())


def test_lists_are_cut_into_pages() -> None:
    """Run, status, time, order, limit and cursor narrow a list. [26]"""

    async def main() -> None:
        _, ctx = await three_runs()
        all_ = ctx.checkpoints
        first = ctx.list_checkpoints(newest_first=True, limit=4)
        second = ctx.list_checkpoints(newest_first=True, limit=4, after=first[-1].id_)
        assert (all_[::-1][:4], all_[::-1][4:8]) == (first, second)
        assert all_[3:] == ctx.list_checkpoints(after=all_[2])
        assert all_[3:6] == ctx.list_checkpoints(run=all_[3].run_id)
        assert all_[2::3] == ctx.list_checkpoints(status="finished")
        times = [each.snapshot.stored_at for each in all_]
        assert all_[4:8] == ctx.list_checkpoints(since=times[4], until=times[7])

    run(main())


def test_steps_tag_their_checkpoints() -> None:
    """A tag finds the checkpoint of the step that set it. [26]"""

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent, ctx: Context) -> JokeEvent:
            ctx.tag("milestone")
            return JokeEvent(joke="")

        @step
        async def two(self, ev: JokeEvent) -> StopEvent:
            return StopEvent()

    async def main() -> None:
        handler = Flow().run()
        await handler
        (found,) = handler.ctx.list_checkpoints(tag="milestone")
        assert ("one", ("milestone",)) == (found.last_completed_step, found.tags)

    run(main())


# --- events ----------------------------------------------------------------------------------------------


def test_declared_fields_are_validated_and_others_are_kept() -> None:
    """Other keywords are read by attribute and key; what is missing raises what Python raises. [45]"""
    event = JokeEvent(joke="a", tone="dry")
    assert ("a", "dry", "dry") == (event.joke, event.tone, event["tone"])
    assert ("dry", None, 3) == (event.get("tone"), event.get("none"), event.get("none", 3))
    assert (["tone"], ["dry"], [("tone", "dry")]) == (list(event.keys()), list(event.values()), list(event.items()))
    assert (1, ["tone"], True, False) == (len(event), list(event), "tone" in event, "joke" in event)
    assert ({"tone": "dry"}, {"joke": "a", "_data": {"tone": "dry"}}) == (event.dict(), event.model_dump())
    event.mood = "good"
    event["place"] = "here"
    assert ("good", "here") == (event["mood"], event.place)
    with pytest.raises(AttributeError, match="JokeEvent has no 'nothing'"):
        _ = event.nothing
    with pytest.raises(KeyError):
        _ = event["nothing"]
    with pytest.raises(pydantic.ValidationError):
        JokeEvent(joke=[])
    with pytest.raises(pydantic.ValidationError):
        JokeEvent()


def test_events_are_equal_by_class_fields_and_keywords() -> None:
    """An event is true even if it carries nothing, and survives pickle and its own dump. [45]"""
    event = JokeEvent(joke="a", tone="dry")
    assert JokeEvent(joke="a", tone="dry") == event
    assert JokeEvent(joke="a", tone="wry") != event
    assert (True, "JokeEvent(joke='a')") == (bool(Event()), repr(event))
    assert event == pickle.loads(pickle.dumps(event)) == JokeEvent.model_validate(event.model_dump())


def test_a_stop_event_takes_its_result_by_position() -> None:
    """`result` is None unless given; a subclass has fields of its own."""

    class Report(StopEvent):
        pages: int

    assert (3, None, 4) == (StopEvent(3).result, StopEvent().result, Report(pages=4).pages)


def test_a_stop_event_of_an_own_class_is_the_result() -> None:
    """The run returns the event itself; so does a run from its checkpoint."""

    class Report(StopEvent):
        pages: int

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent) -> Report:
            return Report(pages=4)

    async def main() -> None:
        flow = Flow()
        handler = flow.run()
        assert Report(pages=4) == await handler
        assert Report(pages=4) == await flow.run_from(handler.ctx.checkpoints[-1])

    run(main())


def test_a_start_event_of_an_own_class_is_validated() -> None:
    """A run's keywords are the fields of the class that a step takes; any name is possible with start_event."""

    class Begin(StartEvent):
        size: int

    class Flow(Workflow):
        @step
        async def one(self, ev: Begin) -> StopEvent:
            return StopEvent((ev.size, ev.get("ctx")))

    async def main() -> None:
        assert (3, None) == await Flow().run(size=3)
        assert (4, "mine") == await Flow().run(start_event=Begin(size=4, ctx="mine"))
        with pytest.raises(pydantic.ValidationError):
            Flow().run(size="large")

    run(main())


# --- steps -----------------------------------------------------------------------------------------------


class A(Event):
    pass


class B(Event):
    pass


def test_unions_mean_each_of_their_classes() -> None:
    """`|`, Union, Optional and postponed names give the same graph. [47]"""

    class Plain(Workflow):
        @step
        async def one(self, ev: StartEvent) -> A | B | None:
            return B()

        @step
        async def two(self, ev: A | B) -> StopEvent:
            return StopEvent(type(ev).__name__)

    class Old(Workflow):
        @step
        async def one(self, ev: StartEvent) -> Optional[Union[A, B]]:  # noqa: UP007, UP045
            return B()

        @step
        async def two(self, ev: Union[A, B]) -> StopEvent:  # noqa: UP007
            return StopEvent(type(ev).__name__)

    async def main() -> list[str]:
        return [await Plain().run(), await Old().run()]

    assert ["B", "B"] == run(main())


def test_events_may_be_defined_further_down() -> None:
    """Annotations are resolved when they are needed, those of local classes too. [47]"""
    code = """
    from __future__ import annotations
    import asyncio
    from checkpoint.flows.events import *

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent) -> Later:
            return Later()
        @step
        async def two(self, ev: Later) -> StopEvent:
            return StopEvent("done")

    class Later(Event):
        pass

    async def main():
        print(await Flow().run())
    asyncio.run(main())
    """
    assert "done\n" == program(code)


def program(code: str) -> str:
    """Run code in a new interpreter; return what it prints."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=paths).stdout


def test_an_unknown_name_in_an_annotation_is_reported() -> None:
    """It names the step, before anything runs. [48]"""

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
            raise AssertionError("it ran")

    async def main() -> None:
        Flow().run()

    with pytest.raises(WorkflowValidationError, match=r"step 'one': its annotations use an unknown name: .*Nowhere"):
        run(main())


def flow_of(**steps: Any) -> type[Workflow]:
    flow: type[Workflow] = type("Flow", (Workflow,), {})
    for name, function in steps.items():
        function.__name__ = name
        step(workflow=flow)(function)
    return flow


async def start_to_a(ev: StartEvent) -> A:
    raise AssertionError("it ran")


async def a_to_stop(ev: A) -> StopEvent:
    raise AssertionError("it ran")


async def b_to_stop(ev: B) -> StopEvent:
    raise AssertionError("it ran")


async def start_to_b_or_stop(ev: StartEvent) -> B | StopEvent:
    raise AssertionError("it ran")


async def start_to_start(ev: StartEvent) -> StartEvent:
    raise AssertionError("it ran")


async def stop_to_stop(ev: StopEvent) -> StopEvent:
    raise AssertionError("it ran")


async def other_start_to_stop(ev: OtherStart) -> StopEvent:
    raise AssertionError("it ran")


class OtherStart(StartEvent):
    pass


@pytest.mark.parametrize(
    ("functions", "text"),
    [
        ([], "it has no steps"),
        ([a_to_stop], "must take one kind of StartEvent; they take none"),
        ([start_to_start], "no step returns a StopEvent"),
        ([start_to_b_or_stop], "no step takes B, which f0 returns"),
        ([start_to_a, a_to_stop, b_to_stop], "no step returns B, which f2 takes"),
        ([start_to_a, a_to_stop, stop_to_stop], "a step takes StopEvent, which ends the run"),
        ([start_to_a, a_to_stop, other_start_to_stop], "one kind of StartEvent; they take StartEvent, OtherStart"),
    ],
)
def test_steps_that_do_not_fit_are_reported(functions: list[Any], text: str) -> None:
    """Before anything runs, with the names of the events. [48]"""
    copies = {f"f{index}": _copy(function) for index, function in enumerate(functions)}

    async def main() -> None:
        flow_of(**copies)().run()

    with pytest.raises(WorkflowValidationError, match=text):
        run(main())


def _copy(function: Any) -> Any:
    async def copy(ev: Any) -> Any:
        return await function(ev)

    copy.__annotations__ = dict(function.__annotations__)
    return copy


def test_events_for_people_need_no_step() -> None:
    """InputRequiredEvent and HumanResponseEvent are exempt from the check. [48]"""

    class Flow(Workflow):
        @step
        async def ask(self, ev: StartEvent) -> InputRequiredEvent:
            return InputRequiredEvent(prefix="name?")

        @step
        async def answer(self, ev: HumanResponseEvent) -> StopEvent:
            return StopEvent(ev.response)

    async def main() -> None:
        handler = Flow().run()
        async for event in handler.stream_events():
            if isinstance(event, InputRequiredEvent):
                assert "name?" == event.prefix
                handler.ctx.send_event(HumanResponseEvent(response="Ada"))
        assert "Ada" == await handler

    run(main())


def test_validation_can_be_left_out() -> None:
    """`disable_validation` starts what the check would refuse."""

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent) -> A | StopEvent:
            return StopEvent("fine")

    async def main() -> None:
        assert "fine" == await Flow(disable_validation=True).run()

    run(main())


async def no_event(self: Any) -> StopEvent: ...  # type: ignore[empty-body]


async def two_events(ev: A, other: B) -> StopEvent: ...  # type: ignore[empty-body]


async def no_return(ev: A): ...  # type: ignore[no-untyped-def]


async def odd_parameter(ev: A, size: int) -> StopEvent: ...  # type: ignore[empty-body]


async def odd_return(ev: A) -> int: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (no_event, "must be annotated with events or Context"),
        (two_events, "it must take one parameter with an event; it has ev, other"),
        (no_return, "its return annotation is missing"),
        (odd_parameter, "parameter 'size' must be annotated"),
        (odd_return, "it must return events or None, not <class 'int'>"),
    ],
)
def test_a_step_says_what_it_takes_and_returns(function: Any, text: str) -> None:
    """Otherwise the decorator raises and names the step. [48]"""
    with pytest.raises(WorkflowValidationError, match=text):
        step(workflow=type("Flow", (Workflow,), {}))(function)


def test_functions_become_steps_of_a_workflow() -> None:
    """`workflow=` adds a function; without it one outside of a class is refused, and so is a second of its name."""
    flow = flow_of(one=_copy(start_to_a))

    async def one(ev: A) -> StopEvent:
        return StopEvent()

    with pytest.raises(WorkflowValidationError, match="has a step of that name"):
        step(workflow=flow)(one)
    with pytest.raises(WorkflowValidationError, match="needs its workflow"):
        step(one)


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", True, None])
def test_a_number_of_workers_is_a_whole_number(count: Any) -> None:
    """Anything else is refused by the decorator. [49]"""
    with pytest.raises(WorkflowValidationError, match="num_workers must be a whole number above 0"):
        step(num_workers=count)(_copy(a_to_stop))


@pytest.mark.parametrize("is_async", [True, False])
def test_the_number_of_workers_limits_a_step(is_async: bool) -> None:
    """Of eight executions never more than three are under way, and three are. [49]"""
    running: list[int] = []
    most: list[int] = []
    third = asyncio.Event if is_async else threading.Event

    class Flow(Workflow):
        @step
        async def spread(self, ev: StartEvent) -> list[A]:
            return [A(n=n) for n in range(8)]

        if is_async:

            @step(num_workers=3)
            async def work(self, ev: A) -> B:
                running.append(1)
                most.append(len(running))
                if len(running) == 3:
                    gate.set()
                await gate.wait()
                running.pop()
                return B(n=ev.n)

        else:

            @step(num_workers=3)
            def work(self, ev: A) -> B:
                running.append(1)
                most.append(len(running))
                if len(running) == 3:
                    gate.set()
                gate.wait()
                running.pop()
                return B(n=ev.n)

        @step
        async def gather(self, evs: list[B]) -> StopEvent:
            return StopEvent([ev.n for ev in evs])

    async def main() -> Any:
        nonlocal gate
        gate = third()
        return await Flow().run()

    gate: Any = None
    assert list(range(8)) == run(main())
    assert max(most) == 3


# --- errors ----------------------------------------------------------------------------------------------


class Failing(Workflow):
    @step
    async def one(self, ev: StartEvent) -> StopEvent:
        raise ZeroDivisionError("of nothing")


class Endless(Workflow):
    @step
    async def one(self, ev: StartEvent) -> StopEvent:
        await asyncio.Event().wait()
        return StopEvent()


def test_a_failing_step_is_named_and_its_error_chained() -> None:
    """The run raises WorkflowRuntimeError from the step's own exception. [50]"""

    async def main() -> None:
        await Failing().run()

    with pytest.raises(WorkflowRuntimeError, match="error in step 'one': ZeroDivisionError: of nothing") as caught:
        run(main())
    assert "one" == caught.value.step
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_run_that_takes_too_long_times_out() -> None:
    """It raises an error of its own that names what was running and how to go on. [50]"""

    async def main() -> None:
        await Endless(timeout=0.05).run()

    with pytest.raises(
        WorkflowTimeoutError, match=r"stopped in one after its timeout of 0\.05 seconds; go on with resume"
    ):
        run(main())


def test_a_cancelled_run_raises_an_error_of_its_own() -> None:
    """cancel_run ends steps and stream; awaiting raises. [50]"""

    async def main() -> str:
        handler = Endless(timeout=None).run()
        await asyncio.sleep(0)
        await handler.cancel_run()
        assert [] == [event async for event in handler.stream_events()]
        with pytest.raises(WorkflowCancelledByUser):
            await handler
        return handler.ctx.runs()[-1].status

    assert "cancelled" == run(main())


@pytest.mark.parametrize("value", [3, "text", [A(), 3], {}])
def test_returning_anything_but_events_is_an_error_at_once(value: Any) -> None:
    """No timeout is waited for. [51]"""

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent) -> StopEvent:
            return value  # type: ignore[no-any-return]

    async def main() -> None:
        await Flow(timeout=None).run()

    with pytest.raises(WorkflowRuntimeError, match="it must return events or None, not"):
        run(main())


def test_an_empty_list_is_an_error_at_once() -> None:
    """Nothing could follow from it. [51]"""

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent) -> list[A]:
            return []

        @step
        async def two(self, ev: A) -> StopEvent:
            return StopEvent()

    async def main() -> None:
        await Flow(timeout=None).run()

    with pytest.raises(WorkflowRuntimeError, match="empty list"):
        run(main())


def test_sending_to_a_wrong_step_raises_at_the_call() -> None:
    """An unknown step, and one that doesn't take the event. [52]"""
    raised: list[str] = []

    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent, ctx: Context) -> A:
            for name in ("nowhere", "one"):
                try:
                    ctx.send_event(A(), step=name)
                except WorkflowRuntimeError as error:
                    raised.append(error.reason)
            return A()

        @step
        async def two(self, ev: A) -> StopEvent:
            return StopEvent()

    async def main() -> None:
        await Flow().run()

    run(main())
    assert ["workflow Flow has no such step", "it does not take A"] == raised


@pytest.mark.parametrize(
    "error",
    [
        WorkflowValidationError("step 'one'", "why"),
        WorkflowRuntimeError("one", "why"),
        WorkflowTimeoutError("Flow", 1.5, "id", ("one",)),
        WorkflowTimeoutError("Flow", 1.5, "id", ()),
        WorkflowCancelledByUser("Flow", "id"),
        WorkflowStepDoesNotExistError("Flow", "one", ("two",)),
    ],
)
def test_errors_survive_pickle(error: Exception) -> None:
    """A copy has the same class, arguments and text."""
    copy = pickle.loads(pickle.dumps(error))
    assert (type(error), error.args, str(error)) == (type(copy), copy.args, str(copy))


def test_a_run_without_an_event_loop_says_what_to_do() -> None:
    """It raises RuntimeError that names asyncio.run, and nothing is made on disk."""
    with pytest.raises(RuntimeError, match=r"asyncio\.run"):
        Jokes().run(topic="tea")
    assert not list(Path().iterdir())


def test_the_package_needs_no_model_and_no_network() -> None:
    """Importing and running loads neither an LLM library nor one for HTTP. [60]"""
    code = """
    import asyncio, sys
    from checkpoint.flows.events import *
    class Flow(Workflow):
        @step
        async def one(self, ev: StartEvent) -> StopEvent:
            return StopEvent(ev.topic)
    async def main():
        flow = Flow(); ctx = Context(flow)
        await flow.run(ctx=ctx, topic="tea")
        print(await flow.run_from(ctx.checkpoints[0]))
    asyncio.run(main())
    print(sorted({"http.client", "urllib.request", "requests", "httpx", "openai", "llama_index"} & set(sys.modules)))
    """
    assert "tea\n[]\n" == program(code)
