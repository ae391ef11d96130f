"""Work: one attempt at a step: what it has written, sent and collected, none of which counts before it is complete.

Must not know: event loops, other attempts.

Next: flows/events/delivery.py
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import final

from checkpoint.flows.events.event import Event
from checkpoint.flows.events.ledger import Entry, Item, Ledger, Rank, Values
from checkpoint.flows.events.state import Overlay
from checkpoint.flows.events.step import Step

__all__ = ["Work"]


@final
class Work:
    """One attempt.

    Args:
        step: what is called.
        items: what it is called for: several for a step that takes a list.
        values: those of the context, as the commits so far left them.
    """

    def __init__(self, step: Step, items: Sequence[Item], values: Values) -> None:
        self.step, self.items = step, tuple(items)
        self.overlay = Overlay(values)
        self.sent: list[tuple[Event, str | None]] = []
        self.added: list[Entry] = []
        self.taken: list[Entry] = []
        self.tags: list[str] = []
        self.waits = self.edits = self.collects = 0
        self.is_editing = False

    @property
    def item(self) -> Item:
        """The item that stands for the attempt; it has its progress."""
        return self.items[0]

    @property
    def rank(self) -> Rank:
        """Where what it returns stands: what the ranks of its items have in common."""
        places = zip(*(item.rank for item in self.items), strict=False)
        return tuple(place[0] for place in itertools.takewhile(lambda place: len(set(place)) == 1, places))

    def unsent(self) -> list[tuple[Event, str | None]]:
        """Return what was sent, without what the earlier attempts have sent for good."""
        return self.sent[self.item.progress.emitted :]

    def collect(self, ledger: Ledger, event: Event, expected: Sequence[type[Event]], buffer: str) -> list[Event] | None:
        """Add an event to a buffer, and take what is expected from it if all of that is there."""
        entry_id = f"{self.item.id}.{self.collects}"
        self.collects += 1
        if entry_id in self.item.progress.spent:
            return None
        if entry_id not in ledger.entries:
            entry = Entry(entry_id, self.item.rank, buffer, event, ledger.encoded(event, f"event of {buffer}"))
            ledger.entries[entry_id] = entry
            self.added.append(entry)
        free = [entry for entry in list(ledger.entries.values()) if entry.buffer == buffer and entry.taker is None]
        chosen: list[Entry] = []
        for kind in expected:
            match = next((entry for entry in free if type(entry.event) is kind and entry not in chosen), None)
            if match is None:
                return None
            chosen.append(match)
        for entry in chosen:
            entry.taker = self.item.id
        self.taken += chosen
        return [entry.event for entry in chosen]

    def withdraw(self, ledger: Ledger) -> None:
        """Give back what was taken, and take out what was added, unless another attempt has it."""
        for entry in self.taken:
            entry.taker = None
        for entry in self.added:
            if entry.taker is None:
                ledger.entries.pop(entry.id, None)

    def settle(self, ledger: Ledger) -> tuple[dict[str, bytes], list[str]]:
        """Return the parts to write and to remove for what was added and taken; see `settled`."""
        changes = {
            entry.key: entry.data for entry in self.added if entry.id in ledger.entries and entry not in self.taken
        }
        removed = [entry.key for entry in self.taken if entry.is_kept]
        mine = {item.id for item in self.items}
        for entry in self.taken:
            owner = int(entry.id.partition(".")[0])
            if not entry.is_kept and owner not in mine and owner in ledger.items:
                ledger.items[owner].progress.spent.append(entry.id)
                changes |= ledger.progress_of(ledger.items[owner])
        return changes, removed

    def settled(self, ledger: Ledger) -> None:
        """Let the buffers follow the commit of what `settle` returned."""
        for entry in self.added:
            entry.is_kept = True
        for entry in self.taken:
            ledger.entries.pop(entry.id, None)
