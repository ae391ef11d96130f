"""Survey: what a graph needs and what the store has of it, before anything runs.

Must not know: executors, values.

Next: durations.py
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, final

from checkpoint import collector
from checkpoint.graph import Graph, Instance, TaskInfo
from checkpoint.plan import Plan
from checkpoint.revisions import Revisions
from checkpoint.store import Entry, Epoch, Store
from checkpoint.values import changed_files, check_codec
from checkpoint.version import row_of_entry

__all__ = ["Survey", "survey", "usable"]


class Survey(NamedTuple):
    """What the store knows of a graph before anything runs."""

    graph: Graph
    plan: Plan
    #: Node -> all entries of its key, usable or not.
    entries: list[Sequence[Entry]]
    #: What is known of the code of the stored tasks.
    revisions: dict[TaskInfo, Revisions]
    #: What `Store.changes` said before.
    changes: int
    #: Limit -> how many that count against it may run at once; task name -> the limits it counts against.
    limits: dict[str, int]
    limits_of: dict[str, tuple[str, ...]]
    #: Task name -> how many instances it has in the graph.
    counts: dict[str, int]


def survey(
    roots: Iterable[Instance],
    store: Store,
    *,
    pools: Mapping[str, int],
    limits: Mapping[str, int],
    is_forced: bool = False,
) -> Survey:
    """Build the graph below some instances and decide what is fresh; reads metadata only, creates nothing.

    Args:
        roots: what was asked for.
        store: where to look.
        pools: size of each named resource; 1 for others.
        limits: task name -> how many of its instances may run at once, instead of the task's own max_concurrency.
        is_forced: what was asked for is to be computed whatever the store has.

    Raises:
        CycleError, StoreError; and what bodies raise.
    """
    with collector.paused():
        changes = store.changes()
        graph = Graph.of(roots)
        by_task: defaultdict[TaskInfo, list[int]] = defaultdict(list)
        for node, instance in enumerate(graph.instances):
            by_task[instance.task].append(node)
        entries: list[Sequence[Entry]] = [()] * len(graph)
        candidates: list[Sequence[Entry]] = [()] * len(graph)
        revisions: dict[TaskInfo, Revisions] = {}
        epochs: dict[int, Epoch] = {}
        for task, nodes in by_task.items():
            keys = [graph.instances[node].key for node in nodes]
            if task.is_stored:
                check_codec(store, task)
                found = store.lookup(task.name, keys)
                known = revisions[task] = Revisions(store, task)
                for node, key in zip(nodes, keys, strict=True) if found else ():
                    if (editions := found.get(key)) is not None:
                        entries[node] = editions
                        first = editions[0]
                        is_common = len(editions) == 1 and first.fingerprint == known.present and not first.has_files
                        candidates[node] = (
                            editions if is_common else usable(store, known, graph.instances[node], editions)
                        )
            else:
                epochs.update(zip(nodes, store.epochs(task.name, keys), strict=True))
        capacities = _Capacities(graph, by_task, pools, limits)
        for node in graph.roots:
            candidates[node] = [entry for entry in candidates[node] if not (entry.is_collected or is_forced)]
        for node in [node for node, each in enumerate(graph.instances) if each.is_forced or each.pinned is not None]:
            pinned = graph.instances[node].pinned
            candidates[node] = () if graph.instances[node].is_forced or pinned is None else (pinned,)
        plan = Plan(graph, candidates, epochs, capacities.sizes, capacities.limits_of)
        counts = dict.fromkeys(capacities.by_task, 0)
        for task, nodes in by_task.items():
            counts[task.name] += len(nodes)
        return Survey(graph, plan, entries, revisions, changes, capacities.sizes, capacities.by_task, counts)


def usable(store: Store, revisions: Revisions, instance: Instance, entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return the entries of an instance that the policy allows and whose files are as they were, the best first."""
    return [entry for entry in revisions.candidates(entries) if _is_intact(store, instance, entry)]


def _is_intact(store: Store, instance: Instance, entry: Entry) -> bool:
    """Tell whether the files that belong to an entry's value are as they were."""
    return not entry.has_files or not changed_files(store, instance.task.name, row_of_entry(instance.key, entry))


@final
class _Capacities:
    """What each task counts against: its own max_concurrency, its pool."""

    def __init__(
        self, graph: Graph, tasks: Iterable[TaskInfo], pools: Mapping[str, int], limits: Mapping[str, int]
    ) -> None:
        self.sizes: dict[str, int] = {}
        self.by_task: dict[str, tuple[str, ...]] = {}
        self._graph = graph
        for task in {task.name: task for task in tasks}.values():
            names = []
            most = limits.get(task.name, task.max_concurrency)
            if most is not None:
                names.append(f"task {task.name}")
                self.sizes[names[-1]] = most
            if task.pool is not None:
                names.append(f"pool {task.pool}")
                self.sizes[names[-1]] = pools.get(task.pool, 1)
            self.by_task[task.name] = tuple(names)

    def limits_of(self, node: int) -> tuple[str, ...]:
        return self.by_task[self._graph.instances[node].task.name]
