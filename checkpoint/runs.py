"""Runs: from instances in any nesting to their values in the same nesting, with options checked on the way.

Must not know: how a task is defined.

Next: lineage.py
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypedDict, TypeVar, final

from checkpoint.engine import Options, Run
from checkpoint.errors import name_of
from checkpoint.events import Event, Observer, TaskCount
from checkpoint.executors import ExecutorTraits, check_executor
from checkpoint.fingerprint import look_again
from checkpoint.graph import Instance, Item, instances_in, with_values
from checkpoint.observe.progress import Progress, is_interactive
from checkpoint.plan import State
from checkpoint.policy import POLICIES, Policy, current_policy, policy_in_force
from checkpoint.reasons import Explainer, Reason
from checkpoint.store import Store, current_store, open_store, store_at
from checkpoint.survey import Survey, survey

__all__ = ["Forecast", "RunOptions", "RunReport", "forecast", "reason", "run_report", "run_values"]

T = TypeVar("T")

#: Unless a bar is asked for, a run that takes less shows none.
_BAR_DELAY_SECONDS = 0.3


class RunOptions(TypedDict, total=False):
    """The options of a run; `checkpoint.run` tells what they mean."""

    executor: Executor | str | None
    max_workers: int | None
    on_error: Literal["raise", "continue"]
    pools: Mapping[str, int] | None
    limits: Mapping[Any, int] | None
    progress: bool | None
    store: str | os.PathLike[str] | Store | None
    on_change: Literal["warn", "rerun", "ignore"] | None
    force: bool
    check_mutation: bool | None
    traits: ExecutorTraits | None
    observers: list[Observer] | None


_KNOWN = frozenset(RunOptions.__annotations__)


@final
@dataclass(frozen=True, slots=True)
class RunReport(Generic[T]):
    """What a run did.

    `value` gives the values in the shape that was asked for, or raises what the run failed with.
    """

    #: Task name -> computed, hit, failed, skipped, seconds (sum of the runners'), size (bytes stored).
    counts: Mapping[str, TaskCount]
    #: Wall-clock time of the run.
    seconds: float
    #: Instance -> its exception, in the order they happened.
    failures: Mapping[Any, BaseException]
    #: Instances that were not computed because something they require failed.
    skipped: tuple[Any, ...]
    #: What happened, in order; hits are only counted.
    events: tuple[Event, ...] = field(repr=False)
    _values: Any = field(repr=False)
    _error: BaseException | None = field(repr=False)

    @property
    def value(self) -> T:
        """The values, in the shape of the instances.

        Raises:
            the task's exception, or with `on_error="continue"` an ExceptionGroup of all.
        """
        if self._error is not None:
            raise self._error
        value: T = self._values
        return value

    @property
    def computed(self) -> int:
        """How many instances were computed."""
        return sum(count.computed for count in self.counts.values())

    @property
    def hit(self) -> int:
        """How many instances were in the store and fresh."""
        return sum(count.hit for count in self.counts.values())

    @property
    def failed(self) -> int:
        """How many instances failed, timed out or were lost."""
        return sum(count.failed for count in self.counts.values())

    @property
    def size(self) -> int:
        """How many bytes were stored."""
        return sum(count.size for count in self.counts.values())


@final
@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run would do. `str()` is a summary."""

    #: Instances that would be computed, each with the reason.
    compute: Mapping[Any, Reason]
    #: Instances below those: computed unless what they require comes out with the same bytes as before.
    maybe: tuple[Any, ...]
    #: How many fresh values would be read: those that were asked for, or that what is computed takes.
    loaded: int
    #: How many instances are fresh and not even read.
    skipped: int
    #: How long all that may be computed took the last time, added up; others of the same task stand for new calls.
    seconds: float
    #: How many of these were of tasks that never ran, and are not in `seconds`.
    unknown: int

    @property
    def fresh(self) -> int:
        """How many instances are fresh."""
        return self.loaded + self.skipped

    def __str__(self) -> str:
        lines = [
            f"{len(self.compute)} to compute, {len(self.maybe)} to compute after these, "
            f"{self.loaded} to load, {self.skipped} to skip; about {_duration(self.seconds)} of work"
            + (f" and {self.unknown} that never ran" if self.unknown else "")
        ]
        counts = Counter((instance.task.name, reason.cue.value) for instance, reason in self.compute.items())
        lines += [f"  {count} {name}: {cue}" for (name, cue), count in counts.items()]
        return "\n".join(lines)


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s"


