"""Revisions: the codes by which a task's entries were made, and which of them count as its present code.

A revision counts as the present one if its fingerprint is the same, if it was accepted, or if nothing that it recorded
is known to have changed since: what has only been watched since then is no change. When a run finds that, it is kept
which code watches more, so that a later change of what is watched counts.

Must not know: plans, upstream, values.

Next: plan.py
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterable, Sequence
from typing import final

from checkpoint.errors import StoreError
from checkpoint.fingerprint import Change, Code
from checkpoint.fingerprint.source import dedented, parse
from checkpoint.graph import TaskInfo
from checkpoint.store import Entry, Store

__all__ = ["Revisions", "code_at", "record_code"]

_CODE, _ACCEPTED, _WATCHED = "code:", "accepted:", "watched:"


def record_code(store: Store, task: TaskInfo) -> None:
    """Keep a task's present code beside its entries."""
    store.record(task.name, _CODE + task.fingerprint.hex(), task.code.to_json())


def _parameters_of(code: Code) -> set[str]:
    """Return the names of the parameters of a task's function, from its text."""
    try:
        tree = parse(dedented(code.parts[0].text))
    except SyntaxError:
        return set()
    functions = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    found = next(functions, None)
    arguments = found.args if found is not None else None
    return {node.arg for node in ast.walk(arguments) if isinstance(node, ast.arg)} if arguments is not None else set()


def code_at(store: Store, task: str, fingerprint: bytes) -> Code | None:
    """Return the code of a fingerprint, as it was recorded; None if it wasn't, or cannot be read."""
    name = _CODE + fingerprint.hex()
    record = store.records(task, name).get(name)
    try:
        return Code.from_json(record.text) if record is not None else None
    except ValueError:
        return None


