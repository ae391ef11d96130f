"""Tasks: a function whose calls are kept, and its calls.

Calling a `Task` binds arguments and gives a `TaskInstance`, which has run nothing; `run` computes.

Next: decorators.py
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    NamedTuple,
    ParamSpec,
    TypeVar,
    Unpack,
    final,
    overload,
)

import xxhash

from checkpoint import codec, keys
from checkpoint.checks import flag
from checkpoint.errors import DamagedEntryError, DamagedEntryWarning, NotCachedError, StoreError, name_of
from checkpoint.fingerprint import Tracker
from checkpoint.functions import captured_text
from checkpoint.graph import Instance, Item, Runner, instances_in
from checkpoint.options import TaskOptions
from checkpoint.policy import current_policy
from checkpoint.signatures import Signature

if TYPE_CHECKING:  # what is needed to run, and not to decorate and call, is imported where it is used
    from pathlib import Path

    import pandas

    from checkpoint.fingerprint import Change, Code
    from checkpoint.forecasts import Forecast
    from checkpoint.lineage import Lineage
    from checkpoint.reasons import Reason
    from checkpoint.reports import RunReport
    from checkpoint.revisions import Revisions
    from checkpoint.runs import RunOptions
    from checkpoint.store import Entry
    from checkpoint.wire import TaskReference

__all__ = ["CachedCall", "Task", "TaskInstance", "forecast", "run", "run_async", "run_report"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
K = TypeVar("K")


class _Evaluation(threading.local):
    """Whether this thread evaluates a body: calls of tasks then only make instances."""

    is_on = False


_evaluation = _Evaluation()
_task_numbers = itertools.count()


@final
class TaskInstance(Instance, Generic[R_co]):
    """A task bound to arguments. Hashable; equal to another one of the same task and key; runs nothing by itself.

    `instance["k"]` and `instance[0]` are parts of its value, for use in `requires` and `memo`.
    """

    __slots__ = ("_evaluated", "_hash", "_is_constant", "key", "task", "values")

    def __init__(self, task: Task[..., R_co], key: str, values: tuple[Any, ...] | None) -> None:
        self.task: Task[..., R_co] = task  # pyright: ignore[reportIncompatibleMethodOverride]  # a slot is faster
        self.key = key
        self.values = values
        #: Whether its arguments certainly cannot change.
        self._is_constant = values is None or keys.IMMUTABLE.issuperset(map(type, values))
        self._evaluated: Runner | None = None
        self._hash: int | None = None

    __iter__ = None  # else Python would count up indices for ever
    __contains__ = None

    def __getitem__(self, index: Any) -> Item:
        return Item(self, (index,))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskInstance):
            return NotImplemented
        return self.key == other.key and self.task.name == other.task.name

    def __hash__(self) -> int:
        found = self._hash
        if found is None:
            found = self._hash = hash(self.key) ^ hash(self.task.name)
        return found

    def __repr__(self) -> str:
        return self.task._describe(self)

    def __copy__(self) -> TaskInstance[R_co]:
        return self

    def __deepcopy__(self, memory: object) -> TaskInstance[R_co]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.task, self.key, self.values)

    def reduce_to_key(self) -> tuple[Any, ...]:
        """Return what pickles this instance without its arguments."""
        return _restored, (self.task, self.key, None)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by parameter name, defaults filled in; a copy."""
        return self.task._arguments_of(self)

    @property
    def is_leaf(self) -> bool:
        """Whether its body was evaluated, and requires nothing."""
        return self._evaluated is not None and not self._evaluated.requirements

    def evaluate(self) -> Runner:
        """Evaluate the body; used by the engine."""
        runner, self._evaluated = self._evaluated, None
        return runner if runner is not None else self.task._evaluate(self)

    def run(self, **options: Unpack[RunOptions]) -> R_co:
        """Compute what is missing below this instance, in parallel, and return its value.

        Options, costs and errors are those of `checkpoint.run`.
        """
        value: R_co = run(self, **options)
        return value

    async def run_async(self, **options: Unpack[RunOptions]) -> R_co:
        """Do the same as `run` without blocking the event loop: the run is driven from another thread.

        Cancelling the wait does not stop the run.
        """
        value: R_co = await run_async(self, **options)
        return value

    def plan(self, **options: Unpack[RunOptions]) -> Forecast:
        """Tell what `run` would do, and why; evaluates bodies and reads metadata, runs nothing."""
        return forecast(self, **options)

    def why(self, **options: Unpack[RunOptions]) -> Reason:
        """Tell which cue decides whether `run` would compute this instance: `print(instance.why())`.

        Options are those of `run`; evaluates bodies and reads metadata, runs nothing.
        """
        from checkpoint.forecasts import reason

        return reason(self, options)

    def lineage(self) -> Lineage:
        """Tell where the stored value comes from, and what was computed from it.

        Raises:
            NotCachedError: (a KeyError) there is no stored value.
        """
        from checkpoint.lineage import Lineage
        from checkpoint.store import current_store

        row = self._newest_row()
        if row is None:
            raise NotCachedError(repr(self))
        return Lineage(current_store(), self.task.name, row)

    def result(self) -> R_co:
        """Return the stored value, whether or not something it was computed from was cleared since.

        Raises:
            NotCachedError: (a KeyError) there is none, or it is damaged.
        """
        from checkpoint.leaf import load_leaf
        from checkpoint.store import current_store
        from checkpoint.values import load

        store = current_store()
        try:
            found = load_leaf(store, self)
            if found is None and (row := self._newest_row()) is not None:
                found = load(store, self.task, row)
        except DamagedEntryError as damage:
            found = None
            text = f"the stored result of {self!r} is damaged ({damage.reason}); it was set aside"
            warnings.warn(text, DamagedEntryWarning, stacklevel=2)
        if found is None:
            raise NotCachedError(repr(self))
        value: R_co = found[1]
        return value

    def is_cached(self) -> bool:
        """Tell whether the store has a value (see `plan` for whether it is still fresh). One read, no decoding."""
        return self._newest_row() is not None

    def _newest_row(self) -> str | None:
        """Return the row of the entry that is used whether or not it is fresh."""
        from checkpoint.version import row_of_entry

        entry = self._newest()
        return row_of_entry(self.key, entry) if entry is not None else None

    def _newest(self) -> Entry | None:
        from checkpoint.revisions import Revisions
        from checkpoint.store import current_store

        store = current_store()
        entries = Revisions(store, self.task).candidates(store.lookup(self.task.name, [self.key]).get(self.key, ()))
        return next((entry for entry in entries if not entry.is_collected), None)

    def _repr_html_(self) -> str:
        from checkpoint import texts
        from checkpoint.markup import card

        facts = {name: texts.short(value, 200) for name, value in self.arguments.items()}
        with contextlib.suppress(StoreError):
            entry = self._newest()
            if entry is None:
                facts["result"] = "none in the store"
            else:
                size, seconds = texts.size(entry.size), texts.duration(entry.seconds)
                facts["result"] = f"stored {texts.moment(entry.stored_at)}, {size}, which took {seconds}"
        return card(repr(self), facts)

    def clear(self, *, downstream: bool = False) -> None:
        """Discard the stored value, if there is one; what was computed from it is computed again by the next run.

        Args:
            downstream: discard at once what was computed from it, directly or not (reads every entry's head).
        """
        from checkpoint.lineage import below
        from checkpoint.store import current_store

        store = current_store()
        is_deep = flag(downstream, "downstream of clear()")
        consumers = below(store, [(self.task.name, self.key)]) if is_deep else []
        store.clear(self.task.name, self.key, creates=not self.task.is_stored)
        for name, key in consumers:
            store.clear(name, key)

    @property
    def directory(self) -> Path:
        """The folder of this instance's own files, kept and cleared with its value; made by `task_directory()`.

        Raises:
            NotCachedError: (a KeyError) there is no stored value.
        """
        from checkpoint.store import current_store

        row = self._newest_row()
        if row is None:
            raise NotCachedError(repr(self))
        return current_store().directory(self.task.name, row)


