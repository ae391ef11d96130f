"""Removal: which results a clear discards, told before it is done.

Must not know: how a clear is made to count, which is the store's business; who is asked.

Next: arguments.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self, final

import xxhash

from checkpoint import texts
from checkpoint.inventory import StoredCall, calls_at
from checkpoint.lineage import below
from checkpoint.reasons import described
from checkpoint.store import Store

__all__ = ["Removal"]

#: How many calls are named.
_NAMED = 5


@final
@dataclass(frozen=True, slots=True)
class Removal:
    """What a clear of some calls discards."""

    found: tuple[StoredCall, ...]
    #: What was computed from these, directly or not, where that goes, too.
    below: tuple[StoredCall, ...]
    _consumers: tuple[tuple[str, str], ...] = field(repr=False)
    #: The task, where all of it goes.
    _whole: str | None = field(repr=False)

    @classmethod
    def of(cls, store: Store, found: Sequence[StoredCall], *, whole: str | None = None, downstream: bool) -> Self:
        """Return what a clear of some calls would discard.

        Args:
            store: where they are.
            found: the calls.
            whole: the task, if these are all its calls: it is then cleared as a whole.
            downstream: whether what was computed from them goes, too; reads the head of every entry of the store.
        """
        wanted = [(call.task, call.key) for call in found]
        gone = set(wanted)
        consumers = [at for at in below(store, wanted) if at not in gone] if downstream else []
        return cls(tuple(found), tuple(calls_at(store, consumers)), tuple(consumers), whole)

    @property
    def text(self) -> str:
        """How many results go in all, of what size, and how long computing them took."""
        return _sum_of([*self.found, *self.below])

    @property
    def mark(self) -> str:
        """Digest of what goes: another one when something else would."""
        rows = sorted(f"{call.task}\n{call.row}" for call in (*self.found, *self.below))
        return xxhash.xxh3_128_hexdigest("\n\n".join(rows).encode("utf-8", "surrogatepass"))

    def lines(self) -> list[str]:
        """Return what goes, a line for the sum and one each for the first calls."""
        lines = [f"{_counted(self.found)}: {_sum_of(self.found)}"]
        lines += [f"  {texts.cut(described(call.task, call.key), 100)}" for call in self.found[:_NAMED]]
        if len(self.found) > _NAMED:
            lines.append(f"  and {len(self.found) - _NAMED:,} more")
        if self.below:
            lines.append(f"computed from these, {_counted(self.below)}: {_sum_of(self.below)}")
        return lines

    def apply(self, store: Store) -> None:
        """Discard it; each call, or the task as a whole, in one transaction."""
        wanted = [(call.task, call.key) for call in self.found]
        for name, key in [(self._whole, None)] if self._whole is not None else dict.fromkeys(wanted):
            store.clear(name, key)
        for name, key in dict.fromkeys(self._consumers):
            store.clear(name, key)


def _counted(calls: Sequence[StoredCall]) -> str:
    return ", ".join(f"{count:,} of {task}" for task, count in Counter(call.task for call in calls).items())


def _sum_of(calls: Sequence[StoredCall]) -> str:
    seconds = sum(entry.seconds for call in calls for entry in call.entries)
    size = texts.size(sum(call.size for call in calls))
    return f"{texts.amount(len(calls), 'result')}, {size}, which took {texts.duration(seconds)} to compute"
