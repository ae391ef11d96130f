"""Stage and Pipeline: functions, and how they are joined.

`x >> stage` and `stage << x` say that the stage receives x: a stage, a pipeline, or several of them, whose results
are its arguments in that order. Joining runs nothing and checks what can be known then: what is joined, how deep it
is nested, how many arguments each function takes.

Invariants: both are immutable; nothing here is recursive over a pipeline, which may be thousands of stages long.

Last in reading order of the pipeline's files.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, Unpack, final

from checkpoint.codec import dump_by_value
from checkpoint.decorators import memo
from checkpoint.errors import name_of
from checkpoint.fingerprint import Change
from checkpoint.flows.pipeline import function, running
from checkpoint.flows.pipeline.call import StageCall
from checkpoint.flows.pipeline.config import Config, codec_named, is_selected
from checkpoint.flows.pipeline.drawing import described, flowchart, shortened
from checkpoint.flows.pipeline.running import StagePlan
from checkpoint.keys import encode, snapshot
from checkpoint.options import TaskSettings
from checkpoint.reports import RunReport
from checkpoint.tasks import Task
from checkpoint.unpickling import dill_loads

__all__ = ["Pipeline", "Stage"]


@final
@dataclass(frozen=True, eq=False, repr=False, init=False)
class Stage:
    """A function as a part of pipelines; made by `@Stage.wrap()`. Equal where function, name and constants are.

    Calling it calls the function, as if it were not decorated: nothing is looked up, kept or reported.
    """

    #: The function itself.
    func: Callable[..., Any]
    _name: str
    #: Arguments that are always the same.
    constants: Mapping[str, Any]
    _constants_text: str
    _settings: TaskSettings
    _signature: inspect.Signature | None
    #: (codec, compression) -> task; stages that differ in constants alone share it.
    _tasks: dict[tuple[object, object], Task[..., Any]]

    def __init__(self, func: Callable[..., Any], **settings: Unpack[TaskSettings]) -> None:
        """Make a stage of a function; `wrap` tells the settings."""
        if isinstance(func, (Stage, Pipeline)) or not callable(func):
            raise TypeError(f"a stage is made of a function, not of {name_of(func)}: {func!r}")
        if "store" in settings:
            raise TypeError("what is kept is said by Config(store=...), not by the stage")
        self._set_up(func, settings, {}, {})
        self.task(Config())  # its options are checked, and its code is looked at, as it is now

    def _set_up(
        self,
        func: Callable[..., Any],
        settings: TaskSettings,
        constants: Mapping[str, Any],
        tasks: dict[tuple[object, object], Task[..., Any]],
    ) -> None:
        vars(self).update(
            __wrapped__=func,  # as functools.wraps does: so its signature, and code that calls the stage, are known
            func=func,
            constants=types.MappingProxyType(dict(constants)),
            _name=settings.get("name") or function.name_from(func),
            _settings=settings,
            _constants_text=encode(dict(constants)),
            _signature=function.signature_of(func),
            _tasks=tasks,
        )

    @property
    def name(self) -> str:
        """How it is shown."""
        return self._name

    @classmethod
    def wrap(cls, *misplaced: object, **settings: Unpack[TaskSettings]) -> Callable[[Callable[..., Any]], Stage]:
        """Return a decorator that makes a stage of a function.

        Args:
            misplaced: nothing; the parentheses are needed.
            settings: options of `checkpoint.memo`, for this stage: name, codec, compress, on_change, retries, ...
                Lambdas, partials, methods and callable objects need `name`.

        Raises:
            TypeError, ValueError: there are no parentheses, or an option cannot be.
        """
        if misplaced:
            raise TypeError(f"write @Stage.wrap(), with parentheses, above {name_of(misplaced[0])}")
        return lambda func: cls(func, **settings)

    def bind(self, **constants: Any) -> Stage:
        """Return a stage with some arguments set. They are part of what its results are kept under.

        Raises:
            TypeError: the function has no such argument, or a value that cannot be part of a key.
        """
        if self._signature is not None:
            try:
                self._signature.bind_partial(**constants)
            except TypeError as error:
                raise TypeError(f"stage {self._shown}: {error}") from None
        for name, value in constants.items():
            encode(value, f"constant {name!r} of stage {self.name}: {name}")
        return self._bound({**self.constants, **constants})

    def _bound(self, constants: Mapping[str, Any]) -> Stage:
        bound = object.__new__(Stage)
        bound._set_up(self.func, self._settings, snapshot(dict(constants)), self._tasks)
        return bound

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **{**snapshot(dict(self.constants)), **kwargs})

    # --- what is kept ---

    def changes(self, *, every: bool = False) -> list[Change]:
        """Return what `accept` would accept; see `Task.changes`."""
        return self.task(Config()).changes(every=every)

    def accept(self, *, every: bool = False) -> list[Change]:
        """Declare, for the current store, that the last edit of the function changed no result; see `Task.accept`.

        For the store of `Config(dir=...)` call it in `with checkpoint.open_store(dir):`.
        """
        return self.task(Config()).accept(every=every)

    def clear(self) -> None:
        """Discard all results of this stage in the current store, those with other constants as well."""
        self.task(Config()).clear()

    # --- joining ---

    def __rshift__(self, other: object) -> Pipeline:
        return Pipeline(self) >> other

    def __rrshift__(self, inputs: object) -> Pipeline:
        return self << inputs

    def __lshift__(self, inputs: object) -> Pipeline:
        args = _inputs_of(self, inputs)
        if not args:
            self.check_inputs(0)
        return Pipeline(self, args)

    def check_inputs(self, count: int) -> None:
        """Raise TypeError if the function doesn't take so many inputs."""
        if self._signature is None:
            return
        try:
            self._signature.bind(*range(count), **self.constants)
        except TypeError as error:
            received = "1 input" if count == 1 else f"{count or 'no'} inputs"
            raise TypeError(
                f"stage {self._shown} receives {received}: {error}; "
                f"join it as `(one, two) >> {self.name}` with as many as it takes"
            ) from None

    @property
    def _shown(self) -> str:
        return self.name + shortened(self._signature or "(...)", str)

    # --- identity ---

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stage):
            return NotImplemented
        return (self.func, self.name, self._constants_text) == (other.func, other.name, other._constants_text)

    def __hash__(self) -> int:
        return hash((self.name, self._constants_text))

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Stage[{self.label}]"

    @property
    def label(self) -> str:
        """The name, with constants if there are some."""
        constants = ", ".join(f"{name}={shortened(value)}" for name, value in self.constants.items())
        return f"{self.name}({constants})" if constants else self.name

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memory: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        module, qualname = getattr(self.func, "__module__", None), getattr(self.func, "__qualname__", "")
        found = function.look_up(module, qualname)
        if isinstance(found, Stage) and found.func is self.func:
            return _imported, (module, qualname, dict(self.constants))
        if found is self.func:
            return _made, (self.func, self._settings, dict(self.constants))
        return _loaded, (dump_by_value((self.func, self._settings, dict(self.constants))),)

    # --- running ---

    def task(self, config: Config) -> Task[..., Any]:
        """Return the task that the stage is in a run; its own options go before those of the run."""
        codec = codec_named(self._settings.get("codec") or config.codec)
        compress = self._settings.get("compress", config.compress)
        variant = codec, compress
        if variant not in self._tasks:
            settings: dict[str, Any] = {**self._settings, "codec": codec, "compress": compress}
            plain = function.as_function(self.func)
            if plain is not self.func:
                settings["depends_on"] = [*settings.get("depends_on", ()), type(self.func)]
                settings["name"] = settings.get("name") or function.full_name(self.func)
            self._tasks[variant] = memo(**settings)(plain)
        return self._tasks[variant]

    def call_on(self, above: Sequence[StageCall], config: Config) -> StageCall:
        """Return this stage at one place of a pipeline: on the results of other calls, as a Config says."""
        names = (self, self._bound({}), self.func, self.name)
        return StageCall(
            self.label,
            self.task(config)(*above, **self.constants),
            above,
            names=names,
            is_to_load=is_selected(config.load, names),
            is_kept=is_selected(config.store, names),
        )


