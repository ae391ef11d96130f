"""Runs: from instances in any nesting to their values in the same nesting, with options checked on the way.

Must not know: how a task is defined.

Next: reports.py
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from checkpoint import collector, notices
from checkpoint.choice import Options, check_executor
from checkpoint.engine import Run
from checkpoint.errors import DamagedEntryError, name_of
from checkpoint.fingerprint import look_again
from checkpoint.graph import Instance, Item, instances_in, with_values
from checkpoint.inside import is_inside_runner
from checkpoint.leaf import load_leaf
from checkpoint.outcome import Outcome, is_watched
from checkpoint.policy import POLICIES, Policy, current_policy, policy_in_force
from checkpoint.store import Entry, Store, current_store, open_store, store_at
from checkpoint.values import check_codec

if TYPE_CHECKING:
    from pathlib import Path

    from checkpoint.events import Observer
    from checkpoint.traits import ExecutorTraits, Submits

__all__ = ["RunOptions", "perform", "roots_of", "run_values", "surroundings"]

#: `logging.INFO`: what a run did is logged.
_INFO = 20
#: Unless a bar is asked for, a run that takes less shows none.
_BAR_DELAY_SECONDS = 0.3
#: A shorter run leaves no record unless a report or a trace is asked for, nor does one of more instances, nor one that
#: went well and took less for each: the record would take more than a twentieth of its time.
_RECORDED_SECONDS = 1.0
_MOST_RECORDED = 200_000
_RECORDED_SECONDS_EACH = 2e-4


class RunOptions(TypedDict, total=False):
    """The options of a run; `checkpoint.run` tells what they mean."""

    executor: Submits | str | None
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
    report: str | os.PathLike[str] | None
    trace: str | os.PathLike[str] | None


_KNOWN = frozenset(RunOptions.__annotations__)


def run_values(instances: Any, options: Mapping[str, Any]) -> Any:
    """Return the values of instances in their shape; see `checkpoint.run`."""
    if isinstance(instances, Instance) and (found := _kept(instances, options)) is not None:
        return found[1]
    _, values, error = perform(instances, options)
    if error is not None:
        raise error
    return values


def _kept(instance: Instance, options: Mapping[str, Any]) -> tuple[Entry, Any, bytes] | None:
    """Return the entry and the value of a leaf, where a run would only look these up and nobody is told of it."""
    is_plain = not options or (options.keys() == {"progress"} and options["progress"] is False)
    if not instance.is_leaf or not is_plain or is_inside_runner():
        return None
    if (logging := sys.modules.get("logging")) is not None and _logger(logging).isEnabledFor(_INFO):
        return None
    store = current_store()
    current_policy()  # what the environment says is checked by every run
    look_again()
    check_codec(store, instance.task)
    try:
        found = load_leaf(store, instance)
    except DamagedEntryError as damage:
        notices.warn_of_damage(instance, damage.reason)
        return None
    if found is not None:
        notices.warn_of_unseen_code(instance.task)
    return found


@functools.cache
def _logger(logging: Any) -> Any:
    """Return this package's logger, given the module, which few programs have imported so far."""
    return logging.getLogger("checkpoint")


def perform(instances: Any, options: Mapping[str, Any]) -> tuple[Outcome, Any, BaseException | None]:
    """Run instances in any nesting of lists, tuples and dicts.

    Returns what came of it, and the values in the same nesting or what the run failed with.
    """
    with surroundings(options) as (store, checked), store.using(), collector.set_apart():
        roots = roots_of(instances, "run() takes")
        run = Run(roots, store, checked)
        _execute(run, options)
        outcome, values = run.outcome, None
        error = _combined(outcome.failures, checked)
        if error is None:
            found = {root: run.value_of(root) for root in roots}
            values = with_values(instances, found.__getitem__)
    max_size = store.settings.max_size
    if max_size is not None and any(count.computed for count in outcome.counts.values()):
        from checkpoint.room import keep_below

        keep_below(store, max_size, run.rows_of_roots())
    return outcome, values, error


def _execute(run: Run, options: Mapping[str, Any]) -> None:
    """Execute a run; however it ends, a long one leaves a record, and page and trace are written if asked for."""
    report, trace = _path(options, "report"), _path(options, "trace")
    raised: BaseException | None = None
    with _shown(run):
        try:
            run.execute()
        except BaseException as error:
            raised = error
            raise
        finally:
            if report is not None or trace is not None or _is_worth_recording(run):
                from checkpoint.observe.leaving import leave

                leave(run, raised, report, trace)


def _shown(run: Run) -> contextlib.AbstractContextManager[None]:
    """Return a block in which others see how a run stands; nothing of one that computes nothing, or is an inner one."""
    if is_inside_runner() or not run.surveyed.plan.ready_count:
        return contextlib.nullcontext()
    from checkpoint.observe.pulse import told_live

    return told_live(run)


def _path(options: Mapping[str, Any], option: str) -> Path | None:
    if options.get(option) is None:
        return None
    from checkpoint.observe.leaving import given_path

    return given_path(options, option)


def _is_worth_recording(run: Run) -> bool:
    """Tell whether a run leaves a record unasked: one that computed something, took a while, and is no inner one."""
    outcome, count = run.outcome, len(run.surveyed.graph)
    is_long = outcome.seconds >= _RECORDED_SECONDS and count <= _MOST_RECORDED
    is_worth_it = bool(outcome.failures) or outcome.seconds >= _RECORDED_SECONDS_EACH * count
    return is_long and is_worth_it and bool(outcome.happenings) and not is_inside_runner()


def _combined(failures: Mapping[Instance, BaseException], options: Options) -> BaseException | None:
    errors = list(failures.values())
    if not errors or options.stops_on_error:
        return errors[0] if errors else None
    count = "1 instance" if len(errors) == 1 else f"{len(errors)} instances"
    return BaseExceptionGroup(f"{count} failed; what does not depend on that is computed and kept", errors)


# --- what was asked for ----------------------------------------------------------------------------------


def roots_of(instances: Any, sentence: str) -> list[Instance]:
    """Return the distinct instances in a nesting of lists, tuples and dicts, in order.

    Args:
        instances: the nesting.
        sentence: how the text of the error begins, such as "run() takes".

    Raises:
        TypeError: something in it is no instance.
    """
    _check_instances(instances, sentence)
    return list(dict.fromkeys(instances_in(instances)))


def _check_instances(structure: Any, sentence: str) -> None:
    if isinstance(structure, (Instance, Item)):
        return
    if type(structure) in (list, tuple):
        for part in structure:
            _check_instances(part, sentence)
    elif type(structure) is dict:
        for part in structure.values():
            _check_instances(part, sentence)
    else:
        advice = "call it first" if callable(structure) else "call a task to get one"
        raise TypeError(
            f"{sentence} task instances, or lists, tuples and dicts of them; {name_of(structure)} is none; {advice}"
        )


# --- options ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def surroundings(given: Mapping[str, Any]) -> Iterator[tuple[Store, Options]]:
    """Check the options of a run and put its store and policy in force for a block; yields the store and the rest.

    Raises:
        TypeError, ValueError: an option is unknown or cannot be.
    """
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
    if traits is not None:
        from checkpoint.traits import ExecutorTraits

        if not isinstance(traits, ExecutorTraits):
            raise TypeError(f"run(traits=...) takes an ExecutorTraits, not {name_of(traits)}")
    progress = _flag(given, "progress")
    observers = _observers(given.get("observers"))
    if progress or (progress is None and is_watched() and not is_inside_runner()):
        from checkpoint.observe.progress import Progress

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
