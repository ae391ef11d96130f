"""Graph: what a run can reach and what each part requires.

A body returns a `Runner`: the function that computes, and the structures of instances whose values it takes.
`Graph.of` evaluates bodies with a work list, each distinct instance once, without recursion of any kind.

Must not know: stores, executors, how a task is defined. It never reads an entry.

Next: values.py
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, final

from checkpoint.errors import CycleError

if TYPE_CHECKING:
    from checkpoint.codec import Codec
    from checkpoint.fingerprint import Code
    from checkpoint.store import Entry

__all__ = ["Graph", "Instance", "Item", "Runner", "TaskInfo", "instances_in", "with_values"]


class TaskInfo(Protocol):
    """What the kernel needs to know of a task; the options' meaning is told at `checkpoint.task`."""

    @property
    def name(self) -> str: ...
    @property
    def code(self) -> Code: ...
    @property
    def fingerprint(self) -> bytes: ...
    @property
    def on_change(self) -> str: ...
    @property
    def code_version(self) -> str: ...
    @property
    def defaults_added(self) -> frozenset[str]: ...
    @property
    def codec(self) -> Codec | None: ...
    @property
    def level(self) -> int | None: ...
    @property
    def max_concurrency(self) -> int | None: ...
    @property
    def pool(self) -> str | None: ...
    @property
    def retries(self) -> int: ...
    @property
    def timeout(self) -> float | None: ...
    @property
    def is_stored(self) -> bool: ...
    def should_warn_of_change(self) -> bool:
        """Tell, once per process, whether a change of code is to be warned of."""
        ...


class Instance:
    """What the kernel needs to know of a task bound to arguments: hashable, equal by task name and key."""

    __slots__ = ()

    #: Canonical text of the arguments.
    key: str
    #: The arguments in the order of the parameters; None where only the key has travelled.
    values: tuple[Any, ...] | None
    #: The entry whose value it has, whatever that was computed from; None to let freshness decide.
    pinned: Entry | None = None
    #: Whether it is to be computed whatever the store has.
    is_forced: bool = False

    @property
    def is_leaf(self) -> bool:
        """Whether it is known, without evaluating anything, that it requires nothing and is served as usual."""
        return False

    @property
    def task(self) -> TaskInfo:
        """The task."""
        raise NotImplementedError

    def evaluate(self) -> Runner:
        """Evaluate the body: what is required, and the function to call with the values of that."""
        raise NotImplementedError


@final
class Item:
    """A part of an instance's value: `instance["k"][0]` is the item of path `("k", 0)`."""

    __slots__ = ("instance", "path")

    def __init__(self, instance: Instance, path: tuple[Any, ...]) -> None:
        self.instance = instance
        self.path = path

    __iter__ = None  # else Python would count up indices for ever

    def __getitem__(self, index: Any) -> Item:
        return Item(self.instance, (*self.path, index))

    def __repr__(self) -> str:
        return repr(self.instance) + "".join(f"[{index!r}]" for index in self.path)

    def of(self, value: Any) -> Any:
        """Return this part of the instance's value."""
        for index in self.path:
            value = value[index]
        return value


@final
class Runner:
    """The function that computes an instance, and its arguments: one per requirement.

    A requirement is an instance, an item of one, or lists, tuples and dicts of these and of plain values.
    """

    __slots__ = ("_required", "_upstream", "function", "requirements")

    def __init__(
        self, function: Callable[..., Any], requirements: tuple[Any, ...] = (), required: list[Instance] | None = None
    ) -> None:
        """Take what is called, and with what.

        Args:
            function: what computes.
            requirements: one for each argument.
            required: the instances among them, in order, where these were looked for already.
        """
        self.function = function
        self.requirements = requirements
        self._required = required
        self._upstream: list[Instance] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself; the values of its requirements are the caller's business."""
        return self.function(*args, **kwargs)

    def required(self) -> list[Instance]:
        """Return the instances among the requirements, in order; one that is required twice is there twice."""
        found, self._required = self._required, None
        if found is None:
            found = instances_in(self.requirements) if self.requirements else []
        return found

    def upstream(self) -> list[Instance]:
        """Return the distinct instances among the requirements, in order."""
        if self._upstream is None:
            found = self.required()
            self._upstream = list(dict.fromkeys(found)) if len(found) > 1 else found
        return self._upstream


