"""Chosen: which stored calls a person means: a target, or a task's name and filters.

A target imports the module that it names; a name and filters need the store alone.

Must not know: what is done with the calls.

Next: cli/tables.py
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from checkpoint.errors import CheckpointError
from checkpoint.filters import Filter, matching
from checkpoint.inventory import StoredCall, calls, calls_at, task_named
from checkpoint.store import current_store

__all__ = [
    "Unusable",
    "chosen",
    "completed_tasks",
    "each_chosen",
    "end_without_calls",
    "one_of",
    "store_problems_told",
]


class Unusable(click.ClickException):
    """What was asked for can't be done with what was given."""

    exit_code = 2


def chosen(text: str, filters: Sequence[str]) -> list[StoredCall]:
    """Return the stored calls that are meant; arguments and errors are those of `each_chosen`."""
    return list(each_chosen(text, filters))


def each_chosen(text: str, filters: Sequence[str]) -> Iterator[StoredCall]:
    """Yield the stored calls that are meant, one at a time, however many there are.

    Args:
        text: `module:expression`, or the name of a task or its last parts.
        filters: conditions on the calls of a task; all of them hold.

    Raises:
        click.ClickException: that names no calls; the exit code is 2.
    """
    store = current_store()
    if ":" in text and text not in store.tasks():
        if filters:
            raise Unusable(f"{text!r} is a target, which takes no filters; name a task to use {filters[0]!r}")
        from checkpoint.targets import instances_at

        yield from calls_at(store, [(instance.task.name, instance.key) for instance in instances_at(text)])
        return
    try:
        yield from matching(calls(store, task_named(store, text)), [Filter.parse(each) for each in filters])
    except (LookupError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise Unusable(str(error.args[0])) from None


def end_without_calls(context: click.Context, text: str, filters: Sequence[str]) -> NoReturn:
    """End the command with exit code 1, as no stored call is what was meant."""
    click.echo(f"no call of {text!r} is stored" + (" that meets all filters" if filters else ""), err=True)
    context.exit(1)


def one_of(found: Sequence[StoredCall], shown: Sequence[str], most: int = 5) -> StoredCall:
    """Return the only call.

    Args:
        found: some calls.
        shown: each as text.
        most: how many an error names.

    Raises:
        click.ClickException: there are several; the exit code is 2.
    """
    if len(found) == 1:
        return found[0]
    lines = [f"  {text}" for text in shown[:most]]
    if len(found) > most:
        lines.append(f"  and {len(found) - most:,} more")
    raise Unusable("\n".join([f"{len(found):,} calls match; add filters until one is left:", *lines]))


@contextlib.contextmanager
def store_problems_told() -> Iterator[None]:
    """End the command with one line where the store can't be read."""
    try:
        yield
    except CheckpointError as error:
        raise click.ClickException(str(error)) from None


def completed_tasks(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the names of tasks in the store that begin so, in full or in their last parts."""
    with contextlib.suppress(CheckpointError):
        names = current_store().tasks()
        return [CompletionItem(name) for name in names if name.startswith(begun) or f".{begun}" in name]
    return []
