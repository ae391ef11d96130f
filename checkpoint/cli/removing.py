"""The command `clear`: discards results after telling which.

Must not know: how a clear is made to count; that is the store's business.

Next: cli/running.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import click

from checkpoint import texts
from checkpoint.cli.chosen import chosen, completed_tasks, end_without_calls, store_problems_told
from checkpoint.cli.options import store_option
from checkpoint.inventory import StoredCall, calls_at
from checkpoint.store import current_store

__all__ = ["clear"]

#: How many calls are named before somebody is asked.
_NAMED = 5


@click.command("clear")
@click.argument("task", metavar="TASK", shell_complete=completed_tasks)
@click.argument("filters", nargs=-1, metavar="[FILTERS]...")
@click.option("--downstream", is_flag=True, help="Also discard now what was computed from these, directly or not.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@store_option
@click.pass_context
def clear(context: click.Context, task: str, filters: tuple[str, ...], downstream: bool, yes: bool) -> None:
    """Discard results: of one call, of some, of a whole task.

    TASK and FILTERS are those of ls, or TASK is module:expression. You are asked after you were told what goes. What
    was computed from the results is computed again when it is next asked for, with or without --downstream.

    The exit code is 1 if nothing was found or you said no.

    \b
    Examples:
      checkpoint clear train.fit fold=3
      checkpoint clear train.fit --downstream
      checkpoint clear fit 'age>30d' --yes
      checkpoint clear 'train:fit(fold=3)' --yes
    """
    from checkpoint.lineage import below

    with store_problems_told():
        store = current_store()
        found = chosen(task, filters)
        wanted = [(call.task, call.key) for call in found]
        gone = set(wanted)
        consumers = [at for at in below(store, wanted) if at not in gone] if downstream else []
        also = calls_at(store, consumers)
    if not found:
        end_without_calls(context, task, filters)
    for line in _told(found, also):
        click.echo(line)
    if not yes and not click.confirm("Discard these results?"):
        click.echo("nothing was discarded")
        context.exit(1)
    is_whole = not filters and ":" not in task
    with store_problems_told():
        for name, key in {(found[0].task, None): None} if is_whole else dict.fromkeys(wanted):
            store.clear(name, key)
        for name, key in dict.fromkeys(consumers):
            store.clear(name, key)
    click.echo(f"discarded {_sum_of([*found, *also])}")


def _told(found: Sequence[StoredCall], also: Sequence[StoredCall]) -> list[str]:
    from checkpoint.reasons import described

    lines = [f"{_counted(found)}: {_sum_of(found)}"]
    lines += [f"  {texts.cut(described(call.task, call.key), 100)}" for call in found[:_NAMED]]
    if len(found) > _NAMED:
        lines.append(f"  and {len(found) - _NAMED:,} more")
    if also:
        lines.append(f"computed from these, {_counted(also)}: {_sum_of(also)}")
    return lines


def _counted(calls: Sequence[StoredCall]) -> str:
    return ", ".join(f"{count:,} of {task}" for task, count in Counter(call.task for call in calls).items())


def _sum_of(calls: Sequence[StoredCall]) -> str:
    seconds = sum(entry.seconds for call in calls for entry in call.entries)
    size = texts.size(sum(call.size for call in calls))
    return f"{texts.amount(len(calls), 'result')}, {size}, which took {texts.duration(seconds)} to compute"
