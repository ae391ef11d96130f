"""CheckpointFlow: runs steps one after the other, and keeps the state after each.

Two places hold it. The handler has the newest state, for people to read, edit or delete: what it says counts. The
journal has every snapshot. A boundary is committed to the journal first, then written to the handler, then marked as
exported; a snapshot without that mark was cut off in between, and then the journal counts.

Next: flows/pipeline/__init__.py
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, overload

from checkpoint.checks import flag
from checkpoint.errors import (
    ChangedFlowError,
    DamagedSnapshotError,
    FlowWarning,
    UnknownSnapshotError,
)
from checkpoint.flows.linear.handler import LocalStateHandler, StateHandler, handler_class, name_of
from checkpoint.flows.linear.parts import ADVICE, INDEX, index_of, parts_of, split_parts
from checkpoint.flows.linear.steps import (
    Data,
    LoadPolicy,
    State,
    Step,
    difference_between,
    loaders_to_run,
    place_of,
    takes_two,
)
from checkpoint.journal import Recorder, Snapshot, journal_at
from checkpoint.store import Store

__all__ = ["CheckpointFlow"]

_FINISHED = "finished"
_ON_CHANGE = ("error", "restart", "ignore")


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a run begins."""

    index: int
    #: None: the caller's own state.
    state: State | None
    #: The newest snapshot of that index, if any: it has the data, and a new run follows it.
    snapshot: Snapshot | None
    #: The state comes from the journal, and the handler doesn't have it.
    is_restored: bool = False


