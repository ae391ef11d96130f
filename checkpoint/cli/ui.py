"""The command `ui`: a local web page over a store and its running runs.

Must not know: what the page shows.

Next: cli/__init__.py
"""

from __future__ import annotations

import threading

import click

from checkpoint.cli.options import store_option
from checkpoint.store import current_store

__all__ = ["show_ui"]


@click.command("ui")
@store_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Where to serve; 0, the default, is a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="An address of this computer alone.")
@click.option("--allow-clear", is_flag=True, help="Let results be discarded in the page; otherwise it only shows.")
@click.option("--no-browser", is_flag=True, help="Don't open a browser.")
def show_ui(port: int, host: str, allow_clear: bool, no_browser: bool) -> None:
    """Look at the store in a browser, and at runs while they go on.

    Tasks, their results, what runs are doing, what a run would do and why. The page is served to this computer alone,
    under the address that is printed, which has a token in it. Ctrl-C ends it.

    \b
    Examples:
      checkpoint ui
      checkpoint ui --no-browser --port 8080
      checkpoint ui --allow-clear --store .cache
    """
    try:
        from checkpoint.ui import Address, serve
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; it comes with: pip install 'checkpoint-tool[ui]'") from None
    try:
        address = Address.at(host, port)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--host") from None
    except OSError as error:
        raise click.ClickException(f"cannot serve on {host}:{port}: {error.strerror}") from None
    click.echo(address.url)
    if not no_browser:
        import webbrowser

        # A browser in the terminal would keep this thread.
        threading.Thread(target=webbrowser.open, args=(address.url,), name="browser", daemon=True).start()
    serve(current_store(), address, may_clear=allow_clear)
