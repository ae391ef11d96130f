"""Options: what can be said of a task when it is decorated, checked there and then.

Next: tasks.py
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, Protocol, TypedDict, final

from checkpoint.codec import DEFAULT_LEVEL, Codec, check_codec
from checkpoint.policy import POLICIES

__all__ = ["TaskOptions", "TaskSettings"]


class TaskSettings(TypedDict, total=False):
    """What may be given to `checkpoint.task`, which tells the meaning of each."""

    compress: bool | int
    max_concurrency: int | None
    version: int | str | None
    on_change: Literal["warn", "rerun", "ignore"] | None
    depends_on: Iterable[object]
    retries: int
    timeout: float | None
    pool: str | None
    name: str | None
    store: bool
    defaults_added: Mapping[str, object]
    codec: Literal["pickle", "json"] | Codec | None


class _Invalid(Protocol):
    def __call__(self, kind: type[Exception], option: str, needed: str, value: object) -> Exception: ...


@final
class TaskOptions(NamedTuple):
    """The options of one task; `of` checks them. Their meaning is told at `checkpoint.task`."""

    level: int | None
    max_concurrency: int | None
    version: str | None
    on_change: str | None
    depends_on: tuple[object, ...]
    retries: int
    timeout: float | None
    pool: str | None
    name: str | None
    is_stored: bool
    defaults_added: Mapping[str, object]
    codec: Codec | None

    @classmethod
    def of(cls, function_name: str, given: TaskSettings) -> TaskOptions:
        """Return checked options.

        Raises:
            TypeError, ValueError: an option is unknown, or has the wrong type or value; names the function and it.
        """
        known = TaskSettings.__annotations__
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise TypeError(f"task {function_name} has no option {unknown[0]!r}; there are {', '.join(known)}")

        def invalid(kind: type[Exception], option: str, needed: str, value: object) -> Exception:
            return kind(f"option {option} of task {function_name} must be {needed}, not {value!r}")

        try:
            codec = check_codec(given.get("codec"))
        except (TypeError, ValueError) as error:
            raise type(error)(f"option codec of task {function_name}: {error}") from None
        is_stored = given.get("store", True)
        if not isinstance(is_stored, bool):
            raise invalid(TypeError, "store", "True or False", is_stored)
        return cls(
            level=_level(given.get("compress", False), invalid),
            max_concurrency=_whole(given.get("max_concurrency"), "max_concurrency", 1, invalid),
            version=_version(given.get("version"), invalid),
            on_change=_one_of(given.get("on_change"), "on_change", POLICIES, invalid),
            depends_on=_several(given.get("depends_on", ()), invalid),
            retries=_whole(given.get("retries", 0), "retries", 0, invalid) or 0,
            timeout=_seconds(given.get("timeout"), invalid),
            pool=_text(given.get("pool"), "pool", invalid),
            name=_text(given.get("name"), "name", invalid),
            is_stored=is_stored,
            defaults_added=_defaults(given.get("defaults_added", {}), invalid),
            codec=codec,
        )


def _level(value: object, invalid: _Invalid) -> int | None:
    if isinstance(value, bool):
        return DEFAULT_LEVEL if value else None
    if not isinstance(value, int):
        raise invalid(TypeError, "compress", "True, False or a zstandard level from -7 to 22", value)
    if not -7 <= value <= 22:
        raise invalid(ValueError, "compress", "True, False or a zstandard level from -7 to 22", value)
    return value


def _whole(value: object, option: str, least: int, invalid: _Invalid) -> int | None:
    if value is None and least > 0:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(TypeError, option, f"a whole number of at least {least}", value)
    if value < least:
        raise invalid(ValueError, option, f"a whole number of at least {least}", value)
    return value


def _version(value: object, invalid: _Invalid) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise invalid(TypeError, "version", "a whole number or text", value)
    if not re.fullmatch(r"[\w.+-]{1,64}", str(value)):
        raise invalid(ValueError, "version", "at most 64 letters, digits, dots, dashes, + or _", value)
    return str(value)


def _one_of(value: object, option: str, allowed: tuple[str, ...], invalid: _Invalid) -> str | None:
    if value is not None and not isinstance(value, str):
        raise invalid(TypeError, option, f"one of {', '.join(allowed)}", value)
    if value is not None and value not in allowed:
        raise invalid(ValueError, option, f"one of {', '.join(allowed)}", value)
    return value


def _several(value: object, invalid: _Invalid) -> tuple[object, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise invalid(TypeError, "depends_on", "a list of functions, classes, modules or plain values", value)
    return tuple(value)


def _seconds(value: object, invalid: _Invalid) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise invalid(TypeError, "timeout", "a number of seconds above 0", value)
    if not 0 < value < float("inf"):
        raise invalid(ValueError, "timeout", "a number of seconds above 0", value)
    return float(value)


def _defaults(value: object, invalid: _Invalid) -> Mapping[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise invalid(TypeError, "defaults_added", "a dict of parameter names and values", value)
    return dict(value)


def _text(value: object, option: str, invalid: _Invalid) -> str | None:
    if value is not None and not isinstance(value, str):
        raise invalid(TypeError, option, "text", value)
    if value is not None and (not value.strip() or any(not character.isprintable() for character in value)):
        raise invalid(ValueError, option, "text that can be seen", value)
    return value
