"""Rows: the stored calls of a task that filters leave, in an order, a page at a time.

Must not know: HTTP, templates.

Next: ui/entries.py
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, final

from checkpoint.filters import Filter, matching, order_of
from checkpoint.inventory import StoredCall, calls, meta_names, shown
from checkpoint.store import Store

__all__ = ["Rows", "chosen"]

#: So many rows a page has.
PER_PAGE = 100
#: How many characters of an argument a cell has.
_MOST_CELL = 160
_NEWEST_FIRST = "-stored_at"


def chosen(store: Store, task: str, conditions: str) -> list[StoredCall]:
    """Return the stored calls of a task that meet all conditions, which are written one after the other.

    Raises:
        ValueError: something of them is no condition, or cannot be compared.
        LookupError: there is no such task.
    """
    if task not in store.tasks():
        raise LookupError(f"there is no task {task!r} in {store.url}")
    filters = [Filter.parse(each) for each in shlex.split(conditions)]
    return list(matching(calls(store, task), filters))


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """One page of a table of calls.

    Attributes:
        names: columns that are arguments.
        numeric: those of them that hold numbers alone.
        rows: the calls of this page, each with its arguments as text.
        total: how many calls there are on all pages.
        sort: the column by which they are sorted, "-" before it for the largest first.
        number, last: of this page and of the last one, from 1.
    """

    names: list[str]
    numeric: frozenset[str]
    rows: list[tuple[StoredCall, dict[str, str]]]
    total: int
    sort: str
    number: int
    last: int

    @classmethod
    def of(cls, found: Sequence[StoredCall], sort: str, number: int) -> Self:
        """Return a page; the nearest one where there is none of that number."""
        sort = sort or _NEWEST_FIRST
        ordered = sorted(found, key=order_of(sort.removeprefix("-")), reverse=sort.startswith("-"))
        last = max(1, math.ceil(len(ordered) / PER_PAGE))
        number = min(max(number, 1), last)
        page = ordered[(number - 1) * PER_PAGE : number * PER_PAGE]
        arguments = [call.arguments for call in page]
        names = list(dict.fromkeys(name for each in arguments for name in each))
        numeric = frozenset(
            name for name in names if all(isinstance(given.get(name), (int, float)) for given in arguments)
        )
        rows = [
            (call, {name: _cut(shown(value)) for name, value in given.items()})
            for call, given in zip(page, arguments, strict=True)
        ]
        return cls(names, numeric, rows, len(ordered), sort, number, last)

    def meta(self) -> dict[str, str]:
        """Return how each column that is no argument is called, beside those that are."""
        return dict(meta_names(self.names))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CELL else f"{text[: _MOST_CELL - 1]}…"
