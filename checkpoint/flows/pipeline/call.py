"""StageCall: a stage at one place of a pipeline, as an instance of the kernel's graph.

It is forced where it is not to be loaded. Where it is loaded it is pinned to an entry and requires nothing.

Must not know: how stages are joined, stores.

Next: flows/pipeline/running.py
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, final

from checkpoint.errors import TaskLostError
from checkpoint.graph import Instance, Runner, TaskInfo
from checkpoint.keys import register
from checkpoint.store import Entry
from checkpoint.tasks import TaskInstance

__all__ = ["StageCall"]


@final
class StageCall(Instance):
    """A stage's task bound to the calls above it and to constants; in keys it stands for what it computes."""

    __slots__ = ("above", "bound", "is_forced", "is_kept", "key", "label", "names", "pinned", "values")

    def __init__(
        self,
        label: str,
        bound: TaskInstance[Any],
        above: Sequence[StageCall],
        *,
        names: tuple[Hashable, ...],
        is_to_load: bool,
        is_kept: bool,
    ) -> None:
        #: How it is shown.
        self.label = label
        self.bound = bound
        self.key, self.values = bound.key, bound.values
        #: The calls whose results it takes.
        self.above = above
        #: What the stage goes by in a Config.
        self.names = names
        self.pinned: Entry | None = None
        self.is_forced = not is_to_load
        self.is_kept = is_kept

    @property
    def task(self) -> TaskInfo:
        """The stage's task."""
        return self.bound.task

    def pin(self, entry: Entry) -> None:
        """Take the result from the store: nothing is required, and there is nothing to compute it from."""
        self.pinned, self.values = entry, None

    def join(self, twin: StageCall) -> None:
        """Be an equal call as well, by another spelling such as `scale` and `scale.bind(by=3)` where 3 is the default.

        Raises:
            TypeError: it is one of another function.
        """
        if self.names[1] != twin.names[1]:
            raise TypeError(
                f"two different functions of this pipeline are called {self.task.name} and would share their results; "
                "give one of them a name of its own with Stage.wrap(name=...)"
            )
        self.names += twin.names
        self.is_forced = self.is_forced and twin.is_forced
        self.is_kept = self.is_kept or twin.is_kept

    def evaluate(self) -> Runner:
        """Return what is required, and what computes."""
        return self.bound.evaluate() if self.pinned is None else Runner(self._vanished)

    def _vanished(self) -> Any:
        raise TaskLostError(f"stage {self.label}", "its stored result vanished while the pipeline ran; run it again")

    def reduce_to_key(self) -> tuple[Any, ...]:
        """Return what pickles this call for a worker, to which it is an instance like any other."""
        return self.bound.reduce_to_key()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StageCall) and self.bound == other.bound

    def __hash__(self) -> int:
        return hash(self.bound)

    def __repr__(self) -> str:
        return self.label

    def __copy__(self) -> StageCall:
        return self

    def __deepcopy__(self, memory: object) -> StageCall:
        return self


register(StageCall, "stage", lambda call: call.bound)
