"""LazyGroup: a group of commands whose files are imported when one of their commands is used.

`checkpoint --help` needs a line of each command and none of what they import; a test compares these lines with what
the commands say of themselves.

Must not know: the commands.

Next: cli/options.py
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple, final

import click

__all__ = ["LazyGroup", "Place"]


class Place(NamedTuple):
    """Where a command is, and what it does in a line."""

    module: str
    name: str
    help: str


@final
class LazyGroup(click.Group):
    """A group that knows where its commands are."""

    def __init__(self, *args: Any, places: Mapping[str, Place], **options: Any) -> None:
        super().__init__(*args, **options)
        self._places = dict(places)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order in which help shows them."""
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; imports its file."""
        place = self._places.get(cmd_name)
        if place is None:
            return None
        found: click.Command = getattr(importlib.import_module(place.module), place.name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the lines of the commands; imports nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in self._places.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names; without importing any other one."""
        if args and args[0] not in self._places and not args[0].startswith("-"):
            close = importlib.import_module("difflib").get_close_matches(args[0], self._places, n=1)
            advice = f"; did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"there is no command {args[0]!r}{advice}")
        return super().resolve_command(ctx, args)
