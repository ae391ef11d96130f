"""Trace: a run as a file that Perfetto and chrome://tracing open: a row per worker, a slice per attempt.

The format is the JSON one of Chrome's trace viewer, times in microseconds since the run began.
Source: "Trace Event Format", https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU

Must not know: how a run works.

Next: observe/report.py
"""

from __future__ import annotations

import json
from typing import Any

from checkpoint.observe.labels import label_of
from checkpoint.observe.record import RunRecord

__all__ = ["trace_of"]

#: Arrows between slices are left out if there are more.
_MOST_ARROWS = 20_000


def trace_of(record: RunRecord) -> str:
    """Return the trace of a run, as JSON."""
    events = [_name("process_name", 0, "checkpoint run")]
    for lane, place in enumerate(record.lanes):
        events.append(_name("thread_name", lane + 1, place))
    events += [_slice(record, position) for position in range(len(record.bars))]
    events += _arrows(record)
    events += _counter(record)
    other = {"began": record.began, "workers": record.workers, **record.place}
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms", "otherData": other}, separators=(",", ":"))


def _name(kind: str, lane: int, text: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": 1, "tid": lane, "args": {"name": text}}


def _slice(record: RunRecord, position: int) -> dict[str, Any]:
    bar = record.bars[position]
    task = record.tasks[record.task[bar.node]]
    found = {
        "ph": "X",
        "name": task,
        "cat": bar.kind,
        "pid": 1,
        "tid": bar.lane + 1,
        "ts": round(bar.start * 1e6, 3),
        "dur": round(bar.seconds * 1e6, 3),
        "args": {"call": label_of(task, record.key[bar.node]), "outcome": bar.kind, "bytes": record.size[bar.node]},
    }
    return found if bar.kind == "computed" else {**found, "cname": "terrible"}


def _arrows(record: RunRecord) -> list[dict[str, Any]]:
    """Return a pair of events for each value that one slice made and another one took."""
    made = {bar.node: bar for bar in record.bars if bar.kind == "computed"}
    pairs = [(made[above], bar) for bar in record.bars for above in record.upstream[bar.node] if above in made]
    if len(pairs) > _MOST_ARROWS:
        return []
    found = []
    for number, (source, target) in enumerate(pairs):
        arrow = {"name": "value", "cat": "value", "pid": 1, "id": number}
        end = round((source.start + source.seconds) * 1e6, 3)
        found.append({**arrow, "ph": "s", "tid": source.lane + 1, "ts": end})
        found.append({**arrow, "ph": "f", "bp": "e", "tid": target.lane + 1, "ts": round(target.start * 1e6, 3)})
    return found


def _counter(record: RunRecord) -> list[dict[str, Any]]:
    """Return how many instances were running, whenever that changed."""
    changes = sorted(change for bar in record.bars for change in ((bar.start, 1), (bar.start + bar.seconds, -1)))
    found, running = [], 0
    for at, change in changes:
        running += change
        found.append(
            {"ph": "C", "name": "running", "pid": 1, "tid": 0, "ts": round(at * 1e6, 3), "args": {"instances": running}}
        )
    return found
