"""The command `checkpoint`: what can be asked of the public API from a shell.

`main` is the group; each family of commands has a file of its own. Exit codes: 0 for done, 1 where the user said no,
nothing was found, something is damaged or the user's code failed, 2 for a command or a target that can't be used.

Must not know: how anything is decided; that is asked of the API. Nothing in the package imports this.

Next: __main__.py
"""

from __future__ import annotations

import click

from checkpoint import __version__
from checkpoint.cli.care import gc, verify
from checkpoint.cli.flows import flows
from checkpoint.cli.tasks import accept, show_lineage, show_plan, show_reasons

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="checkpoint")
def main() -> None:
    """Ask what a run would compute, why, and where results come from.

    Or look at the history of flows, and go on with one.

    \b
    A TARGET names task instances by a Python expression:
      module:expression             module in the current folder, or installed
      path/to/script.py:expression  script, which is imported and not run
    The expression gives an instance, or lists, tuples or dicts of instances.

    \b
    Examples:
      checkpoint why 'train:fit(fold=3)'
      checkpoint plan 'study/train.py:[fit(n) for n in range(5)]'
      checkpoint flows list
    """


for _command in (show_plan, show_reasons, show_lineage, accept, verify, gc, flows):
    main.add_command(_command)
