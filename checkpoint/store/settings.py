"""Settings: what a store may hold and how lasting its commits are; given, or as the environment says.

Must not know: where anything is kept.

Next: store/advice.py
"""

from __future__ import annotations

import os
from typing import NamedTuple, final

from checkpoint.store.signature import KEY_VARIABLE, Signer

__all__ = ["Settings"]

_PICKLE_VARIABLE, _DURABILITY_VARIABLE = "CP_ALLOW_PICKLE", "CP_DURABILITY"
_DURABILITIES = ("process", "power")
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@final
class Settings(NamedTuple):
    """How a store is used by this process. Its text never shows the key."""

    #: Whether values may be pickles; if not, only JSON and the codecs that tasks name are written and read.
    allows_pickle: bool = True
    #: Whether a commit also outlives a power failure.
    is_durable: bool = False
    #: What signs entries, and refuses those that nobody has signed; None where there is no key.
    signer: Signer | None = None

    @classmethod
    def of(cls, allow_pickle: bool | None = None, durability: str | None = None) -> Settings:
        """Return settings; what is None is as the environment says. The key is never given otherwise.

        Raises:
            TypeError, ValueError: one of them cannot be; names it.
        """
        key = os.environ.get(KEY_VARIABLE)
        return cls(_pickle(allow_pickle), _durability(durability) == "power", Signer(key) if key else None)


def _pickle(given: object) -> bool:
    if isinstance(given, bool):
        return given
    if given is not None:
        raise TypeError(f"allow_pickle must be True or False, not {given!r}")
    text = os.environ.get(_PICKLE_VARIABLE) or "1"
    if text.lower() not in _WORDS:
        raise ValueError(f"{_PICKLE_VARIABLE} must be 1 or 0, not {text!r}")
    return _WORDS[text.lower()]


def _durability(given: object) -> str:
    what = "durability"
    if given is None:
        what, given = _DURABILITY_VARIABLE, os.environ.get(_DURABILITY_VARIABLE) or _DURABILITIES[0]
    if not isinstance(given, str):
        raise TypeError(f"{what} must be one of {', '.join(_DURABILITIES)}, not {given!r}")
    if given not in _DURABILITIES:
        raise ValueError(f"{what} must be one of {', '.join(_DURABILITIES)}, not {given!r}")
    return given
