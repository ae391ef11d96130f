"""Commands that look at a store alone: `ls`, `show`, `du`.

They import no module of the user's, except where a target names one.

Must not know: how anything is found or decided; that is asked of the inventory.

Next: cli/removing.py
"""

from __future__ import annotations

import heapq
import shutil
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from checkpoint import texts
from checkpoint.cli.chosen import (
    Unusable,
    chosen,
    completed_tasks,
    each_chosen,
    end_without_calls,
    one_of,
    store_problems_told,
)
from checkpoint.cli.options import store_option
from checkpoint.cli.tables import echo_csv, echo_json, echo_table
from checkpoint.filters import order_of
from checkpoint.inventory import AGE, META, StoredCall, TaskSummary, meta_names, shown, summaries, usages
from checkpoint.store import current_store

if TYPE_CHECKING:
    from checkpoint.lineage import Lineage

__all__ = ["list_calls", "show_call", "show_usage"]

#: How many rows a table has unless it is told to have more.
_ROWS = 50
_SUMMARY = ("task", "calls", "entries", "size", "seconds", "newest", "oldest", "damaged")

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")


@click.command("ls")
@click.argument("task", required=False, metavar="[TASK]", shell_complete=completed_tasks)
@click.argument("filters", nargs=-1, metavar="[FILTERS]...")
@click.option("--sort", metavar="COLUMN", help="Sort by this column; -COLUMN for the largest first.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help=f"Show N rows, 0 for all; tables have {_ROWS}.")
@_json_option
@_csv_option
@store_option
@click.pass_context
def list_calls(
    context: click.Context,
    task: str | None,
    filters: tuple[str, ...],
    sort: str | None,
    limit: int | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List tasks, or the calls of one task, with their results.

    Without TASK: each task with its calls and entries, their size, how long ago the newest was stored, and the time
    that computing them took, which is saved when they are used again.

    With TASK (the last part of its name will do, or a module:expression): its calls, the newest first, with arguments
    as columns. FILTERS are NAME=VALUE, with != < <= > >= or ~ (a regular expression); NAME is an argument, a part of
    one (config.lr), or stored_at, age, seconds, size, code.

    The exit code is 1 if nothing was found.

    \b
    Examples:
      checkpoint ls
      checkpoint ls train.fit fold=3 'alpha>0.1' --sort alpha
      checkpoint ls fit 'age>30d' --sort -size --limit 10
      checkpoint ls fit --csv --limit 0
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are two forms; choose one")
    with store_problems_told():
        if task is None:
            _list_tasks(context, sort, limit, as_json=as_json, as_csv=as_csv)
            return
        first, count = _first_calls(each_chosen(task, filters), sort, _most(limit, is_table=not (as_json or as_csv)))
    if as_json:
        echo_json([_facts(call) for call in first])
    elif as_csv and first:
        _echo_calls_csv(first)
    elif first:
        _echo_calls(first)
        _tell_of_rest(count - len(first))
    if not first:
        end_without_calls(context, task, filters)


def _most(limit: int | None, *, is_table: bool) -> int:
    """Return how many rows to show; 0 for all."""
    return limit if limit is not None else (_ROWS if is_table else 0)


def _tell_of_rest(count: int) -> None:
    if count:
        click.echo(f"and {count:,} more; --limit 0 shows all", err=True)


# --- tasks -----------------------------------------------------------------------------------------------


def _list_tasks(context: click.Context, sort: str | None, limit: int | None, *, as_json: bool, as_csv: bool) -> None:
    store = current_store()
    found = summaries(store)
    name, is_reversed = _column_of(sort or "task")
    if name not in _SUMMARY:
        raise Unusable(f"there is no column {name!r}; there are {', '.join(_SUMMARY)}")
    found.sort(key=lambda each: _none_last(getattr(each, name), is_reversed), reverse=is_reversed)
    first = found[: _most(limit, is_table=not (as_json or as_csv)) or None]
    if as_json:
        echo_json([asdict(each) for each in first])
    elif as_csv:
        echo_csv(_SUMMARY, [[getattr(each, column) for column in _SUMMARY] for each in first])
    elif found:
        _echo_tasks(first)
        _tell_of_rest(len(found) - len(first))
    if not found:
        click.echo(f"there are no results in {store.url}", err=True)
        context.exit(1)


def _column_of(sort: str) -> tuple[str, bool]:
    return sort.removeprefix("-"), sort.startswith("-")


def _none_last(value: Any, is_reversed: bool) -> tuple[bool, Any]:
    return (value is None) != is_reversed, 0 if value is None else value


def _echo_tasks(found: Sequence[TaskSummary]) -> None:
    now = time.time()
    is_damaged = any(each.damaged for each in found)
    header = ["task", "calls", "entries", "size", "seconds", "newest", *(["damaged"] if is_damaged else [])]
    rows = [
        [
            each.task,
            f"{each.calls:,}",
            f"{each.entries:,}",
            texts.size(each.size),
            texts.duration(each.seconds),
            "" if each.newest is None else texts.age(each.newest, now),
            *([str(each.damaged)] if is_damaged else []),
        ]
        for each in found
    ]
    echo_table(header, rows, right=range(1, 7))


# --- calls -----------------------------------------------------------------------------------------------


def _first_calls(found: Iterable[StoredCall], sort: str | None, most: int) -> tuple[list[StoredCall], int]:
    """Return the first of some calls in an order, all if `most` is 0, and how many there are.

    What is not among the first is not held in memory.
    """
    name, is_reversed = _column_of(sort or "-stored_at")
    column = name.partition(".")[0]
    known: dict[str, None] = {}
    count = 0

    def counted() -> Iterator[StoredCall]:
        nonlocal count
        for call in found:
            count += 1
            if sort is not None and column not in known:
                known.update(dict.fromkeys(call.arguments))
                if count == 1:
                    known.update(dict.fromkeys(meta_names(call.arguments).values()))
            yield call

    key = order_of(name) if sort is not None else lambda call: call.stored_at
    if most:
        first = (heapq.nlargest if is_reversed else heapq.nsmallest)(most, counted(), key=key)
    else:
        first = sorted(counted(), key=key, reverse=is_reversed)
    if sort is not None and count and column not in known:
        raise Unusable(f"there is no column {name!r}; there are {', '.join(known)}")
    return first, count


def _facts(call: StoredCall) -> dict[str, Any]:
    return {"task": call.task, "arguments": call.arguments, **{name: getattr(call, name) for name in META}}


def _columns_of(found: Sequence[StoredCall]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the names of the arguments that any of some calls has, and each call's arguments."""
    arguments = [call.arguments for call in found]
    return list(dict.fromkeys(name for each in arguments for name in each)), arguments


def _echo_calls(found: Sequence[StoredCall]) -> None:
    names, arguments = _columns_of(found)
    meta = meta_names(names)
    now = time.time()
    tasks = {call.task for call in found}
    rows = [
        [
            *([call.task] if len(tasks) > 1 else []),
            *(shown(given[name]) if name in given else "" for name in names),
            texts.duration(call.seconds),
            texts.size(call.size),
            call.code[:8],
            texts.age(call.stored_at, now),
        ]
        for call, given in zip(found, arguments, strict=True)
    ]
    lead = ["task"] if len(tasks) > 1 else []
    numeric = [
        place
        for place, name in enumerate(names, len(lead))
        if all(isinstance(given.get(name), (int, float)) for given in arguments)
    ]
    first = len(lead) + len(names)
    known = [meta[name] for name in ("seconds", "size", "code", AGE)]
    echo_table([*lead, *names, *known], rows, right=[*numeric, first, first + 1, first + 3], shrinks=len(lead + names))


def _echo_calls_csv(found: Sequence[StoredCall]) -> None:
    names, arguments = _columns_of(found)
    rows = [
        [call.task, *(given.get(name) for name in names), *(getattr(call, name) for name in META)]
        for call, given in zip(found, arguments, strict=True)
    ]
    meta = meta_names(names)
    echo_csv(["task", *names, *(meta[name] for name in META)], rows)


# --- one call --------------------------------------------------------------------------------------------


@click.command("show")
@click.argument("task", metavar="TASK", shell_complete=completed_tasks)
@click.argument("filters", nargs=-1, metavar="[FILTERS]...")
@click.option("--depth", type=click.IntRange(min=0), default=1, show_default=True, help="Steps of lineage to go up.")
@click.option("--source", "shows_source", is_flag=True, help="Also show the code that computed it.")
@_json_option
@store_option
@click.pass_context
def show_call(
    context: click.Context, task: str, filters: tuple[str, ...], depth: int, shows_source: bool, as_json: bool
) -> None:
    """Show one call: arguments, value, where it comes from.

    That is when, where and by which code it was computed, and from what. TASK and FILTERS (as for ls) must leave one
    call; or name it as module:expression. The value is shown shortened. Objects of your own classes are shown by their
    fields; no module of yours is imported for that.

    \b
    Examples:
      checkpoint show train.fit fold=3
      checkpoint show fit fold=3 --depth 3 --source
      checkpoint show 'train:fit(fold=3)'
    """
    from checkpoint.lineage import Lineage
    from checkpoint.previews import preview
    from checkpoint.reasons import described

    with store_problems_told():
        found = chosen(task, filters)
        if not found:
            end_without_calls(context, task, filters)
        call = one_of(found, [described(each.task, each.key) for each in found[:5]])
        lineage = Lineage(current_store(), call.task, call.row)
        value = preview(current_store(), call.task, call.row, 2000 if as_json else _value_width())
        upstream = lineage.describe(depth).splitlines()[1:]
    if as_json:
        facts = {**_facts(call), "value": value, "packages": lineage.packages, "origin": lineage.origin}
        echo_json({**facts, "upstream": [each.call for each in lineage.upstream()], "entries": len(call.entries)})
        return
    for line in _told(call, lineage, value, upstream):
        click.echo(line)
    if shows_source:
        click.echo()
        click.echo("\n\n".join(part.text for part in lineage.code.parts) if lineage.code else "code is not on record")


def _value_width() -> int:
    return max(60, 3 * (shutil.get_terminal_size((100, 24)).columns - 11))


def _told(call: StoredCall, lineage: Lineage, value: str, upstream: Sequence[str]) -> list[str]:
    """Return the lines on a call, each with a name before it."""
    width = max(30, shutil.get_terminal_size((100, 24)).columns - 11)
    code = [part.name for part in lineage.code.parts] if lineage.code else ["what is not on record"]
    since = texts.age(call.stored_at, time.time())
    named = {
        "task": [call.task],
        "arguments": [texts.cut(f"{name} = {shown(given)}", width) for name, given in call.arguments.items()]
        or ["none"],
        "value": textwrap.wrap(value, width, break_on_hyphens=False) or [""],
        "stored": [f"{texts.moment(call.stored_at)}, {'just now' if since == 'now' else f'{since} ago'}"],
        "took": [texts.duration(call.seconds)],
        "size": [texts.size(call.newest.size)],
        "code": textwrap.wrap(f"{call.code[:8]} of {', '.join([*code, *lineage.packages])}", width),
        "origin": [", ".join(lineage.origin.values())] if lineage.origin else [],
        "from": [line.removeprefix("  from ") if not line.startswith("    ") else line[2:] for line in upstream],
        "older": [
            f"{texts.moment(entry.stored_at)}  {texts.size(entry.size)}  code {entry.fingerprint.hex()[:8]}"
            for entry in call.entries[1:]
        ],
    }
    return [
        f"{name if place == 0 else '':<9}  {texts.printable(line)}".rstrip()
        for name, lines in named.items()
        for place, line in enumerate(lines)
    ]


# --- disk ------------------------------------------------------------------------------------------------


@click.command("du")
@_json_option
@store_option
def show_usage(as_json: bool) -> None:
    """Show what the tasks take on disk.

    The largest comes first. Under "entries" the results, under "files" what runners put into folders of their own
    (task_directory), and under "total" all files with the databases around them, also those of the history of flows.

    \b
    Example:
      checkpoint du
    """
    with store_problems_told():
        found = usages(current_store())
    total = sum(each.total for each in found)
    if as_json:
        echo_json({"store": current_store().url, "total": total, "parts": [asdict(each) for each in found]})
        return
    rows = [
        [each.task or each.folder, texts.size(each.entries), texts.size(each.files), texts.size(each.total)]
        for each in found
    ]
    sums = [sum(each.entries for each in found), sum(each.files for each in found), total]
    echo_table(["task", "entries", "files", "total"], [*rows, ["total", *map(texts.size, sums)]], right=(1, 2, 3))
