"""The commands `export` and `import`: results as one file, and back.

Must not know: what is in such a file.

Next: cli/completion.py
"""

from __future__ import annotations

import os

import click

from checkpoint import texts
from checkpoint.bundles import export_bundle, import_bundle
from checkpoint.cli.chosen import chosen, completed_tasks, end_without_calls
from checkpoint.cli.options import store_option
from checkpoint.errors import CheckpointError
from checkpoint.store import current_store

__all__ = ["export", "import_file"]


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False))
@click.argument("task", metavar="TASK", shell_complete=completed_tasks)
@click.argument("filters", nargs=-1, metavar="[FILTERS]...")
@store_option
@click.pass_context
def export(context: click.Context, file: str, task: str, filters: tuple[str, ...]) -> None:
    """Write results, and what they come from, to one FILE.

    What they were computed from is all written too, so they are fresh where the file is imported. TASK and FILTERS are
    those of ls, or TASK is module:expression. The file appears once it is complete.

    The exit code is 1 if nothing was found.

    \b
    Examples:
      checkpoint export best.zip train.fit fold=3
      checkpoint export all.zip 'train:total([fit(n) for n in range(3)])'
    """
    try:
        found = chosen(task, filters)
        if not found:
            end_without_calls(context, task, filters)
        count = export_bundle(current_store(), found, file)
    except CheckpointError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.FileError(file, error.strerror or str(error)) from None
    click.echo(f"wrote {texts.amount(count, 'result')} to {file}, {texts.size(os.path.getsize(file))}")


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@store_option
def import_file(file: str) -> None:
    """Put the results of an exported FILE into the store.

    All of it is checked before anything is imported, and nothing in it is run. What the store has already stays.
    Results are pickles: import only what you would run.

    \b
    Example:
      checkpoint import best.zip
    """
    try:
        done = import_bundle(current_store(), file)
    except CheckpointError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.FileError(file, error.strerror or str(error)) from None
    told = ", ".join(f"{count:,} of {task}" for task, count in done.added.items() if count)
    added = sum(done.added.values())
    click.echo(
        f"imported {texts.amount(added, 'result')}{f': {told}' if told else ''}; {done.kept:,} were there already"
    )
