"""A report on many text files: fan-out over the files, fan-in of what was found, each step kept.

Reads Python files (by default those of the standard library's asyncio), counts words and finds the longest function
of each, and sums up. Every file is one event, so a run that is killed goes on with the files that are left. Prints:

    33 files, ... words
    most frequent: self, if, ...
    longest function: ...
    done before this process: 0 files

    python documents.py [FOLDER]        start, or go on after a kill
"""

import ast
import asyncio
import asyncio.base_events
import collections
import re
import sys
from pathlib import Path

from checkpoint.flows.events import Context, Event, StartEvent, StopEvent, Workflow, step


class Document(Event):
    path: str


class Findings(Event):
    words: dict[str, int]
    longest: tuple[int, str]


class Survey(Workflow):
    @step
    async def find(self, ev: StartEvent) -> list[Document]:
        return [Document(path=str(path)) for path in sorted(Path(ev.folder).glob("*.py"))]

    @step(num_workers=2)
    def read(self, ev: Document) -> Findings:
        text = Path(ev.path).read_text(encoding="utf-8")
        words = collections.Counter(re.findall(r"[a-z]{2,}", text.lower()))
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        lengths = [((node.end_lineno or 0) - node.lineno + 1, node.name) for node in functions]
        print(f"read {Path(ev.path).name}", file=sys.stderr, flush=True)
        return Findings(words=dict(words), longest=max(lengths, default=(0, "")))

    @step
    async def sum_up(self, evs: list[Findings]) -> StopEvent:
        words = sum((collections.Counter(ev.words) for ev in evs), collections.Counter())
        frequent = ", ".join(word for word, _ in words.most_common(5))
        lines, name = max(ev.longest for ev in evs)
        found = f"{len(evs)} files, {words.total()} words", f"most frequent: {frequent}"
        return StopEvent("\n".join([*found, f"longest function: {name}, {lines} lines"]))


async def main(folder: Path) -> None:
    flow = Survey(timeout=None)
    ctx = Context(flow, name=str(folder))
    runs = [run for run in ctx.runs() if run.status != "finished"]
    done = len(ctx.list_checkpoints(step="read", run=runs[-1].run_id)) if runs else 0
    handler = flow.resume(runs[-1].run_id) if runs else flow.run(ctx=ctx, folder=str(folder))
    print(await handler)
    print(f"done before this process: {done} files")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(asyncio.base_events.__file__).parent).resolve()))
