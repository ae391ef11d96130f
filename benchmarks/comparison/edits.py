"""Edits: what is changed in the program's files, and what should happen to a kept result then.

A replacement that finds nothing raises, so an edit can't be empty by mistake.

Next: by_hand.py
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["EDITS", "Edit"]

Step = Callable[[Path], None]

_TASKS = "study/tasks.py"


@dataclass(frozen=True)
class Edit:
    """One row: the program runs before the first step and after each; what the last run does with `observed` counts.

    `right` is "recomputed" where the edit changes the function's value, and "hit" where it doesn't.
    """

    name: str
    right: Literal["recomputed", "hit"]
    steps: tuple[Step, ...]
    observed: str = "total"


def _replace(file: str, old: str, new: str) -> Step:
    def step(folder: Path) -> None:
        path = folder / file
        text = path.read_text()
        if old not in text:
            raise ValueError(f"{file} doesn't hold {old!r}")
        path.write_text(text.replace(old, new))

    return step


def _all_of(*steps: Step) -> Step:
    def step(folder: Path) -> None:
        for one in steps:
            one(folder)

    return step


def _leave(folder: Path) -> None:
    pass


def _reformat(folder: Path) -> None:
    before = (folder / _TASKS).read_text()
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", "--isolated", _TASKS], cwd=folder, check=True)
    if (folder / _TASKS).read_text() == before:
        raise ValueError("there was nothing to reformat")


def _upgrade(folder: Path) -> None:
    site = folder / "site-packages"
    _replace("site-packages/scales/__init__.py", "x * 3", "x * 4")(folder)
    (site / "scales-1.0.dist-info").rename(site / "scales-2.0.dist-info")
    for name in ("METADATA", "RECORD"):
        _replace(f"site-packages/scales-2.0.dist-info/{name}", "1.0", "2.0")(folder)


_change = _replace(_TASKS, "sum( parts )", "sum( parts ) + 1")
_change_back = _replace(_TASKS, "sum( parts ) + 1", "sum( parts )")
_rename = _all_of(
    _replace(_TASKS, "def total(", "def grand_total("),
    _replace("study/calls.py", "tasks.total", "tasks.grand_total"),
)

EDITS = (
    Edit("nothing", "hit", (_leave,)),
    Edit("the function itself", "recomputed", (_change,)),
    Edit("helper two modules away", "recomputed", (_replace("study/deep.py", "x + 10", "x + 11"),)),
    Edit("helper imported inside the function", "recomputed", (_replace("study/late.py", "x - 1", "x - 2"),)),
    Edit("constant", "recomputed", (_replace(_TASKS, "RATE = 5", "RATE = 6"),)),
    Edit("method of a class", "recomputed", (_replace("study/shapes.py", "self.side**2", "self.side**3"),)),
    Edit("lambda", "recomputed", (_replace(_TASKS, "x + 100", "x + 101"),)),
    Edit("the other lambda on its line", "hit", (_replace(_TASKS, "x + 200", "x + 201"),)),
    Edit("decorator of a helper", "recomputed", (_replace("study/wrap.py", "* 2", "* 3"),)),
    Edit("decorator of the function", "recomputed", (_replace("study/wrap.py", "* 2", "* 3"),), "wrapped"),
    Edit("the function below that decorator", "recomputed", (_replace(_TASKS, "n + 7", "n + 8"),), "wrapped"),
    Edit("function passed as an argument", "recomputed", (_replace("study/measures.py", "x * 4", "x * 5"),), "applied"),
    Edit("installed distribution upgraded", "recomputed", (_upgrade,)),
    Edit("the function upstream; look at its consumer", "recomputed", (_change,), "report"),
    Edit(
        "the same to an equal value; look at its consumer",
        "hit",
        (_replace(_TASKS, "sum( parts )", "sum(reversed(parts))"),),
        "report",
    ),
    Edit("comment only", "hit", (_replace(_TASKS, "    return sum(", "    # All of it.\n    return sum("),)),
    Edit("docstring only", "hit", (_replace(_TASKS, "Return a number", "Give a number"),)),
    Edit("reformatted with `ruff format`", "hit", (_reformat,)),
    Edit("type annotations only", "hit", (_replace(_TASKS, "total(n):", "total(n: int) -> int:"),)),
    Edit("edited, run, reverted", "hit", (_change, _change_back)),
    Edit(
        "new parameter with a default",
        "hit",
        (
            _all_of(
                _replace(_TASKS, "total(n)", "total(n, scale=1)"),
                _replace(_TASKS, "sum( parts )", "sum( parts ) * scale"),
            ),
        ),
    ),
    Edit("function renamed", "hit", (_rename,)),
)
