"""Small stores as each format of a store wrote them, and the program that made them.

`python tests/golden_stores.py FILE.zip` writes one of the present format. A file that is here is never written again.
"""

from __future__ import annotations

import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from checkpoint import collect, memo, open_store, requires, run, task
from checkpoint.flows.linear import CheckpointFlow
from checkpoint.journal import journal_at

__all__ = ["FOLDER", "report", "section", "unpack"]

FOLDER = Path(__file__).parent / "golden"


@memo(name="golden.section", version=1, codec="json")
def section(number: int) -> dict[str, int]:
    return {"number": number}


@memo(name="golden.plate", version=1)
def plate(width: int) -> bytes:
    return b"plate" * width


@memo(name="golden.folded", version=1, compress=True)
def folded(width: int) -> list[int]:
    return list(range(width))


@task(name="golden.report", version=1)
def report(count: int) -> Callable[[], int]:
    @requires([[section(n) for n in range(count)], plate(10_000), folded(3_000)])
    def run_task(parts: list[object]) -> int:
        sections, image, numbers = parts
        return len(sections) + len(image) + sum(numbers)  # type: ignore[arg-type, call-overload]

    return run_task


def write(folder: Path) -> None:
    """Fill an empty folder with results, a clear, the history of a flow and, from format 2 on, a collected value."""
    with open_store(folder):
        run(report(3), executor="serial")
        section(2).clear()
        run(report(3), executor="serial")
        flow = CheckpointFlow(str(folder / "golden.state"))

        @flow.add_step
        def first(state: dict[str, object], data: object = None) -> None:
            state["numbers"] = [1, 2, 3]

        @flow.add_step
        def second(state: dict[str, object], data: object = None) -> None:
            state["image"] = b"image" * 40_000

        flow.run()
        journal_at().close()
        collect(tasks=[plate], apply=True)
    open_store(folder).store.close()


def unpack(name: str, folder: Path) -> Path:
    """Unpack a golden store into a folder and return it."""
    with zipfile.ZipFile(FOLDER / name) as archive:
        archive.extractall(folder)
    return folder


if __name__ == "__main__":
    target = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as made:
        write(Path(made))
        with zipfile.ZipFile(target, "x", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(Path(made).rglob("*")):
                if path.is_file():
                    archive.write(path, os.path.relpath(path, made))
