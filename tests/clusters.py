"""Dask clusters of separate processes, each in a folder of its own, for tests that kill them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import checkpoint

#: Where the package is, for processes that have nothing else of this project.
PACKAGE = str(Path(checkpoint.__file__).parent.parent)


class Cluster:
    """A scheduler and workers, in processes that know only the package."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self.address = ""
        self._count = 0

    def _start(self, name: str, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        place = self.folder / name
        place.mkdir(parents=True)
        kept = {key: value for key, value in os.environ.items() if key not in ("CP_CACHE_DIR", "PYTHONPATH")}
        with open(place / "log", "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=place,
                env={**kept, "PYTHONPATH": PACKAGE, "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "1h", **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_scheduler(self, port: int = 0) -> None:
        """Start a scheduler; its port is chosen where none is given."""
        self._count += 1
        file = self.folder / f"scheduler-{self._count}.json"
        self.scheduler = self._start(
            f"scheduler-{self._count}", "distributed.cli.dask_scheduler", "--port", str(port), "--no-dashboard",
            "--host", "127.0.0.1", "--scheduler-file", str(file))  # fmt: skip
        wait_for(lambda: _address_in(file))
        self.address = _address_in(file)

    def start_worker(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker without a nanny, so that a killed one stays dead."""
        self._count += 1
        worker = self._start(
            f"worker-{self._count}", "distributed.cli.dask_worker", self.address, "--nthreads", "1", "--no-nanny",
            "--no-dashboard", "--death-timeout", "60", *options, **environment)  # fmt: skip
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        """Kill everything."""
        for process in (*self.workers, self.scheduler):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _address_in(file: Path) -> str:
    """Return the address that a scheduler wrote; "" as long as it hasn't."""
    try:
        return str(json.loads(file.read_text())["address"])
    except (OSError, ValueError):
        return ""


@contextlib.contextmanager
def cluster_in(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """Yield a running cluster."""
    cluster = Cluster(folder)
    try:
        cluster.start_scheduler()
        for _ in range(workers):
            cluster.start_worker()
        yield cluster
    finally:
        cluster.close()


def wait_for(condition: object, seconds: float = 60.0) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it does not hold in time.
    """
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come about")
        time.sleep(0.02)
