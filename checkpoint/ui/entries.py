"""Entries: the pages on what a store holds: its tasks, the calls of one, one call.

Must not know: how anything is found or decided; that is asked of the inventory.

Next: ui/watching.py
"""

from __future__ import annotations

from typing import final
from urllib.parse import urlencode

import xxhash
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from checkpoint.inventory import StoredCall, calls, calls_at, shown, summaries
from checkpoint.lineage import Lineage
from checkpoint.previews import preview
from checkpoint.store import Store
from checkpoint.ui.rows import Rows, chosen
from checkpoint.ui.templates import Pages
from checkpoint.version import key_of

__all__ = ["Entries", "address_of", "call_at"]

#: Characters of a value's preview.
_PREVIEW = 4000
#: A longer key is named by its digest, with this before it, with which no key begins.
_MOST_KEY, _MARKED = 1500, "digest:"


@final
class Entries:
    """Answers what is asked of a store."""

    def __init__(self, store: Store, pages: Pages) -> None:
        self._store = store
        self._pages = pages
        self.routes: list[BaseRoute] = [
            Route("/", self.tasks),
            Route("/task", self.task),
            Route("/call", self.call),
        ]

    def tasks(self, request: Request) -> Response:
        """Show the tasks."""
        found = summaries(self._store)
        sums = {name: sum(getattr(each, name) for each in found) for name in ("calls", "entries", "size", "seconds")}
        return self._pages.page("tasks.html", tasks=found, sums=sums)

    def task(self, request: Request) -> Response:
        """Show the calls of a task."""
        given = request.query_params
        name, conditions = given.get("name", ""), given.get("filter", "")
        try:
            found, problem = chosen(self._store, name, conditions), ""
        except LookupError as error:
            return self._pages.problem(str(error.args[0]), status=404)
        except ValueError as error:
            found, problem = [], str(error)
        number = given.get("page", "1")
        rows = Rows.of(found, given.get("sort", ""), int(number) if number.isdecimal() and len(number) < 9 else 1)
        status = 400 if problem else 200
        return self._pages.page(
            "task.html",
            status=status,
            task=name,
            conditions=conditions,
            rows=rows,
            problem=problem,
            address_of=address_of,
        )

    def call(self, request: Request) -> Response:
        """Show one call."""
        call = call_at(self._store, request.query_params.get("task", ""), request.query_params.get("key", ""))
        if call is None:
            return self._pages.problem("this call has no result here, or has none any more", status=404)
        lineage = Lineage(self._store, call.task, call.row)
        return self._pages.page(
            "call.html",
            call=call,
            arguments={name: shown(value) for name, value in call.arguments.items()},
            value=preview(self._store, call.task, call.row, _PREVIEW),
            lineage=lineage,
            address=address_of(call),
            upstream=[(above, self._link(above)) for above in lineage.upstream()],
        )

    def _link(self, lineage: Lineage) -> str:
        """Return where the call that a lineage is of can be seen; "" if it can't."""
        _, row, _ = lineage.at
        call = call_at(self._store, lineage.task, key_of(row)) if lineage.is_kept else None
        return address_of(call) if call is not None else ""


def call_at(store: Store, task: str, key: str) -> StoredCall | None:
    """Return a stored call by its task and its key; None if there is none."""
    if task not in store.tasks():
        return None
    if key.startswith(_MARKED):
        key = next((call.key for call in calls(store, task) if _marked(call.key) == key), "")
    found = calls_at(store, [(task, key)])
    return found[0] if found else None


def address_of(call: StoredCall) -> str:
    """Return how a call is named in an address: task and key, or a digest of a key that is too long for one."""
    key = call.key if len(call.key) <= _MOST_KEY else _marked(call.key)
    return urlencode({"task": call.task, "key": key})


def _marked(key: str) -> str:
    return _MARKED + xxhash.xxh3_128_hexdigest(key.encode("utf-8", "surrogatepass"))
