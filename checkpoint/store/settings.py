"""Settings: what a store may hold and how lasting its commits are; given, or as the environment says.

Must not know: where anything is kept.

Next: store/advice.py
"""

from __future__ import annotations

import functools
from typing import NamedTuple, final

from checkpoint.amounts import bytes_of, has_unit
from checkpoint.environment import variables
from checkpoint.store.signature import KEY_VARIABLE, Signer

__all__ = ["Settings"]

_PICKLE_VARIABLE, _DURABILITY_VARIABLE, _SIZE_VARIABLE = "CP_ALLOW_PICKLE", "CP_DURABILITY", "CP_CACHE_SIZE"
_VERIFY_VARIABLE = "CP_VERIFY"
_VARIABLES = (KEY_VARIABLE, _PICKLE_VARIABLE, _DURABILITY_VARIABLE, _SIZE_VARIABLE, _VERIFY_VARIABLE)
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
        there = variables(*_VARIABLES)
        if allow_pickle is None and durability is None and max_size is None and verify is None:
            return _of_environment(there)
        return _settings(allow_pickle, durability, max_size, verify, there)


@functools.lru_cache(maxsize=16)
def _of_environment(there: tuple[str | None, ...]) -> Settings:
    return _settings(None, None, None, None, there)


def _settings(
    allow_pickle: object, durability: object, max_size: object, verify: object, there: tuple[str | None, ...]
) -> Settings:
    """Return settings from what is given and from what the environment says, in the order of its variables."""
    key, allow_pickle_there, durability_there, max_size_there, verify_there = there
    return Settings(
        _pickle(allow_pickle, allow_pickle_there),
        _one_of(_DURABILITIES, durability, "durability", _DURABILITY_VARIABLE, durability_there) == "power",
        Signer(key) if key else None,
        _max_size(max_size, max_size_there),
        _one_of(_VERIFICATIONS, verify, "verify", _VERIFY_VARIABLE, verify_there),
    )


def _pickle(given: object, there: str | None) -> bool:
    if isinstance(given, bool):
        return given
    if given is not None:
        raise TypeError(f"allow_pickle must be True or False, not {given!r}")
    text = there or "1"
    if text.lower() not in _WORDS:
        raise ValueError(f"{_PICKLE_VARIABLE} must be 1 or 0, not {text!r}")
    return _WORDS[text.lower()]


def _one_of(words: tuple[str, ...], given: object, what: str, variable: str, there: str | None) -> str:
    """Return what is given, else what the environment says, else the first word."""
    if given is None:
        what, given = variable, there or words[0]
    if not isinstance(given, str):
        raise TypeError(f"{what} must be one of {', '.join(words)}, not {given!r}")
    if given not in words:
        raise ValueError(f"{what} must be one of {', '.join(words)}, not {given!r}")
    return given


def _max_size(given: object, there: str | None) -> int | None:
    if given is None:
        if there is None:
            return None
        try:
            size = bytes_of(there)
        except ValueError as error:
            raise ValueError(f"{_SIZE_VARIABLE}: {error}") from None
        if not has_unit(there):
            raise ValueError(f"{_SIZE_VARIABLE}: {there!r} has no unit; write B, MB, GB or GiB after it")
        return size
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"max_size must be a whole number of bytes, not {given!r}")
    if given < 0:
        raise ValueError(f"max_size must be a whole number of bytes, not {given!r}")
    return given
