"""Stages in an importable module, for tests whose workers are other processes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from checkpoint import File, task_directory
from checkpoint.flows.pipeline import Stage

ran: list[str] = []


@Stage.wrap()
def one() -> int:
    ran.append("one")
    return 1


@Stage.wrap()
def ten() -> int:
    ran.append("ten")
    return 10


@Stage.wrap()
def add(left: int, right: int) -> int:
    ran.append("add")
    return left + right


@Stage.wrap()
def double(number: int) -> int:
    ran.append("double")
    return 2 * number


@Stage.wrap()
def scale(number: int, by: int = 3) -> int:
    ran.append("scale")
    return number * by


@Stage.wrap()
def process_of(_: int) -> int:
    return os.getpid()


@Stage.wrap()
def filed(text: str) -> File:
    path = task_directory() / "text.txt"
    path.write_text(text)
    return File(path)


@Stage.wrap()
def content(file: File) -> str:
    return file.path.read_text()


@Stage.wrap()
def meet_left(_: int, folder: str) -> str:
    return _meet("left", "right", folder)


@Stage.wrap()
def meet_right(_: int, folder: str) -> str:
    return _meet("right", "left", folder)


def _meet(own: str, other: str, folder: str) -> str:
    """Return once the other one has begun as well: possible only if both run at once."""
    Path(folder, own).touch()
    while not Path(folder, other).exists():
        if (Path(folder) / "give-up").exists():
            raise TimeoutError(f"{other} never began")
        threading.Event().wait(0.002)
    return own
