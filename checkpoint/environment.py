"""Environment: the variables of this process, looked at whenever they count, so that a change holds at once.

Must not know: what a variable means.

Next: amounts.py
"""

from __future__ import annotations

import functools
import os

__all__ = ["variables"]

_environ = os.environ
#: What it has, by encoded names: it tells what is not set without an exception for each, which takes a microsecond.
_known = getattr(_environ, "_data", None)


def variables(*names: str) -> tuple[str | None, ...]:
    """Return environment variables; None for each that is empty or not set. Costs 0.2 us where none of them is set."""
    encoded, unset = _prepared(names)
    if os.environ is _environ and _known is not None and _known.keys().isdisjoint(encoded):
        return unset
    return tuple([os.environ.get(name) or None for name in names])


@functools.cache
def _prepared(names: tuple[str, ...]) -> tuple[frozenset[object], tuple[None, ...]]:
    return frozenset(map(_environ.encodekey, names)), (None,) * len(names)