def _restored(task: Task[..., R], key: str, values: tuple[Any, ...] | None) -> TaskInstance[R]:
    return TaskInstance(task, key, values)


@final
class CachedCall(NamedTuple):
    """A call whose result is in the store. `seconds` is how long it took, `size` is in bytes."""

    arguments: Mapping[str, Any]
    stored_at: float
    seconds: float
    size: int


@final
class Task(Generic[P, R]):
    """A function whose calls are kept. Made by `task` and `memo`; call it to bind arguments.

    Thread-safe. In a class it works as a method where `self` can be part of a key (a dataclass, an enum member):
    `self` is then an argument like any other.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]

    def __init__(self, function: Callable[..., Any], options: TaskOptions, *, is_memo: bool) -> None:
        self._set_up(function, options, is_memo)

    def _set_up(self, function: Callable[..., Any], options: TaskOptions, is_memo: bool) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._options = options
        #: How results are turned into bytes; None for pickle.
        self.codec: codec.Codec | None = options.codec
        #: The zstandard level of results; None for no compression.
        self.level: int | None = options.level
        #: How many instances may run at once in a run; the named resource that one holds while it runs.
        self.max_concurrency, self.pool = options.max_concurrency, options.pool
        #: How often a failed instance is tried again; seconds after which a runner is stopped.
        self.retries, self.timeout = options.retries, options.timeout
        #: Whether results are kept.
        self.is_stored: bool = options.is_stored
        #: Parameters that are newer than some results.
        self.defaults_added = frozenset(options.defaults_added)
        self._is_memo = is_memo
        #: The name under which results are kept.
        self.name: str = options.name or f"{keys.module_name(function.__module__)}.{function.__qualname__}"
        self._signature = Signature(function, self.name, options.defaults_added)
        self._tracker = Tracker(function, options.depends_on, options.version)
        self._captured: str | None = None
        self._code: Code | None = None  # where the task came from another process
        self._fingerprinted: Code | None = None
        self._fingerprint = b""
        self._reference: TaskReference | None = None
        self._has_warned = False

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> TaskInstance[R]:
        """Bind arguments. At top level the body is evaluated at once, so bad arguments raise here.

        Raises:
            TypeError: the arguments don't fit the parameters.
            UnkeyableError: (a TypeError) an argument cannot be part of a key; and what the body raises.
        """
        values, key = self._signature.bind_with_key(args, kwargs)
        captured = self._captured if self._captured is not None else self._capture()
        if captured:
            key = keys.with_captured(key, captured)
        instance: TaskInstance[R] = TaskInstance(self, key, values)
        if not instance._is_constant:
            instance.values = tuple([keys.snapshot(value) for value in values])
        if not _evaluation.is_on:
            instance._evaluated = self._evaluate(instance)
        return instance

    @overload
    def __get__(self, owner: None, kind: type | None = None) -> Task[P, R]: ...
    @overload
    def __get__(self, owner: object, kind: type | None = None) -> Callable[..., TaskInstance[R]]: ...
    def __get__(self, owner: object, kind: type | None = None) -> Any:
        return self if owner is None else types.MethodType(self, owner)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from checkpoint.wire import resolve

        return resolve, (self.reference,)

    def __copy__(self) -> Task[P, R]:
        return self

    def __deepcopy__(self, memory: object) -> Task[P, R]:
        return self

    # --- what is kept ---

    def clear(self) -> None:
        """Discard all results of this task; what was computed from them is computed again by the next run."""
        from checkpoint.store import current_store

        current_store().clear(self.name, creates=not self.is_stored)

    def changes(self, *, every: bool = False) -> list[Change]:
        """Return what `accept` would accept: how the present code differs from code that made older entries.

        Code that is not on record counts as empty.

        Args:
            every: compare not only with the code that made the newest of the older entries, but with all code that
                made any.
        """
        revisions = self._revisions()
        return revisions.differences(revisions.others(every=flag(every, "every of changes()")))

    def accept(self, *, every: bool = False) -> list[Change]:
        """Declare that the last edit of the code changed no result: what is stored counts as made by the present code.

        Holds for this store, from now on and in both directions: going back to the older code is no change either.

        Args:
            every: accept not only the code that made the newest of the older entries, but all code that made any.

        Returns:
            what was accepted; empty if all entries count as made by the present code already.
        """
        revisions = self._revisions()
        accepted = revisions.others(every=flag(every, "every of accept()"))
        changes = revisions.differences(accepted)
        for fingerprint in accepted:
            revisions.accept(fingerprint)
        return changes

    def _revisions(self) -> Revisions:
        from checkpoint.revisions import Revisions
        from checkpoint.store import current_store

        return Revisions(current_store(), self)

    def entries(self) -> Iterator[CachedCall]:
        """Yield the calls whose results are in the store, in the order of their keys. Reads no results."""
        from checkpoint.revival import decode_arguments
        from checkpoint.store import current_store
        from checkpoint.version import key_of

        kept = (found for found in current_store().scan(self.name) if not found[1].is_collected)
        for key, rows in itertools.groupby(kept, lambda found: key_of(found[0])):
            newest = max((entry for _, entry in rows), key=lambda entry: entry.stored_at)
            arguments = {**self._options.defaults_added, **decode_arguments(key)}
            yield CachedCall(arguments, newest.stored_at, newest.seconds, newest.size)

    def to_frame(self) -> pandas.DataFrame:
        """Return a data frame with a row per stored call, in the order of their keys.

        Columns are the arguments, the value (in a column for each field where it is a dict with text as keys, a
        dataclass or a named tuple, else in `value`), `stored_at`, `seconds` and `size`. A name that is taken gets a
        "_". Reads every value; `entries` reads none.

        Raises:
            ImportError: pandas is not installed.
        """
        from checkpoint.frames import frame_of
        from checkpoint.store import current_store
        from checkpoint.version import key_of

        kept = (key_of(row) for row, entry in current_store().scan(self.name) if not entry.is_collected)
        return frame_of([TaskInstance(self, key, None) for key in dict.fromkeys(kept)], names=self._signature.names)

    def _repr_html_(self) -> str:
        from checkpoint import texts
        from checkpoint.inventory import summary_of
        from checkpoint.markup import card
        from checkpoint.store import current_store

        facts = {"task": self.name}
        with contextlib.suppress(StoreError):
            found = summary_of(current_store(), self.name)
            size, seconds = texts.size(found.size), texts.duration(found.seconds)
            facts["stored"] = f"{texts.amount(found.calls, 'call')}, {size}, which took {seconds}"
        return card(f"{self.__qualname__}{self._signature}", facts)

    # --- what the kernel asks ---

    @property
    def code(self) -> Code:
        """The task's code, or its pinned version, and what it uses."""
        return self._code if self._code is not None else self._tracker.code()

    @property
    def fingerprint(self) -> bytes:
        """Digest of that: 16 bytes."""
        code = self.code
        if code is not self._fingerprinted:
            self._fingerprinted, self._fingerprint = code, bytes.fromhex(code.fingerprint)
        return self._fingerprint

    @property
    def on_change(self) -> str:
        """What is done here and now with results of other code: "warn", "rerun" or "ignore".

        Another pinned version is another set of results, whatever the policy.
        """
        return "rerun" if self._options.version is not None else current_policy().resolve(self._options.on_change)

    @property
    def code_version(self) -> str:
        """What a change of code changes where no entry can tell, as nothing is stored: consumers then run again.

        It depends on the task alone, as it is part of what consumers keep, whatever policy a run has.
        """
        return "" if self._options.on_change == "ignore" else self.code.fingerprint

    def should_warn_of_change(self) -> bool:
        """Tell whether a change of code is to be warned of; true at most once."""
        if self._has_warned or self.on_change != "warn":
            return False
        self._has_warned = True
        return True

    # --- between processes ---

    @property
    def reference(self) -> TaskReference:
        """How this task is named to another process."""
        from checkpoint import wire

        if self._reference is None:
            function = self._function
            options = (
                self._is_memo,
                self.name,
                *(repr(getattr(self._options, field)) for field in _COMPARED),
            )
            digest = _hash(self.code.fingerprint, *map(str, options))
            token = f"{os.getpid()}.{next(_task_numbers)}.{digest}"
            self._reference = wire.TaskReference(function.__module__, function.__qualname__, digest, token)
            wire.known_tasks[token] = self
        return self._reference

    def by_value(self) -> bytes:
        """Return the task as dill bytes, for a process that cannot import it."""
        state = (
            self._function,
            self._options,
            self._is_memo,
            self.code,
            self._capture(),
            self.reference,
            self.name,
        )
        return codec.dump_by_value(state)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        function, options, is_memo, code, captured, reference, name = state
        self._set_up(function, options, is_memo)
        self._code, self._captured, self._reference, self.name = code, captured, reference, name

    def restore(self, key: str, values: tuple[Any, ...]) -> TaskInstance[R]:
        """Return the instance of a key and its values, as another process bound them."""
        return TaskInstance(self, key, values)

    # --- bodies ---

    def _evaluate(self, instance: TaskInstance[R]) -> Runner:
        values = instance.values
        if values is None:
            raise RuntimeError(f"{instance!r} came without its arguments and cannot be evaluated here")
        if not instance._is_constant:
            values = tuple([keys.snapshot(value) for value in values])
        if self._is_memo:
            if not instance._is_constant and (found := instances_in(values)):
                return Runner(self._call, (values,), found)
            return Runner(functools.partial(self._call, values))
        was_on, _evaluation.is_on = _evaluation.is_on, True
        try:
            signature = self._signature
            made = self._function(*values) if signature.is_plain else signature.call(self._function, values)
        finally:
            _evaluation.is_on = was_on
        if type(made) is Runner:
            return made
        if not callable(made) or isinstance(made, (type, Task)):
            if isinstance(made, types.CoroutineType):
                made.close()
            raise TypeError(
                f"the body of task {self.name} must return the function that computes its result, not {name_of(made)}; "
                "define and return a function, or use @memo for a function that computes directly"
            )
        return Runner(made)

    def _call(self, values: tuple[Any, ...]) -> Any:
        return self._signature.call(self._function, values)

    def _capture(self) -> str:
        """Return the text of what a closure has captured: two closures of one name are two sets of results."""
        if self._captured is None:
            self._captured = ""  # a task that captures itself ends here
            self._captured = captured_text(self._function, self)
        return self._captured

    def _arguments_of(self, instance: TaskInstance[Any]) -> dict[str, Any]:
        if instance.values is not None:
            return dict(zip(self._signature.names, map(keys.snapshot, instance.values), strict=True))
        from checkpoint.revival import decode_arguments

        return {**self._options.defaults_added, **decode_arguments(instance.key)}

    def _describe(self, instance: TaskInstance[Any]) -> str:
        arguments = instance.arguments
        shown = ", ".join(f"{name}={_shown(value)}" for name, value in arguments.items())
        return f"{self.__qualname__.rpartition('>.')[2]}({shown})"


