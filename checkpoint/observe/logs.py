"""Logs: a run's events as records of a logger.

Next: observe/bars.py
"""

from __future__ import annotations

import logging
from typing import final

from checkpoint.events import Event, EventKind, Observer, RunBegun, RunEnded

__all__ = ["Logs"]

_LEVELS = {
    EventKind.HIT: logging.DEBUG,
    EventKind.FOUND: logging.DEBUG,
    EventKind.PARKED: logging.INFO,
    EventKind.STARTED: logging.DEBUG,
    EventKind.COMPUTED: logging.INFO,
    EventKind.FAILED: logging.ERROR,
    EventKind.TIMED_OUT: logging.ERROR,
    EventKind.LOST: logging.ERROR,
}


@final
class Logs(Observer):
    """An observer that logs: what is computed at INFO, failures at ERROR, hits and starts at DEBUG, else WARNING.

    Each record has the event as attribute `event`, for formatters that write JSON, say.

    Args:
        logger: a logger of yours; "checkpoint.run" otherwise.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("checkpoint.run")

    def begin(self, run: RunBegun) -> None:
        """Log how much there is."""
        self._logger.info("run of %d instances of %d tasks begins", len(run.instances), len(run.counts))

    def notify(self, event: Event) -> None:
        """Log an event."""
        level = _LEVELS.get(event.kind, logging.WARNING)
        error = f": {type(event.error).__name__}: {event.error}" if event.error is not None else ""
        self._logger.log(
            level, "%r %s (%.3g s)%s", event.instance, event.kind.value, event.seconds, error, extra={"event": event}
        )

    def end(self, ended: RunEnded) -> None:
        """Log what came of it."""
        done = ", ".join(f"{name}: {count}" for name, count in ended.counts.items())
        self._logger.info("run ended after %.3f s: %s", ended.seconds, done)
