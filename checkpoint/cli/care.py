"""Commands on the store as a whole: checking it, and removing what is no longer needed.

Must not know: how anything is decided; that is asked of the API.

Next: cli/__init__.py
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from checkpoint import Collection, Problem, collect
from checkpoint import verify as verify_store
from checkpoint.amounts import bytes_of, has_unit, seconds_of
from checkpoint.cli.options import store_option
from checkpoint.cli.records import amount, columns, moment, size
from checkpoint.errors import CheckpointError
from checkpoint.targets import instances_at, problems_told, tasks_at

__all__ = ["gc", "verify"]

A = TypeVar("A", int, float)

#: How many lines `gc` shows of each kind unless it is told to show all.
_SHOWN = 20

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _seconds_of(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Return a time such as 30d in seconds."""
    return None if text is None else _amount_of(seconds_of, text, "s, h or d")


def _bytes_of(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """Return a size such as 10GB or 10GiB in bytes."""
    return None if text is None else _amount_of(bytes_of, text, "B, MB or GB")


def _amount_of(read: Callable[[str], A], text: str, units: str) -> A:
    """Return an amount by which values go: a number alone may be meant otherwise than it would be read."""
    try:
        found = read(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not has_unit(text):
        raise click.BadParameter(f"{text!r} has no unit; write {units} after it")
    return found


@click.command("verify")
@_json
@store_option
@click.pass_context
def verify(context: click.Context, as_json: bool) -> None:
    """Read every byte of the store and look up every reference.

    A line for each problem: first damage, which makes the exit code 1, then what was left behind or set aside, and
    results whose files or upstream are no longer what they were. Nothing is decoded, run or changed.

    \b
    Examples:
      checkpoint verify
      checkpoint verify --json --store /data/cache
    """
    try:
        found = verify_store()
    except CheckpointError as error:
        raise click.ClickException(str(error)) from None
    damage = found.damage
    if as_json:
        said: dict[str, Any] = {"entries": found.entry_count, "snapshots": found.snapshot_count, "size": found.size}
        said |= {"damage": len(damage), "problems": [_plain(problem) for problem in found.problems]}
        click.echo(json.dumps(said, indent=2))
    else:
        for problem in found.problems:
            click.echo(problem)
        told = f"{len(damage)} damaged" if damage else "nothing is damaged"
        looked = f"{amount(found.entry_count, 'result')} and {amount(found.snapshot_count, 'snapshot')}"
        click.echo(f"{told}; {looked}, {size(found.size)}")
    if damage:
        context.exit(1)


def _plain(problem: Problem) -> dict[str, Any]:
    kind = problem.kind
    return {"kind": kind.value, "place": problem.place, "detail": problem.detail, "is_damage": kind.is_damage}


@click.command("gc")
@click.option(
    "--task", "tasks", multiple=True, metavar="NAME", help="Only results of this task; NAME may have * and ?."
)
@click.option("--older-than", callback=_seconds_of, metavar="TIME", help="Only what was stored so long ago, as 30d.")
@click.option("--larger-than", callback=_bytes_of, metavar="SIZE", help="Only what has this size or more, as 100MB.")
@click.option(
    "--superseded", multiple=True, metavar="TASKS", help="Only what older code of these tasks made: module[:name]."
)
@click.option("--keep", multiple=True, metavar="TARGET", help="Only what TARGET doesn't need; may be repeated.")
@click.option("--max-size", callback=_bytes_of, metavar="SIZE", help="Only so much that this size stays, as 10GB.")
@click.option("--unsigned", is_flag=True, help="Also entries that are not signed with $CP_CACHE_KEY.")
@click.option(
    "--grace",
    callback=_seconds_of,
    metavar="TIME",
    default="1d",
    show_default=True,
    help="In a store that hosts share, nothing goes that is younger.",
)
@click.option("--apply", "is_applied", is_flag=True, help="Remove it; otherwise it is only told.")
@click.option("--all", "shows_all", is_flag=True, help=f"Show all, not only the first {_SHOWN} of each kind.")
@_json
@store_option
def gc(
    tasks: tuple[str, ...],
    superseded: tuple[str, ...],
    keep: tuple[str, ...],
    unsigned: bool,
    is_applied: bool,
    shows_all: bool,
    as_json: bool,
    **conditions: Any,
) -> None:
    """Tell what could be removed from the store; with --apply, remove it.

    Leftovers of killed programs always go. Results go if they meet all conditions that are given, and none goes where
    none is given. Their digests stay: what was computed from them still counts. Nothing is removed while a run uses
    the store; in a bucket or a shared folder, where that can't be seen, nothing that was written within a day.

    \b
    Examples:
      checkpoint gc
      checkpoint gc --task 'study.*' --older-than 30d --apply
      checkpoint gc --keep 'train:report()' --max-size 10GB
    """
    conditions |= {"unsigned": unsigned, "apply": is_applied}
    if tasks:
        conditions["tasks"] = tasks
    if superseded:
        conditions["superseded"] = [task for text in superseded for task in tasks_at(text)]
    if keep:
        conditions["keep"] = [instance for text in keep for instance in instances_at(text)]
    with problems_told(" ".join((*keep, *superseded)) or "gc"):
        found = collect(**conditions)
    if as_json:
        said = {**dataclasses.asdict(found), "freed": found.freed}
        click.echo(json.dumps(said, indent=2))
        return
    _show(found, shows_all)


def _show(found: Collection, shows_all: bool) -> None:
    most = None if shows_all else _SHOWN
    values = sorted(found.values, key=lambda each: each.size, reverse=True)
    left = sorted(found.leftovers, key=lambda each: each.size, reverse=True)
    rows = [
        (size(each.size), f"{each.seconds:.3g} s", moment(each.stored_at or 0), each.what) for each in values[:most]
    ]
    if rows:
        click.echo("\n".join(columns([("size", "took", "stored", "result"), *rows], right=(0, 1))))
    if left:
        told = [("size", "left behind"), *((size(each.size), each.what) for each in left[:most])]
        click.echo("\n".join(columns(told, right=(0,))))
    hidden = 0 if shows_all else max(0, len(values) - _SHOWN) + max(0, len(left) - _SHOWN)
    if hidden:
        click.echo(f"and {hidden} more; --all shows them")
    what = f"{amount(len(values), 'result')} and {amount(len(left), 'leftover')}, {size(found.freed)}"
    stays = f"{size(found.size_after)} of results stay"
    if found.is_applied:
        click.echo(f"removed {what}; {stays}")
    elif values or left:
        click.echo(f"{what}, would go, and {stays}; --apply removes them")
    else:
        click.echo(f"nothing to remove; {stays}")
