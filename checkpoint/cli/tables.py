"""Tables: rows as a person or a program wants them: a table on a terminal, plain columns in a pipe, JSON, CSV.

Must not know: what the rows mean.

Next: cli/tasks.py
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import click

from checkpoint import texts

__all__ = ["echo_csv", "echo_json", "echo_table"]

#: No cell of a table on a terminal is wider, and none is cut to less for the sake of the others.
_WIDEST, _NARROWEST = 60, 8
_GAP = 2


def echo_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = (), *, shrinks: int = 1
) -> None:
    """Print rows under a header: a table that fits the terminal, or aligned columns where there is none.

    Args:
        header: the names of the columns.
        rows: the cells.
        right: places of the columns that are aligned to the right.
        shrinks: so many of the first columns may be cut to fit.
    """
    if not is_terminal():
        for line in texts.columns([header, *([texts.printable(cell) for cell in row] for row in rows)], right):
            click.echo(line)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    available = Console().width
    widths = [
        max(texts.width_of(texts.printable(row[place])) for row in (header, *rows)) for place in range(len(header))
    ]
    widths = _fitting(widths, shrinks, available - _GAP * (len(header) - 1))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, _GAP - 1, 0, 0))
    for place, (name, width) in enumerate(zip(header, widths, strict=True)):
        justify: Literal["right", "left"] = "right" if place in right else "left"
        table.add_column(Text(texts.cut(name, width)), justify=justify, no_wrap=True, width=width)
    for row in rows:
        table.add_row(*(Text(texts.cut(cell, width)) for cell, width in zip(row, widths, strict=True)))
    Console(highlight=False, width=max(available, sum(widths) + _GAP * len(widths))).print(table)


def _fitting(widths: Sequence[int], shrinks: int, most: int) -> list[int]:
    """Return widths of columns whose sum is at most `most`, if that can be: the widest of the first ones are cut."""
    limit = _WIDEST
    found = [min(width, limit) for width in widths[:shrinks]]
    while sum(found) + sum(widths[shrinks:]) > most and limit > _NARROWEST:
        limit -= 1
        found = [min(width, limit) for width in widths[:shrinks]]
    return [*found, *widths[shrinks:]]


def is_terminal() -> bool:
    """Tell whether somebody reads along."""
    return sys.stdout.isatty()


def echo_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as CSV; what is neither text nor a number is written as JSON."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([cell if isinstance(cell, (str, int, float)) else _json(cell) for cell in row])
    click.echo(buffer.getvalue(), nl=False)


def _json(value: Any) -> str:
    return "" if value is None else json.dumps(plain(value), ensure_ascii=False)


def echo_json(value: Any) -> None:
    """Print a value as JSON, on lines of its own."""
    click.echo(json.dumps(plain(value), ensure_ascii=False, indent=2))


def plain(value: Any) -> Any:
    """Return a value as plain JSON: what JSON has no form for is its text."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {name if isinstance(name, str) else str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(inner) for inner in value), key=repr)
    return str(value)
