"""Checks: what callers may give is checked where it is given, in words that name it.

Each check returns its value, or raises TypeError or ValueError. None passes none of them; who allows it asks first.

Must not know: what the values are for.

Next: texts.py
"""

from __future__ import annotations

import math
from typing import TypeVar

__all__ = ["flag", "function", "number", "text", "whole"]

_T = TypeVar("_T")


def flag(value: bool, name: str) -> bool:
    """Return True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def whole(value: int, name: str, least: int) -> int:
    """Return a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number of at least {least}, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return value


def number(value: float, name: str, *, is_zero_allowed: bool = True) -> float:
    """Return a number of at least 0, or above it."""
    needed = "a number of at least 0" if is_zero_allowed else "a number above 0"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be {needed}, not {value!r}")
    if math.isnan(value) or value < 0 or (value == 0 and not is_zero_allowed):
        raise ValueError(f"{name} must be {needed}, not {value!r}")
    return value


def text(value: str, name: str) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {value!r}")
    return value


def function(value: _T, name: str) -> _T:
    """Return a function, or anything else that can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, not {value!r}")
    return value
