"""Diagrams: what requires what, as boxes and arrows: of a graph that could run, or of stored calls.

Must not know: how a diagram is drawn.

Next: drawings.py
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from checkpoint.inventory import StoredCall
from checkpoint.lineage import Lineage
from checkpoint.plan import State
from checkpoint.reasons import described
from checkpoint.runs import roots_of, surroundings
from checkpoint.store import Store
from checkpoint.survey import survey
from checkpoint.version import key_of

__all__ = ["Box", "Diagram", "Standing", "by_task", "diagram_of", "lineage_diagram"]


class Standing(enum.Enum):
    """What is to be said of a box."""

    FRESH = "fresh"
    DUE = "to compute"
    MAYBE = "to compute after these"
    GONE = "no longer kept"
    #: More than one of them.
    MIXED = "in part to compute"


@final
@dataclass(frozen=True, slots=True)
class Box:
    """An instance, or all instances of a task."""

    label: str
    task: str
    standing: Standing


@final
@dataclass(frozen=True, slots=True)
class Diagram:
    """Boxes, and arrows from what is required to what requires it, as places of boxes; no arrow twice."""

    boxes: tuple[Box, ...]
    arrows: tuple[tuple[int, int], ...]


_STANDINGS = {State.FRESH: Standing.FRESH, State.READY: Standing.DUE, State.WAITING: Standing.MAYBE}


def diagram_of(instances: Any, options: Mapping[str, Any]) -> Diagram:
    """Return the graph of instances in any nesting; runs nothing, reads metadata only. Options are those of `run`."""
    with surroundings(options) as (store, checked):
        roots = roots_of(instances, "a diagram is made of")
        found = survey(roots, store, pools=checked.pools, limits=checked.limits, is_forced=checked.is_forced)
    boxes = [
        Box(repr(instance), instance.task.name, _STANDINGS[state])
        for instance, state in zip(found.graph.instances, found.plan.states, strict=True)
    ]
    arrows = [(above, node) for node, upstream in enumerate(found.graph.upstream) for above in upstream]
    return Diagram(tuple(boxes), tuple(arrows))


def lineage_diagram(store: Store, calls: Iterable[StoredCall]) -> Diagram:
    """Return what stored calls were computed from, directly or not, as their entries record it."""
    boxes: list[Box] = []
    arrows: dict[tuple[int, int], None] = {}
    places: dict[tuple[str, str, str | None], int] = {}

    def place_of(lineage: Lineage) -> int:
        if lineage.at not in places:
            places[lineage.at] = len(boxes)
            standing = Standing.FRESH if lineage.is_kept else Standing.GONE
            boxes.append(Box(described(lineage.task, key_of(lineage.at[1])), lineage.task, standing))
            pending.append(lineage)
        return places[lineage.at]

    pending: list[Lineage] = []
    for call in calls:
        place_of(Lineage(store, call.task, call.row))
    while pending:
        lineage = pending.pop()
        below = places[lineage.at]
        for above in lineage.upstream():
            arrows[place_of(above), below] = None
    return Diagram(tuple(boxes), tuple(arrows))


def by_task(diagram: Diagram) -> Diagram:
    """Return a diagram with one box for each task; arrows of a task to itself are left out."""
    tasks = Counter(box.task for box in diagram.boxes)
    places = {task: place for place, task in enumerate(tasks)}
    standings: dict[str, set[Standing]] = {}
    for box in diagram.boxes:
        standings.setdefault(box.task, set()).add(box.standing)
    boxes = [Box(f"{task} ({count:,})", task, _common(standings[task])) for task, count in tasks.items()]
    between = ((places[diagram.boxes[a].task], places[diagram.boxes[b].task]) for a, b in diagram.arrows)
    return Diagram(tuple(boxes), tuple(dict.fromkeys((a, b) for a, b in between if a != b)))


def _common(standings: set[Standing]) -> Standing:
    return next(iter(standings)) if len(standings) == 1 else Standing.MIXED
