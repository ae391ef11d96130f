"""Lane: one line of tasks that run one after the other: the main one of a run, or one for each member of a group.

A join is queued when all that it waits for have arrived, or when nothing else is left to run.

Must not know: what tasks do, journals.

Next: flows/workflow/session.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from checkpoint.flows.workflow.channel import Channel
from checkpoint.flows.workflow.graph import Graph
from checkpoint.flows.workflow.queue import TaskQueue, TaskSpec

__all__ = ["Lane"]


@final
class Lane:
    """What is pending in one line, which joins wait in it, and the channel that its tasks use."""

    def __init__(self, start: str | None, channel: Channel, new_spec: Callable[[str], TaskSpec]) -> None:
        self.start = start
        self.channel = channel
        self.queue = TaskQueue()
        #: Join -> what has arrived at it.
        self.arrived: dict[str, list[str]] = {}
        self._new_spec = new_spec

    def next(self) -> TaskSpec | None:
        """Return what runs next; a join that still waits if there is nothing else."""
        if not len(self.queue) and self.arrived:
            self._release(next(iter(self.arrived)))
        return self.queue.first()

    def follow(self, task_id: str, graph: Graph) -> None:
        """Queue what follows a task that is done."""
        for after in graph.after(task_id):
            needed = graph.needed(after, self.start)
            arrived = self.arrived.setdefault(after, [])
            if task_id not in arrived:
                arrived.append(task_id)
            if task_id not in needed or needed <= set(arrived):
                self._release(after)

    def begin_with(self, task_id: str) -> None:
        """Let a task be the next one."""
        first = self.queue.first()
        if first is None or first.task_id != task_id:
            self.queue.add_first(self._new_spec(task_id))

    def _release(self, task_id: str) -> None:
        self.arrived.pop(task_id, None)
        self.queue.add(self._new_spec(task_id))

    def to_dict(self) -> dict[str, Any]:
        """Return what is pending, as plain values."""
        specs = [{**spec.to_dict(), "data": spec.data} for spec in self.queue.get_pending_task_specs()]
        return {
            "start": self.start,
            "pending": specs,
            "arrived": {key: list(each) for key, each in self.arrived.items()},
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Take over what `to_dict` returned."""
        self.start = values["start"]
        self.queue = TaskQueue([TaskSpec(**{**spec, "status": "ready"}) for spec in values["pending"]])
        self.arrived = {key: list(each) for key, each in values["arrived"].items()}
