"""Programs: interpreter, imports, graph, computing and keeping; "warm" is a new process over what was kept.

Of programs with one process the processor time counts, as it hardly depends on what else the machine does; of those
with several the time on the wall.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Figure, Goal, Pass, compare

_ROOT = Path(__file__).parent.parent
_EACH, _LOOP = "plain.diskcache_each", "plain.callback_loop"
#: Work -> executor -> reference, goals cold and warm.
_GOALS: dict[tuple[str, int], dict[str, tuple[str, float, float | None]]] = {
    ("choose", 100): {"serial": (_EACH, 0.9, 1.2)},
    ("wide", 10_000): {"serial": (_EACH, 0.7, 1.0), "processes": (_LOOP, 0.5, None)},
    ("chain", 20_000): {"serial": (_EACH, 1.0, 1.0)},
}
_TITLES = {_EACH: "DiskCache get + set", _LOOP: "callback loop, DiskCache in 2 workers"}


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with programs that do the same work with a bare DiskCache."""
    for (kind, size), executors in _GOALS.items():
        size = size // 20 if quick else size
        for executor, (reference, cold, warm) in executors.items():
            for phase, most in ("cold", cold), ("warm", warm):
                if most is None:
                    continue
                name = f"{phase} {kind} {size:,}, {executor}"
                by_wall = executor != "serial"
                with (
                    program(f"ours.{executor}", kind, size, phase, by_wall=by_wall) as subject,
                    program(reference, kind, size, phase, by_wall=by_wall) as base,
                ):
                    goals = {name: Goal(most, is_ratio=True)}
                    yield from compare(
                        {name: subject}, (_TITLES[reference], base), "ms", rounds=1 if quick else 5, goals=goals
                    )


@contextlib.contextmanager
def program(
    name: str, kind: str, size: int, phase: str, *, by_wall: bool = False, most_seconds: float = 60.0
) -> Iterator[Pass]:
    """Give a pass that runs a program of `benchmarks/programs`, cold in a new folder each time.

    Raises:
        subprocess.SubprocessError: it failed, or its value is wrong, or it took too long.
    """
    with TemporaryDirectory(prefix="checkpoint-benchmark-") as kept:
        run = _runner(name, kind, size, time.perf_counter if by_wall else _processor_time, most_seconds)
        if phase == "warm":
            run(kept)

        def timed() -> float:
            if phase == "warm":
                return run(kept)
            with TemporaryDirectory(prefix="checkpoint-benchmark-", ignore_cleanup_errors=True) as folder:
                return run(folder)

        yield timed


def _processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _runner(name: str, kind: str, size: int, clock: Callable[[], float], most_seconds: float) -> Callable[[str], float]:
    environment = {variable: value for variable, value in os.environ.items() if variable != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(_ROOT)

    def run(folder: str) -> float:
        command = [sys.executable, "-m", "benchmarks.programs", name, kind, str(size), folder]
        began = clock()
        with subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True) as process:  # fmt: skip
            try:
                process.wait(most_seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # with what it has started
                raise
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        return clock() - began

    return run
