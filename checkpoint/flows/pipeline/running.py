"""Running: from the steps of a pipeline to a run of the kernel's graph.

Each step becomes a `StageCall`: an instance of the stage's task, with the calls above it among its arguments. Which
of them are loaded is decided first; what is loaded is a leaf of the graph, and what is above it is not in it.

A result can be loaded if there is one and it isn't known to be stale: computed from other results than those that
the store has for what is above it now. What is above may be gone; then it counts.

Must not know: how stages are joined.

Next: flows/pipeline/function.py
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import xxhash

from checkpoint.errors import CodeChangedWarning, NotCachedError, TaskLostError
from checkpoint.flows.pipeline.config import Config
from checkpoint.flows.pipeline.lines import Lines
from checkpoint.flows.pipeline.selective import SelectiveStore
from checkpoint.graph import Instance, Runner, TaskInfo
from checkpoint.keys import register
from checkpoint.policy import Policy, current_policy, policy_in_force
from checkpoint.runs import RunReport
from checkpoint.store import Entry, Store, current_store, open_store, store_at
from checkpoint.tasks import Task, TaskInstance, run_report
from checkpoint.version import address_of, basis_of, version_of
from checkpoint.worker import is_inside_runner

__all__ = ["StagePlan", "Step", "plan", "report"]


class Step(NamedTuple):
    """One stage at one place of a pipeline; the steps of a pipeline are listed from the sources down."""

    #: What the stage goes by in a Config; the first tells two functions of one name apart.
    names: tuple[Hashable, ...]
    #: How it is shown.
    label: str
    task: Task[..., Any]
    constants: Mapping[str, Any]
    #: Positions of the steps whose results it takes.
    inputs: tuple[int, ...]
    is_to_load: bool
    is_kept: bool
    #: What the stage itself says of changed code.
    on_change: str | None


@final
@dataclass(frozen=True, slots=True)
class StagePlan:
    """What a run of a pipeline would do, by the names of its stages in the order of their turns."""

    #: Stages that would run.
    run: tuple[str, ...]
    #: Stages below those that have a result: they run unless what they take comes out with the same bytes as before.
    maybe: tuple[str, ...]
    #: Stages whose results would be loaded.
    load: tuple[str, ...]

    def __str__(self) -> str:
        parts = (("run", self.run), ("run or load", self.maybe), ("load", self.load))
        return "\n".join(f"would {what}: {', '.join(names)}" for what, names in parts if names)


@final
class StageCall(Instance):
    """A step as an instance: a stage's task bound to the calls above it and to constants."""

    __slots__ = ("_task", "bound", "is_loaded", "key", "name", "values")

    def __init__(self, name: str, bound: TaskInstance[Any]) -> None:
        self.name = name
        self.bound = bound
        self._task: TaskInfo = bound.task
        self.key = bound.key
        self.values = bound.values
        #: Whether its result is in the store and is used, so that nothing is required.
        self.is_loaded = False

    @property
    def task(self) -> TaskInfo:
        """The stage's task."""
        return self._task

    def evaluate(self) -> Runner:
        """Return what is required, and what computes."""
        return Runner(self._vanished) if self.is_loaded else self.bound.evaluate()

    def load(self) -> None:
        """Take the result from the store: nothing is required, and there is nothing to compute it from."""
        self.is_loaded, self.values = True, None

    def _vanished(self) -> Any:
        raise TaskLostError(f"stage {self.name}", "its stored result vanished while the pipeline ran; run it again")

    def reduce_to_key(self) -> tuple[Any, ...]:
        """Return what pickles this call for a worker, to which it is an instance like any other."""
        return self.bound.reduce_to_key()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StageCall):
            return NotImplemented
        return self.key == other.key and self.task.name == other.task.name

    def __hash__(self) -> int:
        return hash(self.key) ^ hash(self.task.name)

    def __repr__(self) -> str:
        return self.name

    def __copy__(self) -> StageCall:
        return self

    def __deepcopy__(self, memory: object) -> StageCall:
        return self


