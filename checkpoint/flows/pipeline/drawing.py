"""Drawing: pipelines as Mermaid text, and things as short texts in errors and labels.

Must not know: stages, pipelines.

Next: flows/pipeline/stage.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from checkpoint.errors import name_of

__all__ = ["described", "flowchart", "shortened"]


def flowchart(parts: Sequence[tuple[str, Sequence[int]]]) -> str:
    """Return a Mermaid flowchart of parts, each with a label and the positions of what it receives."""
    lines = ["flowchart LR"]
    lines += [f'    s{place}["{_escaped(label)}"]' for place, (label, _) in enumerate(parts)]
    lines += [f"    s{above} --> s{place}" for place, (_, inputs) in enumerate(parts) for above in inputs]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return text as Mermaid takes it between quotation marks."""
    return "".join(part if part not in '"#<>&\n' else f"#{ord(part)};" for part in text)


def described(thing: object) -> str:
    """Return what somebody tried to join, and what to do about it."""
    advice = ""
    if isinstance(thing, (tuple, list, set, frozenset)):
        advice = "; inputs are one level deep: join those to a stage first, `(one, two) >> stage`"
    elif callable(thing):
        advice = "; make it a stage with @Stage.wrap()"
    return f"{name_of(thing)} {shortened(thing)}{advice}"


def shortened(value: object, text_of: Callable[[object], str] = repr) -> str:
    """Return the text of a value, cut where it is long."""
    text = text_of(value)
    return text if len(text) <= 60 else text[:50] + "..."
