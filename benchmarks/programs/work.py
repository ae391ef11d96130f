"""One body of work, told as nodes with what they require; every program here does it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

#: ("leaf", 3), ("choose", 10, 4), ...: what a node is, and its numbers.
Key = tuple[Any, ...]
#: Node -> its function and the nodes whose values that takes, the required ones first.
Nodes = dict[Key, tuple[Callable[..., Any], list[Key]]]


def one() -> int:
    """Be the edge of Pascal's triangle."""
    return 1


def add(first: int, second: int) -> int:
    """Be the inside of it."""
    return first + second


def increment(number: int) -> int:
    """Be a link of a chain."""
    return number + 1


def leaf(number: int) -> int:
    """Compute next to nothing."""
    return number


def long_leaf(number: int) -> int:
    """Compute for 50 ms."""
    end = time.perf_counter() + 0.05
    while time.perf_counter() < end:
        pass
    return number


class Work(NamedTuple):
    """`choose`: C(size, size / 2) by Pascal's rule; `wide`: so many leaves and their sum; `chain`: so many links."""

    kind: str
    size: int

    @property
    def root(self) -> Key:
        """The node that is asked for."""
        return (self.kind, self.size, self.size // 2) if self.kind == "choose" else (self.kind, self.size)

    @property
    def value(self) -> int:
        """The root's value."""
        if self.kind == "choose":
            return math.comb(self.size, self.size // 2)
        return self.size if self.kind == "chain" else self.size * (self.size - 1) // 2

    def nodes(self) -> Nodes:
        """Return all that is needed for the root."""
        return {"choose": self._choose, "wide": self._wide, "chain": self._chain}[self.kind]()

    def _choose(self) -> Nodes:
        nodes: Nodes = {}
        half = self.size // 2
        for n in range(1, self.size + 1):
            for k in range(max(0, half - (self.size - n)), min(n, half) + 1):
                upstream = [("choose", n - 1, k - 1), ("choose", n - 1, k)] if 0 < k < n else []
                nodes["choose", n, k] = (add if upstream else one), upstream
        return nodes

    def _wide(self) -> Nodes:
        nodes: Nodes = {("leaf", number): (leaf, []) for number in range(self.size)}
        return {**nodes, self.root: (sum, list(nodes))}

    def _chain(self) -> Nodes:
        nodes: Nodes = {("chain", 0): (leaf, [])}
        for length in range(1, self.size + 1):
            nodes["chain", length] = increment, [("chain", length - 1)]
        return nodes


def evaluate(key: Key, function: Callable[..., Any], values: list[Any]) -> Any:
    """Call a node's function: a sum takes a list, a leaf its number."""
    if function is sum:
        return sum(values)
    return leaf(key[1]) if function is leaf else function(*values)


def as_text(key: Key) -> str:
    """Return the text of a key."""
    return json.dumps(key, separators=(",", ":"))
