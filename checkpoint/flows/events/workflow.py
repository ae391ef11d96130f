"""Workflow: a class whose steps are driven by events; starts, forks and resumes runs.

Must not know: how a run is done.

Next: flows/events/__init__.py
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel

from checkpoint.checks import flag, number, whole
from checkpoint.flows.events.checkpoints import Checkpoint
from checkpoint.flows.events.context import Context
from checkpoint.flows.events.errors import WorkflowStepDoesNotExistError, WorkflowValidationError
from checkpoint.flows.events.event import StartEvent, StopEvent
from checkpoint.flows.events.handler import WorkflowHandler
from checkpoint.flows.events.history import History
from checkpoint.flows.events.ledger import Ledger
from checkpoint.flows.events.routes import Routes
from checkpoint.flows.events.runtime import Runtime
from checkpoint.flows.events.step import Step, step_of
from checkpoint.flows.events.values import RAW, ValueCodec, name_of_class
from checkpoint.flows.events.work import Work
from checkpoint.journal import Recorder, journal_at
from checkpoint.store import Store

__all__ = ["Workflow"]

_Begin = Callable[[Ledger, Routes], StopEvent | None]


class Workflow:
    """Base class of workflows: methods decorated with `@step` take events and return events.

    Args:
        timeout: seconds after which a run ends with WorkflowTimeoutError; None is no limit.
        disable_validation: don't compare what steps return with what they take before a run.
        num_concurrent_runs: how many runs of this object go on at a time; others wait.
        verbose: has no effect; use the stream or the logger.

    Raises:
        WorkflowValidationError: an option is wrong.
    """

    _functions: ClassVar[list[Callable[..., Any]]] = []

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._functions = list(cls._functions)

    def __init__(
        self,
        timeout: float | None = 45.0,
        disable_validation: bool = False,
        verbose: bool = False,
        num_concurrent_runs: int | None = None,
    ) -> None:
        if timeout is not None and number(timeout, "timeout of a workflow") == 0:
            raise WorkflowValidationError(
                f"workflow {type(self).__name__}", f"timeout must be above 0, not {timeout!r}"
            )
        if num_concurrent_runs is not None:
            whole(num_concurrent_runs, "num_concurrent_runs of a workflow", 0)
        flag(disable_validation, "disable_validation of a workflow")
        self.timeout, self.disable_validation = timeout, disable_validation
        self._limit = asyncio.Semaphore(num_concurrent_runs) if num_concurrent_runs else contextlib.nullcontext()

    # --- steps ---

    @classmethod
    def add_step(cls, function: Callable[..., Any]) -> None:
        """Add a decorated function as a step; `@step(workflow=...)` does.

        Raises:
            WorkflowValidationError: there is a step of that name.
        """
        found = step_of(function)
        if found is None:
            raise WorkflowValidationError(f"workflow {cls.__name__}", f"{function!r} is not decorated with @step")
        if found.name in cls._steps():
            raise WorkflowValidationError(f"step {found.name!r}", f"workflow {cls.__name__} has a step of that name")
        cls._functions.append(function)

    @classmethod
    def _steps(cls) -> dict[str, Step]:
        names = {name: None for base in reversed(cls.__mro__) for name in vars(base)}
        functions = [getattr(cls, name) for name in names] + cls._functions
        return {found.name: found for function in functions if (found := step_of(function)) is not None}

    def _routes(self) -> Routes:
        return Routes(type(self).__name__, self._steps())

    def state_defaults(self) -> Mapping[str, Any]:
        """Return the defaults of the state: those of the model that steps name with `Context[Model]`."""
        for found in self._steps().values():
            if found.state_type is not None and issubclass(found.state_type, BaseModel):
                model = found.state_type()
                return {name: getattr(model, name) for name in found.state_type.model_fields}
        return {}

    def enable_checkpoint(self, step: str) -> None:
        """List the checkpoints of a step again, from the next run on."""
        self._hidden_steps().discard(self._known(step))

    def disable_checkpoint(self, step: str) -> None:
        """Don't list the checkpoints of a step; that it is complete is kept all the same.

        Raises:
            WorkflowStepDoesNotExistError: there is no such step.
        """
        self._hidden_steps().add(self._known(step))

    def _hidden_steps(self) -> set[str]:
        hidden: set[str] = vars(self).setdefault("_hidden", set())
        return hidden

    def _known(self, step: str) -> str:
        steps = self._steps()
        if step not in steps:
            raise WorkflowStepDoesNotExistError(type(self).__name__, step, tuple(steps))
        return step

    # --- runs ---

    def run(
        self,
        ctx: Context[Any] | None = None,
        start_event: StartEvent | None = None,
        stepwise: bool = False,
        **keywords: Any,
    ) -> WorkflowHandler:
        """Start a run; await the handler for its result.

        Args:
            ctx: the context of earlier runs, whose values stay and whose history goes on; None is a new one.
            start_event: what the run begins with; None is one that is made of the keywords.
            stepwise: do one step for each `handler.run_step()`.
            keywords: fields of the start event.

        Raises:
            WorkflowValidationError: steps don't fit together; nothing was executed.
            BusyFlowError: a run is going on on this context.

        Notes:
            Needs a running event loop. Everything is kept in the context's store.
        """
        if ctx is not None and not isinstance(ctx, Context):
            raise TypeError(f"ctx of run() must be a Context, not {ctx!r}")
        if start_event is not None and not isinstance(start_event, StartEvent):
            raise TypeError(f"start_event of run() must be a StartEvent, not {start_event!r}")
        flag(stepwise, "stepwise of run()")
        routes = self._checked_routes()
        event = start_event if start_event is not None else routes.start_type()(**keywords)
        ctx = Context(self) if ctx is None else ctx
        ctx.check_idle()
        recorder = ctx.history.journal.begin(
            ctx.history.flow, source=ctx.newest, metadata={"kind": "run", "branch": ctx.branch}
        )

        def begin(ledger: Ledger, routes: Routes) -> None:
            kept = ctx.history.journal.keys(ctx.newest.id) if ctx.newest is not None else {}
            data = ledger.encoded(event, "start event")
            items = [ledger.new_item(taker, event, (), data) for taker in routes.takers(type(event))]
            ledger.commit(
                {"output": data, **{item.key: item.data for item in items}},
                [key for key in kept if not key.startswith("state/")],
                kind="start",
                shown=True,
                output=[name_of_class(type(event))],
            )
            ledger.items |= {item.id: item for item in items}

        return self._started(ctx, recorder, routes, begin, stepwise)

    def run_from(
        self,
        checkpoint: Checkpoint | str,
        ctx: Context[Any] | None = None,
        stepwise: bool = False,
        store: str | os.PathLike[str] | Store | None = None,
        **_: Any,
    ) -> WorkflowHandler:
        """Start a new run from a checkpoint: what was pending there is done, what was complete is not.

        Args:
            checkpoint: one that a context lists, or its id.
            ctx: whose history the new checkpoints are added to; its own values don't change. None is the one that
                the checkpoint is of.
            stepwise: as for `run`.
            store: where to look for an id without a context; None is the current store.

        Raises:
            WorkflowValidationError: the checkpoint needs a step or an event that is no longer there, or something of
                it could not be kept; nothing was executed.
            UnknownSnapshotError: there is no checkpoint of that id.

        Notes:
            The handler's context is a new one, with the values of the checkpoint, that shares the history.
        """
        if not isinstance(checkpoint, (str, Checkpoint)):
            raise TypeError(f"checkpoint of run_from() must be a Checkpoint or its id, not {checkpoint!r}")
        routes = self._checked_routes()
        base = ctx if ctx is not None else Context(self, store=store)
        found = base.history.checkpoint(checkpoint) if isinstance(checkpoint, str) else checkpoint
        source = found.snapshot
        flow = source.flow if ctx is None else ctx.history.flow
        if base.history.journal.snapshot(source.id) != source:
            raise ValueError(f"checkpoint {found.id_} is not in the store of the context")
        recorder = base.history.journal.begin(flow, source=source, metadata={"kind": "fork", "branch": ""})
        new = base.branched(flow, recorder.run.id, source)
        Ledger(recorder, new.history.codec, new.values).restore(new.history.journal, routes)

        def begin(ledger: Ledger, routes: Routes) -> StopEvent | None:
            ledger.restore(new.history.journal, routes)
            is_start = source.step is None and source.metadata["kind"] == "start"
            output = {"output": source.metadata["output"]} if is_start else {}
            ledger.commit({}, kind="start" if is_start else "fork", shown=is_start, status=source.status, **output)
            return _stop_of(new.history, ledger)

        return self._started(new, recorder, routes, begin, stepwise)

    def resume(
        self,
        run_id: str,
        *,
        store: str | os.PathLike[str] | Store | None = None,
        pickle: bool = False,
        stepwise: bool = False,
    ) -> WorkflowHandler:
        """Go on with a run that was killed, failed, cancelled or timed out, in any process; pending items are done.

        A run that has finished gives its result again.

        Args:
            run_id: the `run_id` of its handler.
            store: where it was kept; None is the current store.
            pickle: as for `Context`.
            stepwise: as for `run`.

        Raises:
            UnknownSnapshotError: there is no such run.
            WorkflowValidationError: as for `run_from`.
            BusyFlowError: on awaiting: it is running elsewhere.
        """
        routes = self._checked_routes()
        recorder = journal_at(store).resume(run_id)
        assert recorder.newest is not None
        branch = recorder.run.metadata["branch"] or run_id
        base = Context[Any](self, store=store, pickle=pickle)
        ctx = base.branched(recorder.run.flow, branch, recorder.newest)
        Ledger(recorder, ValueCodec(pickle), ctx.values).restore(ctx.history.journal, routes)

        def begin(ledger: Ledger, routes: Routes) -> StopEvent | None:
            ledger.restore(ctx.history.journal, routes)
            return _stop_of(ctx.history, ledger)

        return self._started(ctx, recorder, routes, begin, stepwise)

    def _checked_routes(self) -> Routes:
        routes = self._routes()
        if not self.disable_validation:
            routes.check()
        return routes

    def _started(
        self, ctx: Context[Any], recorder: Recorder, routes: Routes, begin: _Begin, stepwise: bool
    ) -> WorkflowHandler:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                f"a run of {type(self).__name__} needs an event loop; start it in an async function, "
                "run by asyncio.run(...)"
            ) from None
        ctx.history.codec.known = routes.event_types()
        ledger = Ledger(recorder, ctx.history.codec, ctx.values, is_strict=ctx.is_strict)

        def call(step: Step, event: Any, work: Work) -> Any:
            context = {} if step.context_name is None else {step.context_name: ctx.of(runtime, work)}
            function = step.function.__get__(self) if step.is_method else step.function
            return function(**{step.event_name: event}, **context)

        runtime = Runtime(ledger, routes, call, hidden=self._hidden_steps(), is_stepwise=stepwise)

        async def run() -> Any:
            try:
                async with self._limit:
                    with ctx.history.journal.lease(f"{ctx.history.flow}, run {runtime.run_id}"):
                        return await runtime.run(lambda: begin(ledger, routes), self.timeout)
            finally:
                runtime.is_active = False
                runtime.stream.close()
                ctx.newest = ledger.newest if ledger.newest is not None else ctx.newest

        ctx.attach(runtime)
        return WorkflowHandler(ctx, runtime, asyncio.get_running_loop().create_task(run()))


def _stop_of(history: History, ledger: Ledger) -> StopEvent | None:
    """Return the event that a run has ended with, if it has finished."""
    newest = ledger.newest
    if newest is None or newest.status != "finished":
        return None
    data = history.journal.state(newest.id, ["stop"], codec=RAW)["stop"]
    stop: StopEvent = history.codec.decode(data)
    return stop
