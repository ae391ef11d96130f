"""Scale: what the driver costs per instance, simulated up to 10,000 workers, and measured on processes and Dask here.

`python -m benchmarks.scale [--instances N] [--workers N] [--measure]`
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.simulation import SimulatedWorkers, Weather, simulated
from benchmarks.workloads import fresh_folder, fresh_store, paused
from checkpoint import run_report
from checkpoint.store import Settings, current_store
from checkpoint.store.shared.address import reopened
from checkpoint.store.shared.memory import MemoryObjects
from checkpoint.store.shared.shared import SharedStore


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="Measure and simulate scale.")
    parser.add_argument("--instances", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[16, 1_000, 10_000])
    parser.add_argument("--seconds", type=float, default=10.0, help="what an instance takes, in virtual time")
    parser.add_argument("--loss", type=float, default=0.001, help="how many batches lose their worker")
    parser.add_argument("--measure", action="store_true", help="measure 2 to 16 processes instead of simulating")
    options = parser.parse_args(arguments)
    if options.measure:
        for workers in (2, 4, 8, 16):
            for seconds in (0.0, 0.05):
                _measure(workers, seconds)
        for workers in (2, 4, 8, 16):
            _measure_dask(workers)
        for seconds in (0.0, 0.03):
            _measure_requests(seconds)
        return
    for workers in options.workers:
        for count in options.instances:
            _simulate(count, workers, Weather(workers, options.loss, 0.001, 0.01, options.seconds))


def _simulate(count: int, workers: int, weather: Weather) -> None:
    with fresh_store():
        roots = [paused(number, 0.0) for number in range(count)]
        cluster = SimulatedWorkers(weather, seed=1)
        gc.collect()
        began = time.perf_counter()
        outcome = simulated(roots, current_store(), cluster)
        took = time.perf_counter() - began
    computed = sum(each.computed for each in outcome.counts.values())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ideal = count * weather.seconds / workers
    print(
        f"{count:>9,} instances, {workers:>6,} workers: driver {took / count * 1e6:6.1f} us an instance, "
        f"{computed:,} computed, {len(outcome.failures)} given up, {sum(cluster.lost.values()):,} lost, "
        f"{cluster.submissions:,} batches, "
        f"virtual time {cluster.now:,.0f} s ({cluster.now / ideal:.2f} x ideal), peak {peak_mb:,.0f} MB",
        flush=True,
    )


def _measure_dask(workers: int) -> None:
    """Measure on threads of one worker process; the scheduler is a process of its own, whose time isn't counted."""
    from distributed import Client, SubprocessCluster

    with (
        SubprocessCluster(
            n_workers=1, threads_per_worker=workers, dashboard_address=":0", scheduler_kwargs={"dashboard": False}
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        run_report(paused(-1, 0.0), executor=client, progress=False)
        for seconds in (0.0, 0.05):
            _measure(workers, seconds, client)


def _measure_requests(seconds: float) -> None:
    """Count what a run asks of a place of objects, cold and warm."""
    count, asked = 200, Counter[str]()
    objects = MemoryObjects()
    for name in ("names", "get", "put", "create", "delete"):
        setattr(objects, name, _counted(name, getattr(objects, name), asked))
    with fresh_folder() as folder:
        store = SharedStore(
            "memory://requests", objects, None, f"{folder}/files", f"{folder}/claims", Settings(), reopened
        )
        for state in ("cold", "warm"):
            wanted = [paused(number, seconds) for number in range(count)]
            run_report(wanted, executor="threads", max_workers=4, store=store, progress=False)
            told = ", ".join(f"{asked[name] / count:.2f} {name}" for name in sorted(asked))
            print(f"{seconds * 1000:3g} ms, {state}: requests an instance: {told}", flush=True)
            asked.clear()


def _counted(name: str, call: Any, asked: Counter[str]) -> Any:
    def counting(*given: Any) -> Any:
        asked[name] += given != ([],)  # deleting nothing asks nobody
        return call(*given)

    return counting


def _measure(workers: int, seconds: float, executor: Any = "processes") -> None:
    count = 2_000 if seconds == 0 else 40 * workers
    with fresh_store():
        began, cpu = time.perf_counter(), time.process_time()
        report = run_report(
            [paused(number, seconds) for number in range(count)],
            executor=executor, max_workers=workers, progress=False)  # fmt: skip
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    kind = executor if isinstance(executor, str) else "workers of Dask"
    print(
        f"{workers:>3} {kind}, {seconds * 1000:3g} ms: {took / count * 1e6:8.0f} us an instance, "
        f"driver {cpu / count * 1e6:6.0f} us of processor, {report.computed} computed, "
        f"{count * seconds / workers / took:.2f} of ideal speed",
        flush=True,
    )


if __name__ == "__main__":
    main()
