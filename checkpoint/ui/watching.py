"""Watching: the pages on runs: those that go on, as they go on, and those on record.

A browser is told by server-sent events: the whole state of a run whenever that is another one.

Must not know: how a run works, what is in a record.

Next: ui/asking.py
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from checkpoint.observe import archive
from checkpoint.observe.leaving import history_of
from checkpoint.observe.live import live_run, live_runs
from checkpoint.observe.record import Outcome
from checkpoint.observe.report import report_of
from checkpoint.store import Store
from checkpoint.ui.templates import Pages

__all__ = ["Watching"]

#: A stream looks again after so many naps, and ends within one when the server does.
_NAP_SECONDS, _NAPS = 0.1, 4
#: A comment goes out after so many looks at what doesn't change, so that a browser that is gone is noticed.
_MOST_SILENT = 25


@final
@dataclass(frozen=True, slots=True)
class _Past:
    """What is told of a run that is over; `problem` is why nothing can be."""

    name: str
    began: float = 0.0
    seconds: float = 0.0
    total: int = 0
    computed: int = 0
    fresh: int = 0
    failed: int = 0
    settled: int = 0
    tasks: tuple[str, ...] = ()
    ended_by: str = ""
    problem: str = ""


@final
class Watching:
    """Answers what is asked of runs."""

    def __init__(self, store: Store, pages: Pages, is_over: Callable[[], bool]) -> None:
        self._store = store
        self._pages = pages
        self._is_over = is_over
        self.routes: list[BaseRoute] = [
            Route("/runs", self.runs),
            Route("/runs/events", self.tell_of_all),
            Route("/runs/{name}", self.run),
            Route("/runs/{name}/events", self.tell_of_one),
            Route("/runs/{name}/report", self.report),
        ]

    def runs(self, request: Request) -> Response:
        """Show all runs that are known of."""
        past = [_past(file) for file in archive.kept(self._store)]
        has_folder = archive.folder_of(self._store) is not None
        return self._pages.page("runs.html", live=live_runs(self._store), past=past, has_folder=has_folder)

    def run(self, request: Request) -> Response:
        """Show a run that goes on, or was killed; one that is over has a report."""
        name = request.path_params["name"]
        found = live_run(self._store, name)
        if found is not None:
            return self._pages.page("run.html", run=found)
        if self._file_of(name) is not None:
            return RedirectResponse(f"/runs/{name}/report", status_code=303)
        return self._pages.problem("this run is over, and has left no record", status=404)

    def report(self, request: Request) -> Response:
        """Show the report of a run that is over. The page has a policy of its own, which lets nothing be loaded."""
        file = self._file_of(request.path_params["name"])
        if file is None:
            return self._pages.problem("there is no record of this run", status=404)
        try:
            page = report_of(archive.read(file), history_of(self._store))
        except (OSError, ValueError, ModuleNotFoundError) as error:
            return self._pages.problem(str(error), status=500)
        return HTMLResponse(page, headers={"Content-Security-Policy": "frame-ancestors 'none'; connect-src 'none'"})

    def _file_of(self, name: str) -> Path | None:
        return next((file for file in archive.kept(self._store) if archive.name_of(file) == name), None)

    async def tell_of_one(self, request: Request) -> Response:
        """Tell of a run as it goes on; the last thing told is that it is over."""
        name = request.path_params["name"]

        def look() -> dict[str, Any]:
            found = live_run(self._store, name)
            if found is not None:
                return found.plain()
            file = self._file_of(name)
            past = asdict(_past(file)) if file is not None else None
            return {"name": name, "is_over": True, "past": past}

        return self._events(request, look)

    async def tell_of_all(self, request: Request) -> Response:
        """Tell which runs there are."""

        def look() -> dict[str, Any]:
            live = [
                {"name": run.name, "is_alive": run.is_alive, "settled": run.settled, "failed": run.failed}
                for run in live_runs(self._store)
            ]
            return {"live": live, "past": [archive.name_of(file) for file in archive.kept(self._store)]}

        return self._events(request, look)

    def _events(self, request: Request, look: Callable[[], dict[str, Any]]) -> Response:
        return StreamingResponse(self._told(request, look), media_type="text/event-stream")

    async def _told(self, request: Request, look: Callable[[], dict[str, Any]]) -> AsyncIterator[str]:
        before, silent = "", 0
        yield "retry: 2000\n\n"
        while not self._is_over():
            found = await run_in_threadpool(look)
            text = json.dumps(found, separators=(",", ":"))
            if text != before:
                yield f"data: {text}\n\n"
                before, silent = text, 0
            elif (silent := silent + 1) % _MOST_SILENT == 0:
                yield ": nothing new\n\n"
            if found.get("is_over") or found.get("is_alive") is False:
                return
            for _ in range(_NAPS):
                if not self._is_over():
                    await asyncio.sleep(_NAP_SECONDS)


@functools.lru_cache(maxsize=4 * archive.KEPT)
def _past(file: Path) -> _Past:
    """Return what is told of a record, which never changes."""
    name = archive.name_of(file)
    try:
        record = archive.read(file)
    except (OSError, ValueError) as error:
        return _Past(name, problem=str(error))
    return _Past(
        name=name,
        began=record.began,
        seconds=record.seconds,
        total=len(record.task),
        computed=record.count(Outcome.COMPUTED),
        fresh=record.count(Outcome.FRESH),
        failed=record.count(Outcome.FAILED),
        settled=len(record.task) - record.count(Outcome.OPEN),
        tasks=tuple(record.tasks),
        ended_by=record.ended_by,
    )
