"""Texts: how numbers, times and values are told to people, in the terminal and in a notebook.

Nothing is ever made long first and cut then; what is large is told by its shape.

Must not know: tasks, stores, terminals.

Next: environment.py
"""

from __future__ import annotations

import math
import reprlib
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any
from unicodedata import category, combining, east_asian_width

__all__ = ["MOMENT_FORMAT", "address", "age", "amount", "columns", "cut", "duration", "moment", "printable", "short",
           "size", "width_of"]  # fmt: skip

#: How a moment is shown.
MOMENT_FORMAT = "%Y-%m-%d %H:%M:%S"
#: Arrays and tables of more elements are told by their shape.
_FEW = 12
_SPANS = (("y", 365 * 86400.0), ("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def amount(count: int, noun: str) -> str:
    """Return "1 run" or "2 runs", thousands apart."""
    if count == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {plural}"


def address(url: str) -> str:
    """Return a URL without what tells who logs in, and without its options: neither is for logs and errors."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def moment(seconds: float) -> str:
    """Return a time in seconds since 1970 as local time."""
    return time.strftime(MOMENT_FORMAT, time.localtime(seconds))


def age(stored_at: float, now: float) -> str:
    """Return how long ago something was, in whole units: "3 d"; "now" below a second."""
    passed = max(0.0, now - stored_at)
    return next((f"{int(passed // span)} {unit}" for unit, span in _SPANS if passed >= span), "now")


def duration(seconds: float) -> str:
    """Return a number of seconds with a unit, in at most nine characters."""
    for unit, span in _SPANS[:-1]:
        if seconds >= span:
            return f"{seconds / span:.1f} {unit}"
    if seconds >= 0.9995 or seconds == 0:
        return f"{seconds:.3g} s"
    unit, factor = ("ms", 1e3) if seconds >= 0.9995e-3 else ("us", 1e6)
    return f"{seconds * factor:.3g} {unit}"


def size(count: int) -> str:
    """Return a number of bytes with a unit, in at most nine characters."""
    number, units = float(count), iter(("KiB", "MiB", "GiB", "TiB"))
    unit = "B"
    while number >= 999.95 and (larger := next(units, None)) is not None:
        number, unit = number / 1024, larger
    return f"{count} B" if unit == "B" else f"{number:.1f} {unit}"


def width_of(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if combining(character) or category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """Return a text on one line, in at most that many cells; what was cut shows as "..."."""
    line = printable(text)
    if width_of(line) <= width:
        return line
    kept = 0
    for place, character in enumerate(line):
        kept += _cells(character)
        if kept > width - 3:
            return f"{line[:place]}..."[:width]
    return line


def printable(text: str) -> str:
    """Return a text on one line without anything that a terminal would obey."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(part if part.isprintable() else repr(part)[1:-1] for part in text)


def columns(rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return rows as lines with aligned columns, those named in `right` to the right; the last one is free."""
    table = [tuple(row) for row in rows]
    widths = [max(map(width_of, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            f"{' ' * (width - width_of(text))}{text}" if place in right else f"{text}{' ' * (width - width_of(text))}"
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


class _Repr(reprlib.Repr):
    """Tells the shape of what is large, and never makes a long text first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = width

    def repr1(self, x: Any, level: int) -> str:
        shape = getattr(x, "shape", None)
        if isinstance(shape, tuple) and math.prod(shape) > _FEW:
            kind = f" {x.dtype}" if hasattr(x, "dtype") else ""
            return f"<{type(x).__name__} {' x '.join(map(str, shape))}{kind}>"
        return super().repr1(x, level)

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x) if len(x) <= self.maxstring else f"<{len(x)} {type(x).__name__}: {x[:20]!r}...>"

    repr_bytearray = repr_bytes


def short(value: object, width: int) -> str:
    """Return a short text of a value, on one line.

    Raises:
        whatever the `__repr__` of a class of the user's raises.
    """
    text = " ".join(_Repr(width).repr(value).split())
    return text if len(text) <= width else f"{text[: width - 3]}..."
