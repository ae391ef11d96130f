"""Watching a run: the protocol that observers follow, and observers for terminals, logs, bars, traces.

    from checkpoint.observe import Logs
    run(instances, observers=[Logs()])

Next: runs.py
"""

from checkpoint.counts import TaskCount
from checkpoint.events import Event, EventKind, Observer, RunBegun, RunEnded, Tick
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
