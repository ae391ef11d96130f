"""Pipeline: a chain of tiny stages, per stage, so that all of the time is overhead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Figure, compare, per_item
from benchmarks.workloads import fresh_folder, fresh_store, increment, stages
from checkpoint.flows.pipeline import Config


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with the same calls, each result written to a file of its own with `json.dump`."""
    for count in (10, 100) if quick else (10, 1_000):
        pipeline = stages(count)
        places = range(count)
        with fresh_folder() as folder, fresh_store():
            yield from compare(
                {
                    f"pipeline of {count:,}, joined": per_item(lambda every: stages(len(every)), places),
                    f"pipeline of {count:,}, run and stored": per_item(
                        lambda every, run=pipeline: run(progress=False), places
                    ),
                    f"pipeline of {count:,}, run, not stored": per_item(
                        lambda every, run=pipeline: run(Config(store=False, progress=False)), places
                    ),
                    f"pipeline of {count:,}, loaded": per_item(
                        lambda every, run=pipeline: run(Config(load=True, progress=False)), places
                    ),
                },
                ("calls and json.dump", per_item(lambda every, where=folder: _by_hand(every, where), places)),
                "us",
                rounds=2 if quick else 7,
            )


def _by_hand(places: range, folder: Path) -> None:
    number = 0
    for place in places:
        number = increment.func(number)
        with open(folder / f"{place}.json", "w") as file:
            json.dump(number, file)
