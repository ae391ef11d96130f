"""Picture: how a run stands, drawn for a given width and height; and the same in a line of plain text.

Must not know: where it is shown.

Next: observe/progress.py
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

from checkpoint.events import Event, EventKind
from checkpoint.observe.standing import Row, Running, Standing

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

__all__ = ["draw", "failure_line", "plain", "summary"]

_MOST_RUNNING = 6
_COLOURS = ("cyan", "green", "red", "bright_black", "yellow")


def plain(text: str, most: int = 300) -> str:
    """Return a text of a user's as one line that can't move the cursor, and isn't too long."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 2 * most])
    return line if len(line) <= most else line[: most - 1] + "…"


def failure_line(event: Event) -> str:
    """Return a line on an instance that failed, timed out, was lost or is tried again."""
    after = f" after {clock(event.seconds)}" if event.seconds else ""
    error = f": {type(event.error).__name__}: {event.error}" if event.error is not None else ""
    return plain(f"{plain(repr(event.instance), 120)} {event.kind.value}{after}{error}")


def summary(standing: Standing) -> str:
    """Return how a run stands in one line."""
    counts = [
        (standing.count(EventKind.COMPUTED), "computed"),
        (standing.count(EventKind.HIT, EventKind.FOUND), "hit"),
        (len(standing.running), "running"),
        (len(standing.failures), "failed"),
        (standing.count(EventKind.SKIPPED), "skipped"),
    ]
    parts = [f"{standing.settled} of {standing.total} done"]
    left = standing.seconds_left() if standing.settled < standing.total else None
    parts += [f"about {clock(left)} left"] if left is not None else []
    parts += [f"{count} {what}" for count, what in counts if count]
    parts += [f"hits saved {clock(standing.seconds_saved)}"] if standing.seconds_saved >= 1 else []
    return ", ".join(parts)


def draw(standing: Standing, width: int, height: int, *, is_ascii: bool = False, is_over: bool = False) -> Group:
    """Return the picture of a run.

    Args:
        standing: how the run stands.
        width: columns.
        height: rows; tasks for which there is no room are counted in a last line.
        is_ascii: draw bars without line characters.
        is_over: whether this is the last picture.
    """
    from rich.console import Group
    from rich.text import Text

    around: list[Text] = []
    running = list(itertools.islice(standing.running.items(), min(_MOST_RUNNING, max(1, height // 4))))
    around += [Text(_running_line(standing, *item, width), no_wrap=True) for item in running]
    if len(standing.running) > len(running):
        around.append(Text(f"  and {len(standing.running) - len(running)} more are running", style="dim"))
    for limit, count in standing.held.items():
        text = f"  {count} wait for {plain(limit, width - 40)}: {standing.limits[limit]} at a time"
        around.append(Text(text, style="yellow", no_wrap=True))
    if len(standing.rows) > 1 or not is_over:
        elapsed = clock(time.monotonic() - standing.began)
        around.append(Text(f"{elapsed}  {summary(standing)}", style="bold", no_wrap=True))
    room = max(1, height - len(around) - 1)
    rows = list(standing.open_rows())
    if len(rows) <= room + 1:
        return Group(_table(standing, list(standing.rows.items()), width, is_ascii), *around)
    rest = Text(_rest_line([row for _, row in rows[room:]]), style="dim")
    return Group(_table(standing, rows[:room], width, is_ascii), rest, *around)


def _rest_line(rows: list[Row]) -> str:
    done = sum(row.settled == row.total for row in rows)
    texts = [f"{done} done"] if done else []
    texts += [f"{len(rows) - done} to come"] if done < len(rows) else []
    return f"  and {len(rows)} more tasks: {', '.join(texts)}"


def _running_line(standing: Standing, node: int, running: Running, width: int) -> str:
    tail = clock(time.monotonic() - running.since)
    expected = standing.expected_of(node)
    tail += f" of about {clock(expected)}" if expected else ""
    tail += f"  {running.place}" if running.place and width >= 100 else ""
    return f"  {plain(repr(running.instance), max(20, width - len(tail) - 6))}  {tail}"


def _table(standing: Standing, rows: list[tuple[str, Row]], width: int, is_ascii: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    most = width * 3 // 10
    for name, row in rows:
        cells = [
            (row.counts[EventKind.COMPUTED], "computed", "green"),
            (row.hits, "hit", "cyan"),
            (row.running, "running", "yellow"),
            (len(row.parked), "waiting for another run", "yellow"),
            (row.failed, "failed", "bold red"),
            (row.counts[EventKind.SKIPPED], "skipped", "bright_black"),
        ]
        counts = Text(" ", no_wrap=True, overflow="ellipsis").join(
            Text.assemble((str(count), style), f" {what}") for count, what, style in cells if count > 0
        )
        table.add_row(
            Text(_short(plain(name), most), no_wrap=True),
            _bar(row, min(24, width // 7), is_ascii),
            Text(f"{row.settled}/{row.total}", justify="right", no_wrap=True),
            counts,
            Text(_pace(row) if width >= 100 else "", style="dim", no_wrap=True),
        )
    return table


def _bar(row: Row, width: int, is_ascii: bool) -> Text:
    """Return a bar of which each part has a colour: hit, computed, failed, skipped, running, to come."""
    from rich.text import Text

    skipped = row.counts[EventKind.SKIPPED]
    parts = (row.hits, row.counts[EventKind.COMPUTED], row.failed, skipped, row.running)
    bar, end, drawn = Text(no_wrap=True), 0, 0
    for count, colour in zip(parts, _COLOURS, strict=True):
        end += max(count, 0)
        upto = round(width * end / max(row.total, 1))
        bar.append(("#" if is_ascii else "━") * (upto - drawn), style=colour)
        drawn = max(drawn, upto)
    bar.append(("-" if is_ascii else "─") * (width - drawn), style="bright_black")
    return bar


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else "…" + name[1 - most :]


def _pace(row: Row) -> str:
    computed = row.counts[EventKind.COMPUTED]
    return f"{clock(row.seconds / computed)} each" if computed else ""


def clock(seconds: float) -> str:
    """Return a duration for a person: 24 ms, 0.3 s, 12 s, 3:20, 2:03:20."""
    if 0 < seconds < 0.0995:
        return f"{seconds * 1000:.2g} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
