"""Tables: rows as a person or a program wants them: a table on a terminal, plain columns in a pipe, JSON, CSV.

Must not know: what the rows mean.

Next: cli/listing.py
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import click

from checkpoint import texts

__all__ = ["echo_csv", "echo_json", "echo_table"]

#: No cell of a table is wider.
_WIDEST = 48


def echo_table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> None:
    """Print rows under a header: a table as wide as the terminal, or aligned columns where there is none.

    Args:
        header: the names of the columns.
        rows: the cells.
        right: places of the columns that are aligned to the right.
    """
    cells = [[texts.cut(cell, _WIDEST) if is_terminal() else texts.printable(cell) for cell in row] for row in rows]
    if not is_terminal():
        for line in texts.columns([list(header), *cells], right):
            click.echo(line)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place, name in enumerate(header):
        table.add_column(Text(name), justify="right" if place in right else "left", overflow="ellipsis", no_wrap=True)
    for row in cells:
        table.add_row(*map(Text, row))
    Console(highlight=False, soft_wrap=False).print(table)


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
