"""Event-driven workflows: time and bytes of a step whose completion is kept, against the length of the run.

A step counts rounds over a state that doesn't change, 20 values of 500 characters. The reference is
llama-index-workflows with a snapshot of its context after each step, written and synchronised; where that isn't
installed, a pickle of the state that is written and synchronised.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import itertools
import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure, compare
from benchmarks.workloads import fresh_folder
from checkpoint.flows.events import Context, Event, StartEvent, StopEvent, Workflow, step
from checkpoint.journal import journal_at

#: Does a run of so many steps in a folder; what it leaves there is what it keeps.
Run = Callable[[int, Path], None]
STATE = {f"key {number}": f"{number:05}" * 100 for number in range(20)}


def figures(quick: bool) -> Iterator[Figure]:
    """Compare per step, at several lengths of the run."""
    name, reference = _reference()
    for length in (50,) if quick else (50, 100, 200, 400):
        rounds = 1 if quick else 5
        for what, unit, measure in (("time", "ms", _seconds), ("bytes", "KB", _bytes)):
            yield from compare(
                {f"{what} per step, run of {length}": lambda m=measure, n=length: m(_run_ours, n)},  # type: ignore[misc]
                (f"{name}, {what}", lambda m=measure, n=length: m(reference, n)),  # type: ignore[misc]
                unit,
                rounds=rounds if what == "time" else 1,
            )


def _reference() -> tuple[str, Run]:
    try:
        version = importlib.metadata.version("llama-index-workflows")
    except importlib.metadata.PackageNotFoundError:
        print("llama-index-workflows is not installed: compared with a pickle per step instead", file=sys.stderr)
        return "pickle, fsync, rename", _run_pickles
    return f"llama-index-workflows {version}, snapshot per step", _run_theirs


def _seconds(run: Run, length: int) -> float:
    with fresh_folder() as folder:
        began = time.perf_counter()
        run(length, folder)
        return (time.perf_counter() - began) / length


def _bytes(run: Run, length: int) -> float:
    with fresh_folder() as folder:
        run(length, folder)
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / length


class Round(Event):
    number: int


class Rounds(Workflow):
    @step
    async def begin(self, ev: StartEvent, ctx: Context) -> Round:
        for name, value in STATE.items():
            await ctx.set(name, value)
        return Round(number=ev.length)

    @step
    async def turn(self, ev: Round) -> Round | StopEvent:
        return Round(number=ev.number - 1) if ev.number > 2 else StopEvent()


def _run_ours(length: int, folder: Path) -> None:
    async def main() -> None:
        flow = Rounds(timeout=None)
        await flow.run(ctx=Context(flow, store=folder), length=length)

    asyncio.run(main())
    journal_at(folder).close()


def _run_theirs(length: int, folder: Path) -> None:
    from benchmarks.llama_rounds import run

    numbers = itertools.count()
    asyncio.run(run(length, STATE, lambda kept: _write(folder / str(next(numbers)), json.dumps(kept).encode())))


def _run_pickles(length: int, folder: Path) -> None:
    for number in range(length):
        _write(folder / str(number), pickle.dumps(STATE, 5))


def _write(path: Path, data: Any) -> None:
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
