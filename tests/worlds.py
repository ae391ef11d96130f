"""One task that behaves like a node of an oracle's world; importable, so that every executor can run it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from oracle import World

from checkpoint import requires, task


class NodeFailure(Exception):
    """Raised by failing nodes."""


_place: list[Path] = []


def live_in(path: Path) -> None:
    """Say where this process finds the world."""
    _place[:] = [path]


def load() -> World:
    """Return the world as its file has it now: what an edit of a program would change."""
    found = json.loads(_place[0].read_text())
    return World(found["requires"], found["codes"], set(found["failing"]))


def save(world: World, path: Path) -> None:
    """Make a world the current one."""
    path.write_text(json.dumps({"requires": world.requires, "codes": world.codes, "failing": sorted(world.failing)}))


@task
def node(number: int) -> Callable[[], int]:
    world = load()

    @requires([node(other) for other in world.requires[number]])
    def run_task(inputs: list[int]) -> int:
        if number in world.failing:
            raise NodeFailure(number)
        return world.value(number, inputs)

    return run_task