@final
class Revisions:
    """What a store knows of a task's code. Reads records only where an entry was made by another code."""

    def __init__(self, store: Store, task: TaskInfo) -> None:
        self._store = store
        self._task = task
        #: The fingerprint of the present code.
        self.present = task.fingerprint
        #: Whether entries were offered of which some may be by other code.
        self.has_ranked = False
        self._verdicts = {self.present: True}
        self._accepted: set[bytes] | None = None
        self._unchanged: set[bytes] = set()

    def is_present(self, fingerprint: bytes) -> bool:
        """Tell whether code counts as the present one."""
        verdict = self._verdicts.get(fingerprint)
        if verdict is None:
            verdict = fingerprint in self._equals() or self._is_unchanged(fingerprint)
            self._verdicts[fingerprint] = verdict
        return verdict

    def _is_unchanged(self, fingerprint: bytes) -> bool:
        """Tell whether nothing changed since a code, nor since those that watch more and were found to be the same."""
        if self.changes_since(fingerprint) != []:
            return False
        is_same = all(
            watcher == self.present or watcher in self._equals() or self.changes_since(watcher) == []
            for watcher in self._watchers_of(fingerprint)
        )
        if is_same:
            self._unchanged.add(fingerprint)
        return is_same

    def _watchers_of(self, fingerprint: bytes) -> set[bytes]:
        prefix = f"{_WATCHED}{fingerprint.hex()}:"
        names = self._store.records(self._task.name, prefix)
        return {bytes.fromhex(name.removeprefix(prefix)) for name in names}

    def candidates(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the entries of one key that may be used, the best first: by the present code, then the newest."""
        self.has_ranked = True
        usable = entries
        if self._task.on_change == "rerun":
            usable = [entry for entry in entries if self.is_present(entry.fingerprint)]
        return sorted(usable, key=self._rank, reverse=True)

    def _rank(self, entry: Entry) -> tuple[bool, bool, float]:
        return entry.fingerprint == self.present, self.is_present(entry.fingerprint), entry.stored_at

    def changes_since(self, fingerprint: bytes) -> list[Change] | None:
        """Return what changed since code of a fingerprint; None if that code is not on record."""
        code = self.code_of(fingerprint)
        return self._task.code.changes_since(code) if code is not None else None

    def code_of(self, fingerprint: bytes) -> Code | None:
        """Return the code of a fingerprint, as it was recorded."""
        return code_at(self._store, self._task.name, fingerprint)

    def others(self, *, every: bool) -> list[bytes]:
        """Return the codes of entries that don't count as made by the present one: every, or that of the newest."""
        newest: dict[bytes, float] = {}
        for _, entry in self._store.scan(self._task.name):
            newest[entry.fingerprint] = max(entry.stored_at, newest.get(entry.fingerprint, 0.0))
        found = [code for code in sorted(newest, key=newest.__getitem__, reverse=True) if not self.is_present(code)]
        return found if every else found[:1]

    def differences(self, fingerprints: Iterable[bytes]) -> list[Change]:
        """Return what changed since any of some codes, once each; one that is not on record counts as empty."""
        found: dict[Change, None] = {}
        for fingerprint in fingerprints:
            changes = self.changes_since(fingerprint)
            if changes is None:
                present = self._task.code.parts[0]
                changes = [Change(present.name, "", present.text)]
            found.update(dict.fromkeys(changes))
        return list(found)

    def predecessors(self) -> set[bytes]:
        """Return the code from before the parameters of `defaults_added`, as long as no other code on record has them.

        That is the latest one that lacks a parameter and differs in nothing but the function itself. The edit that
        adds a parameter is accepted by declaring it; `accept` then keeps that for later edits.
        """
        added = self._task.defaults_added
        if not added:
            return set()
        present = self._task.code
        lacking: list[bytes] = []
        having: set[bytes] = set()
        for name in self._store.records(self._task.name, _CODE):
            fingerprint = bytes.fromhex(name.removeprefix(_CODE))
            code = self.code_of(fingerprint)
            if code is not None and added <= _parameters_of(code):
                having.add(fingerprint)
            elif code is not None and {change.name for change in present.changes_since(code)} <= {
                present.parts[0].name
            }:
                lacking.append(fingerprint)
        return set(lacking[-1:]) if having <= {self.present} else set()

    def keep_findings(self) -> None:
        """Keep which codes count as the present one by what it declares or only watches: later edits still count.

        A store that can't be written does without: the next run finds the same.
        """
        with contextlib.suppress(StoreError):
            self._keep_findings()

    def _keep_findings(self) -> None:
        for fingerprint in self._unchanged:
            if self.present not in self._watchers_of(fingerprint):
                record_code(self._store, self._task)
                name = f"{_WATCHED}{fingerprint.hex()}:{self.present.hex()}"
                self._store.record(self._task.name, name, "")
        for fingerprint in self.predecessors():
            self.accept(fingerprint)

    def accept(self, fingerprint: bytes) -> None:
        """Let a code count as the present one from now on, as well as everything that counts as that code."""
        record_code(self._store, self._task)
        self._store.record(self._task.name, f"{_ACCEPTED}{self.present.hex()}:{fingerprint.hex()}", "")
        self._verdicts, self._accepted = {self.present: True}, None

    def _equals(self) -> set[bytes]:
        """Return what accepted edits, and parameters that were added, connect with the present code."""
        if self._accepted is None:
            neighbours: dict[bytes, set[bytes]] = {}
            for name in self._store.records(self._task.name, _ACCEPTED):
                one, other = (bytes.fromhex(text) for text in name.removeprefix(_ACCEPTED).split(":"))
                neighbours.setdefault(one, set()).add(other)
                neighbours.setdefault(other, set()).add(one)
            self._accepted = set()
            pending = [self.present, *self.predecessors()]
            while pending:
                fingerprint = pending.pop()
                if fingerprint not in self._accepted:
                    self._accepted.add(fingerprint)
                    pending.extend(neighbours.get(fingerprint, ()))
        return self._accepted
