"""Record: what a run did, as plain columns that JSON can hold, one row per instance of its graph.

Must not know: where it is kept, how it is shown. It has keys, texts of failures and times, and no values.

Next: observe/archive.py
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple, Self, final

from checkpoint.engine import Run
from checkpoint.happenings import EventKind, Happening
from checkpoint.observe.causes import causes_of
from checkpoint.origin import facts
from checkpoint.plan import State

__all__ = ["Bar", "Outcome", "RunRecord", "record_of", "text_of", "timeline"]

#: Records of format 1 don't say why.
_FORMAT = 2
#: Of a failure's text this much of the beginning and of the end is kept.
_MOST_TEXT = 4000


@final
class Outcome:
    """What became of an instance in a run."""

    FRESH, COMPUTED, FAILED, BLOCKED, OPEN = range(5)


_OUTCOMES = {
    State.FRESH: Outcome.FRESH,
    State.COMPUTED: Outcome.COMPUTED,
    State.FAILED: Outcome.FAILED,
    State.BLOCKED: Outcome.BLOCKED,
}


@final
class Bar(NamedTuple):
    """One attempt: the instance, when in the run and for how long, in which lane, what came of it."""

    node: int
    start: float
    seconds: float
    lane: int
    kind: str


@final
@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run did.

    Attributes:
        began, seconds: seconds since 1970, and how long it took.
        workers: how many instances could run at once.
        place: host, platform and Python of the process that drove it.
        ended_by: name of the exception that ended it early, "" otherwise.
        limits, limits_of: what `RunBegun` says.
        tasks: their names.
        task, key, outcome, seconds_of, size, upstream: a column each; the task by its index, seconds and bytes also for
            what was fresh.
        again: indices of what was computed although results of the same call were there.
        lanes: names of the rows of a timeline: a process, or a thread or coroutine of it.
        bars: all attempts, by start.
        failures: index -> (what happened, text of the exception with its traceback).
        reasons, why: texts, and a column with the index of the one that says why it was computed; -1 where it wasn't.
    """

    began: float
    seconds: float
    workers: int
    place: Mapping[str, str]
    ended_by: str
    limits: Mapping[str, int]
    limits_of: Mapping[str, tuple[str, ...]]
    tasks: list[str]
    task: list[int]
    key: list[str]
    outcome: list[int]
    seconds_of: list[float]
    size: list[int]
    upstream: list[list[int]]
    again: list[int]
    lanes: list[str]
    bars: list[Bar]
    failures: Mapping[int, tuple[str, str]]
    reasons: list[str] = field(default_factory=list)
    why: list[int] = field(default_factory=list)
    format: int = field(default=_FORMAT)

    def to_json(self) -> str:
        """Return it as text."""
        columns = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(columns, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` was made of.

        Raises:
            ValueError: it is no such text, or of another format.
        """
        columns = json.loads(text)
        if not isinstance(columns, dict) or columns.pop("format", None) not in (1, _FORMAT):
            raise ValueError("it is no record of a run, or of another version")
        try:
            columns["bars"] = [Bar(*bar) for bar in columns["bars"]]
            columns["limits_of"] = {name: tuple(limits) for name, limits in columns["limits_of"].items()}
            columns["failures"] = {int(node): tuple(failure) for node, failure in columns["failures"].items()}
            return cls(**columns)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is no record of a run: {error}") from error

    def count(self, outcome: int) -> int:
        """Return how many instances had an outcome."""
        return self.outcome.count(outcome)


def record_of(run: Run, error: BaseException | None = None) -> RunRecord:
    """Return the record of a run that is over; `error` is what ended it early."""
    graph, plan = run.surveyed.graph, run.surveyed.plan
    indices = {name: index for index, name in enumerate(run.outcome.counts)}
    reasons, why = causes_of(run)
    seconds = [entry.seconds if entry is not None else 0.0 for entry in plan.served]
    size = [entry.size if entry is not None else 0 for entry in plan.served]
    for event in run.outcome.happenings:
        if event.kind in (EventKind.COMPUTED, EventKind.FOUND):
            seconds[event.node], size[event.node] = event.seconds, event.size
    lanes, bars = timeline(run.outcome.happenings)
    outcome = [_OUTCOMES.get(state, Outcome.OPEN) for state in plan.states]
    return RunRecord(
        began=run.began_at,
        seconds=run.outcome.seconds,
        workers=run.worker_count,
        place=facts(),
        ended_by=type(error).__name__ if error is not None else "",
        limits=run.surveyed.limits,
        limits_of={name: limits for name, limits in run.surveyed.limits_of.items() if limits},
        tasks=list(indices),
        task=[indices[instance.task.name] for instance in graph.instances],
        key=[instance.key for instance in graph.instances],
        outcome=outcome,
        seconds_of=[round(each, 6) for each in seconds],
        size=size,
        upstream=[list(above) for above in graph.upstream],
        again=[
            node for node, entries in enumerate(run.surveyed.entries) if entries and outcome[node] == Outcome.COMPUTED
        ],
        lanes=lanes,
        bars=bars,
        failures={
            graph.node_of(instance.task.name, instance.key): ("failed", text_of(failure))
            for instance, failure in run.outcome.failures.items()
        }
        | {
            event.node: (event.kind.value, text_of(event.error))
            for event in run.outcome.happenings
            if event.error is not None and event.kind is not EventKind.RETRIED
        },
        reasons=reasons,
        why=why,
    )


def timeline(happenings: Sequence[Happening]) -> tuple[list[str], list[Bar]]:
    """Return the lanes and the bars in them: in a place as many lanes as it had instances at once."""
    attempts = [(event.start, event.node, event) for event in happenings if event.start is not None]
    attempts.sort(key=itemgetter(0, 1))
    ends: dict[str, list[float]] = {}
    placed: list[tuple[str, int, Happening]] = []
    for start, _, event in attempts:
        lanes = ends.setdefault(event.place, [])
        lane = next((index for index, end in enumerate(lanes) if end <= start + 1e-3), len(lanes))
        lanes[lane : lane + 1] = [start + event.seconds]
        placed.append((event.place, lane, event))
    names: list[str] = []
    first: dict[str, int] = {}
    for place, lanes in ends.items():
        first[place] = len(names)
        names += [f"{place} · {lane + 1}" for lane in range(len(lanes))] if len(lanes) > 1 else [place]
    bars = [
        Bar(event.node, round(event.start or 0.0, 6), round(event.seconds, 6), first[place] + lane, event.kind.value)
        for place, lane, event in placed
    ]
    return names, bars


def text_of(error: BaseException) -> str:
    """Return an exception with its traceback, cut in the middle if it is long."""
    text = "".join(traceback.format_exception(error))
    if len(text) > 2 * _MOST_TEXT:
        text = f"{text[:_MOST_TEXT]}\n…\n{text[-_MOST_TEXT:]}"
    return text
