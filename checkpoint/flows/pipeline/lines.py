"""Lines: what a run of a pipeline says on standard error, a line for each step of a stage.

    [fit] no stored result
    [fit] running
    [fit] stored after 1.52 s

Must not know: stores, how a stage is run.

Next: flows/pipeline/call.py
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import final

from checkpoint.events import Event, EventKind, Observer
from checkpoint.graph import Instance

__all__ = ["Lines"]

_TEXTS = {
    EventKind.HIT: "loaded",
    EventKind.FAILED: "failed after {seconds:.3g} s",
    EventKind.TIMED_OUT: "stopped: it ran longer than its timeout",
    EventKind.LOST: "lost: its worker died",
    EventKind.RETRIED: "failed, trying again",
    EventKind.SKIPPED: "skipped: what it takes has failed",
}


@final
class Lines(Observer):
    """An observer that writes to standard error.

    Args:
        unkept: names of the tasks whose results are not kept.
    """

    def __init__(self, unkept: Collection[str]) -> None:
        self._unkept = unkept
        self._running: set[Instance] = set()

    def notify(self, event: Event) -> None:
        """Write what happened to a stage."""
        call: Instance = event.instance
        if event.kind is EventKind.REQUEUED:
            return  # the kernel's own business: the stage is still to be run
        if event.kind is EventKind.STARTED:
            self._start(call)
        elif event.kind is EventKind.COMPUTED:
            done = "done, not stored," if call.task.name in self._unkept else "stored"
            _write(call, f"{done} after {event.seconds:.3g} s")
        else:
            _write(call, _TEXTS[event.kind].format(seconds=event.seconds))

    def _start(self, call: Instance) -> None:
        if call in self._running:
            return
        self._running.add(call)
        if not call.is_forced:
            _write(call, "no stored result")
        _write(call, "running")


def _write(call: Instance, text: str) -> None:
    if sys.stderr is not None:  # a program without a console has none
        sys.stderr.write(f"[{call!r}] {text}\n")
