"""Progress: a bar per task while a run goes on; plain log lines are the logger's business, nothing is printed.

Drawn from the thread that drives the run, on standard error or in the notebook, a few times a second.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, final

from checkpoint.events import Event, EventKind

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

__all__ = ["Progress", "is_interactive"]

_FRAME_SECONDS = 0.2
_SETTLED = (
    EventKind.COMPUTED,
    EventKind.HIT,
    EventKind.FAILED,
    EventKind.TIMED_OUT,
    EventKind.LOST,
    EventKind.SKIPPED,
)
_BAD = (EventKind.FAILED, EventKind.TIMED_OUT, EventKind.LOST)


def is_interactive() -> bool:
    """Tell whether somebody is watching: a terminal, or a notebook."""
    shell = sys.modules.get("IPython")
    if shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell":
        return True
    return sys.stderr is not None and sys.stderr.isatty()


@final
class _Row:
    """What is known of one task's instances."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.running = 0
        self.counts: Counter[EventKind] = Counter()

    @property
    def settled(self) -> int:
        return sum(self.counts[kind] for kind in _SETTLED)


@final
class Progress:
    """An observer that shows a live table: per task a bar, computed, hits, running, failed, rate and time left."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console
        self._rows: dict[str, _Row] = {}
        self._live: Live | None = None
        self._began = self._drawn = 0.0

    def begin(self, counts: Mapping[str, int]) -> None:
        """Start to draw."""
        from rich.console import Console
        from rich.live import Live

        self._rows = {name: _Row(total) for name, total in counts.items()}
        self._began = time.monotonic()
        console = self._console or Console(stderr=True)
        # No thread of its own: a process pool may fork while this is shown.
        live = Live(console=console, auto_refresh=False, get_renderable=self._table)
        live.start()
        self._live = live

    def notify(self, event: Event) -> None:
        """Count an event."""
        row = self._rows[event.instance.task.name]
        row.counts[event.kind] += 1
        if event.kind is EventKind.STARTED:
            row.running += 1
        elif event.kind not in (EventKind.HIT, EventKind.SKIPPED):
            row.running -= 1

    def tick(self) -> None:
        """Draw, if the last picture is old enough."""
        now = time.monotonic()
        if self._live is not None and now - self._drawn > _FRAME_SECONDS:
            self._drawn = now
            self._live.refresh()

    def end(self) -> None:
        """Draw the last picture and leave it there."""
        if self._live is not None:
            self._live.refresh()
            self._live.stop()
            self._live = None

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
                _count(row.counts[EventKind.HIT], "hit", "cyan"),
                _count(row.running, "running", "default"),
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
