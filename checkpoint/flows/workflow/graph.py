"""Graph: the tasks and groups of a workflow, what follows what, and the operators that say so.

Declared nodes come from the program; added ones from `next_task` while it runs. Members of a group are ordinary nodes
that belong to it. A join waits for those of its predecessors that can be reached without going through it.

Must not know: what tasks do, runs, channels.

Next: flows/workflow/tasks.py
"""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from typing import Any, Literal, final

from checkpoint.flows.workflow.branch import MergeRule
from checkpoint.flows.workflow.errors import ConfigError, DuplicateTaskError, GraphCompilationError

__all__ = ["CURRENT", "REGISTRY", "Executable", "Graph", "ParallelGroup", "SequentialTask", "chain", "parallel"]

#: The graph of the workflow whose `with` block is being executed.
CURRENT: contextvars.ContextVar[Graph | None] = contextvars.ContextVar("checkpoint-workflow", default=None)

#: Name of a workflow -> the graph that this process declared last under it.
REGISTRY: dict[str, Graph] = {}

BACKENDS = ("threads", "processes", "direct")
POLICIES = ("strict", "best_effort")


class Executable:
    """What can stand in a workflow: a task, a group, or a chain of them."""

    task_id: str
    #: The graph that it was last declared in.
    home: Graph | None = None

    @property
    def first(self) -> Executable:
        """Where it begins."""
        return self

    @property
    def last(self) -> Executable:
        """Where it ends."""
        return self

    def __rshift__(self, other: Executable) -> SequentialTask:
        """Run `other` after this."""
        _graph_of(self.last, other.first).connect(self.last, other.first)
        return SequentialTask(self, other)

    def __lshift__(self, other: Executable) -> SequentialTask:
        """Run this after `other`."""
        return other >> self

    def __or__(self, other: Executable) -> ParallelGroup:
        """Run this and `other` at the same time."""
        return parallel(self, other)


@final
class SequentialTask(Executable):
    """A chain of tasks and groups, made by `>>`."""

    def __init__(self, left: Executable, right: Executable) -> None:
        self.left, self.right = left, right
        self.task_id = f"{left.task_id} >> {right.task_id}"

    @property
    def first(self) -> Executable:
        """Where it begins."""
        return self.left.first

    @property
    def last(self) -> Executable:
        """Where it ends."""
        return self.right.last


@final
class ParallelGroup(Executable):
    """Tasks that run at the same time; what follows the group runs when all of them are done."""

    def __init__(self, task_id: str, members: list[str]) -> None:
        self.task_id = task_id
        #: Ids of the members, each the beginning of a branch.
        self.members = members
        self.backend: str = "threads"
        self.policy: str = "strict"
        self.max_workers: int | None = None
        self.merge: Mapping[str, MergeRule] = {}

    def set_group_name(self, name: str) -> ParallelGroup:
        """Give the group another id; return it."""
        if self.home is not None:
            self.home.rename(self, name)
        self.task_id = name
        return self

    def with_execution(
        self,
        backend: Literal["threads", "processes", "direct"] | None = None,
        backend_config: Mapping[str, Any] | None = None,
        policy: Literal["strict", "best_effort"] = "strict",
        *,
        merge: Mapping[str, MergeRule] | None = None,
    ) -> ParallelGroup:
        """Say how the members run; return the group.

        Args:
            backend: "threads" (default), "processes", or "direct": one after the other.
            backend_config: `max_workers` is how many run at the same time.
            policy: "strict" fails the group if a member fails; "best_effort" goes on with those that succeeded.
            merge: channel key -> function of the value before and the values that members wrote, for keys that
                several of them write.
        """
        found = backend or "threads"
        if found.lower() not in BACKENDS:
            raise ConfigError(f"backend of group {self.task_id}", f"must be one of {', '.join(BACKENDS)}, not {found}")
        if policy not in POLICIES:
            raise ConfigError(f"policy of group {self.task_id}", f"must be one of {', '.join(POLICIES)}, not {policy}")
        config = dict(backend_config or {})
        workers = config.pop("max_workers", None)
        if config:
            raise ConfigError(f"backend_config of group {self.task_id}", f"there is no option {', '.join(config)}")
        self.backend, self.policy, self.max_workers, self.merge = found.lower(), policy, workers, dict(merge or {})
        return self

    def __or__(self, other: Executable) -> ParallelGroup:
        """Add one more member."""
        graph = _graph_of(self, other.first)
        graph.add_member(self, other.first)
        return self


def chain(*tasks: Executable) -> SequentialTask:
    """Run tasks one after the other; the same as `a >> b >> c`."""
    if len(tasks) < 2:
        raise ValueError(f"chain needs at least 2 tasks, not {len(tasks)}")
    linked: Executable = tasks[0]
    for task in tasks[1:]:
        linked = linked >> task
    assert isinstance(linked, SequentialTask)
    return linked


def parallel(*tasks: Executable) -> ParallelGroup:
    """Run tasks at the same time; the same as `a | b | c`. A chain takes part as a branch of the group."""
    if len(tasks) < 2:
        raise ValueError(f"parallel needs at least 2 tasks, not {len(tasks)}")
    return _graph_of(*(task.first for task in tasks)).group([task.first for task in tasks])


