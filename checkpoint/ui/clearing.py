"""Clearing: the page that tells what a clear would discard and asks, and the clear itself.

What is discarded is what was told: if something else would go by now, it is told and asked again.

Must not know: how a clear is made to count.

Next: ui/app.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from checkpoint.removal import Removal
from checkpoint.store import Store
from checkpoint.ui.address import Address
from checkpoint.ui.entries import call_at
from checkpoint.ui.guard import may_change
from checkpoint.ui.rows import chosen
from checkpoint.ui.templates import Pages

__all__ = ["Clearing"]

#: Of a form of ours.
_MOST_BYTES = 100_000


@final
class Clearing:
    """Discards results; there only if the page may."""

    def __init__(self, store: Store, pages: Pages, address: Address) -> None:
        self._store = store
        self._pages = pages
        self._address = address
        self.routes: list[BaseRoute] = [
            Route("/clear", self.ask, methods=["GET"]),
            Route("/clear", self.clear, methods=["POST"]),
        ]

    def ask(self, request: Request) -> Response:
        """Tell what would go."""
        return self._asked(request.query_params)

    async def clear(self, request: Request) -> Response:
        """Discard it, if it is still what was told."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MOST_BYTES:
                return self._pages.problem("this form is too large to be one of this page", status=413)
        given = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        if not may_change(self._address, given):
            return self._pages.problem("this form is not one of this page", status=403)
        return await run_in_threadpool(self._clear, given)

    def _clear(self, given: Mapping[str, str]) -> Response:
        try:
            removal = self._removal(given)
        except (LookupError, ValueError) as error:
            return self._pages.problem(str(error.args[0]))
        if removal.mark != given.get("mark"):
            return self._asked(given, notice="something has changed meanwhile, and this would go now", status=409)
        removal.apply(self._store)
        return self._pages.page("cleared.html", task=given.get("task", ""), text=removal.text)

    def _asked(self, given: Mapping[str, str], *, notice: str = "", status: int = 200) -> Response:
        try:
            removal = self._removal(given)
        except (LookupError, ValueError) as error:
            return self._pages.problem(str(error.args[0]))
        shown: dict[str, Any] = {name: given.get(name, "") for name in ("task", "key", "filter", "downstream")}
        return self._pages.page("clear.html", status=status, **shown, removal=removal, notice=notice)

    def _removal(self, given: Mapping[str, str]) -> Removal:
        task, key, conditions = (given.get(name, "") for name in ("task", "key", "filter"))
        if key:
            call = call_at(self._store, task, key)
            found = [call] if call is not None else []
        else:
            found = chosen(self._store, task, conditions)
        if not found:
            raise LookupError("there is nothing to discard: no call that is stored is what was meant")
        whole = task if not key and not conditions.strip() else None
        return Removal.of(self._store, found, whole=whole, downstream=bool(given.get("downstream")))
