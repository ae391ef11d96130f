"""Progress: a live picture of a run on a terminal or in a notebook, and lines of text where neither is.

Drawn on standard error or in the notebook a few times a second, from the thread that drives the run: a process pool
may fork while this is shown. Only where runners keep that thread busy does another one draw.

Must not know: how the picture is made.

Next: observe/logs.py
"""

from __future__ import annotations

import io
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, final

from checkpoint.events import Event, EventKind, Observer, RunBegun, RunEnded, Tick
from checkpoint.observe.picture import draw, failure_line, summary
from checkpoint.observe.standing import BAD, Standing
from checkpoint.observe.terminal import Panel
from checkpoint.outcome import is_notebook

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Progress"]

_FRAME_SECONDS = 0.2
#: After the first line a line of text is written this much later, then twice as much, up to the most.
_FIRST_LINE_SECONDS = 2.0
_MOST_LINE_SECONDS = 60.0
#: So many failures are told one by one.
_MOST_TOLD = 20
#: Held by the run that draws on the terminal; others write lines.
_terminal_in_use = threading.Lock()


class _Display(Protocol):
    """Where a run is shown."""

    def show(self, standing: Standing) -> None: ...
    def tell(self, line: str) -> None: ...
    def close(self, standing: Standing) -> None: ...


@final
class _Notebook:
    """Shows the picture in the output of a notebook's cell, which needs no extension there."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._told: list[str] = []

    def _page(self, standing: Standing, is_over: bool = False) -> Any:
        from IPython.display import HTML  # pyright: ignore[reportMissingImports]  # notebooks have it
        from rich.console import Console

        console = Console(file=io.StringIO(), record=True, width=110, force_jupyter=False)
        console.print(draw(standing, 110, 60, is_over=is_over))
        for line in self._told:
            console.print(line, style="red", markup=False, highlight=False)
        page = '<pre style="line-height: normal; font-family: monospace">{code}</pre>'
        return HTML(console.export_html(inline_styles=True, code_format=page))

    def _put(self, page: Any) -> None:
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        if self._handle is None:
            self._handle = display(page, display_id=True)
        else:
            self._handle.update(page)

    def show(self, standing: Standing) -> None:
        self._put(self._page(standing))

    def tell(self, line: str) -> None:
        self._told.append(line)

    def close(self, standing: Standing) -> None:
        self._put(self._page(standing, is_over=True))


@final
class _Terminal:
    """Shows the picture in the last rows of a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._panel = Panel(console)

    def show(self, standing: Standing) -> None:
        width, height = self._console.size
        most = max(3, height * 2 // 3)
        self._panel.show(draw(standing, width, most, is_ascii=self._console.options.ascii_only))

    def tell(self, line: str) -> None:
        self._console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)

    def close(self, standing: Standing) -> None:
        self._panel.close()
        _print_last(self._console, standing)
        _terminal_in_use.release()


@final
class _Lines:
    """Writes a line now and then, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._wait_s = _FIRST_LINE_SECONDS
        self._due = time.monotonic() + self._wait_s

    def show(self, standing: Standing) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._wait_s = min(2 * self._wait_s, _MOST_LINE_SECONDS)
            self._due = now + self._wait_s
            self.tell(summary(standing))

    def tell(self, line: str) -> None:
        self._console.print(f"checkpoint: {line}", markup=False, highlight=False, soft_wrap=True)

    def close(self, standing: Standing) -> None:
        _print_last(self._console, standing)


def _print_last(console: Console, standing: Standing) -> None:
    width = console.size.width
    most = len(standing.rows) + 10
    console.print(draw(standing, width, most, is_ascii=console.options.ascii_only, is_over=True))


@final
class Progress(Observer):
    """An observer that shows what a run does, while it does it.

    Per task a bar with computed, hit, running and failed instances; what is running and for how long; which limits
    hold something back; failures when they happen; and about how long it will still take, from what the same
    instances took before. Where there is no terminal it writes lines of text, at most one a minute after a while.

    Args:
        console: where to draw; standard error, or the notebook.
        delay_s: nothing is shown of a run that takes less.
    """

    def __init__(self, console: Console | None = None, *, delay_s: float = 0.0) -> None:
        self._console = console
        self._delay_s = delay_s
        self._display: _Display | None = None
        self._standing: Standing | None = None
        self._drawn = 0.0
        self._untold: list[str] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, run: RunBegun) -> None:
        """Take note of what is to come."""
        self._standing, self._display, self._untold = Standing(run), None, []
        self._drawn = 0.0
        self._over.clear()

    def notify(self, event: Event) -> None:
        """Take note of an event; tell of a failure."""
        if self._over.is_set() or self._standing is None:  # a value that vanished is computed again, after the end
            return
        with self._lock:
            self._standing.notify(event)
            if event.kind in BAD or event.kind is EventKind.RETRIED:
                self._note(event, len(self._standing.failures))
        if event.kind is EventKind.STARTED and event.place and self._thread is None:
            self._thread = threading.Thread(target=self._keep_drawing, name="checkpoint-progress", daemon=True)
            self._thread.start()

    def _note(self, event: Event, count: int) -> None:
        if count <= _MOST_TOLD:
            self._untold.append(failure_line(event))
        elif count == _MOST_TOLD + 1:
            self._untold.append("more have failed, which are only counted")

    def _keep_drawing(self) -> None:
        while not self._over.wait(_FRAME_SECONDS):
            self._draw()

    def tick(self, tick: Tick) -> None:
        """Draw, if the last picture is old enough."""
        if self._over.is_set() or self._standing is None:
            return
        with self._lock:
            self._standing.tick(tick)
        self._draw()

    def end(self, ended: RunEnded) -> None:
        """Leave the last picture there."""
        assert self._standing is not None
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._display is None and self._delay_s > 0:
            return
        display = self._opened()
        self._tell(display)
        self._standing.end()
        display.close(self._standing)
        self._display = None

    def _draw(self) -> None:
        assert self._standing is not None
        now = time.monotonic()
        if now - self._drawn < _FRAME_SECONDS or now - self._standing.began < self._delay_s:
            return
        with self._lock:
            self._drawn = now
            display = self._opened()
            self._tell(display)
            display.show(self._standing)

    def _tell(self, display: _Display) -> None:
        for line in self._untold:
            display.tell(line)
        self._untold.clear()

    def _opened(self) -> _Display:
        if self._display is None:
            self._display = self._open()
        return self._display

    def _open(self) -> _Display:
        if self._console is None and is_notebook():
            return _Notebook()
        from rich.console import Console

        console = self._console or Console(stderr=True)
        can_draw = console.is_terminal and not console.is_dumb_terminal and not console.legacy_windows
        return _Terminal(console) if can_draw and _terminal_in_use.acquire(blocking=False) else _Lines(console)