def _made(func: Callable[..., Any], settings: TaskSettings, constants: Mapping[str, Any]) -> Stage:
    stage = Stage(func, **settings)
    return stage._bound(constants) if constants else stage


def _loaded(data: bytes) -> Stage:
    return _made(*dill_loads(data))


def _imported(module: str, qualname: str, constants: Mapping[str, Any]) -> Stage:
    stage = function.look_up(module, qualname)
    if not isinstance(stage, Stage):
        raise TypeError(f"{module}.{qualname} is no stage in this process: {stage!r}")
    return stage._bound(constants) if constants else stage


@final
@dataclass(frozen=True, eq=False, repr=False, slots=True, weakref_slot=True)
class Pipeline:
    """A stage and the pipelines whose results it takes, in order. Immutable, comparable; made by `>>` and `<<`.

    A chain whose first stage still lacks its inputs is open: `source >> chain` feeds it.

    Raises:
        TypeError: an input is neither a stage nor a pipeline, or there are too many or too few of them.
    """

    stage: Stage
    args: tuple[Pipeline, ...] = ()
    #: What the first stage of an open chain lacks; "" for a pipeline that can run.
    lack: str = field(init=False)
    _hash: int = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.stage, Stage):
            raise TypeError(f"a pipeline ends in a stage, not in {described(self.stage)}")
        args = _inputs_of(self.stage, self.args)
        object.__setattr__(self, "args", args)
        object.__setattr__(self, "lack", self._lack())
        object.__setattr__(self, "_hash", hash((self.stage, tuple([above._hash for above in args]))))

    def _lack(self) -> str:
        if not self.args:
            try:
                self.stage.check_inputs(0)
            except TypeError as error:
                return str(error)
            return ""
        self.stage.check_inputs(len(self.args))
        lacks = [above.lack for above in self.args if above.lack]
        if lacks and len(self.args) > 1:
            raise TypeError(lacks[0])
        return lacks[0] if lacks else ""

    def __call__(self, cfg: Config | None = None, **options: Any) -> Any:
        """Run what is not loaded, each distinct part once, and return the last stage's result.

        Args:
            cfg: how to run; `Config()` if it is not given.
            options: fields of `Config`, which go before those of cfg.

        Raises:
            the exception of a stage, with a note that names the stage; results before it are kept.
            TypeError: cfg is no Config, an option is unknown, or the first stage lacks inputs.
            UnstorableError: a result cannot be kept; StoreError: the store cannot be read or written.
        """
        return self.report(cfg, **options).value

    def report(self, cfg: Config | None = None, **options: Any) -> RunReport[Any]:
        """Do the same and return a `RunReport`; its `value` is the result, or raises what a stage raised."""
        config = _config_of(cfg, options)
        return running.report(self._calls(config), config)

    def plan(self, cfg: Config | None = None, **options: Any) -> StagePlan:
        """Tell what a call would run and what it would load; runs nothing, reads no results."""
        config = _config_of(cfg, options)
        return running.plan(self._calls(config), config)

    def draw(self) -> str:
        """Return the pipeline as a Mermaid flowchart, each distinct part once."""
        return flowchart([(stage.label, inputs) for stage, inputs in self._flat()])

    # --- joining ---

    def __rshift__(self, other: object) -> Pipeline:
        if isinstance(other, (Stage, Pipeline)):
            return other.__rrshift__(self)
        raise TypeError(f"{self!r} >> ... takes a stage or a pipeline, not {described(other)}")

    def __rrshift__(self, inputs: object) -> Pipeline:
        """Feed inputs to the head: the first stage of a chain."""
        below: list[Stage] = []
        head = self
        while len(head.args) == 1:
            below.append(head.stage)
            head = head.args[0]
        if head.args:
            raise TypeError(f"... >> {self!r}: it has several first stages; join the inputs to the one that takes them")
        fed = head.stage << inputs
        for stage in reversed(below):
            fed = Pipeline(stage, (fed,))
        return fed

    # --- identity ---

    def _flat(self) -> list[tuple[Stage, tuple[int, ...]]]:
        """Return the distinct parts from the sources down, each with the positions of its inputs."""
        flat: list[tuple[Stage, tuple[int, ...]]] = []
        known: dict[tuple[Stage, tuple[int, ...]], int] = {}
        places: dict[int, int] = {}
        pending: list[Pipeline] = [self]
        while pending:
            part = pending[-1]
            unplaced = [] if id(part) in places else [above for above in part.args if id(above) not in places]
            if unplaced:
                pending.extend(reversed(unplaced))
                continue
            pending.pop()
            content = part.stage, tuple([places[id(above)] for above in part.args])
            if content not in known:
                known[content] = len(flat)
                flat.append(content)
            places[id(part)] = known[content]
        return flat

    def _calls(self, config: Config) -> list[StageCall]:
        """Return the distinct calls of a run from the sources down."""
        if self.lack:
            raise TypeError(f"{self!r} cannot run: {self.lack}")
        known: dict[StageCall, StageCall] = {}
        calls: list[StageCall] = []
        for stage, inputs in self._flat():
            call = stage.call_on([calls[place] for place in inputs], config)
            calls.append(known.setdefault(call, call))
            if calls[-1] is not call:
                calls[-1].join(call)
        return list(known)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pipeline):
            return NotImplemented
        return self is other or (self._hash == other._hash and self._flat() == other._flat())

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        shown = [above.stage.label if not above.args else f"... >> {above.stage.label}" for above in self.args[:8]]
        inputs = ", ".join([*shown, "..."] if len(self.args) > 8 else shown)
        joined = f"({inputs})" if len(self.args) > 1 else inputs
        return f"Pipeline[{joined} >> {self.stage.label}]" if joined else f"Pipeline[{self.stage.label}]"

    def __reduce__(self) -> tuple[Any, ...]:
        return _joined, (self._flat(),)


