"""Settings: what a store may hold and how lasting its commits are; given, or as the environment says.

Must not know: where anything is kept.

Next: store/advice.py
"""

from __future__ import annotations

import os
from typing import NamedTuple, final

from checkpoint.amounts import bytes_of, has_unit
from checkpoint.store.signature import KEY_VARIABLE, Signer

__all__ = ["Settings"]

_PICKLE_VARIABLE, _DURABILITY_VARIABLE, _SIZE_VARIABLE = "CP_ALLOW_PICKLE", "CP_DURABILITY", "CP_CACHE_SIZE"
_VERIFY_VARIABLE = "CP_VERIFY"
_DURABILITIES = ("process", "power")
_VERIFICATIONS = ("once", "always", "never")
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
    #: Bytes of values that may stay after a run that has computed something; None for any.
    max_size: int | None = None
    #: When the bytes of arrays that are mapped from a file are compared with their digest: once in a process for
    #: each file, always or never.
    verification: str = "once"

    @classmethod
    def of(
        cls,
        allow_pickle: bool | None = None,
        durability: str | None = None,
        max_size: int | None = None,
        verify: str | None = None,
    ) -> Settings:
        """Return settings; what is None is as the environment says. The key is never given otherwise.

        Raises:
            TypeError, ValueError: one of them cannot be; names it.
        """
        key = os.environ.get(KEY_VARIABLE)
        is_durable = _one_of(_DURABILITIES, durability, "durability", _DURABILITY_VARIABLE) == "power"
        verification = _one_of(_VERIFICATIONS, verify, "verify", _VERIFY_VARIABLE)
        return cls(_pickle(allow_pickle), is_durable, Signer(key) if key else None, _max_size(max_size), verification)


def _pickle(given: object) -> bool:
    if isinstance(given, bool):
        return given
    if given is not None:
        raise TypeError(f"allow_pickle must be True or False, not {given!r}")
    text = os.environ.get(_PICKLE_VARIABLE) or "1"
    if text.lower() not in _WORDS:
        raise ValueError(f"{_PICKLE_VARIABLE} must be 1 or 0, not {text!r}")
    return _WORDS[text.lower()]


def _one_of(words: tuple[str, ...], given: object, what: str, variable: str) -> str:
    """Return what is given, else what the environment says, else the first word."""
    if given is None:
        what, given = variable, os.environ.get(variable) or words[0]
    if not isinstance(given, str):
        raise TypeError(f"{what} must be one of {', '.join(words)}, not {given!r}")
    if given not in words:
        raise ValueError(f"{what} must be one of {', '.join(words)}, not {given!r}")
    return given


def _max_size(given: object) -> int | None:
    if given is None:
        text = os.environ.get(_SIZE_VARIABLE)
        if not text:
            return None
        try:
            size = bytes_of(text)
        except ValueError as error:
            raise ValueError(f"{_SIZE_VARIABLE}: {error}") from None
        if not has_unit(text):
            raise ValueError(f"{_SIZE_VARIABLE}: {text!r} has no unit; write B, MB, GB or GiB after it")
        return size
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"max_size must be a whole number of bytes, not {given!r}")
    if given < 0:
        raise ValueError(f"max_size must be a whole number of bytes, not {given!r}")
    return given
