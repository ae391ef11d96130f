"""Memory: what a warm run of a graph holds at its peak, per instance, as tracemalloc counts it.

Each size has a process of its own. Counted are Python's blocks from binding the root to the end of the run; the
values are not among them (a warm run decodes the root's alone), nor is what SQLite allocates.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import workloads
from benchmarks.measure import Figure, Goal, compare
from checkpoint import Task

_GOAL = Goal(1.5)


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with a dict that maps as many keys, as text, to a row of metadata each."""
    sizes = (1_000, 3_000) if quick else (1_000, 10_000, 100_000)
    links = 1_000 if quick else 10_000
    for shape, size in [*(("total", size) for size in sizes), ("link", links)]:
        name = f"memory, warm {'wide' if shape == 'total' else 'chain'} of {size:,}"
        found = _in_new_process(shape, size)
        run, base = found["run"], found["dict"]
        reference = ("dict of keys and rows", partial(float, base))
        yield from compare({name: partial(float, run)}, reference, "KB", rounds=1, goals={name: _GOAL})


def _in_new_process(shape: str, size: int) -> dict[str, float]:
    program = f"from benchmarks import bench_memory; bench_memory.print_peaks({shape!r}, {size})"
    root = Path(__file__).parent.parent
    output = subprocess.run([sys.executable, "-c", program], cwd=root, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(output.stdout)
    return found


def print_peaks(shape: str, size: int) -> None:
    """Print, as JSON, how many bytes per instance a run and a dict of the same size take at their peaks."""
    graph: Task[[int], int] = getattr(workloads, shape)
    with workloads.fresh_store():
        graph(size).run(executor="serial", progress=False)
        peaks = {
            "run": _peak(lambda: graph(size).run(progress=False)),
            "dict": _peak(lambda: {f'{{"number":{number}}}': bytes(64) + b"%d" % number for number in range(size)}),
        }
    print(json.dumps({name: peak / (size + 1) for name, peak in peaks.items()}))


def _peak(work: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    kept = work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return peak
