"""Commands on flows: what the journal has of them, removing some of it, and going on with one.

Values are read only by `--values` and `verify`. Nothing is removed before it was told what.

Must not know: what any kind of flow does; that is asked of its own `run`.

Next: cli/report.py
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

from checkpoint.cli.options import end_of, metadata_of, moment_of, store_option
from checkpoint.cli.records import amount, columns, flow_at, moment, run_at, short_ids, size, values_at
from checkpoint.errors import CheckpointError
from checkpoint.journal import Journal, Run, Snapshot, journal_at
from checkpoint.store import current_store
from checkpoint.targets import Flow, look_in, problems_told
from checkpoint.targets import flow_at as flow_named

__all__ = ["flows"]


@click.group("flows")
def flows() -> None:
    """Look at the history of flows, go on with one, and remove what is old.

    Values are read only by --values and by verify. Times are local. A flow is named by its name or, where that is
    the path of a file, by any path of that file; a run by its id or the beginning of it; a snapshot by its number.

    \b
    Examples:
      checkpoint flows list
      checkpoint flows resume train.py:flow
    """


_values = click.option(
    "--values", "shows_values", is_flag=True, help="Also show values, shortened; reads and decodes them."
)
_yes = click.option("--yes", is_flag=True, help="Don't ask.")


def _flow(what: str) -> Callable[..., Any]:
    return click.option("--flow", metavar="FLOW", help=f"{what} of this flow only.")


@contextlib.contextmanager
def _opened() -> Iterator[Journal]:
    """Open the journal of the current store; what is wrong with it ends the command with one line."""
    try:
        journal = journal_at()
        try:
            yield journal
        finally:
            journal.close()
    except CheckpointError as error:
        raise click.ClickException(str(error)) from None


# --- looking ---------------------------------------------------------------------------------------------


@flows.command("list")
@_flow("Runs")
@click.option("--run", metavar="RUN", help="This run only; the beginning of its id will do.")
@click.option("--step", metavar="NAME", help="Only snapshots after this step.")
@click.option("--status", metavar="WORD", help="Only snapshots of this status, such as finished.")
@click.option("--since", callback=moment_of, metavar="DATE", help="Only from 2026-11-01[T12:00] on.")
@click.option("--until", callback=end_of, metavar="DATE", help="Only until the end of that day or minute.")
@click.option("--metadata", multiple=True, callback=metadata_of, metavar="KEY=VALUE", help="Only with these metadata.")
@click.option("--snapshots", "shows_all", is_flag=True, help="A line for every snapshot, not only for each newest one.")
@store_option
@click.pass_context
def list_runs(context: click.Context, /, flow: str | None, run: str | None, shows_all: bool, **conditions: Any) -> None:
    """List runs by flow, each with its newest snapshot.

    Under "from" is the snapshot that a run was forked from; with --snapshots, the one that a snapshot follows.

    The conditions are on that snapshot, so --status running shows what was interrupted or runs now; with --snapshots
    they are on every snapshot. A value of --metadata is JSON, or text if it can't be.

    \b
    Examples:
      checkpoint flows list --status running --since 2026-11-01
      checkpoint flows list --flow prices.state --snapshots
    """
    with _opened() as journal:
        name = None if flow is None else flow_at(journal, flow)
        run_id = None if run is None else run_at(journal, run)
        runs = {each.id: each for each in journal.runs()}
        ids = short_ids(runs.keys())
        found = journal.snapshots(name, run=run_id, is_newest=not shows_all, **conditions)
    by_flow: dict[str, list[Snapshot]] = {}
    for snapshot in found:
        by_flow.setdefault(snapshot.flow, []).append(snapshot)
    if not found:
        click.echo("no snapshot meets all conditions" if ids else f"there are no flows in {current_store().url}")
        context.exit(1)
    header = ("snapshot", "from", "run", "status", "time", "size", "step")
    told = {
        flow: [_row(each, ids, each.parent if shows_all else _source_of(runs.get(each.run))) for each in group]
        for flow, group in by_flow.items()
    }
    lines = iter(columns([header, *(row for rows in told.values() for row in rows)], right=(0, 1, 5)))
    title = next(lines)
    blocks = ["\n  ".join((name, title, *itertools.islice(lines, len(rows)))) for name, rows in told.items()]
    click.echo("\n\n".join(blocks))


def _source_of(run: Run | None) -> int | None:
    return run.source if run is not None else None


def _row(snapshot: Snapshot, ids: dict[str, str], origin: int | None) -> tuple[str, ...]:
    run = ids.get(snapshot.run, snapshot.run)
    told = snapshot.status, moment(snapshot.stored_at), size(snapshot.size), snapshot.step or "-"
    return str(snapshot.id), "-" if origin is None else str(origin), run, *told


@flows.command("show")
@click.argument("snapshot", type=int)
@_values
@store_option
def show_snapshot(snapshot: int, shows_values: bool) -> None:
    """Show what SNAPSHOT is, and the keys of its state.

    Beside each key is the size of its value, encoded.

    \b
    Example:
      checkpoint flows show --values 12
    """
    with _opened() as journal:
        found = journal.snapshot(snapshot)
        facts = _facts(journal, found)
        keys = journal.keys(snapshot)
        sizes = {key: size(count) for key, count in keys.items()}
        texts: dict[str, str] = {}
        if shows_values:
            look_in(os.getcwd())
            margin = max(map(len, sizes.values()), default=0) + max(map(len, keys), default=0) + 7
            texts = values_at(journal, snapshot, keys, spare=margin)
    click.echo(f"snapshot {found.id} of {found.flow}")
    for line in columns(facts):
        click.echo(f"  {line}")
    click.echo("" if keys else "\nits state is empty")
    for line in columns(((text, _with(key, texts)) for key, text in sizes.items()), right=(0,)):
        click.echo(f"  {line}")


def _with(key: str, texts: dict[str, str]) -> str:
    return f"{key} = {texts[key]}" if key in texts else key


def _facts(journal: Journal, snapshot: Snapshot) -> list[tuple[str, str]]:
    run = journal.run(snapshot.run)
    parent = "no other" if snapshot.parent is None else f"snapshot {snapshot.parent}"
    if snapshot.parent is not None and snapshot.parent == run.source:
        parent += f", of run {journal.snapshot(snapshot.parent).run}"
    facts = [
        ("run", run.id),
        ("follows", parent),
        ("step", snapshot.step or "-"),
        ("complete", amount(snapshot.index, "step")),
        ("status", snapshot.status),
        ("time", moment(snapshot.stored_at)),
        ("size", f"{size(snapshot.size)}, of which {size(snapshot.written)} were new"),
        ("exported", "yes" if snapshot.is_exported else "no"),
    ]
    for name, metadata in (("metadata", snapshot.metadata), ("of the run", run.metadata)):
        if metadata:
            facts.append((name, json.dumps(metadata, ensure_ascii=False)))
    return facts


@flows.command("diff")
@click.argument("before", type=int)
@click.argument("after", type=int)
@_values
@store_option
def show_difference(before: int, after: int, shows_values: bool) -> None:
    """Show how the states of two snapshots differ.

    Which keys AFTER has more, less or with other bytes than BEFORE; both are numbers of snapshots.

    \b
    Example:
      checkpoint flows diff --values 11 12
    """
    with _opened() as journal:
        found = journal.diff(before, after)
        sizes = journal.keys(before), journal.keys(after)
        texts: tuple[dict[str, str], dict[str, str]] = {}, {}
        if shows_values:
            look_in(os.getcwd())
            gone, new = (*found.removed, *found.changed), (*found.added, *found.changed)
            texts = values_at(journal, before, gone, spare=12), values_at(journal, after, new, spare=12)
    if not found:
        click.echo(f"snapshots {before} and {after} have the same state")
        return
    told = [(word, key) for word, keys in found._asdict().items() for key in keys]
    rows = [(word, *(size(each[key]) if key in each else "" for each in sizes), key) for word, key in told]
    lines = columns([("", "before", "after", "key"), *rows], right=(1, 2))
    click.echo(lines[0])
    for line, (_, key) in zip(lines[1:], told, strict=True):
        click.echo(line)
        for word, values in zip(("before", "after"), texts, strict=True):
            if key in values:
                click.echo(f"    {word:6}  {values[key]}")


@flows.command("verify")
@_flow("Snapshots")
@store_option
@click.pass_context
def verify(context: click.Context, flow: str | None) -> None:
    """Read every byte of all snapshots, and name what is damaged.

    \b
    Example:
      checkpoint flows verify --flow prices.state
    """
    with _opened() as journal:
        name = None if flow is None else flow_at(journal, flow)
        found = journal.snapshots(name)
        damage = journal.verify(name)
    for problem in damage:
        click.echo(problem)
    if damage:
        context.exit(1)
    click.echo(f"nothing is damaged in {_told(found)}")


def _told(found: list[Snapshot]) -> str:
    flow_count, run_count = len({each.flow for each in found}), len({each.run for each in found})
    return f"{amount(len(found), 'snapshot')} of {amount(run_count, 'run')} of {amount(flow_count, 'flow')}"


# --- going on --------------------------------------------------------------------------------------------


@flows.command("resume")
@click.argument("target")
@click.option(
    "--checkpoint", metavar="STEP", help="Start at this step: its name, or its number from 0; a snapshot of a workflow."
)
@click.option("--fresh", is_flag=True, help="Start at the first step, whatever was saved.")
@click.option("--fork", is_flag=True, help="Go on as a new session, which leaves the old one as it is.")
@click.option(
    "--on-change",
    type=click.Choice(["error", "restart", "ignore"]),
    help="What to do if the flow had other steps when it was saved; default error.",
)
@store_option
def resume(target: str, checkpoint: str | None, fresh: bool, fork: bool, on_change: str | None) -> None:
    """Go on with the flow that TARGET names, where its last run ended.

    TARGET is module:flow or script.py:flow: a linear flow, or a workflow. A script is imported, and its main block does
    not run. A flow whose last run has finished starts over, as its own run() does.

    \b
    Example:
      checkpoint flows resume --checkpoint report train.py:flow
    """
    flow = flow_named(target)
    steps = getattr(flow, "step_names", None)
    options: dict[str, Any] = {name: True for name, is_set in (("fresh", fresh), ("fork", fork)) if is_set}
    if on_change is not None:
        options["on_change"] = on_change
    if checkpoint is not None:
        is_number = checkpoint.isdecimal() and checkpoint not in (steps or ())
        options["checkpoint"] = int(checkpoint) if is_number else checkpoint
        if steps is not None and options["checkpoint"] not in (*steps, *range(len(steps))):
            what = f"there is no step {checkpoint!r}; there are {', '.join(steps)}"
            raise click.BadParameter(what, param_hint="'--checkpoint'")
    _check_options(flow, target, options)
    with problems_told(target):
        flow.run(**options)
    click.echo(f"{target} has finished")


def _check_options(flow: Flow, target: str, options: Iterable[str]) -> None:
    """See that the flow's `run` takes what was asked for."""
    for name in options:
        try:
            inspect.signature(flow.run).bind(**{name: None})
        except TypeError:
            what = f"flows such as {target} have no such option"
            raise click.BadParameter(what, param_hint=f"'--{name.replace('_', '-')}'") from None


