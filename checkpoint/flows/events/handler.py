"""WorkflowHandler: one run, as the program that started it sees it.

Must not know: how the run is done.

Next: flows/events/workflow.py
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any, final

from checkpoint.flows.events.context import Context
from checkpoint.flows.events.event import Event
from checkpoint.flows.events.runtime import Runtime

__all__ = ["WorkflowHandler"]


@final
class WorkflowHandler:
    """A run. `await` it for its result, as often as you like."""

    def __init__(self, ctx: Context[Any], runtime: Runtime, task: asyncio.Task[Any]) -> None:
        #: The context of the run.
        self.ctx = ctx
        self._runtime, self._task = runtime, task

    def __await__(self) -> Generator[Any, None, Any]:
        return self._task.__await__()

    def __repr__(self) -> str:
        return f"<run {self.run_id} of {self._runtime.routes.workflow}: {'done' if self.is_done() else 'running'}>"

    @property
    def run_id(self) -> str:
        """What identifies the run; `resume()` takes it."""
        return self._runtime.run_id

    def is_done(self) -> bool:
        """Tell whether the run has ended, well or badly."""
        return self._task.done()

    def result(self) -> Any:
        """Return the result of a run that has ended, or raise what it failed with."""
        return self._task.result()

    def stream_events(self) -> AsyncIterator[Event]:
        """Yield what the steps write to the stream, from the first event on, and last the StopEvent.

        Ends when the run ends; may be read several times, also afterwards.
        """
        return self._runtime.stream.read()

    async def run_step(self) -> Any:
        """Do the next item of a run that was started with `stepwise=True`; return what its step returned.

        Its events are on their way already: don't send them again. None when the run has ended.
        """
        result = asyncio.ensure_future(self._runtime.step())
        await asyncio.wait([result, self._task], return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            result.cancel()
            return None
        return result.result()

    async def cancel_run(self) -> None:
        """End the run; whoever awaits it gets WorkflowCancelledByUser. It can be resumed."""
        self._runtime.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # who cancels knows: no need to complain that nobody has asked
