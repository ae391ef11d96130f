"""The command `checkpoint`: what can be asked of the public API from a shell.

`main` is the group; each family of commands has a file of its own, imported when one of them is used. Exit codes: 0
for done, 1 where the user said no, nothing was found, something is damaged or the user's code failed, 2 for a command
or a target that can't be used. What is wrong is one line on standard error that begins with "Error: ".

Must not know: how anything is decided; that is asked of the API. Nothing in the package imports this.

Next: __main__.py
"""

from __future__ import annotations

import io
import sys

import click

from checkpoint import __version__
from checkpoint.cli.lazy import LazyGroup, Place

__all__ = ["main"]

_PLACES = {
    "ls": Place("checkpoint.cli.listing", "list_calls", "List tasks, or the calls of one task, with their results."),
    "show": Place("checkpoint.cli.listing", "show_call", "Show one call: arguments, value, where it comes from."),
    "du": Place("checkpoint.cli.listing", "show_usage", "Show what the tasks take on disk."),
    "run": Place("checkpoint.cli.running", "run_target", "Compute what is missing below TARGET, print its value."),
    "plan": Place("checkpoint.cli.tasks", "show_plan", "Show what running TARGET would compute, load and skip."),
    "why": Place("checkpoint.cli.tasks", "show_reasons", "Show why running TARGET would compute it, or not."),
    "lineage": Place("checkpoint.cli.tasks", "show_lineage", "Show where the stored results of TARGET come from."),
    "graph": Place("checkpoint.cli.graphs", "draw_graph", "Draw what requires what."),
    "report": Place("checkpoint.cli.report", "show_report", "Write a page on the last run, or on an earlier one."),
    "ui": Place("checkpoint.cli.ui", "show_ui", "Look at the store in a browser, and at runs while they go on."),
    "accept": Place("checkpoint.cli.tasks", "accept", "Declare that an edit of the code of TASKS changed no result."),
    "clear": Place("checkpoint.cli.removing", "clear", "Discard results: of one call, of some, of a whole task."),
    "verify": Place("checkpoint.cli.care", "verify", "Read every byte of the store and look up every reference."),
    "gc": Place("checkpoint.cli.care", "gc", "Tell what could be removed from the store; with --apply, remove it."),
    "export": Place("checkpoint.cli.moving", "export", "Write results, and what they come from, to one FILE."),
    "import": Place("checkpoint.cli.moving", "import_file", "Put the results of an exported FILE into the store."),
    "flows": Place(
        "checkpoint.cli.flows", "flows", "Look at the history of flows, go on with one, and remove what is old."
    ),
    "completion": Place("checkpoint.cli.completion", "show_completion", "Print what completes commands in a shell."),
}


@click.group(cls=LazyGroup, places=_PLACES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="checkpoint")
def main() -> None:
    """Look at what is kept, run tasks, and ask what a run would compute and why.

    Or look at the history of flows, and go on with one.

    \b
    A TARGET names task instances by a Python expression:
      module:expression             module in the current folder, or installed
      path/to/script.py:expression  script, which is imported and not run
    The expression gives an instance, or lists, tuples or dicts of instances.

    A stored call is named without any code: by its task and FILTERS such as n=6 or 'alpha>0.1'.

    Exit codes: 0 done, 1 nothing found, refused or failed, 2 unusable command or target.

    \b
    Examples:
      checkpoint ls
      checkpoint ls train.fit fold=3
      checkpoint why 'train:fit(fold=3)'
      checkpoint plan 'study/train.py:[fit(n) for n in range(5)]'
      checkpoint report
      checkpoint flows list
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may have bytes that are no characters
            stream.reconfigure(errors="backslashreplace")
