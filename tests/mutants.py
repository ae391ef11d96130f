"""Tasks that change what they are given, and others that only look at it, for every kind of value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from checkpoint import memo, requires, task

KINDS = ["list", "dict", "set", "array", "frame", "object"]


class Holder:
    """A value with state."""

    def __init__(self) -> None:
        self.part = [1]


@memo
def made(kind: str) -> Any:
    """Make a value that can be changed."""
    import numpy as np
    import pandas as pd

    values = {
        "list": [1, 2],
        "dict": {"a": [1]},
        "set": {1, "a", 2.5},
        "array": np.zeros(3),
        "frame": pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
        "object": Holder(),
    }
    return values[kind]


def spoil(kind: str, value: Any) -> int:
    """Change a value in place."""
    if kind == "list":
        value.append(3)
    elif kind == "dict":
        value["a"].append(2)
    elif kind == "set":
        value.add(4)
    elif kind == "array":
        value[0] = 1
    elif kind == "frame":
        value.loc[0, "a"] = 7
    else:
        value.part.append(2)
    return 1


@task
def mutating(kind: str, given: Any) -> Callable[[], int]:
    @requires(given)
    def run_task(value: Any) -> int:
        return spoil(kind, value)

    return run_task


@memo
async def mutating_while_waiting(kind: str, value: Any) -> int:
    return spoil(kind, value)


@memo
def reading(kind: str, value: Any) -> int:
    """Look at a value in ways that don't change it."""
    if kind == "frame":
        seen = [value["a"].sum(), value.groupby("b").a.mean(), value.describe(), value.T, value.sort_values("a")]
    elif kind == "array":
        seen = [value.sum(), value.T, value.reshape(-1, 1).mean(), value.copy()]
    elif kind == "object":
        seen = [value.part, hash(value), vars(value)]
    else:
        seen = [len(value), sorted(map(str, value)), list(value), str(value)]
    return 2 if seen else 0