def _graph_of(*nodes: Executable) -> Graph:
    """Return the graph that nodes are to be connected in: the current workflow's, or one that they have already."""
    graph = CURRENT.get() or next((node.home for node in nodes if node.home is not None), None) or Graph("")
    for node in nodes:
        graph.add(node)
    return graph


@final
class Graph:
    """Nodes by id, in the order of their declaration, and edges."""

    def __init__(self, name: str) -> None:
        #: Name of the workflow; "" while tasks belong to none.
        self.name = name
        #: Id -> task or group.
        self.nodes: dict[str, Executable] = {}
        #: Id -> ids of what follows it.
        self.edges: dict[str, list[str]] = {}
        #: Ids of nodes that were added while the workflow ran.
        self.added: set[str] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return _registered, (self.name,)

    def copy(self) -> Graph:
        """Return a copy to which nodes can be added; groups and tasks are shared."""
        graph = Graph(self.name)
        graph.nodes, graph.added = dict(self.nodes), set(self.added)
        graph.edges = {node: list(followers) for node, followers in self.edges.items()}
        return graph

    # --- declaring ---

    def add(self, node: Executable) -> None:
        """Add a task or a group, and what it was connected with before it came here.

        Raises:
            DuplicateTaskError: there is another one of that id.
        """
        known = self.nodes.get(node.task_id)
        if known is not None and known is not node:
            raise DuplicateTaskError(self.name, node.task_id)
        earlier = node.home
        self.nodes[node.task_id] = node
        self.edges.setdefault(node.task_id, [])
        node.home = self
        if earlier is not None and earlier is not self and not earlier.name:
            for other in list(earlier.nodes.values()):
                if other.home is earlier:
                    self.add(other)
            for before, followers in earlier.edges.items():
                for follower in followers:
                    self._connect(before, follower)

    add_node = add

    def add_new(self, node: Executable) -> None:
        """Add a task while the workflow runs, with what it is connected with; it takes the place of an earlier one."""
        is_loose = node.home is not None and node.home is not self and not node.home.name
        for each in list(node.home.nodes) if is_loose and node.home is not None else [node.task_id]:
            if each in self.added:
                del self.nodes[each]
        before = set(self.nodes)
        self.add(node)
        self.added |= set(self.nodes) - before

    def connect(self, before: Executable, after: Executable) -> None:
        """Let a node follow another."""
        self.add(before)
        self.add(after)
        self._connect(before.task_id, after.task_id)

    def _connect(self, before: str, after: str) -> None:
        followers = self.edges.setdefault(before, [])
        if after not in followers:
            followers.append(after)

    def group(self, members: list[Executable]) -> ParallelGroup:
        """Return a new group of nodes."""
        number = 1 + sum(isinstance(node, ParallelGroup) for node in self.nodes.values())
        while f"ParallelGroup_{number}" in self.nodes:
            number += 1
        group = ParallelGroup(f"ParallelGroup_{number}", [])
        self.add(group)
        for member in members:
            self.add_member(group, member)
        return group

    def add_member(self, group: ParallelGroup, member: Executable) -> None:
        """Add a member to a group; those of another group come over from it."""
        if isinstance(member, ParallelGroup) and not self.edges[member.task_id] and not self.before(member.task_id):
            del self.nodes[member.task_id], self.edges[member.task_id]
            for inner in member.members:
                group.members.append(inner)
        elif member.task_id not in group.members:
            group.members.append(member.task_id)

    def rename(self, node: Executable, name: str) -> None:
        """Give a node another id."""
        if name in self.nodes and self.nodes[name] is not node:
            raise DuplicateTaskError(self.name, name)
        old = node.task_id
        self.nodes = {name if key == old else key: value for key, value in self.nodes.items()}
        self.edges = {
            name if key == old else key: [name if each == old else each for each in followers]
            for key, followers in self.edges.items()
        }

    # --- asking ---

    def before(self, task_id: str) -> list[str]:
        """Return what a node directly follows."""
        return [node for node, followers in self.edges.items() if task_id in followers]

    def after(self, task_id: str) -> list[str]:
        """Return what directly follows a node."""
        return list(self.edges.get(task_id, ()))

    def members(self) -> set[str]:
        """Return the ids of all members of groups."""
        return {member for node in self.nodes.values() if isinstance(node, ParallelGroup) for member in node.members}

    def start(self) -> str:
        """Return the only node that follows nothing.

        Raises:
            GraphCompilationError: there is none, or more than one.
        """
        members = self.members()
        found = [node for node in self.nodes if not self.before(node) and node not in members]
        if len(found) != 1:
            told = f"{len(found)} of its tasks follow nothing ({', '.join(found) or 'it has none'})"
            raise GraphCompilationError(
                self.name, f"{told}; connect them with >>, or name one: execute(start_node=...)"
            )
        return found[0]

    def needed(self, task_id: str, start: str | None) -> set[str]:
        """Return which predecessors a node waits for: those that the start reaches without going through it."""
        seen: set[str] = set()
        waiting = [start] if start is not None and start != task_id else []
        while waiting:
            node = waiting.pop()
            if node in seen or node == task_id:
                continue
            seen.add(node)
            waiting += self.after(node)
            found = self.nodes.get(node)
            waiting += found.members if isinstance(found, ParallelGroup) else []
        return seen & set(self.before(task_id))


def _registered(name: str) -> Graph:
    return REGISTRY.get(name) or Graph(name)
