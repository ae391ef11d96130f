"""Watching a run: the protocol that observers follow, and observers for terminals, logs, bars, traces.

    from checkpoint.observe import Logs
    run(instances, observers=[Logs()])

Next: runs.py
"""

import importlib
from typing import TYPE_CHECKING, Any

from checkpoint.counts import TaskCount
from checkpoint.events import Event, EventKind, Observer, RunBegun, RunEnded, Tick

if TYPE_CHECKING:
    from checkpoint.observe.bars import Bar
    from checkpoint.observe.logs import Logs
    from checkpoint.observe.progress import Progress
    from checkpoint.observe.spans import Spans

__all__ = [
    "Bar",
    "Event",
    "EventKind",
    "Logs",
    "Observer",
    "Progress",
    "RunBegun",
    "RunEnded",
    "Spans",
    "TaskCount",
    "Tick",
]

#: Public names of files that few runs need; they are imported with the first use of the name.
_PLACES = {"Bar": "bars", "Logs": "logs", "Progress": "progress", "Spans": "spans"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    return value
