"""Warm: a new run over kept results in the same process, per instance; nothing is computed, one value is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import diskcache

from benchmarks.measure import Figure, Goal, Pass, compare, per_item
from benchmarks.workloads import choose, choose_count, fresh_folder, fresh_store, link, total

_GOAL = Goal(20.0)


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with `get` on a DiskCache of default settings; several sizes show whether the cost is flat."""
    sizes = (300, 1_000) if quick else (1_000, 10_000, 100_000)
    links, rows = (300, 20) if quick else (10_000, 60)
    graphs: dict[str, tuple[int, Callable[[], Any]]] = {
        f"warm wide, {size:,} leaves": (size + 1, lambda size=size: total(size)) for size in sizes
    }
    graphs[f"warm chain of {links:,}"] = (links + 1, lambda: link(links))
    graphs[f"warm choose({rows}, {rows // 2})"] = (choose_count(rows, rows // 2), lambda: choose(rows, rows // 2))
    with fresh_folder() as folder, diskcache.Cache(str(folder)) as cache:
        for number in range(1_000):
            cache.set(number, number)
        gets = per_item(lambda numbers: [cache.get(number) for number in numbers], range(1_000))
        for name, (count, make) in graphs.items():
            with fresh_store():
                make().run(executor="serial", progress=False)
                yield from compare(
                    {name: _run(make, count)},
                    ("DiskCache get", gets),
                    "us",
                    rounds=2 if quick else 7,
                    goals={name: _GOAL},
                )


def _run(make: Callable[[], Any], count: int) -> Pass:
    def timed() -> float:
        began = time.perf_counter()
        make().run(progress=False)
        return (time.perf_counter() - began) / count

    return timed
