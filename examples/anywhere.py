"""One study that runs anywhere: executor and store are arguments, and the results are the same with all of them.

    python anywhere.py
    python anywhere.py --executor dask --store s3://bucket/prefix

Four stations each have a series of measurements, whose download fails at first and is tried again. Each pair of
stations is compared, and a table is written to a file. Needs NumPy, and what the executor and the store need. Prints:

    rhine    mean  -0.004  spread 0.992
    ... three more
    closest: elbe and oder (0.033)
    table: 10 lines, c79f29d0
    14 computed, 0 found
"""

import argparse
import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import combinations

import numpy as np

from checkpoint import File, memo, run_report, task_directory

STATIONS = ("rhine", "elbe", "oder", "spree")


@memo(retries=1)
def series(station: str, length: int) -> np.ndarray:
    tried = task_directory() / "tried"
    if not tried.exists():
        tried.touch()
        raise ConnectionError(f"{station} does not answer")
    return np.random.default_rng(list(station.encode())).normal(size=length)


@memo
def summary(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std())


@memo
def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(abs(np.sort(one) - np.sort(other)).mean())


@memo
def table(summaries: dict[str, tuple[float, float]], distances: dict[str, float]) -> File:
    file = File(task_directory() / "table.csv")
    lines = [f"{name},{mean:.6f},{spread:.6f}" for name, (mean, spread) in summaries.items()]
    lines += [f"{pair},{apart:.6f}" for pair, apart in distances.items()]
    file.path.write_text("\n".join(lines) + "\n")
    return file


def executor_named(name: str) -> AbstractContextManager[Executor | str]:
    """A pool of the way of starting processes or of the library of that name; else the name or address itself."""
    if name in multiprocessing.get_all_start_methods():
        return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(name))
    if name == "loky":
        import loky

        return loky.ProcessPoolExecutor(2)
    if name == "executorlib":
        import executorlib

        return executorlib.SingleNodeExecutor(max_workers=2, block_allocation=True)
    return nullcontext(name)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a small study anywhere.")
    parser.add_argument("--executor", default="processes", help="serial, threads, fork, loky, dask, ray, an address")
    parser.add_argument("--store", help="a folder, file:///folder?shared, s3://bucket/prefix, memory://name")
    given = parser.parse_args()

    measured = {station: series(station, 20_000) for station in STATIONS}
    summaries = {station: summary(values) for station, values in measured.items()}
    distances = {f"{a} and {b}": distance(measured[a], measured[b]) for a, b in combinations(STATIONS, 2)}
    with executor_named(given.executor) as executor:
        wanted = summaries, distances, table(summaries, distances)
        report = run_report(wanted, executor=executor, store=given.store, max_workers=2)
    means, apart, file = report.value
    for station, (mean, spread) in means.items():
        print(f"{station:<8} mean {mean:7.3f}  spread {spread:.3f}")
    closest = min(apart, key=apart.__getitem__)
    print(f"closest: {closest} ({apart[closest]:.3f})")
    print(f"table: {len(file.path.read_text().splitlines())} lines, {file.digest[:8]}")
    print(f"{report.computed} computed, {report.hit} found")


if __name__ == "__main__":
    main()
