"""Session: one run of a workflow: what is pending, done and shared, as parts that can be kept.

Counters count completed executions, so a task that is interrupted and runs again is counted once. What runs stays the
first of what is pending, so the state can be kept at any moment.

Must not know: the engine, files. It tells its trail, if it has one, of what is to be kept.

Next: flows/workflow/trail.py
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self, final

from checkpoint.flows.workflow.binding import PYTHON
from checkpoint.flows.workflow.branch import Branch
from checkpoint.flows.workflow.cells import value_in
from checkpoint.flows.workflow.channel import Channel, Stored
from checkpoint.flows.workflow.errors import ConfigError
from checkpoint.flows.workflow.graph import Executable, Graph, ParallelGroup
from checkpoint.flows.workflow.lane import Lane
from checkpoint.flows.workflow.limits import CycleController, RetryController, limits_part, restore_limits
from checkpoint.flows.workflow.metadata import frozen
from checkpoint.flows.workflow.queue import TaskQueue, TaskSpec
from checkpoint.flows.workflow.tasks import TaskWrapper, result_key

__all__ = ["MemberLane", "Saving", "Session", "later"]


class Tracking(Protocol):
    """What a context tells of changes that must not be lost."""

    is_saving: bool

    def progress(self) -> None: ...


@final
@dataclass(frozen=True, slots=True)
class Saving:
    """When checkpoints are made that no task asked for."""

    #: After so many steps; None for never.
    every: int | None = None
    on_failure: bool = False
    on_sigterm: bool = False
    #: Keep every step boundary, and what tasks write meanwhile, in the journal.
    autosave: bool = True

    def __post_init__(self) -> None:
        if self.every is not None and (type(self.every) is not int or self.every < 1):
            raise ConfigError("checkpoint_every", f"must be a number of steps from 1 on, not {self.every!r}")
        for option in ("on_failure", "on_sigterm", "autosave"):
            if not isinstance(getattr(self, option), bool):
                raise ConfigError(option, f"must be True or False, not {getattr(self, option)!r}")


@final
class MemberLane:
    """The lane of a member of a group, and what it has asked for at the barrier.

    `parent` is the one that the group itself is in, if it is in one.
    """

    def __init__(self, lane: Lane, branch: Branch, parent: MemberLane | None) -> None:
        self.lane, self.branch, self.parent = lane, branch, parent
        self.is_done = False
        #: (metadata, path) of the checkpoint that it asked for last.
        self.checkpoint: tuple[dict[Any, Any], Any] | None = None
        self.terminates: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **self.lane.to_dict(),
            "touched": dict(self.branch.touched),
            "parent": None if self.parent is None else self.parent.lane.start,
            "is_done": self.is_done,
            "asked": (self.checkpoint, self.terminates),
        }


@dataclass(repr=False, eq=False)
class Session:
    """The state of a run."""

    graph: Graph
    channel: Channel
    start_node: str | None = None
    max_steps: int = 10000
    default_max_cycles: int = 10
    default_max_retries: int = 0
    session_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    backend: dict[str, Any] = field(default_factory=lambda: {"channel": "memory"})
    saving: Saving = field(default_factory=Saving)
    steps: int = 0
    #: Ids of completed tasks, in the order in which they were first completed.
    completed_tasks: list[str] = field(default_factory=list)
    #: Id -> text of its last failure.
    failures: dict[str, str] = field(default_factory=dict)
    last_task_id: str | None = None
    last_checkpoint_path: str | None = None
    #: What the maker of the last checkpoint said.
    checkpoint_metadata: dict[Any, Any] = field(default_factory=dict)
    checkpoint_requested: bool = False
    checkpoint_request_metadata: dict[Any, Any] | None = None
    checkpoint_request_path: str | None = None
    #: Channel key that the run waits for, if a task suspended it by `wait_for`.
    waiting_for: str | None = None
    #: Id of the snapshot that the next one follows, if this session was resumed or forked.
    source: int | None = None

    #: Changes whenever the layout of the parts does.
    FORMAT: ClassVar[int] = 2

    def __post_init__(self) -> None:
        self.guard = threading.RLock()
        self.cycle_controller = CycleController(self._task, self.default_max_cycles)
        self.retry_controller = RetryController(self._task, self._pending, self.default_max_retries)
        self.main = Lane(self.start_node, self.channel, self.new_spec)
        #: Group -> member -> its lane, for groups that have begun.
        self.groups: dict[str, dict[str, MemberLane]] = {}
        #: What this session has done to the world; see `Effects`.
        self.records: dict[str, bytes] = {}
        self.unsaved_records: dict[str, bytes] = {}
        self.trail: Tracking | None = None
        #: Whether the process was told to end: no further task is begun.
        self.is_stopping = False
        #: Whether a task runs that may be broken off.
        self.in_task = False
        self.local_data: dict[str, dict[str, Any]] = {}
        if self.start_node is not None:
            self.main.queue.add(self.new_spec(self.start_node))

    # --- what people ask ---

    def __repr__(self) -> str:
        pending = ", ".join(self.main.queue.to_list()) or "nothing"
        return f"<session {self.session_id} of workflow {self.name!r}: {self.steps} steps, pending: {pending}>"

    @property
    def name(self) -> str:
        """Name of the workflow."""
        return self.graph.name

    @property
    def trace_id(self) -> str:
        """The session's id."""
        return self.session_id

    @property
    def task_queue(self) -> TaskQueue:
        """What is pending; the first one may be running."""
        return self.main.queue

    def get_channel(self) -> Channel:
        """Return the channel."""
        return self.channel

    def get_result(self, node: str | Executable, default: Any = None) -> Any:
        """Return what a task returned last; of a group, what each member did."""
        return self.result_in(self.channel, node, default)

    def result_in(self, channel: Channel, node: str | Executable, default: Any = None) -> Any:
        """Return the result of a task as one lane sees it."""
        task_id = node.task_id if isinstance(node, Executable) else node
        found = self.graph.nodes.get(task_id)
        if isinstance(found, ParallelGroup):
            return {member: self.result_in(channel, member) for member in found.members}
        stored = channel.read(result_key(task_id))
        return default if stored is None else value_in(stored.cell)

    def set_result(self, node: str | Executable, value: Any) -> None:
        """Set the result of a task."""
        self.channel.set(result_key(node.task_id if isinstance(node, Executable) else node), value)

    @property
    def cycle_counts(self) -> dict[str, int]:
        """Id -> how often it was completed."""
        return self.cycle_controller.cycle_counts

    def _task(self, task_id: str) -> TaskWrapper | None:
        found = self.graph.nodes.get(task_id)
        return found if isinstance(found, TaskWrapper) else None

    def _pending(self, task_id: str) -> list[TaskSpec]:
        members = (member.lane for lanes in self.groups.values() for member in lanes.values())
        specs = (spec for lane in (self.main, *members) for spec in lane.queue.get_pending_task_specs())
        return [spec for spec in specs if spec.task_id == task_id]

    # --- requests ---

    def request_checkpoint(self, metadata: Mapping[Any, Any] | None = None, *, path: Any = None) -> None:
        """Ask for a checkpoint at the next step boundary; of several requests the last one counts."""
        self.checkpoint_request_metadata = frozen(metadata, self.name)
        self.checkpoint_request_path = path
        self.checkpoint_requested = True

    def clear_checkpoint_request(self) -> None:
        """Forget a request."""
        self.checkpoint_requested = False
        self.checkpoint_request_metadata = self.checkpoint_request_path = None

    # --- what the engine does ---

    def new_spec(self, task_id: str) -> TaskSpec:
        """Return a task that is to run."""
        return TaskSpec(task_id, max_retries=self.retry_controller.get_max_retries_for_node(task_id))

    def add_to_queue(self, node: str | Executable) -> None:
        """Add a task to what is pending."""
        self.main.queue.add(self.new_spec(node.task_id if isinstance(node, Executable) else node))

    def increment_step(self) -> None:
        """Count a step."""
        with self.guard:
            self.steps += 1

    def mark_task_completed(self, task_id: str) -> None:
        """Note that a task was completed once more."""
        with self.guard:
            self.cycle_controller.increment(task_id)
            self.failures.pop(task_id, None)
            if task_id not in self.completed_tasks:
                self.completed_tasks.append(task_id)

    def member_lane(self, group: ParallelGroup, member: str, parent: MemberLane | None) -> MemberLane:
        """Return the lane of a member, begun if it isn't yet; `parent` is the one that the group is in."""
        lanes = self.groups.setdefault(group.task_id, {})
        if member not in lanes:
            branch = Branch(self.channel if parent is None else parent.branch)
            lane = Lane(member, branch, self.new_spec)
            lane.queue.add(self.new_spec(member))
            lanes[member] = MemberLane(lane, branch, parent)
        return lanes[member]

    # --- parts ---

    def execution_part(self) -> dict[str, Any]:
        """Return all but graph, channel and records, as plain values."""
        with self.guard:
            return {
                "format": self.FORMAT,
                "saved_at": time.time(),
                "python": PYTHON,
                "workflow": self.name,
                "session_id": self.session_id,
                "start_node": self.start_node,
                "backend": dict(self.backend),
                "limits": (self.max_steps, self.default_max_cycles, self.default_max_retries),
                "node_limits": limits_part(self.cycle_controller, self.retry_controller),
                "saving": (self.saving.every, self.saving.on_failure, self.saving.on_sigterm, self.saving.autosave),
                "steps": self.steps,
                "completed": list(self.completed_tasks),
                "cycle_counts": dict(self.cycle_counts),
                "failures": dict(self.failures),
                "last_task_id": self.last_task_id,
                "waiting_for": self.waiting_for,
                "user_metadata": dict(self.checkpoint_metadata),
                "main": self.main.to_dict(),
                "groups": {
                    group: {member: lane.to_dict() for member, lane in lanes.items()}
                    for group, lanes in self.groups.items()
                },
            }

    @classmethod
    def restored(cls, values: Mapping[str, Any], graph: Graph, channel: Channel, records: Mapping[str, bytes]) -> Self:
        """Return the session that parts were made of."""
        max_steps, max_cycles, max_retries = values["limits"]
        context = cls(
            graph,
            channel,
            max_steps=max_steps,
            default_max_cycles=max_cycles,
            default_max_retries=max_retries,
            session_id=values["session_id"],
            backend=dict(values["backend"]),
            saving=Saving(*values["saving"]),
        )
        context.start_node = values["start_node"]
        context.steps, context.completed_tasks = values["steps"], list(values["completed"])
        context.cycle_counts.update(values["cycle_counts"])
        restore_limits(context.cycle_controller, context.retry_controller, values["node_limits"])
        context.failures = dict(values["failures"])
        context.last_task_id, context.waiting_for = values["last_task_id"], values["waiting_for"]
        context.checkpoint_metadata = dict(values["user_metadata"])
        context.main.restore(values["main"])
        restored: dict[str, MemberLane] = {}
        for group_id, lanes in values["groups"].items():  # a group in a branch has begun after that branch
            for member, kept in lanes.items():
                group = graph.nodes[group_id]
                assert isinstance(group, ParallelGroup)
                parent = None if kept["parent"] is None else restored[kept["parent"]]
                lane = restored[member] = context.member_lane(group, member, parent)
                lane.lane.restore({key: kept[key] for key in ("start", "pending", "arrived")})
                for key, (kind, given, stored) in kept["touched"].items():
                    lane.branch.touched[key] = kind, given, later(stored, values)
                lane.is_done = kept["is_done"]
                lane.checkpoint, lane.terminates = kept["asked"]
        context.records = dict(records)
        return context


def later(stored: Stored | None, values: Mapping[str, Any]) -> Stored | None:
    """Return what was stored, with as long to live from now as it had when the state was kept."""
    if stored is None or stored.expires_at is None:
        return stored
    return Stored(stored.cell, stored.expires_at - values["saved_at"] + time.time())
