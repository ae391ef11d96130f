"""Commands on tasks: what a run would compute, why, where results come from, and which edits changed nothing.

Each command is a function that names targets, calls the API and prints.

Must not know: how anything is decided; that is asked of the API.

Next: cli/listing.py
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any, Literal

import click

from checkpoint import Cue, NotCachedError, Reason, Task, forecast
from checkpoint.cli.options import store_option
from checkpoint.cli.tables import echo_json
from checkpoint.fingerprint import Change
from checkpoint.targets import instances_at, problems_told, tasks_at

__all__ = ["accept", "show_lineage", "show_plan", "show_reasons"]

#: How many instances `plan` shows unless it is told to show all.
_SHOWN = 20

_OnChange = Literal["warn", "rerun", "ignore"] | None

_on_change = click.option(
    "--on-change",
    type=click.Choice(["warn", "rerun", "ignore"]),
    help="What the run would do with results of edited code; default as each task says.",
)
_target = click.argument("target")
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command("plan")
@_target
@store_option
@_on_change
@click.option("--all", "shows_all", is_flag=True, help=f"Show all instances, not only the first {_SHOWN}.")
@_json_option
def show_plan(target: str, on_change: _OnChange, shows_all: bool, as_json: bool) -> None:
    """Show what running TARGET would compute, load and skip.

    First the numbers and about how long it would take, then a line for each instance that would be computed, with
    the reason. Nothing is run.

    \b
    Examples:
      checkpoint plan 'study.tasks:[total(n) for n in range(3)]'
      checkpoint plan 'train:fit(fold=3)' --json
    """
    instances = instances_at(target)
    with problems_told(target):
        found = forecast(instances, on_change=on_change)
    if as_json:
        due = [_facts(reason) for reason in found.compute.values()]
        numbers = {name: getattr(found, name) for name in ("loaded", "skipped", "seconds", "unknown")}
        echo_json({"compute": due, "maybe": [repr(instance) for instance in found.maybe], **numbers})
        return
    click.echo(found)
    due = [*found.compute, *found.maybe]
    shown = due if shows_all else due[:_SHOWN]
    if shown:
        click.echo()
    for instance in shown:
        reason = found.compute.get(instance)
        click.echo(str(reason).partition("\n")[0] if reason else f"{instance!r}: {Cue.PENDING.value}")
    if len(shown) < len(due):
        click.echo(f"and {len(due) - len(shown)} more; --all shows them")


@click.command("why")
@_target
@store_option
@_on_change
@_json_option
def show_reasons(target: str, on_change: _OnChange, as_json: bool) -> None:
    """Show why running TARGET would compute it, or not.

    For edited code this is the difference to the code that made the result. Nothing is run.

    \b
    Example:
      checkpoint why 'train:fit(fold=3)'
    """
    instances = instances_at(target)
    with problems_told(target):
        if as_json:
            echo_json([_facts(instance.why(on_change=on_change)) for instance in instances])
            return
        for instance in instances:
            click.echo(instance.why(on_change=on_change))


def _facts(reason: Reason) -> dict[str, Any]:
    return {"call": reason.call, "cue": reason.cue.value, "at": reason.at, "reason": str(reason)}


@click.command("lineage")
@_target
@store_option
@click.option("--depth", type=click.IntRange(min=0), default=1, show_default=True, help="How many steps up to go.")
@click.pass_context
def show_lineage(context: click.Context, target: str, depth: int) -> None:
    """Show where the stored results of TARGET come from.

    When, where, by which code and from what each was computed.

    \b
    Example:
      checkpoint lineage --depth 3 'train:fit(fold=3)'
    """
    is_complete = True
    for instance in instances_at(target):
        with problems_told(target):
            try:
                text, is_found = instance.lineage().describe(depth), True
            except NotCachedError as error:
                text, is_found = f"Error: {error}", False
        click.echo(text, err=not is_found)
        is_complete = is_complete and is_found
    if not is_complete:
        context.exit(1)


@click.command("accept")
@click.argument("tasks", nargs=-1, required=True, metavar="TASKS...")
@store_option
@click.option("--every", is_flag=True, help="Accept every edit since the oldest result, not only the last one.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_context
def accept(context: click.Context, tasks: tuple[str, ...], every: bool, yes: bool) -> None:
    """Declare that an edit of the code of TASKS changed no result.

    TASKS are module:name or script.py:name of a task; a module or a script alone is all tasks defined in it. The
    difference is shown before you are asked. Results of the older code then count as made by the present code.

    \b
    Example:
      checkpoint accept train:fit study.tasks
    """
    found = {task: None for text in tasks for task in tasks_at(text)}
    users: dict[Change, list[str]] = {}
    with problems_told(" ".join(tasks)):
        for task in found:
            for change in task.changes(every=every):
                users.setdefault(change, []).append(task.name)
    if not users:
        click.echo(f"nothing to accept: all results of {_listed(found)} count as made by the present code")
        context.exit(1)
    for change, names in users.items():
        click.echo(f"{', '.join(names)}:\n{textwrap.indent(change.diff(), '  ')}")
    if not yes and not click.confirm("Accept these edits as changing no result?"):
        click.echo("nothing was accepted")
        context.exit(1)
    with problems_told(" ".join(tasks)):
        accepted = [task for task in found if task.accept(every=every)]
    click.echo(f"accepted for {_listed(accepted)}")


def _listed(tasks: Iterable[Task[..., Any]]) -> str:
    return ", ".join(task.name for task in tasks)
