"""A workflow for tests that kill it: `python events_programs.py FOLDER` starts it there, or goes on with it.

Each execution of a step adds a line to the file `log`; the id of the run is in the file `run`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from checkpoint import UnknownSnapshotError
from checkpoint.flows.events import ConstantDelayRetryPolicy, Context, Event, StartEvent, StopEvent, Workflow, step

COUNT = 4


class Awaited(Event):
    size: int


class Threaded(Event):
    size: int


class Flaky(Event):
    size: int


class Pair(Event):
    sizes: list[int]


class Part(Event):
    size: int


class Crowd(Workflow):
    def __init__(self, folder: Path) -> None:
        super().__init__(timeout=60)
        self.folder = folder

    def note(self, name: str, ctx: Context) -> None:
        line = f"{name} {ctx.item_id.rpartition('.')[2]}\n".encode()
        descriptor = os.open(self.folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line)
        os.close(descriptor)

    @step
    async def spread(self, ev: StartEvent, ctx: Context) -> list[Awaited | Threaded | Flaky]:
        self.note("spread", ctx)
        return [kind(size=1) for kind in (Awaited, Threaded, Flaky) for _ in range(COUNT)]

    @step(num_workers=3)
    async def wait(self, ev: Awaited, ctx: Context) -> Part:
        self.note("wait", ctx)
        async with ctx.edit_state() as state:
            state.count = state.get("count", 0) + 1
        await asyncio.sleep(0.002)
        return Part(size=ev.size)

    @step(num_workers=2)
    def grind(self, ev: Threaded, ctx: Context) -> Pair | None:
        self.note("grind", ctx)
        time.sleep(0.002)
        found = ctx.collect_events(ev, [Threaded, Threaded])
        return None if found is None else Pair(sizes=[each.size for each in found])

    @step
    async def unpair(self, ev: Pair, ctx: Context) -> list[Part]:
        self.note("unpair", ctx)
        return [Part(size=size) for size in ev.sizes]

    @step(retry_policy=ConstantDelayRetryPolicy(maximum_attempts=500, delay=0.001))
    async def stumble(self, ev: Flaky, ctx: Context) -> Part:
        self.note("stumble", ctx)
        mark = self.folder / f"stumbled {ctx.item_id}"
        if not mark.exists():
            mark.touch()
            raise OSError("the first time")
        return Part(size=ev.size)

    @step
    async def gather(self, evs: list[Part], ctx: Context) -> StopEvent:
        self.note("gather", ctx)
        return StopEvent([sum(ev.size for ev in evs), len(evs), await ctx.get("count")])


async def main(folder: Path) -> None:
    flow, place = Crowd(folder), folder / "run"
    try:
        handler = flow.resume(place.read_text(), store=folder / "store")
    except (FileNotFoundError, UnknownSnapshotError):
        handler = flow.run(ctx=Context(flow, store=folder / "store"))
        place.with_suffix(".new").write_text(handler.run_id)
        place.with_suffix(".new").rename(place)
    print(await handler)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
