"""Markup: facts and tables as small pieces of HTML for notebooks. All text is escaped; nothing comes from outside.

Must not know: what the facts are about.

Next: keys.py
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape

__all__ = ["card", "table"]

_CELL = "padding:1px 12px 1px 0;vertical-align:top;background:none"


def card(title: str, facts: Mapping[str, str], *below: str) -> str:
    """Return a title, facts with their names, and pieces that are HTML already."""
    rows = "".join(
        f'<tr style="background:none"><th style="text-align:left;{_CELL};font-weight:normal;opacity:.65">{escape(name)}'
        f'</th><td style="text-align:left;{_CELL}">{escape(text)}</td></tr>'
        for name, text in facts.items()
    )
    body = f'<table style="border:0;margin:0"><tbody>{rows}</tbody></table>' if rows else ""
    return f"<div><div><code><b>{escape(title)}</b></code></div>{body}{''.join(below)}</div>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return rows under a header, the columns named in `right` to the right."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f'<{tag} style="text-align:{"right" if place in right else "left"};{_CELL}">{escape(text)}</{tag}>'
            for place, text in enumerate(row)
        )

    body = "".join(f'<tr style="background:none">{cells("td", row)}</tr>' for row in rows)
    head = f"<thead><tr>{cells('th', header)}</tr></thead>"
    return f'<table style="border:0;margin:4px 0">{head}<tbody>{body}</tbody></table>'
