"""Progress: a bar per task while a run goes on; plain log lines are the logger's business, nothing is printed.

Drawn from the thread that drives the run, on standard error or in the notebook, a few times a second.
"""

from __future__ import annotations

import io
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, final

from checkpoint.events import Event, EventKind
from checkpoint.graph import Instance

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

__all__ = ["Progress", "is_interactive"]

_FRAME_SECONDS = 0.2
_SETTLED = (
    EventKind.COMPUTED,
    EventKind.HIT,
    EventKind.FOUND,
    EventKind.FAILED,
    EventKind.TIMED_OUT,
    EventKind.LOST,
    EventKind.SKIPPED,
)
_BAD = (EventKind.FAILED, EventKind.TIMED_OUT, EventKind.LOST)


def is_interactive() -> bool:
    """Tell whether somebody is watching: a terminal, or a notebook."""
    return _is_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def _is_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"


@final
class _Row:
    """What is known of one task's instances."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.running = 0
        self.parked: set[Instance] = set()
        self.counts: Counter[EventKind] = Counter()

    @property
    def settled(self) -> int:
        return sum(self.counts[kind] for kind in _SETTLED)


@final
class _NotebookDisplay:
    """Shows a table in the output of a notebook's cell, which needs no extension there."""

    def __init__(self, table: Callable[[], Table]) -> None:
        from IPython.display import display  # pyright: ignore[reportMissingImports]  # notebooks have it

        self._table = table
        self._handle = display(self._picture(), display_id=True)

    def _picture(self) -> Any:
        from IPython.display import HTML  # pyright: ignore[reportMissingImports]
        from rich.console import Console

        console = Console(file=io.StringIO(), record=True, width=110, force_jupyter=False)
        console.print(self._table())
        page = '<pre style="line-height: normal; font-family: monospace">{code}</pre>'
        return HTML(console.export_html(inline_styles=True, code_format=page))

    def refresh(self) -> None:
        self._handle.update(self._picture())

    def stop(self) -> None:
        return


@final
class Progress:
    """An observer that shows a live table: per task a bar, computed, hits, running, failed, rate and time left.

    Args:
        console: where to draw; standard error, or the notebook.
        delay_s: nothing is shown of a run that takes less.
    """

    def __init__(self, console: Console | None = None, *, delay_s: float = 0.0) -> None:
        self._console = console
        self._delay_s = delay_s
        self._rows: dict[str, _Row] = {}
        self._display: Live | _NotebookDisplay | None = None
        self._began = self._drawn = 0.0

    def begin(self, counts: Mapping[str, int]) -> None:
        """Take note of what is to come."""
        self._rows = {name: _Row(total) for name, total in counts.items()}
        self._began = time.monotonic()
        self._display = None

    def notify(self, event: Event) -> None:
        """Count an event."""
        row = self._rows[event.instance.task.name]
        row.counts[event.kind] += 1
        row.parked.discard(event.instance)
        if event.kind is EventKind.PARKED:
            row.parked.add(event.instance)
        if event.kind is EventKind.STARTED:
            row.running += 1
        elif event.kind not in (EventKind.HIT, EventKind.SKIPPED):
            row.running -= 1

    def tick(self) -> None:
        """Draw, if the last picture is old enough."""
        now = time.monotonic()
        if now - self._drawn > _FRAME_SECONDS and now - self._began >= self._delay_s:
            self._drawn = now
            self._draw()

    def end(self) -> None:
        """Draw the last picture and leave it there."""
        if self._display is not None or self._delay_s == 0:
            self._draw().stop()

    def _draw(self) -> Live | _NotebookDisplay:
        if self._display is None:
            self._display = self._open()
        self._display.refresh()
        return self._display

    def _open(self) -> Live | _NotebookDisplay:
        if self._console is None and _is_notebook():
            return _NotebookDisplay(self._table)
        from rich.console import Console
        from rich.live import Live

        console = self._console or Console(stderr=True)
        # No thread of its own: a process pool may fork while this is shown.
        live = Live(console=console, auto_refresh=False, get_renderable=self._table)
        live.start()
        return live

    def _table(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        elapsed = time.monotonic() - self._began
        for name, row in self._rows.items():
            computed = row.counts[EventKind.COMPUTED]
            failed = sum(row.counts[kind] for kind in _BAD)
            cells = [
                _count(computed, "computed", "green"),
                _count(row.counts[EventKind.HIT] + row.counts[EventKind.FOUND], "hit", "cyan"),
                _count(row.running, "running", "default"),
                _count(len(row.parked), "waiting for another run", "yellow"),
                _count(failed, "failed", "bold red"),
                _count(row.counts[EventKind.SKIPPED], "skipped", "dim"),
            ]
            bar = ProgressBar(total=max(row.total, 1), completed=row.settled, width=24)
            pace = _pace(computed, row.total - row.settled, elapsed)
            table.add_row(_short(name), bar, f"{row.settled}/{row.total}", " ".join(filter(None, cells)), pace)
        return table


def _count(count: int, what: str, style: str) -> str:
    return f"[{style}]{count}[/] {what}" if count > 0 else ""


def _short(name: str) -> str:
    return name if len(name) <= 40 else "…" + name[-39:]


def _pace(computed: int, left: int, elapsed: float) -> str:
    if not computed or elapsed <= 0:
        return ""
    rate = computed / elapsed
    shown = f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each"
    return f"{shown}, {_clock(left / rate)} left" if left else shown


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
