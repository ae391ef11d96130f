"""The command `run`: a target, or a task with arguments, computed like `run()` does.

The value goes to standard output, what is told of the run to standard error.

Must not know: how anything is computed.

Next: cli/graphs.py
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any, Literal

import click

from checkpoint import RunReport, Task, run_report, texts
from checkpoint.arguments import arguments_of
from checkpoint.cli.chosen import Unusable
from checkpoint.cli.options import store_option
from checkpoint.cli.tables import echo_json
from checkpoint.targets import named_at, problems_told

__all__ = ["run_target"]


@click.command("run")
@click.argument("target")
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="How many compute at once.")
@click.option(
    "--executor",
    type=click.Choice(["serial", "threads", "processes", "async"]),
    help="Where to compute; default processes, where there is more than one thing to do.",
)
@click.option("--continue", "goes_on", is_flag=True, help="After a failure, compute all that doesn't depend on it.")
@click.option("--force", is_flag=True, help="Compute TARGET even if its results are fresh.")
@click.option(
    "--on-change", type=click.Choice(["warn", "rerun", "ignore"]), help="What to do with results of edited code."
)
@click.option("--progress/--no-progress", default=None, help="Show bars, or don't; default on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print the value as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Print neither value nor summary.")
@store_option
def run_target(
    target: str,
    arguments: tuple[str, ...],
    workers: int | None,
    goes_on: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Compute what is missing below TARGET, print its value.

    TARGET is module:task or script.py:task with arguments NAME=VALUE, whose types are those of the parameters: text
    as it is, numbers, true and false, paths, literals such as [1,2]. Or it is an expression, as for plan.

    The exit code is 1 if a task failed; its traceback is shown.

    \b
    Examples:
      checkpoint run binomials:choose n=6 k=3 --workers 2
      checkpoint run study/train.py:fit fold=3
      checkpoint run 'train:[fit(n) for n in range(3)]' --json
    """
    with problems_told(target):
        found = named_at(target)
    instances = _called(target, found, arguments) if isinstance(found, Task) else found
    if arguments and not isinstance(found, Task):
        raise Unusable(f"{target!r}: an expression takes no arguments; {arguments[0]!r} has no place")
    on_error: Literal["raise", "continue"] = "continue" if goes_on else "raise"
    with problems_told(target):
        report = run_report(instances, max_workers=workers, on_error=on_error, **options)
    if not quiet:
        click.echo(_summary(report), err=True)
    with problems_told(target):
        value = report.value
    if not quiet:
        _echo_value(value, as_json=as_json)


def _called(target: str, task: Task[..., Any], arguments: Sequence[str]) -> Any:
    try:
        args, named = arguments_of(task.__wrapped__, arguments)
    except ValueError as error:
        raise Unusable(f"{target!r}: {error}") from None
    with problems_told(target, Unusable):
        return task(*args, **named)


def _summary(report: RunReport[Any]) -> str:
    counts = {"computed": report.computed, "fresh": report.hit, "failed": report.failed, "skipped": len(report.skipped)}
    told = [f"{count:,} {what}" for what, count in counts.items() if count or what in ("computed", "fresh")]
    return f"{', '.join(told)} in {texts.duration(report.seconds)}"


def _echo_value(value: Any, *, as_json: bool) -> None:
    if as_json:
        echo_json(value)
        return
    with contextlib.suppress(BrokenPipeError):
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.pretty import Pretty

            Console().print(Pretty(value, max_length=100, max_string=2000))
        else:
            click.echo(repr(value))