def _joined(flat: Iterable[tuple[Stage, tuple[int, ...]]]) -> Pipeline:
    parts: list[Pipeline] = []
    for stage, inputs in flat:
        parts.append(Pipeline(stage, tuple([parts[place] for place in inputs])))
    return parts[-1]


def _inputs_of(stage: Stage, inputs: object) -> tuple[Pipeline, ...]:
    """Return what a stage receives as pipelines."""
    if isinstance(inputs, (Stage, Pipeline)):
        inputs = (inputs,)
    if isinstance(inputs, (str, bytes)) or not isinstance(inputs, Iterable):
        raise TypeError(f"stage {stage.name} receives stages and pipelines, not {described(inputs)}")
    parts = list(inputs)
    for part in parts:
        if not isinstance(part, (Stage, Pipeline)):
            raise TypeError(f"each input of stage {stage.name} must be a stage or a pipeline, not {described(part)}")
    return tuple([Pipeline(part) if isinstance(part, Stage) else part for part in parts])


def _config_of(cfg: object, options: Mapping[str, Any]) -> Config:
    if cfg is not None and not isinstance(cfg, Config):
        raise TypeError(
            f"a pipeline is called with a Config, not with {name_of(cfg)} {shortened(cfg)}; call it to run it"
        )
    return dataclasses.replace(cfg or Config(), **options)
