"""The slow, obvious way to decide what a run computes, and random programs to compare it with.

A world is a graph of numbered nodes: what each requires (smaller numbers), the code that each has (a number that
goes into its value), and which ones fail. The oracle keeps, for each node, every value with what it was computed from;
a node is computed when nothing that it keeps was computed from what there is now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class World:
    """What the tasks of `tests/worlds.py` do; sent to every process as an argument of each task, in short form."""

    requires: list[list[int]]
    #: Node -> what it adds to the sum of its inputs; 0 gives the same value whatever its inputs' parity is.
    codes: list[int]
    failing: set[int] = field(default_factory=set)

    def value(self, node: int, inputs: list[int]) -> int:
        """Return the value of a node: coarse, so that different inputs often give the same value."""
        return (sum(inputs) + self.codes[node]) % 3


@dataclass
class Kept:
    """What the oracle remembers of a computed node."""

    value: int
    generation: Any
    made_from: Any


class Oracle:
    """Keeps results like a store, by the definition of freshness and nothing else."""

    def __init__(self) -> None:
        self.kept: dict[int, list[Kept]] = {}
        #: What the last run used of each node.
        self.used: dict[int, Kept] = {}
        self.clears: dict[int, int] = {}

    def clear(self, node: int) -> None:
        """Forget a node; everything below has another generation from now on."""
        self.kept.pop(node, None)
        self.clears[node] = self.clears.get(node, 0) + 1

    def lose(self, node: int) -> None:
        """Lose a node's result without a clear."""
        self.kept.pop(node, None)

    def run(self, world: World, root: int) -> tuple[set[int], set[int]]:
        """Return which nodes a run of `root` computes, and which fail; keeps what was computed."""
        computed: set[int] = set()
        failed: set[int] = set()
        settled: dict[int, bool] = {}

        def settle(node: int) -> bool:
            if node not in settled:
                above = world.requires[node]
                settled[node] = all([settle(other) for other in above]) and attempt(node, above)
            return settled[node]

        def attempt(node: int, above: list[int]) -> bool:
            inputs = list(dict.fromkeys(above))
            made_from = [(other, self.used[other].generation, self.used[other].value) for other in inputs]
            for kept in self.kept.get(node, []):
                if kept.made_from == made_from:
                    self.used[node] = kept
                    return True
            if node in world.failing:
                failed.add(node)
                return False
            cleared = [generation for other in inputs if (generation := self.used[other].generation) is not None]
            clears = self.clears.get(node, 0)
            generation = (clears, cleared) if clears or cleared else None
            value = world.value(node, [self.used[other].value for other in above])
            self.used[node] = Kept(value, generation, made_from)
            still_useful = [kept for kept in self.kept.get(node, []) if kept.generation == generation]
            self.kept[node] = [*still_useful, self.used[node]]
            computed.add(node)
            return True

        settle(root)
        return computed, failed