def instances_in(structure: Any) -> list[Instance]:
    """Return the instances in a nesting of lists, tuples and dicts, in order; those of items, too."""
    found: list[Instance] = []
    _gather(structure, found)
    return found


def _gather(structure: Any, found: list[Instance]) -> None:
    if isinstance(structure, Instance):
        found.append(structure)
    elif isinstance(structure, Item):
        found.append(structure.instance)
    elif type(structure) in (list, tuple):
        for part in structure:
            if isinstance(part, Instance):
                found.append(part)
            else:
                _gather(part, found)
    elif type(structure) is dict:
        for part in structure.values():
            _gather(part, found)


def with_values(structure: Any, value_of: Callable[[Instance], Any]) -> Any:
    """Return a copy of a requirement in which each instance and item is replaced by its value."""
    if isinstance(structure, Instance):
        return value_of(structure)
    if isinstance(structure, Item):
        return structure.of(value_of(structure.instance))
    if type(structure) is list:
        return [with_values(part, value_of) for part in structure]
    if type(structure) is tuple:
        return tuple([with_values(part, value_of) for part in structure])
    if type(structure) is dict:
        return {name: with_values(part, value_of) for name, part in structure.items()}
    return structure


_OPEN = -1
#: An instance whose requirements are being added, its runner, and where to go on then: the nodes of what is required
#: there, as far as these are known, and the rest of it.
_Step = tuple[Instance, Runner, list[int], Iterator[Instance]]


@final
class Graph:
    """The instances that a run can reach. A node is an index; what a node requires has smaller indices."""

    __slots__ = ("_nodes", "instances", "roots", "runners", "upstream")

    def __init__(self) -> None:
        #: Node -> instance.
        self.instances: list[Instance] = []
        #: Node -> the nodes it requires, distinct, in order.
        self.upstream: list[tuple[int, ...]] = []
        #: Node -> its runner, until it is taken.
        self.runners: list[Runner | None] = []
        #: Task name -> key -> node.
        self._nodes: defaultdict[str, dict[str, int]] = defaultdict(dict)
        #: The nodes that were asked for, in order.
        self.roots: list[int] = []

    def __len__(self) -> int:
        return len(self.instances)

    @classmethod
    def of(cls, roots: Iterable[Instance]) -> Graph:
        """Return the graph below some instances.

        Raises:
            CycleError: instances require each other; and whatever a body raises.

        Notes:
            Cost: each distinct instance's body is evaluated once; no recursion, so depth is limited by memory.
        """
        graph = cls()
        for root in roots:
            if root.key not in graph._nodes[root.task.name]:
                graph._add(root)
            graph.roots.append(graph.node_of(root.task.name, root.key))
        return graph

    def node_of(self, task: str, key: str) -> int:
        """Return the node of an instance.

        Raises:
            KeyError: it is not in the graph.
        """
        return self._nodes[task][key]

    def _add(self, root: Instance) -> None:
        trail: list[_Step] = []
        upstream: list[int] = []
        remaining = iter((root,))
        while True:
            for above in remaining:
                nodes = self._nodes[above.task.name]
                node = nodes.get(above.key)
                if node is None:
                    runner = above.evaluate()
                    required = runner.required()
                    if required:
                        nodes[above.key] = _OPEN
                        trail.append((above, runner, upstream, remaining))
                        upstream, remaining = [], iter(required)
                        break
                    node = self._settle(above, runner, ())
                elif node == _OPEN:
                    raise CycleError(_path([step[0] for step in trail], above))
                upstream.append(node)
            else:
                if not trail:
                    return
                instance, runner, below, remaining = trail.pop()
                below.append(self._settle(instance, runner, tuple(dict.fromkeys(upstream))))
                upstream = below

    def _settle(self, instance: Instance, runner: Runner, upstream: tuple[int, ...]) -> int:
        node = self._nodes[instance.task.name][instance.key] = len(self.instances)
        self.instances.append(instance)
        self.upstream.append(upstream)
        self.runners.append(runner)
        return node

    def take_runner(self, node: int) -> Runner:
        """Return a node's runner and forget it; a second time the body is evaluated again."""
        runner, self.runners[node] = self.runners[node], None
        return runner if runner is not None else self.instances[node].evaluate()


def _path(trail: list[Instance], again: Instance) -> tuple[str, ...]:
    return tuple(repr(instance) for instance in [*trail[trail.index(again) :], again])
