"""The command `report`: a page, or a trace, of one of the last runs on a store.

Must not know: how pages and traces are made, where records are kept.

Next: cli/care.py
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from checkpoint.cli.options import store_option
from checkpoint.observe.leaving import history_of
from checkpoint.observe.record import Outcome, RunRecord
from checkpoint.observe.report import report_of
from checkpoint.observe.trace import trace_of
from checkpoint.store import current_store

__all__ = ["show_report"]

_file = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.command("report")
@store_option
@click.option("--list", "lists", is_flag=True, help="List the runs on record, the newest first, and write nothing.")
@click.option("--run", "number", type=click.IntRange(min=1), default=1, help="Which run; 1 is the newest.")
@click.option("-o", "--output", type=_file, default=Path("report.html"), show_default=True, help="Where the page goes.")
@click.option("--trace", type=_file, help="Also write a trace for Perfetto to this file.")
@click.pass_context
def show_report(context: click.Context, lists: bool, number: int, output: Path, trace: Path | None) -> None:
    """Write a page on the last run, or on an earlier one.

    It shows the graph, the timeline, what took long and what failed, in one file that loads nothing. On record are
    the last 20 runs on a store that computed something and took a second or more, or were asked for a report.

    \b
    Examples:
      checkpoint report
      checkpoint report --list
      checkpoint report --run 2 -o yesterday.html --trace yesterday.json
    """
    records = history_of(current_store())
    if len(records) < number:
        told = f"there are only {len(records)}" if records else "there is none"
        click.echo(f"Error: no run {number} on record in {current_store().url}: {told}", err=True)
        context.exit(1)
    if lists:
        for position, record in enumerate(records, start=1):
            click.echo(f"{position:3}  {_line(record)}")
        return
    record = records[number - 1]
    try:
        output.write_text(report_of(record, records), encoding="utf-8")
        click.echo(f"{output}: {_line(record)}")
        if trace is not None:
            trace.write_text(trace_of(record), encoding="utf-8")
            click.echo(f"{trace}: open it at ui.perfetto.dev or chrome://tracing")
    except (OSError, ModuleNotFoundError) as error:
        click.echo(f"Error: {error}", err=True)
        context.exit(1)


def _line(record: RunRecord) -> str:
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.began))
    names = ", ".join(record.tasks[:3]) + (", ..." if len(record.tasks) > 3 else "")
    counts = f"{record.count(Outcome.COMPUTED)} computed, {record.count(Outcome.FRESH)} hit"
    failed = record.count(Outcome.FAILED)
    return f"{began}  {record.seconds:.1f} s  {counts}{f', {failed} failed' if failed else ''}  {names}"
