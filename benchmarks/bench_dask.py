"""Dask: what a run costs on a cluster, per task, beside a plain `Client.map` of the same functions, kept nowhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.measure import Figure, Goal, Pass, compare
from benchmarks.workloads import fresh_store, pause, paused
from checkpoint import run

_GOAL = Goal(1.3, is_ratio=True)


def figures(quick: bool) -> Iterator[Figure]:
    """Compare on two workers of this computer, with tasks of no length and of 10 ms; results are gathered by both."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", scheduler_kwargs={"dashboard": False}
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        for seconds, count in ((0.0, 100 if quick else 1_000), (0.01, 20 if quick else 400)):
            what = f"{count:,} tasks of {seconds * 1000:g} ms on Dask"
            reference = (f"Client.map, {seconds * 1000:g} ms", _mapped(client, count, seconds))
            subjects = {what: _run(client, count, seconds)}
            yield from compare(subjects, reference, "us", rounds=1 if quick else 5, goals={what: _GOAL})


def _run(client: Any, count: int, seconds: float) -> Pass:
    def timed() -> float:
        with fresh_store():
            began = time.perf_counter()
            run([paused(number, seconds) for number in range(count)], executor=client, progress=False)
            return (time.perf_counter() - began) / count

    return timed


def _mapped(client: Any, count: int, seconds: float) -> Pass:
    function: Callable[[int, float], int] = pause

    def timed() -> float:
        began = time.perf_counter()
        client.gather(client.map(function, range(count), [seconds] * count, pure=False))
        return (time.perf_counter() - began) / count

    return timed