# --- removing --------------------------------------------------------------------------------------------


@flows.command("prune")
@_flow("Snapshots")
@click.option("--keep", type=click.IntRange(min=1), default=1, show_default=True, help="So many of each run stay.")
@click.option("--before", callback=moment_of, metavar="DATE", help="Only what is older than 2026-11-01[T12:00].")
@_yes
@store_option
@click.pass_context
def prune(context: click.Context, flow: str | None, keep: int, before: float | None, yes: bool) -> None:
    """Delete old snapshots, but the newest of each run. States that stay are whole.

    \b
    Example:
      checkpoint flows prune --keep 3 --before 2026-11-01
    """
    with _opened() as journal:
        name = None if flow is None else flow_at(journal, flow)
        found = journal.old(name, keep=keep, before=before)
        if not found:
            click.echo("nothing to delete")
            return
        _confirm(context, journal, found, yes=yes)
        _report(journal.delete([each.id for each in found]))


@flows.command("delete")
@click.argument("flow")
@_yes
@store_option
@click.pass_context
def delete(context: click.Context, flow: str, yes: bool) -> None:
    """Delete all snapshots of FLOW. What it keeps elsewhere, such as the file of a linear flow, stays.

    \b
    Example:
      checkpoint flows delete prices.state
    """
    with _opened() as journal:
        name = flow_at(journal, flow)
        _confirm(context, journal, journal.snapshots(name), yes=yes)
        with journal.lease(name):
            _report(journal.delete_flow(name))


def _confirm(context: click.Context, journal: Journal, found: list[Snapshot], *, yes: bool) -> None:
    """Tell what would go; end the command unless the user wants that."""
    counts: dict[str, int] = {}
    for snapshot in found:
        counts[snapshot.flow] = counts.get(snapshot.flow, 0) + 1
    rows = [("snapshots", "flow"), *((str(count), flow) for flow, count in counts.items())]
    click.echo("\n".join(columns(rows, right=(0,))))
    freed = size(journal.freed([each.id for each in found]))
    click.echo(f"to delete: {_told(found)}; this frees {freed} of values")
    if not yes and not click.confirm("Delete them?"):
        click.echo("nothing was deleted")
        context.exit(1)


def _report(count: int) -> None:
    click.echo(f"deleted {amount(count, 'snapshot')}")
