"""Asking: the page that tells what running something would do, and why.

A target is the user's code: it is imported in a process of its own, by the commands `plan` and `why`. So the answer is
that of the code as it is now, and nothing that the code does at import is done here.

Must not know: how anything is decided.

Next: ui/clearing.py
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any, final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from checkpoint.store import Store
from checkpoint.ui.templates import Pages

__all__ = ["Asking"]

_MOST_SECONDS = 120.0
#: So many instances are shown.
_SHOWN = 500
_QUESTIONS = ("plan", "why")


@final
class Asking:
    """Answers what a run would do."""

    def __init__(self, store: Store, pages: Pages) -> None:
        self._store = store
        self._pages = pages
        self.routes: list[BaseRoute] = [Route("/plan", self.ask)]

    async def ask(self, request: Request) -> Response:
        """Show a form, and the answer if something is asked."""
        target = request.query_params.get("target", "").strip()
        question = request.query_params.get("ask", "plan")
        shown: dict[str, Any] = {"target": target, "question": question, "most": _SHOWN, "folder": os.getcwd()}
        if not target or question not in _QUESTIONS:
            return self._pages.page("plan.html", **shown, answer=None, problem="")
        answer, problem = await self._answer(question, target)
        return self._pages.page("plan.html", status=400 if problem else 200, **shown, answer=answer, problem=problem)

    async def _answer(self, question: str, target: str) -> tuple[Any, str]:
        """Return the answer, or what is wrong."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "checkpoint", question, "--json", "--store", self._store.url, "--", target),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            said, wrong = await asyncio.wait_for(process.communicate(), _MOST_SECONDS)
        except TimeoutError:
            return None, f"no answer within {_MOST_SECONDS:.0f} s"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            return None, wrong.decode(errors="replace").strip() or f"ended with exit code {process.returncode}"
        return _json_in(said.decode(errors="replace")), ""


def _json_in(text: str) -> Any:
    """Return the JSON at the end of what was printed; a module may print something of its own before."""
    for start in ("\n{\n", "\n[\n"):
        if (at := f"\n{text}".find(start)) >= 0:
            return json.loads(text[at:])
    return json.loads(text)
