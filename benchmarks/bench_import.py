"""Import: `import checkpoint` in a new interpreter whose bytecode caches are filled."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Figure, Goal, Pass, compare
from benchmarks.workloads import fresh_folder

_GOAL = Goal(2.0, is_ratio=True)


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with `import diskcache`, which checkpoint imports as well; the first round fills the caches."""
    with fresh_folder() as caches:
        name = "import checkpoint"
        yield from compare(
            {name: _import("checkpoint", caches)},
            ("import diskcache", _import("diskcache", caches)),
            "ms",
            rounds=3 if quick else 15,
            goals={name: _GOAL},
        )


def _import(module: str, caches: Path) -> Pass:
    program = f"import time; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(caches)

    def timed() -> float:
        output = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent.parent,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return float(output.stdout)

    return timed