def _describe(call: StageCall) -> list[str]:
    """Return what stands for a call in the keys below it: bounded, however long the way above is."""
    key = call.key
    return [call.task.name, key if len(key) <= 120 else xxhash.xxh3_128_hexdigest(key.encode("utf-8", "surrogatepass"))]


register(StageCall, "stage", _describe)


def _calls_of(steps: Sequence[Step]) -> list[StageCall]:
    calls: list[StageCall] = []
    stages: dict[StageCall, Hashable] = {}
    for step in steps:
        call = StageCall(step.label, step.task(*[calls[position] for position in step.inputs], **step.constants))
        if stages.setdefault(call, step.names[0]) != step.names[0]:
            raise TypeError(
                f"two different functions of this pipeline are called {call.task.name} and would share their results; "
                "give one of them a name of its own with Stage.wrap(name=...)"
            )
        calls.append(call)
    return calls


# --- what is loaded --------------------------------------------------------------------------------------


@final
class _Survey:
    """What the store has of a pipeline, and what of that a run would use."""

    def __init__(self, steps: Sequence[Step], calls: Sequence[StageCall], store: Store, policy: Policy) -> None:
        self._steps, self._calls, self._policy = steps, calls, policy
        self.entries = _entries_of(calls, store)
        self._usable = self._find_usable()
        #: Positions of the steps that are loaded, and of those that are in the run but not loaded, in order.
        self.loaded, self.open = self._walk()

    def _find_usable(self) -> list[bool]:
        usable: list[bool] = []
        for position, entry in enumerate(self.entries):
            above = tuple(dict.fromkeys(self._steps[position].inputs))
            usable.append(entry is not None and self._agrees(entry, above, usable))
        return usable

    def _agrees(self, entry: Entry, above: Sequence[int], usable: Sequence[bool]) -> bool:
        """Tell whether an entry was computed from what is above it now, as far as that is there."""
        found = [place for place in above if self.entries[place] is not None]
        if not all(usable[place] for place in found):
            return False
        lacking = [place for place in above if self.entries[place] is None]
        if lacking:  # nothing to compare with; but where changed code runs again, it may be there under older code
            return not any(self._policy.resolve(self._steps[place].on_change) == "rerun" for place in lacking)
        return entry.basis == basis_of([self._version(place) for place in found])

    def _version(self, position: int) -> bytes:
        entry = self.entries[position]
        assert entry is not None
        return version_of(address_of(self._calls[position]), entry.generation, entry.digest)

    def _walk(self) -> tuple[list[int], list[int]]:
        loaded: list[int] = []
        opened: list[int] = []
        seen: set[int] = set()
        pending = [len(self._steps) - 1]
        while pending:
            position = pending.pop()
            if position in seen:
                continue
            seen.add(position)
            if self._steps[position].is_to_load and self._usable[position]:
                loaded.append(position)
            else:
                opened.append(position)
                pending.extend(self._steps[position].inputs)
        return sorted(loaded), sorted(opened)

    def warn_of_changed_code(self) -> None:
        """Warn of changed code in what is loaded, and in what that was computed from."""
        seen: set[int] = set()
        pending = list(self.loaded)
        while pending:
            position = pending.pop()
            if position in seen:
                continue
            seen.add(position)
            pending.extend(self._steps[position].inputs)
            entry, task = self.entries[position], self._calls[position].task
            if entry is not None and entry.fingerprint.hex() != task.fingerprint and task.should_warn_of_change():
                warnings.warn(
                    f"the code of stage {self._calls[position].name} ({task.name}) changed since its result was kept, "
                    'and results that depend on it are loaded; Config(on_change="rerun") runs changed stages again, '
                    'Config(on_change="ignore") is silent',
                    CodeChangedWarning,
                    stacklevel=6,
                )


def _entries_of(calls: Sequence[StageCall], store: Store) -> list[Entry | None]:
    by_task: dict[TaskInfo, list[int]] = {}
    for position, call in enumerate(calls):
        by_task.setdefault(call.task, []).append(position)
    entries: list[Entry | None] = [None] * len(calls)
    for task, positions in by_task.items():
        found = store.lookup(task.name, [calls[position].row for position in positions])
        for position in positions:
            entries[position] = found.get(calls[position].row)
    return entries


