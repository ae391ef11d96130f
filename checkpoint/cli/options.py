"""Options that several families of commands have, and what is made of their text.

Must not know: the commands.

Next: cli/chosen.py
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from checkpoint.errors import CheckpointError
from checkpoint.store import current_store, open_store
from checkpoint.texts import MOMENT_FORMAT

__all__ = ["end_of", "metadata_of", "moment_of", "store_option"]

R = TypeVar("R")

#: How it may be given, and for how long it lasts then.
_FORMATS = {
    "%Y-%m-%d": timedelta(days=1),
    "%Y-%m-%d %H:%M": timedelta(minutes=1),
    MOMENT_FORMAT: timedelta(seconds=1),
}


def _opened(context: click.Context, parameter: click.Parameter, folder: str | None) -> AbstractContextManager[object]:
    if context.resilient_parsing:
        return contextlib.nullcontext()
    try:
        return open_store(current_store() if folder is None else folder)
    except (ValueError, CheckpointError) as error:
        if folder is not None:
            raise click.BadParameter(str(error)) from None
        raise click.UsageError(f"the environment names a store that can't be used: {error}", context) from None


def store_option(command: Callable[..., R]) -> Callable[..., R]:
    """Let a command take `--store`: that store is the current one while the command runs."""

    @click.option(
        "--store",
        metavar="FOLDER",
        callback=_opened,
        help="Where results are kept; default $CP_CACHE_DIR, else .cache.",
    )
    @functools.wraps(command)
    def in_store(*args: Any, store: AbstractContextManager[object], **options: Any) -> R:
        with store:
            return command(*args, **options)

    return in_store


def moment_of(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Return in seconds since 1970 when a day, minute or second of local time begins."""
    return None if text is None else _span_of(text)[0]


def end_of(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Return in seconds since 1970 the last microsecond of a day, minute or second of local time."""
    return None if text is None else _span_of(text)[1]


def _span_of(text: str) -> tuple[float, float]:
    for form, length in _FORMATS.items():
        try:
            begin = datetime.strptime(text.replace("T", " ", 1), form)
            return begin.timestamp(), (begin + length - timedelta(microseconds=1)).timestamp()
        except (ValueError, OverflowError, OSError):
            continue
    raise click.BadParameter(f"{text!r} is no date; give it as 2026-11-01 or 2026-11-01T12:00")


def metadata_of(context: click.Context, parameter: click.Parameter, pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return what texts of the form key=value say; a value is JSON if it can be, and text if not."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not (key and sign):
            raise click.BadParameter(f"{pair!r} is not of the form key=value")
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found
