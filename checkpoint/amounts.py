"""Amounts: sizes and lengths of time as a person writes them, such as `10GB`, `1.5 GiB`, `30d` or `3 days`.

The only place that reads them: conditions, options of commands, variables and arguments of tasks take the same texts.

Must not know: what they are for.

Next: markup.py
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

__all__ = ["bytes_of", "has_unit", "seconds_of"]

_AMOUNT = r"([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?\s*([a-z]*)"
_SIZES = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SPANS = {
    "": 1.0, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0, "y": 365 * 86400.0,
}  # fmt: skip
_WORDS = {"second": "s", "minute": "min", "hour": "h", "day": "d", "week": "w", "year": "y"}
_SPANS |= {word + ending: _SPANS[short] for word, short in _WORDS.items() for ending in ("", "s")}


def seconds_of(text: str) -> float:
    """Return the seconds that a text such as "90", "1.5h", "30d" or "3 days" says.

    Raises:
        ValueError: it says none.
    """
    found = _read(text, _SPANS)
    if found is None:
        raise ValueError(f"{text!r} is no time; write a number with ms, s, min, h, d, w or y, as in 30d")
    return found


def bytes_of(text: str) -> int:
    """Return the bytes that a text such as "1000", "10MB" or "1.5 GiB" says.

    Raises:
        ValueError: it says none.
    """
    found = _read(text, _SIZES)
    if found is None:
        raise ValueError(f"{text!r} is no size; write a number with B, KB, MB, GB, KiB, MiB or GiB, as in 10MB")
    return int(found)


def has_unit(text: str) -> bool:
    """Tell whether an amount says what its number counts: one by which values go must."""
    return text.rstrip()[-1:].isalpha()


def _read(text: str, units: Mapping[str, float]) -> float | None:
    found = re.fullmatch(_AMOUNT, text.strip(), re.IGNORECASE)
    if found is None or found[3].lower() not in units:
        return None
    amount = float(found[1] + (found[2] or "")) * units[found[3].lower()]
    return amount if math.isfinite(amount) else None
