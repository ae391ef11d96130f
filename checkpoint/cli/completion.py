"""The command `completion`: prints what makes a shell complete commands, options and the names of stored tasks.

Next: cli/records.py
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["show_completion"]


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def show_completion(context: click.Context, shell: str) -> None:
    """Print what completes commands in a shell.

    Put it where the shell reads it.

    \b
    Examples:
      checkpoint completion bash >> ~/.bashrc
      checkpoint completion zsh >> ~/.zshrc
      checkpoint completion fish > ~/.config/fish/completions/checkpoint.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    group = context.find_root().command
    click.echo(kind(group, {}, "checkpoint", "_CHECKPOINT_COMPLETE").source())
