"""Reasons: why an instance would be computed, or isn't: which cue decided.

Reads metadata and the heads of stale entries; evaluates nothing.

Must not know: executors, values, how a run goes on.

Next: room.py
"""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from checkpoint.fingerprint import Change
from checkpoint.plan import State
from checkpoint.revival import decode_arguments
from checkpoint.store import Entry, Store
from checkpoint.survey import Survey
from checkpoint.values import changed_files, head_of
from checkpoint.version import key_of, mark_of, row_of_entry

__all__ = ["Cue", "Explainer", "Reason", "upstream_in", "upstream_of"]


class Cue(enum.Enum):
    """What decides whether an instance is computed."""

    FRESH = "fresh"
    MISSING = "no entry"
    CLEARED = "cleared"
    DAMAGED = "damaged"
    FORCED = "forced"
    CODE = "code changed"
    VERSION = "version changed"
    FILES = "files changed"
    UPSTREAM = "upstream changed"
    #: Its value was collected, and is needed.
    COLLECTED = "value collected"
    REQUIREMENTS = "requirements changed"
    #: What it requires is computed first; should that come out with the bytes it had, this one isn't computed.
    PENDING = "upstream to be computed"
    #: Results of the task are not kept: each consumer computes them.
    UNSTORED = "not stored"


@final
@dataclass(frozen=True, slots=True, repr=False)
class Reason:
    """Which cue decided about an instance; `str()` tells a person."""

    #: The instance, as text.
    call: str
    cue: Cue
    #: What the cue is about: upstream that changed, with "+" and "-" before what is newly, or no longer, required;
    #: files that changed.
    calls: tuple[str, ...] = ()
    #: What changed in the code since the entry was made; None if that code is not on record.
    changes: tuple[Change, ...] | None = ()
    #: When that was, in seconds since 1970: the clear, or the making of the entry.
    at: float | None = None

    def __repr__(self) -> str:
        return f"<{self.cue.value}>"

    def __str__(self) -> str:
        text = f"{self.call}: {self.cue.value}"
        if self.at is not None:
            what = "" if self.cue is Cue.CLEARED else ", entry made"
            text += f"{what} {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self.at))}"
        shown = [*self.calls[:10], f"and {len(self.calls) - 10} more"] if len(self.calls) > 10 else self.calls
        lines = [text, *(f"  {call}" for call in shown)]
        if self.changes is None:
            lines.append("  by code that is not on record")
        else:
            lines += [f"  {line}" for change in self.changes for line in change.diff().splitlines()]
        return "\n".join(lines)


