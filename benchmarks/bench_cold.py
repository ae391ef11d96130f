"""Cold: the first run of graphs of tiny tasks, per task; binding, bodies, keys and the store's creation included."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import diskcache

from benchmarks.measure import Figure, Goal, Pass, compare
from benchmarks.workloads import choose, choose_count, fresh_folder, fresh_store, link, total

_SERIAL_GOAL = Goal(3.0, is_ratio=True)


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with as many `set` calls on a new DiskCache of default settings."""
    leaves, rows, links = (300, 20, 200) if quick else (3_000, 60, 1_000)
    graphs: dict[str, tuple[int, Callable[[], Any]]] = {
        f"wide, {leaves:,} leaves": (leaves + 1, lambda: total(leaves)),
        f"choose({rows}, {rows // 2})": (choose_count(rows, rows // 2), lambda: choose(rows, rows // 2)),
        f"chain of {links:,}": (links + 1, lambda: link(links)),
    }
    for graph, (count, make) in graphs.items():
        subjects = {
            f"cold {graph}, {executor}": _run(make, executor, count) for executor in ("serial", "threads", "processes")
        }
        goals = {f"cold {graph}, serial": _SERIAL_GOAL}
        subjects[f"DiskCache get + set, as many as {graph}"] = _cache(count, looks_first=True)
        reference = ("DiskCache set", _cache(count, looks_first=False))
        yield from compare(subjects, reference, "us", rounds=1 if quick else 5, goals=goals)


def _run(make: Callable[[], Any], executor: str, count: int) -> Pass:
    def timed() -> float:
        with fresh_store():
            began = time.perf_counter()
            make().run(executor=executor, max_workers=2, progress=False)
            return (time.perf_counter() - began) / count

    return timed


def _cache(count: int, *, looks_first: bool) -> Pass:
    def timed() -> float:
        with fresh_folder() as folder:
            began = time.perf_counter()
            with diskcache.Cache(str(folder)) as cache:
                for number in range(count):
                    if not looks_first or cache.get(number) is None:
                        cache.set(number, number)
                return (time.perf_counter() - began) / count

    return timed
