"""Forecasts: what a run would do, why, and about how long it would take. Runs nothing, reads metadata only.

Next: lineage.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from checkpoint.choice import Options
from checkpoint.durations import Durations
from checkpoint.graph import Instance
from checkpoint.markup import card, table
from checkpoint.plan import State
from checkpoint.reasons import Cue, Explainer, Reason
from checkpoint.runs import roots_of, surroundings
from checkpoint.store import Store
from checkpoint.survey import Survey, survey

__all__ = ["Forecast", "forecast", "reason"]

#: How many instances a notebook shows.
_SHOWN = 20


@final
@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run would do. `str()` is a summary."""

    #: Instances that would be computed, each with the reason.
    compute: Mapping[Any, Reason]
    #: Instances below those: computed unless what they require comes out with the same bytes as before.
    maybe: tuple[Any, ...]
    #: How many fresh values would be read: those that were asked for, or that what is computed takes.
    loaded: int
    #: How many instances are fresh and not even read.
    skipped: int
    #: How long all that may be computed took the last time, added up; others of the same task stand for new calls.
    seconds: float
    #: How many of these were of tasks that never ran, and are not in `seconds`.
    unknown: int

    @property
    def fresh(self) -> int:
        """How many instances are fresh."""
        return self.loaded + self.skipped

    def __str__(self) -> str:
        lines = [
            f"{len(self.compute)} to compute, {len(self.maybe)} to compute after these, "
            f"{self.loaded} to load, {self.skipped} to skip; about {_duration(self.seconds)} of work"
            + (f" and {self.unknown} that never ran" if self.unknown else "")
        ]
        counts = Counter((instance.task.name, reason.cue.value) for instance, reason in self.compute.items())
        lines += [f"  {count} {name}: {cue}" for (name, cue), count in counts.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        title, *_ = str(self).splitlines()
        due = [
            (reason.call, str(reason).splitlines()[0].removeprefix(f"{reason.call}: "))
            for reason in self.compute.values()
        ]
        due += [(repr(instance), Cue.PENDING.value) for instance in self.maybe]
        if not due:
            return card(title, {})
        rest = [(f"and {len(due) - _SHOWN:,} more", "")] if len(due) > _SHOWN else []
        return card(title, {}, table(("to compute", "because"), [*due[:_SHOWN], *rest]))


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s"


def forecast(instances: Any, options: Mapping[str, Any]) -> Forecast:
    """Tell what running instances in any nesting would do; see `checkpoint.forecast`."""
    with surroundings(options) as (store, checked):
        found = _surveyed(roots_of(instances, "forecast() takes"), store, checked)
        explainer = _explainer(store, found, checked)
        graph, states = found.graph, found.plan.states
        due = [node for node, state in enumerate(states) if state in (State.READY, State.WAITING)]
        loaded = {node for node in graph.roots if states[node] is State.FRESH}
        loaded.update(above for node in due for above in graph.upstream[node] if states[above] is State.FRESH)
        durations = Durations(store, found)
        seconds = [durations.expected(node) for node in due]
        return Forecast(
            compute={graph.instances[node]: explainer.reason(node) for node in due if states[node] is State.READY},
            maybe=tuple(graph.instances[node] for node in due if states[node] is State.WAITING),
            loaded=len(loaded),
            skipped=len(graph) - len(due) - len(loaded),
            seconds=sum(found for found in seconds if found is not None),
            unknown=seconds.count(None),
        )


def reason(instance: Instance, options: Mapping[str, Any]) -> Reason:
    """Tell why running an instance would compute it, or not; runs nothing, reads metadata only."""
    with surroundings(options) as (store, checked):
        found = _surveyed([instance], store, checked)
        return _explainer(store, found, checked).reason(found.graph.roots[0])


def _surveyed(roots: list[Instance], store: Store, options: Options) -> Survey:
    return survey(roots, store, pools=options.pools, limits=options.limits, is_forced=options.is_forced)


def _explainer(store: Store, found: Survey, options: Options) -> Explainer:
    return Explainer(store, found, found.graph.roots if options.is_forced else ())
