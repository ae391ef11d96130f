"""Environment: the variables of this process, looked at whenever they count, so that a change holds at once.

Must not know: what a variable means.

Next: amounts.py
"""

from __future__ import annotations

import functools
import os

__all__ = ["variables"]

#: What `os.environ` has, by encoded names: it tells what is not set without an exception for each, which takes 1 us.
_known = getattr(os.environ, "_data", None)


def variables(*names: str) -> tuple[str | None, ...]:
    """Return environment variables; None for each that is empty or not set. Costs 0.2 us where none of them is set."""
    encoded, unset = _prepared(names)
    if _known is not None and _known.keys().isdisjoint(encoded):
        return unset
    return tuple([os.environ.get(name) or None for name in names])


@functools.cache
def _prepared(names: tuple[str, ...]) -> tuple[frozenset[object], tuple[None, ...]]:
    return frozenset(map(os.environ.encodekey, names)), (None,) * len(names)
