"""Keys: from the arguments of a call to its values, and from these to the text of the key."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from benchmarks.measure import Figure, compare, per_call
from benchmarks.workloads import leaf
from checkpoint.keys import encode
from checkpoint.signatures import Signature

_ARGUMENTS: dict[str, Any] = {
    "path": "data/images/train.csv",
    "seed": 3,
    "rate": 0.001,
    "layers": [64, 64, 10],
    "options": {"depth": 4, "shuffle": False, "loss": None},
}


def _train(path: str, seed: int, rate: float, layers: list[int], options: dict[str, Any], fold: int = 0) -> None:
    pass


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with the standard library's ways to the same."""
    count = 300 if quick else 5_000
    ours, plain = Signature(_train, "train"), inspect.signature(_train)
    values = tuple(_ARGUMENTS.values())

    def bind_plainly() -> object:
        bound = plain.bind(*values)
        bound.apply_defaults()
        return bound

    yield from compare(
        {
            "key of five arguments": per_call(lambda: encode(_ARGUMENTS), count),
            "key of one number, with its call": per_call(lambda: leaf(7), count),
        },
        ("json.dumps(sort_keys=True)", per_call(lambda: json.dumps(_ARGUMENTS, sort_keys=True), count)),
        "us",
    )
    yield from compare(
        {"bind five arguments": per_call(lambda: ours.bind(values, {}), count)},
        ("inspect.Signature.bind", per_call(bind_plainly, count)),
        "us",
    )
    yield from compare(
        {"bind five arguments by name": per_call(lambda: ours.bind((), _ARGUMENTS), count)},
        ("inspect.Signature.bind", per_call(bind_plainly, count)),
        "us",
    )