@final
class Explainer:
    """Tells the reasons of a survey's instances."""

    def __init__(self, store: Store, found: Survey, forced: Iterable[int] = ()) -> None:
        """Prepare; reads nothing yet.

        Args:
            store: what was surveyed.
            found: graph, plan and entries.
            forced: nodes that are computed whatever the store has.
        """
        self._store = store
        self._found = found
        self._forced = frozenset(forced)
        #: Task name -> key -> why it has no entry, where it isn't just missing.
        self._gone: dict[str, dict[str, Cue]] = {}

    def reason(self, node: int) -> Reason:
        """Return why a node would be computed, or not. Cost: one read for a stale node, else none or one query."""
        graph, plan = self._found.graph, self._found.plan
        instance = graph.instances[node]
        call, state, entries = repr(instance), plan.states[node], self._found.entries[node]
        if not instance.task.is_stored:
            return Reason(call, Cue.UNSTORED)
        if state is State.WAITING:
            unsettled = [above for above in graph.upstream[node] if plan.versions[above] is None]
            return Reason(call, Cue.PENDING, self._calls(unsettled))
        if node in self._forced:
            return Reason(call, Cue.FORCED)
        served = plan.served[node]
        revisions = self._found.revisions[instance.task]
        if served is not None:
            is_present = revisions.is_present(served.fingerprint)
            changes = () if is_present else _several(revisions.changes_since(served.fingerprint))
            return Reason(call, Cue.FRESH, changes=changes, at=served.stored_at)
        if not entries:
            return self._reason_of_none(node)
        usable = revisions.candidates(entries)
        if usable:
            return self._reason_of_stale(node, usable[0])
        newest = max(entries, key=lambda entry: entry.stored_at)
        before = revisions.code_of(newest.fingerprint)
        names = {code.parts[0].name for code in (before, instance.task.code) if code is not None}
        is_pinned = len(names) > 1 and any(name.startswith("version ") for name in names)
        cue = Cue.VERSION if is_pinned else Cue.CODE
        return Reason(call, cue, changes=_several(revisions.changes_since(newest.fingerprint)), at=newest.stored_at)

    def _calls(self, nodes: Iterable[int]) -> tuple[str, ...]:
        return tuple(repr(self._found.graph.instances[node]) for node in nodes)

    def cue_of_none(self, node: int) -> Cue:
        """Return why a node has no entry. Cost: two queries for the first node of a task."""
        instance = self._found.graph.instances[node]
        name = instance.task.name
        if name not in self._gone:
            wanted = [other.key for other in self._found.graph.instances if other.task.name == name]
            epochs = self._store.epochs(name, wanted)
            self._gone[name] = {key: Cue.CLEARED for key, epoch in zip(wanted, epochs, strict=True) if any(epoch)}
            self._gone[name].update((key_of(row), Cue.DAMAGED) for row in self._store.damaged(name))
        return self._gone[name].get(instance.key, Cue.MISSING)

    def _reason_of_none(self, node: int) -> Reason:
        instance, cue = self._found.graph.instances[node], self.cue_of_none(node)
        at = self._store.cleared_at(instance.task.name, instance.key) if cue is Cue.CLEARED else None
        return Reason(repr(instance), cue, at=at)

    def _reason_of_stale(self, node: int, entry: Entry) -> Reason:
        graph, plan = self._found.graph, self._found.plan
        instance = graph.instances[node]
        row = row_of_entry(instance.key, entry)
        then = {(task, key_of(above)): mark for task, above, mark in upstream_of(self._store, instance.task.name, row)}
        now = {(graph.instances[n].task.name, graph.instances[n].key): n for n in self._above(node)}
        new, gone = [now[at] for at in now if at not in then], [at for at in then if at not in now]
        if new or gone:
            calls = [f"+ {call}" for call in self._calls(new)] + [f"- {described(*at)}" for at in gone]
            return Reason(repr(instance), Cue.REQUIREMENTS, tuple(calls), at=entry.stored_at)
        files = changed_files(self._store, instance.task.name, row)
        if files:
            return Reason(repr(instance), Cue.FILES, tuple(files), at=entry.stored_at)
        changed = [n for at, n in now.items() if then[at] != mark_of(plan.versions[n] or b"")]
        if not changed and entry.is_collected:
            return Reason(repr(instance), Cue.COLLECTED, at=entry.stored_at)
        return Reason(repr(instance), Cue.UPSTREAM, self._calls(changed), at=entry.stored_at)

    def _above(self, node: int) -> list[int]:
        """Return what a node reads: its upstream, and what is above those of it that are not stored."""
        found = dict.fromkeys(self._found.graph.upstream[node])
        pending = list(found)
        while pending:
            above = pending.pop()
            if not self._found.graph.instances[above].task.is_stored:
                pending.extend(n for n in self._found.graph.upstream[above] if n not in found)
                found.update(dict.fromkeys(self._found.graph.upstream[above]))
        return list(found)


def _several(changes: Sequence[Change] | None) -> tuple[Change, ...] | None:
    return tuple(changes) if changes is not None else None


def upstream_of(store: Store, task: str, row: str) -> list[tuple[str, str, str]]:
    """Return (task name, row, mark of the version) of what an entry was computed from; nothing if it is damaged."""
    return upstream_in(head_of(store, task, row))


def upstream_in(head: Any) -> list[tuple[str, str, str]]:
    """Return the same from the head of an entry."""
    return [(name, above, mark) for name, above, mark in (head or {}).get("upstream", ())]


def described(task: str, key: str) -> str:
    """Return a call as text, from its task's name and its key."""
    try:
        arguments: Mapping[str, Any] = decode_arguments(key)
    except ValueError:
        return f"{task}({key})"
    return f"{task}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
