"""The command `graph`: what requires what, as a picture or as the text of one.

Must not know: how a graph is found or drawn.

Next: cli/moving.py
"""

from __future__ import annotations

from pathlib import Path

import click

from checkpoint.cli.chosen import Unusable, chosen, completed_tasks, end_without_calls, store_problems_told
from checkpoint.cli.options import store_option
from checkpoint.diagrams import by_task, diagram_of, lineage_diagram
from checkpoint.drawings import dot, mermaid, svg
from checkpoint.store import current_store

__all__ = ["draw_graph"]

_FORMS = {"mermaid": mermaid, "dot": dot, "svg": svg}
_SUFFIXES = {".mmd": "mermaid", ".mermaid": "mermaid", ".dot": "dot", ".gv": "dot", ".svg": "svg"}
#: Who draws more boxes is told of another way.
_MANY = 300


@click.command("graph")
@click.argument("task", metavar="TASK", shell_complete=completed_tasks)
@click.argument("filters", nargs=-1, metavar="[FILTERS]...")
@click.option("--format", "form", type=click.Choice(list(_FORMS)), help="Default as FILE is called, else mermaid.")
@click.option("--output", "-o", type=click.Path(dir_okay=False), metavar="FILE", help="Write to FILE.")
@click.option("--by-task", "is_by_task", is_flag=True, help="Draw one box for each task, not for each call.")
@store_option
@click.pass_context
def draw_graph(
    context: click.Context,
    task: str,
    filters: tuple[str, ...],
    form: str | None,
    output: str | None,
    is_by_task: bool,
) -> None:
    """Draw what requires what.

    Of a target (module:expression) the graph that a run of it would walk, coloured by what would be computed; nothing
    is run. Of TASK and FILTERS, as for ls, what the stored calls were computed from; no code is needed for that.

    SVG needs the extra graph.

    \b
    Examples:
      checkpoint graph 'binomials:choose(4, 2)'
      checkpoint graph 'binomials:choose(9, 4)' --by-task -o choose.svg
      checkpoint graph choose n=4 k=2 --format dot
    """
    form = form or _SUFFIXES.get(Path(output or "").suffix, "mermaid")
    with store_problems_told():
        if ":" in task and not filters and task not in current_store().tasks():
            from checkpoint.targets import instances_at, problems_told

            instances = instances_at(task)
            with problems_told(task):
                diagram = diagram_of(instances, {})
        else:
            found = chosen(task, filters)
            if not found:
                end_without_calls(context, task, filters)
            diagram = lineage_diagram(current_store(), found)
    if is_by_task:
        diagram = by_task(diagram)
    elif len(diagram.boxes) > _MANY:
        click.echo(f"{len(diagram.boxes):,} boxes; --by-task draws one for each task", err=True)
    try:
        text = _FORMS[form](diagram)
    except ImportError as error:
        raise Unusable(f"SVG needs the extra graph: pip install 'checkpoint-tool[graph]' ({error})") from None
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.FileError(output, error.strerror or str(error)) from None