class CheckpointFlow:
    """A list of steps that share a state, and go on after the last completed one when they are run again.

    Args:
        state_path: the file for the newest state, or whatever the handler takes. It also names the flow.
        handler: "local", another name in `state_handler_constructors`, or a class whose instances have `read` and
            `write` and are made with the path alone.
        persist_data: keep the data, too, at every boundary, so that a resumed step gets them as they were.
        store: where the journal is; None is the current store.

    Raises:
        NotImplementedError: there is no handler of that name.
        TypeError: the handler is neither a name nor a class.

    Notes:
        The key "checkpoint_index" of the state belongs to the flow. One run at a time: a second one, in any process
        of this host, raises BusyFlowError.
    """

    #: Names of handlers.
    state_handler_constructors: ClassVar[dict[str, Callable[[Any], StateHandler]]] = {"local": LocalStateHandler}

    def __init__(
        self,
        state_path: Any,
        handler: str | type[StateHandler] = "local",
        *,
        persist_data: bool = False,
        store: str | os.PathLike[str] | Store | None = None,
    ) -> None:
        flag(persist_data, "persist_data of CheckpointFlow()")
        make = handler_class(handler, self.state_handler_constructors)
        #: What keeps the newest state.
        self.handler: StateHandler = make(state_path)
        #: The steps, in order.
        self.fs: list[Step] = []
        #: Where the last run began, or what `check_point` found.
        self.ckp_index = 0
        #: Where the snapshots are.
        self.journal = journal_at(store)
        #: The flow's name in the journal.
        self.name = name_of(state_path, self.handler)
        self._keeps_data = persist_data

    # --- steps ---

    @overload
    def add_step(self, function: Callable[[State, Data], object], /) -> Step: ...
    @overload
    def add_step(
        self,
        load: Callable[[State], Data | None] | None,
        save: Callable[[State, Data], object] | None = None,
        /,
    ) -> Callable[[Callable[[State, Data], object]], Step]: ...
    @overload
    def add_step(
        self,
        *,
        load: Callable[[State], Data | None] | None = None,
        save: Callable[[State, Data], object] | None = None,
    ) -> Callable[[Callable[[State, Data], object]], Step]: ...
    def add_step(self, first: Any = None, save: Any = None, *, load: Any = None) -> Any:
        """Add the decorated function as the last step; with or without parentheses.

        Args:
            load: called with the state before the step, where the load policy says so; returns a dict for the data.
            save: called with state and data after the step.
        """
        if save is None and load is None and takes_two(first):
            return self._added(first, None, None)
        return lambda function: self._added(function, first if load is None else load, save)

    def _added(self, function: Any, load: Any, save: Any) -> Step:
        if isinstance(function, Step):  # one of another flow, perhaps
            function, load, save = function.function, load or function.load, save or function.save
        self.fs.append(Step(function, load, save))
        return self.fs[-1]

    @property
    def step_names(self) -> list[str]:
        """Names of the steps; the second of one name is "name (2)"."""
        names = [step.__name__ for step in self.fs]
        counts = [names[: index + 1].count(name) for index, name in enumerate(names)]
        return [name if count == 1 else f"{name} ({count})" for name, count in zip(names, counts, strict=True)]

    # --- running ---

    def run(
        self,
        state: State | None = None,
        load_policy: LoadPolicy = "first only",
        checkpoint: int | str | Snapshot | None = None,
        *,
        fresh: bool = False,
        on_change: Literal["error", "restart", "ignore"] = "error",
    ) -> None:
        """Run the steps that are not complete yet, or all if the last run has finished.

        Args:
            state: the state to begin with. Where a run goes on, its content is replaced by the saved state.
                None is what was saved, or an empty dict.
            load_policy: "first only" runs the loader of the first step that is executed; "always" those of all steps
                that are executed; "restore" also those of the skipped ones before; a list has a bool for each step.
            checkpoint: where to start. A number is the index of a step: an interrupted flow takes its saved state, a
                finished one the caller's. The name of a step, or a snapshot of `history()`, also bring back the state
                that was kept there.
            fresh: start at the first step, whatever was saved.
            on_change: what to do if the saved flow had other steps: "error", "restart" as with `fresh`, or "ignore"
                and go on at the step of the same name.

        Raises:
            ChangedFlowError: the flow to be resumed had other steps.
            BusyFlowError: it is running elsewhere.
            DamagedSnapshotError: what was saved can't be read; nothing was run.
            UnsavableError: a step left something in the state that can't be saved; the step is done again next time.
            StoreError: the disk is full, or the like.
            Exception: what a step, loader or saver raises. Their step is done again in full next time.
        """
        flag(fresh, "fresh of run()")
        if on_change not in _ON_CHANGE:
            raise ValueError(f"on_change must be one of {', '.join(map(repr, _ON_CHANGE))}, not {on_change!r}")
        if state is not None and not isinstance(state, dict):
            raise TypeError(f"state must be a dict or None, not {type(state).__name__}")
        count = len(self.fs)
        loaders_to_run(load_policy, 0, count, has_data=False)
        if not count:
            return
        with self.journal.lease(self.name):
            start = _FRESH if fresh else self._start(state, checkpoint, on_change)
            state = _current_state(start, state)
            data = self._data_of(start.snapshot)
            recorder = self._recorder(start, state, data or {})
            self.ckp_index = start.index
            loads = loaders_to_run(load_policy, start.index, count, has_data=data is not None)
            if data is None and load_policy == "restore":
                data = {}
                for step in self.fs[: start.index]:
                    step.load_into(state, data)
            self._execute(recorder, start.index, state, {} if data is None else data, loads)

    def _execute(self, recorder: Recorder, start: int, state: State, data: Data, loads: list[bool]) -> None:
        if start == len(self.fs):  # steps that were still to come are no longer there
            self._keep(recorder, start, state, data)
        for index, step in enumerate(self.fs[start:], start):
            step(state, loads[index], data)
            self._keep(recorder, index + 1, state, data)

    def _keep(self, recorder: Recorder, complete: int, state: State, data: Data) -> None:
        """Keep a step boundary: in the journal, then in the handler."""
        is_last = complete == len(self.fs)
        kept = {**state, INDEX: 0 if is_last else complete}
        snapshot = recorder.append(
            self._parts(kept, data),
            index=complete,
            step=self.step_names[complete - 1],
            status=_FINISHED if is_last else "running",
            metadata={"has_data": self._keeps_data},
            name=str,
        )
        self._export(snapshot, kept)
        state[INDEX] = kept[INDEX]

    def _export(self, snapshot: Snapshot, state: State) -> None:
        self.handler.write(state)
        self.journal.mark_exported(snapshot)

    def _parts(self, state: State, data: Data) -> dict[str, object]:
        return parts_of(state, data if self._keeps_data else {}, self.name)

    # --- where to start ---

    def _start(self, given: State | None, checkpoint: object, on_change: str) -> _Start:
        if isinstance(checkpoint, Snapshot):
            return self._start_after(checkpoint, on_change)
        if isinstance(checkpoint, str) and checkpoint in self.step_names:
            return self._start_after(self._newest_before(checkpoint), on_change)
        self._settle()
        saved, newest = self._saved()
        index = index_of(saved, self.name)
        state = saved if given is None or index > 0 else None
        if checkpoint is not None:
            if isinstance(checkpoint, int) and 0 <= checkpoint < len(self.fs):
                return _Start(int(checkpoint), state, self._newest_at(int(checkpoint)))
            text = f"flow {self.name} has no step {checkpoint!r}; it starts where it would without checkpoint="
            warnings.warn(text, FlowWarning, stacklevel=3)
        if index == 0:
            return _Start(0, state, None)
        if newest is None:
            names = self.step_names
            if index > len(names):
                reason = f"its {INDEX} is {index}, and the flow has {len(names)} steps"
                raise DamagedSnapshotError(f"the saved state of flow {self.name}", reason, ADVICE)
        else:
            names = self._names_in(newest)
        return self._start_at(index, names, state, newest, on_change)

    def _start_after(self, snapshot: Snapshot, on_change: str) -> _Start:
        if snapshot.flow != self.name:
            raise ValueError(f"snapshot {snapshot.id} is one of flow {snapshot.flow}, not of {self.name}")
        state, _ = split_parts(self.journal.state(snapshot.id))
        start = self._start_at(snapshot.index, self._names_in(snapshot), state, snapshot, on_change)
        return start if start is _FRESH else replace(start, is_restored=True)

    def _start_at(
        self, index: int, saved: list[str], state: State | None, snapshot: Snapshot | None, on_change: str
    ) -> _Start:
        """Start after so many of the saved steps; if the steps are others now, as `on_change` says."""
        current = self.step_names
        if difference := difference_between(saved, current):
            if on_change == "error":
                raise ChangedFlowError(self.name, tuple(saved), tuple(current), difference)
            if on_change == "restart":
                return _FRESH
            place = place_of(saved, index, current)
            return _Start(place, {**(state or {}), INDEX: place}, snapshot, is_restored=True)
        if index >= len(current):  # it had finished
            return _Start(0, state, None)
        is_there = snapshot is not None and snapshot.index == index
        return _Start(index, state, snapshot if is_there else self._newest_at(index))

    def _names_in(self, snapshot: Snapshot) -> list[str]:
        names: list[str] = self.journal.run(snapshot.run).metadata["steps"]
        return names

    def _newest_at(self, index: int) -> Snapshot | None:
        """Return the newest snapshot after so many steps, if these were the ones that the flow has now."""
        found = self.journal.snapshots(self.name, index=index, newest_first=True)
        names = self.step_names[:index]
        return next((snapshot for snapshot in found if self._names_in(snapshot)[:index] == names), None)

    def _newest_before(self, step: str) -> Snapshot:
        snapshot = self._newest_at(self.step_names.index(step))
        if snapshot is None:
            wanted = f"snapshot of flow {self.name} before step {step}"
            raise UnknownSnapshotError(wanted, "run the flow up to there first, or start at an index")
        return snapshot

    # --- what was saved ---

    def check_point(self) -> State:
        """Return the saved state; `ckp_index` is its index afterwards."""
        state, _ = self._saved()
        self.ckp_index = index_of(state, self.name) if INDEX in state else self.ckp_index
        return state

    def history(self) -> list[Snapshot]:
        """Return the snapshots of all runs, oldest first; reads no state.

        A run has one where it starts, and one for each step: with its name, index, time and size.
        """
        return self.journal.snapshots(self.name)

    def state_at(self, checkpoint: str | Snapshot) -> State:
        """Return a copy of the state that a snapshot holds, or of the newest one before the step of that name.

        Raises:
            UnknownSnapshotError: there is none.
            ValueError: the flow has no step of that name.
        """
        if not isinstance(checkpoint, (str, Snapshot)):
            raise TypeError(f"checkpoint must be the name of a step or a snapshot, not {checkpoint!r}")
        if isinstance(checkpoint, str) and checkpoint not in self.step_names:
            raise ValueError(f"flow {self.name} has no step {checkpoint!r}; it has {', '.join(self.step_names)}")
        snapshot = checkpoint if isinstance(checkpoint, Snapshot) else self._newest_before(checkpoint)
        return split_parts(self.journal.state(snapshot.id))[0]

    def clear(self) -> None:
        """Forget the saved state and the history."""
        with self.journal.lease(self.name):
            if isinstance(self.handler, LocalStateHandler):
                self.handler.clear()
            else:
                self.handler.write({})
            self.journal.delete_flow(self.name)

    def _saved(self) -> tuple[State, Snapshot | None]:
        """Return the newest state, and the newest snapshot."""
        newest = self.journal.newest(self.name)
        if newest is not None and not newest.is_exported:
            return split_parts(self.journal.state(newest.id))[0], newest
        state = self.handler.read()
        if not isinstance(state, dict):
            reason = f"its handler returned a {type(state).__name__} and no dict"
            raise DamagedSnapshotError(f"the saved state of flow {self.name}", reason, ADVICE)
        return state, newest

    def _settle(self) -> None:
        """Write to the handler what a killed run has only committed to the journal."""
        newest = self.journal.newest(self.name)
        if newest is not None and not newest.is_exported:
            self.handler.write(self._saved()[0])
            self.journal.mark_exported(newest)

    def _data_of(self, snapshot: Snapshot | None) -> Data | None:
        """Return the data that were kept with a snapshot; None if they weren't."""
        if not self._keeps_data or snapshot is None or not snapshot.metadata.get("has_data"):
            return None
        keys = [key for key in self.journal.keys(snapshot.id) if key.startswith("data[")]
        return split_parts(self.journal.state(snapshot.id, keys))[1]

    # --- what is kept ---

    def _recorder(self, start: _Start, state: State, data: Data) -> Recorder:
        """Return what appends to the interrupted run or to a new one, whose first snapshot is made here."""
        names, source = self.step_names, start.snapshot
        parts, status = self._parts(state, data), "running"
        if source is not None and self._can_go_on(source, start.index):
            recorder, status = self.journal.resume(source.run), "edited"
        else:
            recorder = self.journal.begin(self.name, source=source, metadata={"steps": names})
        if status == "running" or recorder.difference(parts, str):
            recorder.append(
                parts,
                index=start.index,
                step=names[start.index - 1] if start.index else None,
                status=status,
                metadata={"has_data": self._keeps_data and source is not None and source.metadata.get("has_data")},
                is_exported=not start.is_restored,
                name=str,
            )
        if start.is_restored and recorder.newest is not None:
            self._export(recorder.newest, {**state, INDEX: start.index} if start.index else state)
        return recorder

    def _can_go_on(self, snapshot: Snapshot, index: int) -> bool:
        """Tell whether a snapshot is where the newest run was interrupted, at this index and with these steps."""
        newest = self.journal.newest(self.name)
        is_there = newest is not None and newest.id == snapshot.id and snapshot.index == index
        return is_there and snapshot.status != _FINISHED and self._names_in(snapshot) == self.step_names


_FRESH = _Start(0, None, None)


def _current_state(start: _Start, given: State | None) -> State:
    """Return the dict to run with: the caller's own, if there is one, with the content that it is to start from."""
    if start is _FRESH:
        state = {} if given is None else given
        state.pop(INDEX, None)
        return state
    if given is None:
        return {} if start.state is None else start.state
    if start.state is not None:
        given.clear()
        given.update(start.state)
    return given
