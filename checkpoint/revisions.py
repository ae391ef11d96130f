"""Revisions: the codes by which a task's entries were made, and which of them count as its present code.

A revision counts as the present one if its fingerprint is the same, if it was accepted, or if nothing that it recorded
is known to have changed since: what has only been watched since then is no change.

Must not know: plans, upstream, values.

Next: plan.py
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Sequence
from typing import final

from checkpoint.fingerprint import Change, Code
from checkpoint.graph import TaskInfo
from checkpoint.store import Entry, Store

__all__ = ["Revisions", "code_at", "record_code"]

_CODE, _ACCEPTED = "code:", "accepted:"


def record_code(store: Store, task: TaskInfo) -> None:
    """Keep a task's present code beside its entries."""
    store.record(task.name, _CODE + task.fingerprint.hex(), task.code.to_json())


def _parameters_of(code: Code) -> set[str]:
    """Return the names of the parameters of a task's function, from its text."""
    try:
        tree = ast.parse(textwrap.dedent(code.parts[0].text))
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
        self._present = task.fingerprint
        self._verdicts = {self._present: True}
        self._accepted: set[bytes] | None = None

    def is_present(self, fingerprint: bytes) -> bool:
        """Tell whether code counts as the present one."""
        verdict = self._verdicts.get(fingerprint)
        if verdict is None:
            verdict = (
                fingerprint in self._equals()
                or self.changes_since(fingerprint) == []
                or fingerprint in self.predecessors()
            )
            self._verdicts[fingerprint] = verdict
        return verdict

    def candidates(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the entries of one key that may be used, the best first: by the present code, then the newest."""
        if len(entries) == 1 and entries[0].fingerprint == self._present:
            return entries
        usable = entries
        if self._task.on_change == "rerun":
            usable = [entry for entry in entries if self.is_present(entry.fingerprint)]
        return sorted(usable, key=self._rank, reverse=True)

    def _rank(self, entry: Entry) -> tuple[bool, bool, float]:
        return entry.fingerprint == self._present, self.is_present(entry.fingerprint), entry.stored_at

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
        """Return the codes that lack a parameter of `defaults_added`, as long as no other code on record has it.

        The edit that adds a parameter is accepted by declaring it; `accept` then keeps that for later edits.
        """
        added = self._task.defaults_added
        if not added:
            return set()
        lacking: set[bytes] = set()
        having: set[bytes] = set()
        for name in self._store.records(self._task.name, _CODE):
            fingerprint = bytes.fromhex(name.removeprefix(_CODE))
            code = self.code_of(fingerprint)
            if code is not None:
                (having if added <= _parameters_of(code) else lacking).add(fingerprint)
        return lacking if having <= {self._present} else set()

    def keep_predecessors(self) -> None:
        """Accept the codes that lack a parameter of `defaults_added`, so that later edits still count."""
        for fingerprint in self.predecessors() - self._equals():
            self.accept(fingerprint)

    def accept(self, fingerprint: bytes) -> None:
        """Let a code count as the present one from now on, as well as everything that counts as that code."""
        record_code(self._store, self._task)
        self._store.record(self._task.name, f"{_ACCEPTED}{self._present.hex()}:{fingerprint.hex()}", "")
        self._verdicts, self._accepted = {self._present: True}, None

    def _equals(self) -> set[bytes]:
        """Return what accepted edits connect with the present code, in either direction."""
        if self._accepted is None:
            neighbours: dict[bytes, set[bytes]] = {}
            for name in self._store.records(self._task.name, _ACCEPTED):
                one, other = (bytes.fromhex(text) for text in name.removeprefix(_ACCEPTED).split(":"))
                neighbours.setdefault(one, set()).add(other)
                neighbours.setdefault(other, set()).add(one)
            self._accepted = set()
            pending = [self._present]
            while pending:
                fingerprint = pending.pop()
                if fingerprint not in self._accepted:
                    self._accepted.add(fingerprint)
                    pending.extend(neighbours.get(fingerprint, ()))
        return self._accepted
