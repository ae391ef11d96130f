"""What is still to run: an ordered list that holds what runs, too, until it is done.

Must not know: graphs, what tasks do.

Next: flows/workflow/ledger.py
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field, fields
from typing import Any, final

__all__ = ["TaskQueue", "TaskSpec", "now"]


def now() -> str:
    """Return the time as ISO 8601, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat()


@final
@dataclass(slots=True)
class TaskSpec:
    """A task that is to run, and what is known of its attempts."""

    task_id: str
    status: str = "ready"
    created_at: str = field(default_factory=now)
    retry_count: int = 0
    max_retries: int = 0
    last_error: str | None = None
    #: What `next_iteration` was given: nothing or one value.
    data: tuple[Any, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all but the data, as JSON."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "data"}


@final
class TaskQueue:
    """Tasks in the order in which they run. The first one stays here while it runs."""

    def __init__(self, specs: list[TaskSpec] | None = None) -> None:
        self._specs = list(specs or [])

    def __len__(self) -> int:
        return len(self._specs)

    def add(self, spec: TaskSpec) -> None:
        """Add a task at the end."""
        self._specs.append(spec)

    def add_first(self, spec: TaskSpec) -> None:
        """Add a task at the front."""
        self._specs.insert(0, spec)

    def first(self) -> TaskSpec | None:
        """Return the task that runs next, or runs already."""
        return self._specs[0] if self._specs else None

    def remove(self, spec: TaskSpec) -> None:
        """Remove a task that is done."""
        self._specs = [each for each in self._specs if each is not spec]

    def get_next_task(self) -> str | None:
        """Take out the next task; return its id."""
        return self._specs.pop(0).task_id if self._specs else None

    def get_pending_task_specs(self) -> list[TaskSpec]:
        """Return the tasks in order."""
        return list(self._specs)

    def to_list(self) -> list[str]:
        """Return the ids in order."""
        return [spec.task_id for spec in self._specs]
