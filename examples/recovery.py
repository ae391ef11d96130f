"""A pipeline whose last step fails: what was expensive is not done again.

Counts the names that modules of Python's own library use, in a group of two processes, ranks them, and publishes the
list, which fails as long as nobody has said where to. Prints:

    read: 40 modules
    counted: 40 modules
    failed: task publish failed: LookupError: no place to publish to; it stays pending, and runs first when ...
    published: self, context, other

Kill it at any moment and start it again: it goes on where it was. A finished run only prints the last line.
"""

import ast
import os
import sys
from collections import Counter
from pathlib import Path

from checkpoint import UnknownSnapshotError
from checkpoint.flows.workflow import (
    CheckpointManager,
    ExecutionContext,
    TaskExecutionContext,
    WorkflowRuntimeError,
    parallel,
    task,
    workflow,
)


def names_in(modules: list[str]) -> Counter[str]:
    counter: Counter[str] = Counter()
    for module in modules:
        tree = ast.parse(Path(ast.__file__).with_name(module).read_text(encoding="utf-8"))
        counter.update(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    return counter


with workflow("recovery") as flow:

    @task
    def read() -> list[str]:
        modules = sorted(path.name for path in Path(ast.__file__).parent.glob("*.py"))[:40]
        print(f"read: {len(modules)} modules", flush=True)
        return modules

    @task
    def count_first(read: list[str]) -> Counter[str]:
        return names_in(read[::2])

    @task
    def count_second(read: list[str]) -> Counter[str]:
        return names_in(read[1::2])

    @task(inject_context=True)
    def rank(context: TaskExecutionContext, read: list[str]) -> list[str]:
        counts = context.get_result("count_first") + context.get_result("count_second")
        print(f"counted: {len(read)} modules", flush=True)
        context.checkpoint(metadata={"stage": "ranked"})
        return sorted(counts, key=lambda name: (-counts[name], name))[:3]

    @task(inject_context=True)
    def publish(context: TaskExecutionContext, rank: list[str]) -> str:
        place = context.get_channel().get("place")
        if place is None:
            raise LookupError("no place to publish to")
        Path(place).write_text("\n".join(rank))
        return f"published: {', '.join(rank)}"

    read >> parallel(count_first, count_second).with_execution("processes") >> rank >> publish


if __name__ == "__main__":
    os.chdir(sys.argv[1] if len(sys.argv) > 1 else ".")
    try:
        session, _ = CheckpointManager.resume_latest("recovery")
    except UnknownSnapshotError:
        session = ExecutionContext.create(flow.graph)
    try:
        result = session.execute()
    except WorkflowRuntimeError as error:
        print(f"failed: {error}", flush=True)
        session, _ = CheckpointManager.resume_latest("recovery")
        session.channel.set("place", "names.txt")
        result = session.execute()
    print(result)
