"""Stream: what a run tells while it goes on: events for whoever looks, from the first one on, as often as they like.

Must not know: steps, journals. Nothing of it is kept: what a resumed run tells begins anew.

Next: flows/events/runtime.py
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import final

from checkpoint.flows.events.event import Event

__all__ = ["Stream"]


@final
class Stream:
    """The events of one run. Anybody may write, from any thread; readers are in the run's event loop."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._is_closed = False
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def write(self, event: Event) -> None:
        """Add an event."""
        self._events.append(event)
        self._tell()

    def close(self) -> None:
        """Let readers end after the last event."""
        self._is_closed = True
        self._tell()

    def _tell(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def read(self) -> AsyncIterator[Event]:
        """Yield all events of the run until it ends."""
        index = 0
        while True:
            news = self._news
            while index < len(self._events):
                yield self._events[index]
                index += 1
            if self._is_closed:
                return
            await news.wait()
