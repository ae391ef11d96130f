"""The command `clear`: discards results after telling which.

Must not know: how a clear is made to count; that is the store's business.

Next: cli/running.py
"""

from __future__ import annotations

import click

from checkpoint.cli.chosen import chosen, completed_tasks, end_without_calls, store_problems_told
from checkpoint.cli.options import store_option
from checkpoint.store import current_store

__all__ = ["clear"]


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
    from checkpoint.removal import Removal

    with store_problems_told():
        store = current_store()
        found = chosen(task, filters)
        if not found:
            end_without_calls(context, task, filters)
        whole = found[0].task if not filters and ":" not in task else None
        removal = Removal.of(store, found, whole=whole, downstream=downstream)
    for line in removal.lines():
        click.echo(line)
    if not yes and not click.confirm("Discard these results?"):
        click.echo("nothing was discarded")
        context.exit(1)
    with store_problems_told():
        removal.apply(store)
    click.echo(f"discarded {removal.text}")
