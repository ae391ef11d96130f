"""The workflow of bench_events for llama-index-workflows, which must be installed."""

from collections.abc import Callable
from typing import Any

from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent


class Round(Event):
    number: int


class Rounds(Workflow):
    state: dict[str, str]

    @step
    async def begin(self, ev: StartEvent, ctx: Context) -> Round:
        for name, value in self.state.items():
            await ctx.store.set(name, value)
        ctx.write_event_to_stream(Round(number=ev.length))
        return Round(number=ev.length)

    @step
    async def turn(self, ev: Round, ctx: Context) -> Round | StopEvent:
        ctx.write_event_to_stream(ev)
        return Round(number=ev.number - 1) if ev.number > 2 else StopEvent()


async def run(length: int, state: dict[str, str], keep: Callable[[Any], None]) -> None:
    """Run so many steps; after each, hand a snapshot of the context to `keep`."""
    flow = Rounds(timeout=None)
    flow.state = state
    handler = flow.run(length=length)
    async for _ in handler.stream_events():
        keep(handler.ctx.to_dict())  # possible outside of steps only
    await handler
