"""Labels: a call as a short text for people, from its key alone.

Must not know: tasks, graphs, stores.

Next: observe/schedule.py
"""

from __future__ import annotations

from typing import Any

from checkpoint.revival import Opaque, decode_arguments

__all__ = ["label_of"]

_MOST_LETTERS = 200
#: Of a call that is in a key by digest only, so many digits tell it from others.
_DIGITS = 6


def label_of(task: str, key: str) -> str:
    """Return a call as text of bounded length, without modules: `score(models=[fit(fold=1), fit(…3fa8b1)])`."""
    text = _call(task, key)
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 40]}…{text[-39:]}"


def _call(task: str, key: str) -> str:
    name = task.rpartition(".")[2]
    try:
        arguments = decode_arguments(key)
    except ValueError:
        return f"{name}({key})"
    return f"{name}({', '.join(f'{name}={_shown(value)}' for name, value in arguments.items())})"


def _shown(value: Any) -> str:
    if type(value) is list:
        return f"[{', '.join(map(_shown, value))}]"
    if type(value) is dict:
        return f"{{{', '.join(f'{name!r}: {_shown(part)}' for name, part in value.items())}}}"
    if isinstance(value, Opaque) and value.tag == "task":
        task, key = value.content
        return _call(task, key) if key.startswith("{") else f"{task.rpartition('.')[2]}(…{key[:_DIGITS]})"
    if isinstance(value, Opaque) and value.tag == "item":
        return _shown(value.content[0]) + "".join(f"[{index!r}]" for index in value.content[1:])
    return repr(value)
