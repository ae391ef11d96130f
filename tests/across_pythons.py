"""Write a store under this Python, or check that this Python finds everything in stores that others wrote.

python across_pythons.py write FOLDER
python across_pythons.py read FOLDER
"""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import platform
import sys
from pathlib import Path
from typing import Any

from checkpoint import memo, requires, run_report, task


class Color(enum.Enum):
    RED = 1


@memo
def same(value: Any) -> Any:
    """Return the value."""
    return value


@memo(compress=True)
def packed(value: Any) -> Any:
    return value


@task
def gathered() -> Any:
    # a comment and a docstring-free body: the fingerprint must be the same everywhere
    @requires([same(value) for value in VALUES])
    def run_task(values: list[Any]) -> str:
        return f"{len(values)} values, {values[0]!r:>5}"

    return run_task


VALUES = [
    1, 1.5, True, None, "ü", b"\x00", (1, (2,)), {1, 2}, {"a": [1, {"b": ()}]}, {1: 2}, float("inf"), 2**80,
    datetime.datetime(2024, 1, 2, 3, 4, 5, 6), decimal.Decimal("1.10"), Path("a/b"), Color.RED, range(3),
    collections.OrderedDict(a=1), frozenset("ab"), "x" * 100_000,
]  # fmt: skip


def main(what: str, folder: str) -> None:
    places = [Path(folder, platform.python_version())] if what == "write" else sorted(Path(folder).iterdir())
    for place in places:
        wanted = [[same(value) for value in VALUES], [packed(value) for value in VALUES], gathered()]
        report = run_report(wanted, store=place, executor="serial", on_change="rerun")
        assert report.value == [VALUES, VALUES, "20 values,     1"]
        assert what == "write" or report.computed == 0, f"{report.computed} results of {place.name} were not found"
        version = platform.python_version()
        print(f"Python {version}: {what} {place.name}, {report.computed} computed, {report.hit} found")


if __name__ == "__main__":
    main(*sys.argv[1:])
