"""Templates: pages from what is to be shown. All of it is escaped; the look is that of the page of a report.

Must not know: where what is shown comes from.

Next: ui/rows.py
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from checkpoint import texts
from checkpoint.observe.report import PAGE_FOLDER

__all__ = ["Pages", "asset"]

_FOLDER = Path(__file__).parent / "page"
#: What may be asked for by name, and what it is.
_ASSETS = {
    "page.css": (PAGE_FOLDER, "text/css"),
    "page.js": (PAGE_FOLDER, "text/javascript"),
    "ui.css": (_FOLDER, "text/css"),
    "ui.js": (_FOLDER, "text/javascript"),
    "run.js": (_FOLDER, "text/javascript"),
    "icon.svg": (_FOLDER, "image/svg+xml"),
}


@final
class Pages:
    """Makes pages of templates.

    Args:
        known: what every page is told.
    """

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_FOLDER),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        self._environment.filters.update(
            size=texts.size,
            duration=texts.duration,
            moment=texts.moment,
            age=lambda at: texts.age(at, time.time()),
            count=lambda number: f"{number:,}",
        )
        self._environment.globals.update(known)

    def page(self, name: str, *, status: int = 200, **shown: Any) -> Response:
        """Return the page that a template makes of what is shown."""
        return HTMLResponse(self._environment.get_template(name).render(**shown), status_code=status)

    def problem(self, problem: str, *, status: int = 400) -> Response:
        """Return a page that says what is wrong."""
        return self.page("problem.html", status=status, problem=problem)


def asset(request: Request) -> Response:
    """Answer with a file that pages use."""
    name = request.path_params["name"]
    if name not in _ASSETS:
        return Response(status_code=404)
    return Response(_text(name), media_type=_ASSETS[name][1])


@functools.cache
def _text(name: str) -> bytes:
    return (_ASSETS[name][0] / name).read_bytes()
