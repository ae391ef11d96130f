"""Running: which calls of a pipeline are loaded, and the run of the others.

A result can be loaded if there is one and it isn't known to be stale: computed from other results than those that
the store has for what is above it now. What is above may be gone; then it counts. What is loaded is a leaf of the
kernel's graph, and what is above it is not in it.

Must not know: how stages are joined.

Next: flows/pipeline/function.py
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

from checkpoint import notices
from checkpoint.errors import DamagedEntryError
from checkpoint.flows.pipeline.call import StageCall
from checkpoint.flows.pipeline.config import Config
from checkpoint.flows.pipeline.lines import Lines
from checkpoint.flows.pipeline.overlay import Overlay
from checkpoint.graph import TaskInfo
from checkpoint.inside import is_inside_runner
from checkpoint.reports import RunReport
from checkpoint.revisions import Revisions
from checkpoint.runs import surroundings
from checkpoint.store import Entry, Store
from checkpoint.store.disk import DiskStore
from checkpoint.survey import usable
from checkpoint.tasks import run_report
from checkpoint.values import head_of, load
from checkpoint.version import basis_of, key_of, mark_of, row_of_entry, version_of

__all__ = ["StagePlan", "plan", "report"]


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


def plan(calls: Sequence[StageCall], config: Config) -> StagePlan:
    """Tell what `report` would do; runs nothing, reads no values."""
    with surroundings({"store": config.dir, "on_change": config.on_change}) as (store, _):
        survey = _Survey(calls, store)
    maybe = {
        call
        for call in survey.opened
        if not call.is_forced and survey.candidates.get(call) and not survey.opened.isdisjoint(call.above)
    }
    parts = (survey.opened - maybe, maybe, survey.loaded)
    return StagePlan(*(tuple([call.label for call in calls if call in part]) for part in parts))


def report(calls: Sequence[StageCall], config: Config) -> RunReport[Any]:
    """Run the last of some calls, and above it what is not loaded.

    Args:
        calls: distinct calls, each after those that it takes results from.
        config: how to run.
    """
    with surroundings({"store": config.dir, "on_change": config.on_change}) as (store, _):
        if not all(call.is_forced for call in calls):
            survey = _read_survey(calls, store)
            survey.warn_of_changes()
            for call, entry in survey.loaded.items():
                call.pin(entry)
        # stages that share a name are kept together
        kept = {call.task.name for call in calls if call.is_kept}
        unkept = frozenset({call.task.name for call in calls} - kept)
        options = config.run_options()
        options["observers"] = [*([Lines(unkept)] if config.progress is None else []), *(config.observers or [])]
        if config.limits is not None:
            tasks = {name: call.task.name for call in calls for name in call.names}
            options["limits"] = {tasks.get(name, name): most for name, most in config.limits.items()}
        with _store_without(unkept, store, config) as place:
            return run_report(calls[-1], store=place, **options)


@contextlib.contextmanager
def _store_without(unkept: frozenset[str], store: Store, config: Config) -> Iterator[Store]:
    """Yield a store in which the results of some tasks last as long as the block."""
    if not unkept:
        yield store
        return
    is_local = is_inside_runner() or config.executor in ("serial", "threads", "async")
    with (
        tempfile.TemporaryDirectory(prefix="checkpoint-scratch-", ignore_cleanup_errors=True) as folder,
        contextlib.closing(Overlay(store, DiskStore(folder), unkept, is_local=is_local)) as overlay,
    ):
        yield overlay


# --- what is loaded --------------------------------------------------------------------------------------


@final
class _Survey:
    """What the store has of a pipeline, and what of that a run would use."""

    def __init__(self, calls: Sequence[StageCall], store: Store) -> None:
        self._calls, self._store = calls, store
        self._revisions: dict[TaskInfo, Revisions] = {}
        #: Call -> its entries that the policy allows; calls that have no entries at all are not in it.
        self.candidates = self._find_candidates()
        #: Call -> the entry that was computed from what is above it now, as far as that is there.
        self.usable: dict[StageCall, Entry] = {}
        for call in calls:
            if (entry := self._find_usable(call)) is not None:
                self.usable[call] = entry
        #: Calls that are loaded with their entries, and those that are in the run but not loaded.
        self.loaded: dict[StageCall, Entry] = {}
        self.opened: set[StageCall] = set()
        needed = {calls[-1]}
        for call in reversed(calls):
            if call in needed and call in self.usable and not call.is_forced:
                self.loaded[call] = self.usable[call]
            elif call in needed:
                self.opened.add(call)
                needed.update(call.above)

    def _find_candidates(self) -> dict[StageCall, Sequence[Entry]]:
        by_task: dict[TaskInfo, list[StageCall]] = {}
        for call in self._calls:
            by_task.setdefault(call.task, []).append(call)
        candidates: dict[StageCall, Sequence[Entry]] = {}
        for task, of_task in by_task.items():
            revisions = self._revisions[task] = Revisions(self._store, task)
            found = self._store.lookup(task.name, [call.key for call in of_task])
            for call in of_task:
                if entries := found.get(call.key):
                    kept = [entry for entry in entries if not entry.is_collected]
                    candidates[call] = usable(self._store, revisions, call, kept)
        return candidates

    def _find_usable(self, call: StageCall) -> Entry | None:
        above = list(dict.fromkeys(call.above))
        there = [each for each in above if each in self.candidates]
        if not all(each in self.usable for each in there):
            return None
        versions = [self._version(each) for each in there]
        candidates = self.candidates.get(call, ())
        if len(there) == len(above):
            basis = basis_of(versions)
            return next((entry for entry in candidates if entry.basis == basis), None)
        if any(each.task.on_change == "rerun" for each in above if each not in self.candidates):
            return None  # whether it was computed from results of the present code cannot be known
        marks = {(each.task.name, each.key, mark_of(version)) for each, version in zip(there, versions, strict=True)}
        return next((entry for entry in candidates if not marks or marks <= self._marks_of(call, entry)), None)

    def _version(self, call: StageCall) -> bytes:
        entry = self.usable[call]
        return version_of(call.task.name, call.key, entry.generation, entry.digest)

    def _marks_of(self, call: StageCall, entry: Entry) -> set[tuple[str, str, str]]:
        """Return task, key and mark of the version of what an entry was computed from."""
        head = head_of(self._store, call.task.name, row_of_entry(call.key, entry))
        return {(task, key_of(row), mark) for task, row, mark in head.get("upstream", ())}

    def warn_of_changes(self) -> None:
        """Warn of changed code in what is loaded, and in what that was computed from."""
        concerned = set(self.loaded)
        for call in reversed(self._calls):
            if call in concerned:
                concerned.update(call.above)
                if call in self.usable:
                    notices.warn_of_change(call, self.usable[call], self._revisions[call.task])


def _read_survey(calls: Sequence[StageCall], store: Store) -> _Survey:
    """Return a survey in which everything that is loaded has been read: what is damaged is gone from it.

    So a run never finds out, on the way, that it needs what is above a loaded stage. It reads these values again.
    """
    read: set[tuple[StageCall, Entry]] = set()
    while True:
        survey = _Survey(calls, store)
        unread = [found for found in survey.loaded.items() if found not in read]
        read.update(unread)
        if all(_is_readable(call, entry, store) for call, entry in unread):
            return survey


def _is_readable(call: StageCall, entry: Entry, store: Store) -> bool:
    try:
        return load(store, call.task, row_of_entry(call.key, entry)) is not None
    except DamagedEntryError as damage:
        notices.warn_of_damage(call, damage.reason)
        return False
