"""How often a task may run in a session, and how often it is tried again: what it was declared with, or was set since.

Must not know: queues, channels, the engine.

Next: flows/workflow/lane.py
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

from checkpoint.flows.workflow.errors import ConfigError
from checkpoint.flows.workflow.queue import TaskSpec
from checkpoint.flows.workflow.tasks import RetryPolicy, TaskWrapper

__all__ = ["CycleController", "RetryController", "limits_part", "restore_limits"]

#: The task of an id, or None.
Find = Callable[[str], TaskWrapper | None]


@final
class CycleController:
    """How often each task of a session has run, and may run.

    Args:
        find: returns the task of an id.
        default_max_cycles: for tasks that say nothing.
    """

    def __init__(self, find: Find, default_max_cycles: int) -> None:
        self.default_max_cycles = _checked("default_max_cycles", default_max_cycles, 1)
        #: Id -> how often the task was completed.
        self.cycle_counts: dict[str, int] = {}
        #: Id -> limit, for tasks that were given another one in this session.
        self.node_max_cycles: dict[str, int] = {}
        self._find = find

    def set_node_max_cycles(self, task_id: str, max_cycles: int) -> None:
        """Let a task run so often in this session."""
        self.node_max_cycles[task_id] = _checked(f"max_cycles of task {task_id}", max_cycles, 1)

    def get_max_cycles_for_node(self, task_id: str) -> int:
        """Return how often a task may run."""
        task = self._find(task_id)
        declared = self.default_max_cycles if task is None or task.max_cycles is None else task.max_cycles
        return self.node_max_cycles.get(task_id, declared)

    def get_cycle_count(self, task_id: str) -> int:
        """Return how often a task was completed."""
        return self.cycle_counts.get(task_id, 0)

    def accept_next_cycle(self, task_id: str) -> bool:
        """Tell whether a task that isn't running may run once more."""
        return self.get_cycle_count(task_id) < self.get_max_cycles_for_node(task_id)

    def increment(self, task_id: str) -> int:
        """Count one more completed run; return how many there are."""
        self.cycle_counts[task_id] = self.get_cycle_count(task_id) + 1
        return self.cycle_counts[task_id]


@final
class RetryController:
    """How often each task of a session may be tried again, and how long is waited before.

    Args:
        find: returns the task of an id.
        pending: returns the pending tasks of an id.
        default_max_retries: for tasks that say nothing.
    """

    def __init__(self, find: Find, pending: Callable[[str], list[TaskSpec]], default_max_retries: int) -> None:
        self.default_max_retries = _checked("default_max_retries", default_max_retries, 0)
        #: Id -> limit, and id -> policy, for tasks that were given another one in this session.
        self.node_max_retries: dict[str, int] = {}
        self.node_policies: dict[str, RetryPolicy] = {}
        self._find, self._pending = find, pending

    def set_node_max_retries(self, task_id: str, max_retries: int) -> None:
        """Let a task be tried again so often in this session, also if it is pending already."""
        self.node_max_retries[task_id] = _checked(f"max_retries of task {task_id}", max_retries, 0)
        for spec in self._pending(task_id):
            spec.max_retries = max_retries

    def set_node_policy(self, task_id: str, policy: RetryPolicy) -> None:
        """Let a task be tried again as a policy says."""
        self.set_node_max_retries(task_id, policy.max_retries)
        self.node_policies[task_id] = policy

    def get_max_retries_for_node(self, task_id: str) -> int:
        """Return how often a task is tried again."""
        task = self._find(task_id)
        # a group has no retries of its own: its members have
        declared = 0 if task is None else self.default_max_retries if task.max_retries is None else task.max_retries
        return self.node_max_retries.get(task_id, declared)

    def get_policy_for_node(self, task_id: str) -> RetryPolicy | None:
        """Return how long is waited before a task is tried again; None for not at all."""
        task = self._find(task_id)
        return self.node_policies.get(task_id, None if task is None else task.retry_policy)

    def get_retry_count(self, task_id: str) -> int:
        """Return how often a pending task was tried again up to now."""
        return max((spec.retry_count for spec in self._pending(task_id)), default=0)


def _checked(option: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(option, f"must be a whole number from {least} on, not {value!r}")
    return value


def limits_part(cycles: CycleController, retries: RetryController) -> dict[str, Any]:
    """Return what was set in a session, as plain values."""
    return {
        "cycles": dict(cycles.node_max_cycles),
        "retries": dict(retries.node_max_retries),
        "policies": {task_id: policy.to_dict() for task_id, policy in retries.node_policies.items()},
    }


def restore_limits(cycles: CycleController, retries: RetryController, values: Mapping[str, Any]) -> None:
    """Take over what `limits_part` returned."""
    cycles.node_max_cycles.update(values["cycles"])
    retries.node_max_retries.update(values["retries"])
    retries.node_policies.update({task_id: RetryPolicy(**policy) for task_id, policy in values["policies"].items()})
