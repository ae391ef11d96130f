"""App: the pages put together, and the server that answers with them until it is interrupted.

Next: ui/__init__.py
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any, final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from checkpoint import __version__
from checkpoint.errors import CheckpointError
from checkpoint.store import Store
from checkpoint.ui.address import Address
from checkpoint.ui.asking import Asking
from checkpoint.ui.clearing import Clearing
from checkpoint.ui.entries import Entries
from checkpoint.ui.guard import Guard
from checkpoint.ui.templates import Pages, asset
from checkpoint.ui.watching import Watching

__all__ = ["app_of", "serve"]


def app_of(store: Store, address: Address, *, may_clear: bool, is_over: Callable[[], bool]) -> ASGIApp:
    """Return the application.

    Args:
        store: what it shows.
        address: where it is served, whose token it asks for.
        may_clear: whether results can be discarded; there is no way to without.
        is_over: tells whether the server is about to end, which open streams of events wait for.
    """
    known = {"store": store.url, "version": __version__, "may_clear": may_clear, "form_token": address.form_token}
    pages = Pages(known)
    routes = [
        *Entries(store, pages).routes,
        *Watching(store, pages, is_over).routes,
        *Asking(store, pages).routes,
        *(Clearing(store, pages, address).routes if may_clear else ()),
        Route("/assets/{name}", asset),
    ]

    def tell(request: Request, error: Exception) -> Response:
        return pages.problem(str(error), status=500)

    def tell_of_nothing(request: Request, error: Exception) -> Response:
        return pages.problem("there is no such page", status=404)

    handlers = {CheckpointError: tell, 404: tell_of_nothing}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), address)


@final
class _Server(uvicorn.Server):
    """A server for which an interrupt is the end, and no error."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take what asks for the end, and don't raise it again."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(store: Store, address: Address, *, may_clear: bool = False) -> None:
    """Serve the page over a store until Ctrl-C, which ends it at once, open streams of events included.

    Args:
        store: what is shown.
        address: where, which has the token that is asked for.
        may_clear: whether results can be discarded.
    """
    found: list[uvicorn.Server] = []
    app = app_of(store, address, may_clear=may_clear, is_over=lambda: found[0].should_exit)
    quiet: dict[str, Any] = {"log_config": None, "log_level": "error", "access_log": False, "server_header": False}
    config = uvicorn.Config(app, lifespan="off", timeout_graceful_shutdown=1, **quiet)
    found.append(_Server(config))
    with address.socket:
        found[0].run(sockets=[address.socket])
