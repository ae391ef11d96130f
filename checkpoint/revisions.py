"""Revisions: the codes by which a task's entries were made, and which of them count as its present code.

A revision counts as the present one if its fingerprint is the same, if it was accepted, or if nothing that it recorded
is known to have changed since: what has only been watched since then is no change.

Must not know: plans, upstream, values.

Next: plan.py
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

from checkpoint.fingerprint import Change, Code
from checkpoint.graph import TaskInfo
from checkpoint.store import Entry, Store

__all__ = ["Revisions", "record_code"]

_CODE, _ACCEPTED = "code:", "accepted:"


def record_code(store: Store, task: TaskInfo) -> None:
    """Keep a task's present code beside its entries."""
    store.record(task.name, _CODE + task.fingerprint.hex(), task.code.to_json())


@final
class Revisions:
    """What a store knows of a task's code. Reads records only where an entry was made by another code."""

    def __init__(self, store: Store, task: TaskInfo) -> None:
        self._store = store
        self._task = task
        self._present = task.fingerprint
        self._verdicts = {self._present: True}
        self._accepted: set[bytes] | None = None
        self._codes: dict[str, str] | None = None

    def is_present(self, fingerprint: bytes) -> bool:
        """Tell whether code counts as the present one."""
        verdict = self._verdicts.get(fingerprint)
        if verdict is None:
            verdict = fingerprint in self._equals() or self.changes_since(fingerprint) == []
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
        if self._codes is None:
            records = self._store.records(self._task.name, _CODE)
            self._codes = {name: record.text for name, record in records.items()}
        text = self._codes.get(_CODE + fingerprint.hex())
        return Code.from_json(text) if text is not None else None

    def accept(self, fingerprints: Iterable[bytes]) -> None:
        """Let codes count as the present one from now on, as well as everything that counts as one of them."""
        record_code(self._store, self._task)
        for fingerprint in fingerprints:
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