def _verified_survey(steps: Sequence[Step], calls: Sequence[StageCall], store: Store, policy: Policy) -> _Survey:
    """Return a survey in which everything that is loaded has been read: what is damaged is gone from it.

    So a run never finds out, on the way, that it needs what is above a loaded stage. It reads these values again.
    """
    verified: set[int] = set()
    while True:
        survey = _Survey(steps, calls, store, policy)
        unread = [position for position in survey.loaded if position not in verified]
        if not unread:
            return survey
        for position in unread:
            verified.add(position)
            try:
                calls[position].bound.result()
            except NotCachedError:
                break  # it was damaged and set aside with a warning: look again


# --- running ---------------------------------------------------------------------------------------------


def report(steps: Sequence[Step], config: Config) -> RunReport[Any]:
    """Run the last of some steps, and above it what is not loaded."""
    store, policy = _store_of(config), _policy_of(config)
    with open_store(store), policy_in_force(policy):
        calls = _calls_of(steps)
        loaded = _loaded(steps, calls, store, policy)
        for call in calls:
            if call in loaded:
                call.load()
        missing = [call for call, step in zip(calls, steps, strict=True) if step.is_to_load and not call.is_loaded]
        unkept = _tasks_without(calls, [step.is_kept for step in steps])
        lines = [Lines(missing, unkept)] if config.progress is None else []
        with tempfile.TemporaryDirectory(prefix="checkpoint-scratch-", ignore_cleanup_errors=True) as scratch:
            view = SelectiveStore(
                store,
                scratch=scratch,
                is_local=is_inside_runner() or config.executor in ("serial", "threads", "async"),
                hidden={(call.task.name, call.row) for call, step in zip(calls, steps, strict=True)
                        if not step.is_to_load},
                unkept=unkept,
                loaded={(call.task.name, call.row): entry for call, entry in loaded.items()},
            )  # fmt: skip
            observers = [*lines, *(config.observers or [])]
            try:
                return run_report(calls[-1], store=view, observers=observers, **_options(steps, calls, config))
            finally:
                view.close()


def plan(steps: Sequence[Step], config: Config) -> StagePlan:
    """Tell what `report` would do; runs nothing, reads no values."""
    store, policy = _store_of(config), _policy_of(config)
    with open_store(store), policy_in_force(policy):
        survey = _Survey(steps, _calls_of(steps), store, policy)
    opened = set(survey.open)
    maybe = {
        place
        for place in opened
        if steps[place].is_to_load and survey.entries[place] is not None and opened.intersection(steps[place].inputs)
    }
    parts = ([place for place in survey.open if place not in maybe], sorted(maybe), survey.loaded)
    return StagePlan(*(tuple([steps[place].label for place in part]) for part in parts))


def _loaded(steps: Sequence[Step], calls: Sequence[StageCall], store: Store, policy: Policy) -> dict[StageCall, Entry]:
    if not any(step.is_to_load for step in steps):
        return {}
    survey = _verified_survey(steps, calls, store, policy)
    survey.warn_of_changed_code()
    return {calls[place]: entry for place in survey.loaded if (entry := survey.entries[place]) is not None}


def _options(steps: Sequence[Step], calls: Sequence[StageCall], config: Config) -> dict[str, Any]:
    """Return the options of the run, with limits by the names of tasks instead of stages and their names."""
    options = config.run_options()
    if config.limits is not None:
        names = {name: call.task.name for step, call in zip(steps, calls, strict=True) for name in step.names}
        options["limits"] = {names.get(key, key): most for key, most in config.limits.items()}
    return options


def _store_of(config: Config) -> Store:
    return current_store() if config.dir is None else store_at(config.dir)


def _policy_of(config: Config) -> Policy:
    inherited = current_policy()
    return Policy(config.on_change or inherited.of_run, inherited.of_environment)


def _tasks_without(calls: Sequence[StageCall], are_kept: Sequence[bool]) -> frozenset[str]:
    """Return the names of the tasks of which no step is kept; stages that share a name are kept together."""
    kept = {call.task.name for call, is_kept in zip(calls, are_kept, strict=True) if is_kept}
    return frozenset({call.task.name for call in calls} - kept)