def run_report(instances: Any, options: Mapping[str, Any]) -> RunReport[Any]:
    """Run instances in any nesting of lists, tuples and dicts; see `checkpoint.run`."""
    with _surroundings(options) as (store, checked):
        _check_instances(instances)
        roots = list(dict.fromkeys(instances_in(instances)))
        run = Run(roots, store, checked)
        outcome = run.execute()
        error = _combined(outcome.failures, checked)
        values = None
        if error is None:
            found = {root: run.value_of(root) for root in roots}
            values = with_values(instances, found.__getitem__)
        return RunReport(
            outcome.counts,
            outcome.seconds,
            outcome.failures,
            tuple(outcome.skipped),
            tuple(outcome.events),
            values,
            error,
        )


def run_values(instances: Any, options: Mapping[str, Any]) -> Any:
    """Return the values of instances in their shape; see `checkpoint.run`."""
    return run_report(instances, options).value


def forecast(instance: Instance, options: Mapping[str, Any]) -> Forecast:
    """Tell what running an instance would do; runs nothing, reads metadata only."""
    with _surroundings(options) as (store, checked):
        found = _surveyed(instance, store, checked)
        explainer = _explainer(store, found, checked)
        graph, states = found.graph, found.plan.states
        due = [node for node, state in enumerate(states) if state in (State.READY, State.WAITING)]
        loaded = {node for node in graph.roots if states[node] is State.FRESH}
        loaded.update(above for node in due for above in graph.upstream[node] if states[above] is State.FRESH)
        durations = _Durations(store, found)
        seconds = [durations.expected(node) for node in due]
        return Forecast(
            compute={graph.instances[node]: explainer.reason(node) for node in due if states[node] is State.READY},
            maybe=tuple(graph.instances[node] for node in due if states[node] is State.WAITING),
            loaded=len(loaded),
            skipped=len(graph) - len(due) - len(loaded),
            seconds=sum(found for found in seconds if found is not None),
            unknown=seconds.count(None),
        )


def reason(instance: Instance, options: Mapping[str, Any]) -> Reason:
    """Tell why running an instance would compute it, or not; runs nothing, reads metadata only."""
    with _surroundings(options) as (store, checked):
        found = _surveyed(instance, store, checked)
        return _explainer(store, found, checked).reason(found.graph.roots[0])


def _surveyed(instance: Instance, store: Store, options: Options) -> Survey:
    return survey([instance], store, pools=options.pools, limits=options.limits, is_forced=options.is_forced)


def _explainer(store: Store, found: Survey, options: Options) -> Explainer:
    return Explainer(store, found, found.graph.roots if options.is_forced else ())


@final
class _Durations:
    """How long instances took when they were computed last."""

    def __init__(self, store: Store, found: Survey) -> None:
        self._store = store
        self._found = found
        self._means: dict[str, float | None] = {}

    def expected(self, node: int) -> float | None:
        """Return the time of a node's newest entry, else the mean of some others of its task, else None."""
        entries = self._found.entries[node]
        if entries:
            return max(entries, key=lambda entry: entry.stored_at).seconds
        name = self._found.graph.instances[node].task.name
        if name not in self._means:
            some = [entry.seconds for _, entry in itertools.islice(self._store.scan(name), 1000)]
            self._means[name] = sum(some) / len(some) if some else None
        return self._means[name]


