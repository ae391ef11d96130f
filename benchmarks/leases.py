"""What leases cost in a shared store: `python -m benchmarks.leases URL [processes]`.

Prints how long one request takes, what an instance costs with and without leases, and how many leases processes of as
many hosts take when all want the same.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier

from checkpoint import memo, run_report
from checkpoint.store.shared.address import shared_store
from checkpoint.store.shared.owner import Owner

NAMES, INSTANCES, LEASE_SECONDS = 50, 20, 30.0


@memo
def nothing(text: str) -> str:
    """Return what was given."""
    return text


@memo
def tenth(text: str) -> str:
    """Take 0.1 seconds."""
    time.sleep(0.1)
    return text


def measure_runs(url: str) -> None:
    """Print what an instance takes with and without leases."""
    mark = os.urandom(4).hex()
    for lease in ("0", "30"):
        joint = "&" if "?" in url else "?"
        there = f"{url}{joint}lease={lease}"
        for task in (nothing, tenth):
            run_report(task(f"{mark} {lease}"), store=there, executor="serial")
            began = time.perf_counter()
            run_report([task(f"{mark} {lease} {n}") for n in range(INSTANCES)], store=there, executor="serial")
            each = (time.perf_counter() - began) / INSTANCES
            print(f"lease={lease}: {task.name} {1000 * each:.0f} ms each")


def compete(url: str, line: Barrier, results: multiprocessing.SimpleQueue[tuple[int, int, float, float]]) -> None:
    """Take and give back leases of the same names as others, as one of many hosts."""
    owner = Owner(shared_store(url)._objects, LEASE_SECONDS)
    latencies, taken = [], 0
    line.wait()
    started = time.perf_counter()
    for name in range(NAMES):
        began = time.perf_counter()
        is_mine = owner.acquire(name, "")
        latencies.append(time.perf_counter() - began)
        if is_mine:
            taken += 1
            owner.release([name])
    results.put((taken, len(latencies), statistics.median(latencies), time.perf_counter() - started))


def main() -> None:
    """Measure."""
    url, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 16
    os.environ["CP_LOCAL_DIR"] = tempfile.mkdtemp()
    measure_runs(url)
    context = multiprocessing.get_context("spawn")
    for processes in (1, count):
        line, results = context.Barrier(processes), context.SimpleQueue()
        started = [context.Process(target=compete, args=(url, line, results)) for _ in range(processes)]
        for process in started:
            process.start()
        found = [results.get() for _ in started]
        seconds = max(item[3] for item in found)
        for process in started:
            process.join()
        asked, median = sum(item[1] for item in found), statistics.median(item[2] for item in found)
        print(f"{processes} processes: {asked} attempts, {sum(item[0] for item in found)} leases, "
              f"{asked / seconds:.0f} attempts/s, median {1000 * median:.1f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
