"""Observation: the program is run, edited and run again, each time in a new process; what happened gives the word.

A function ran if it says so in the log; a value is wrong if plain Python, over the same files, gives another one.
Nothing here knows what to expect of a library.

Last in reading order.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checkpoint
from benchmarks.comparison import program
from benchmarks.comparison.edits import Edit
from benchmarks.comparison.libraries import PLAIN, Library

__all__ = ["observe"]

_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class _Run:
    value: Any
    error: str | None
    has_run: bool
    told: tuple[str, ...]


def observe(library: Library, edit: Edit) -> str:
    """Return the word for what a library did: "hit", "recomputed", "stale", "warned", perhaps with more; or an error.

    Raises:
        ValueError: the edit doesn't do to the value what its `right` says; the edit is at fault, not the library.
    """
    if not library.is_installed():
        return "not installed"
    before, truth = _true_values(edit)
    first, last = _runs(library, edit)
    if first.error:
        return f"refused: {first.error}"
    if not first.has_run or first.value != before:
        return "wrong from the start"
    if last.error:
        return f"error: {last.error}"
    is_told = bool(set(last.told) - set(first.told))
    if last.value != truth:
        return "warned" if is_told else "stale"
    word = "recomputed" if last.has_run else "hit"
    return f"{word}, warned" if is_told else word


@functools.cache
def _true_values(edit: Edit) -> tuple[Any, Any]:
    first, last = _runs(PLAIN, edit)
    if first.error or last.error or (first.value == last.value) != (edit.right == "hit"):
        raise ValueError(f"{edit.name}: {first} was followed by {last}, which isn't what {edit.right!r} is right for")
    return first.value, last.value


def _runs(library: Library, edit: Edit) -> tuple[_Run, _Run]:
    """Return what the runs before the first and after the last step did, from an empty store."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program.write(folder, library.head, library.decorators(), library.calls)
        first = last = _run(folder, edit.observed)
        for step in edit.steps:
            step(folder)
            _declare(folder, library, edit)
            last = _run(folder, edit.observed)
    return first, last


def _declare(folder: Path, library: Library, edit: Edit) -> None:
    options = library.declares.get(edit.name)
    if options is None:
        return
    tasks = folder / "study" / "tasks.py"
    lines = tasks.read_text()
    plain, declared = library.decorator_of("total"), library.decorator_of("total", options)
    tasks.write_text(lines.replace(plain, declared, 1))


def _run(folder: Path, observed: str) -> _Run:
    log = folder / program.LOG
    log.unlink(missing_ok=True)
    root = Path(checkpoint.__file__).parents[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CP_")}
    # Bytecode is checked by size and full seconds: an edit within the same second could go unnoticed by Python itself.
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    environment["PYTHONPATH"] = os.pathsep.join([str(folder / "site-packages"), str(root)])
    command = [sys.executable, "main.py", observed]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return _Run(None, f"no answer in {_TIMEOUT_S:g} s", False, ())
    if done.returncode:
        return _Run(None, f"exit code {done.returncode}", False, ())
    answer = json.loads(done.stdout.splitlines()[-1])
    has_run = log.exists() and observed in log.read_text().split()
    return _Run(answer.get("value"), answer.get("error"), has_run, tuple(answer["told"]))
