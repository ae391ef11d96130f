"""Guard: who is answered, and what a browser may do with the answer.

Each request needs a Host that is ours, which no rebound name has, and the token: in the address once, which is put
into a cookie that no other site's page and no script gets, and from then on in that cookie. A request that changes
something needs our Origin, too; its form has another token, which `may_change` compares.

Must not know: what the pages show.

Next: ui/templates.py
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from checkpoint.ui.address import Address

__all__ = ["Guard", "may_change"]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # without any, browsers keep the Origin of a form to themselves
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: Leaves the address with the token, as a step of this page's own: a cookie that is strict comes along with it.
_ENTRANCE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>checkpoint</title>'
    '<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">'
    '<meta http-equiv="refresh" content="0; url=/"><p><a href="/">checkpoint</a></p></html>'
)


def may_change(address: Address, form: Mapping[str, Any]) -> bool:
    """Tell whether a form is one of ours."""
    return _is(address.form_token, str(form.get("token", "")))


def _is(token: str, given: str) -> bool:
    return secrets.compare_digest(token.encode(), given.encode("utf-8", "surrogatepass"))


@final
class Guard:
    """Lets through to an application what may be answered."""

    def __init__(self, app: ASGIApp, address: Address) -> None:
        self._app = app
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no web sockets
        request = Request(scope)
        answer = self._answer(request) or self._app

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, text in _HEADERS.items():
                    headers.setdefault(name, text)
            await send(message)

        await answer(scope, receive, guarded)

    def _answer(self, request: Request) -> Response | None:
        """Return what a request gets instead of a page; None if it may have the page."""
        address = self._address
        if request.headers.get("host", "") not in address.hosts:
            return _refused(f"this page is at {min(address.hosts)} and under no other name", 421)
        given = request.query_params.get("token")
        if request.url.path == "/" and given is not None and request.method == "GET":
            if not _is(address.token, given):
                return _refused("the token in this address is not the one that was printed", 403)
            entrance = HTMLResponse(_ENTRANCE)
            entrance.set_cookie(address.cookie, address.token, httponly=True, samesite="strict", path="/")
            return entrance
        if not _is(address.token, request.cookies.get(address.cookie, "")):
            return _refused("open the address that was printed when `checkpoint ui` was started", 403)
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return _refused("this was asked for by another page", 403)
        if request.method not in ("GET", "HEAD") and request.headers.get("origin") not in address.origins:
            return _refused("this was sent by another page", 403)
        return None


def _refused(reason: str, status: int) -> Response:
    return PlainTextResponse(f"refused: {reason}\n", status_code=status)