#: Options that another process's copy of a task must agree on.
_COMPARED = ("level", "version", "on_change", "timeout", "is_stored")


def _hash(*parts: str) -> str:
    return xxhash.xxh3_128_hexdigest("\n".join(parts).encode("utf-8", "surrogatepass"))


def _shown(value: Any) -> str:
    if isinstance(value, TaskInstance):
        return f"{value.task.__qualname__}(...)"
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return value.__qualname__
    text = repr([value[0], ...]) if type(value) is list and len(value) > 20 else repr(value)
    return text if len(text) <= 60 else text[:40] + "..." + text[-12:]


def _encode_instance(instance: TaskInstance[Any]) -> list[Any]:
    key = instance.key
    return [instance.task.name, key if len(key) <= 120 else _hash(key)]


keys.register(TaskInstance, "task", _encode_instance)
keys.register(Item, "item", lambda item: [item.instance, *item.path])


# --- running ---------------------------------------------------------------------------------------------


@overload
def run(instances: TaskInstance[R], **options: Unpack[RunOptions]) -> R: ...
@overload
def run(instances: list[TaskInstance[R]], **options: Unpack[RunOptions]) -> list[R]: ...
@overload
def run(instances: tuple[TaskInstance[R], ...], **options: Unpack[RunOptions]) -> tuple[R, ...]: ...
@overload
def run(instances: dict[K, TaskInstance[R]], **options: Unpack[RunOptions]) -> dict[K, R]: ...
@overload
def run(instances: Sequence[Any] | Mapping[Any, Any] | Item, **options: Unpack[RunOptions]) -> Any: ...
def run(instances: Any, **options: Unpack[RunOptions]) -> Any:
    """Compute what is missing below instances and return their values in the same shape.

    Args:
        instances: an instance, or lists, tuples and dicts of instances at any depth.
        executor: None for a process pool of our own (this thread, if at most one instance is to be computed);
            "serial", "threads", "processes", "async", "dask", "ray"; the address of a scheduler; or an executor, a
            Client or a cluster of yours, which stays open.
        max_workers: how many instances run at once; default the number of processors, for "async" 100.
        on_error: "raise" stops submitting at the first failure, waits for what runs and raises the original
            exception; "continue" computes what doesn't depend on failures and raises an ExceptionGroup of all.
        pools: sizes of named resources, `{"gpu": 2}`; 1 for a pool that is not given.
        limits: max_concurrency by task or task name, for this run.
        progress: show what it does; default only on a terminal and in a notebook.
        store: folder or URL of another store than the current one.
        on_change: "warn", "rerun" or "ignore", for this run.
        force: compute the given instances although they have fresh results; what is above them is computed if missing.
        check_mutation: fail runners that change the values they are given; default $CP_CHECK_MUTATION. Encodes each
            value twice, so it is for tests.
        traits: `ExecutorTraits` of an executor of yours.
        observers: more consumers of the run's events; `checkpoint.observe` has some.
        report: file for a page on the run.
        trace: file for a trace of it, for Perfetto.

    Raises:
        the exception of the first task that failed, with a note that names the instance.
        TaskTimeoutError, TaskLostError: an instance was stopped, or its worker died.
        StoreError: the store cannot be read or written.
        TypeError, ValueError: something that is no instance, or an option that cannot be.
        KeyboardInterrupt: on Ctrl-C, after what runs is finished and kept; at once on a second one.

    Notes:
        Thread-safe. Inside a runner it computes in that same worker, one after the other. Cost of a warm run: about
        10 us per instance of the graph; the values of the given instances are read, no others.
    """
    return _runs().run_values(instances, options)


@functools.cache
def _runs() -> Any:
    """Return the module that is needed once something runs; to import it each time would take as long as a look-up."""
    from checkpoint import runs

    return runs


def forecast(instances: Any, **options: Unpack[RunOptions]) -> Forecast:
    """Tell what `run` would do, and why; evaluates bodies and reads metadata, runs nothing.

    Arguments and errors are those of `run`, without what tasks raise.
    """
    from checkpoint import forecasts

    return forecasts.forecast(instances, options)


def run_report(instances: Any, **options: Unpack[RunOptions]) -> RunReport[Any]:
    """Do what `run` does and return a `RunReport`; its `value` gives the values, or raises what failed.

    Arguments and errors are those of `run`, but failures of tasks are in the report.
    """
    from checkpoint import reports

    return reports.run_report(instances, options)


async def run_async(instances: Any, **options: Unpack[RunOptions]) -> Any:
    """Do what `run` does without blocking the event loop: the run is driven from another thread.

    Cancelling the wait does not stop the run.
    """
    import asyncio

    from checkpoint.runs import run_values

    return await asyncio.to_thread(run_values, instances, options)