def _combined(failures: Mapping[Instance, BaseException], options: Options) -> BaseException | None:
    errors = list(failures.values())
    if not errors or options.stops_on_error:
        return errors[0] if errors else None
    count = "1 instance" if len(errors) == 1 else f"{len(errors)} instances"
    return BaseExceptionGroup(f"{count} failed; what does not depend on that is computed and kept", errors)


# --- options ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _surroundings(given: Mapping[str, Any]) -> Iterator[tuple[Store, Options]]:
    unknown = sorted(set(given) - _KNOWN)
    if unknown:
        raise TypeError(f"run() has no option {unknown[0]!r}; it has {', '.join(sorted(_KNOWN))}")
    store = current_store() if given.get("store") is None else store_at(given["store"])
    on_change = _choice(given, "on_change", POLICIES)
    inherited = current_policy()
    checks_mutation = _flag(given, "check_mutation")
    look_again()
    policy = Policy(
        on_change or inherited.of_run,
        inherited.of_environment,
        inherited.checks_mutation if checks_mutation is None else checks_mutation,
    )
    with open_store(store), policy_in_force(policy):
        yield store, _checked(given)


def _checked(given: Mapping[str, Any]) -> Options:
    executor, max_workers, traits = given.get("executor"), given.get("max_workers"), given.get("traits")
    check_executor(executor, max_workers)
    if traits is not None and not isinstance(traits, ExecutorTraits):
        raise TypeError(f"run(traits=...) takes an ExecutorTraits, not {name_of(traits)}")
    progress = _flag(given, "progress")
    observers = _observers(given.get("observers"))
    if progress or (progress is None and is_interactive()):
        observers.append(Progress(delay_s=0.0 if progress else _BAR_DELAY_SECONDS))
    return Options(
        executor=executor,
        max_workers=max_workers,
        stops_on_error=_choice(given, "on_error", ("raise", "continue")) != "continue",
        pools=_sizes(given.get("pools"), "pools"),
        limits=_sizes(given.get("limits"), "limits"),
        traits=traits,
        observers=observers,
        is_forced=_flag(given, "force") or False,
    )


def _flag(given: Mapping[str, Any], option: str) -> bool | None:
    value = given.get(option)
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"run({option}=...) takes True or False, not {value!r}")
    return value


def _observers(given: Any) -> list[Observer]:
    found = list(given) if isinstance(given, (list, tuple)) else [] if given is None else [given]
    for observer in found:
        for method in ("begin", "notify", "tick", "end"):
            if not callable(getattr(observer, method, None)):
                raise TypeError(f"run(observers=...) takes a list of observers; {observer!r} has no method {method}")
    return found


def _choice(given: Mapping[str, Any], option: str, allowed: tuple[str, ...]) -> str | None:
    value = given.get(option)
    if value is None or (isinstance(value, str) and value in allowed):
        return value
    kind = ValueError if isinstance(value, str) else TypeError
    raise kind(f"run({option}=...) takes one of {', '.join(allowed)}, not {value!r}")


def _sizes(given: Any, option: str) -> dict[str, int]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"run({option}=...) takes a dict of names and numbers, not {given!r}")
    sizes = {}
    for named, size in given.items():
        name = named if isinstance(named, str) else getattr(named, "name", None)
        if not isinstance(name, str):
            raise TypeError(f"run({option}=...) takes names, for limits also tasks, not {named!r}")
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"run({option}=...) takes whole numbers; {name!r} has {size!r}")
        if size < 1:
            raise ValueError(f"run({option}=...) takes numbers of at least 1; {name!r} has {size}")
        sizes[name] = size
    return sizes


def _check_instances(structure: Any) -> None:
    if isinstance(structure, (Instance, Item)):
        return
    if type(structure) in (list, tuple):
        for part in structure:
            _check_instances(part)
    elif type(structure) is dict:
        for part in structure.values():
            _check_instances(part)
    else:
        advice = "call it first" if callable(structure) else "call a task to get one"
        raise TypeError(
            f"run() takes task instances, or lists, tuples and dicts of them; {name_of(structure)} is none; {advice}"
        )
