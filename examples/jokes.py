"""Two steps around a language model, and a second try from the middle without paying for the first step again.

The model is a stand-in that needs no network: any object with `acomplete(prompt)` takes its place. Prints:

    after one run: 3 checkpoints
    after three runs: 9 checkpoints, 6 calls
    jokes: A parrot walks into a talk on maths. | ...
    once more from the joke about biology: 10 checkpoints, 7 calls
    A parrot walks into a talk on biology. -- too short by half
"""

import asyncio

from checkpoint.flows.events import Context, Event, StartEvent, StopEvent, Workflow, step


class Parrot:
    """Answers at once, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    async def acomplete(self, prompt: str) -> str:
        self.calls += 1
        if prompt.startswith("Tell"):
            return f"A parrot walks into a talk on {prompt.rpartition(' ')[2]}."
        return f"{prompt.partition(': ')[2]} -- too short by half"


class Joke(Event):
    text: str


class Comedy(Workflow):
    llm = Parrot()

    @step
    async def tell(self, ev: StartEvent) -> Joke:
        return Joke(text=str(await self.llm.acomplete(f"Tell a joke about {ev.topic}")))

    @step
    async def judge(self, ev: Joke) -> StopEvent:
        return StopEvent(result=str(await self.llm.acomplete(f"Judge this joke: {ev.text}")))


async def main() -> None:
    flow = Comedy()
    ctx = Context(workflow=flow)
    await flow.run(ctx=ctx, topic="maths")
    print(f"after one run: {len(ctx.checkpoints)} checkpoints")
    for topic in ("biology", "history"):
        await flow.run(ctx=ctx, topic=topic)
    print(f"after three runs: {len(ctx.checkpoints)} checkpoints, {flow.llm.calls} calls")
    told = ctx.filter_checkpoints(last_completed_step="tell")
    print("jokes:", " | ".join(found.output_event.text for found in told))
    result = await flow.run_from(checkpoint=told[1], ctx=ctx)
    print(f"once more from the joke about biology: {len(ctx.checkpoints)} checkpoints, {flow.llm.calls} calls")
    print(result)


if __name__ == "__main__":
    asyncio.run(main())
