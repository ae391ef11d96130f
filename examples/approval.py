"""A release that needs a person: a step that is tried again, a question, and an answer perhaps days later.

Packs a folder into an archive, checks the archive (which fails twice on purpose and is tried again), and asks whether
to publish it. Publishing copies the archive to a folder. Nothing waits in memory: the program that asks may end.

    python approval.py start FOLDER     pack, check, and print the question
    python approval.py yes              answer the open question, and publish
    python approval.py no               answer it, and don't
    python approval.py status           show what was done
"""

import asyncio
import hashlib
import sys
import zipfile
from pathlib import Path

from checkpoint.flows.events import (
    ConstantDelayRetryPolicy,
    Context,
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
    Workflow,
    step,
)


class Packed(Event):
    path: str
    digest: str


class Release(Workflow):
    attempts = 0

    @step
    def pack(self, ev: StartEvent) -> Packed:
        target = Path("release.zip")
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(Path(ev.folder).rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(ev.folder))
        return Packed(path=str(target), digest=hashlib.sha256(target.read_bytes()).hexdigest())

    @step(retry_policy=ConstantDelayRetryPolicy(maximum_attempts=3, delay=0.05))
    async def check(self, ev: Packed, ctx: Context) -> InputRequiredEvent:
        self.attempts += 1
        if self.attempts < 3:
            raise ConnectionError("the scanner does not answer")
        with zipfile.ZipFile(ev.path) as archive:
            assert archive.testzip() is None
            count = len(archive.namelist())
        await ctx.set("archive", ev)
        return InputRequiredEvent(prefix=f"publish {count} files ({ev.digest[:8]})?", attempts=self.attempts)

    @step
    async def publish(self, ev: HumanResponseEvent, ctx: Context) -> StopEvent:
        if ev.response != "yes":
            return StopEvent("not published")
        archive = await ctx.get("archive")
        data = Path(archive.path).read_bytes()
        if hashlib.sha256(data).hexdigest() != archive.digest:
            return StopEvent("not published: the archive has changed since it was checked")
        target = Path("published", f"{archive.digest[:8]}.zip")
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
        return StopEvent(f"published as {target}")


async def main(command: str = "status", *arguments: str) -> None:
    flow = Release(timeout=None)
    ctx = Context(flow, name="release")
    if command == "start":
        handler = flow.run(ctx=ctx, folder=arguments[0])
        async for event in handler.stream_events():
            print(f"{event.prefix} (after {event.attempts} attempts)")
            await handler.cancel_run()  # the question stays open
    elif command == "status":
        for run in ctx.runs():
            steps = [found.last_completed_step for found in ctx.list_checkpoints(run=run.run_id)]
            print(f"{run.status}: {', '.join(name for name in steps if name)}")
    else:
        waiting = ctx.list_checkpoints(status="waiting", newest_first=True, limit=1)
        if not waiting:
            sys.exit("nothing waits for an answer; see the commands at the top of this file")
        handler = flow.resume(waiting[0].run_id)
        handler.ctx.send_event(HumanResponseEvent(response=command))
        print(await handler)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
