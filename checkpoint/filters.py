"""Filters: conditions on stored calls as a person writes them, such as `n=6`, `alpha>0.1` or `age>30d`.

A condition is a name, an operator and a value. The name is that of an argument, with `.part` for parts of it, or one
of `stored_at`, `age`, `seconds`, `size` and `code`, of which an argument of that name takes precedence. Values are
compared by what they are: numbers with numbers, text with text; what can't be compared doesn't match.

Must not know: stores, terminals.

Next: removal.py
"""

from __future__ import annotations

import ast
import datetime
import functools
import operator
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, final

from checkpoint.amounts import bytes_of, seconds_of
from checkpoint.inventory import AGE, META, StoredCall, meta_names
from checkpoint.revival import Opaque

__all__ = ["Filter", "literal", "matching", "order_of"]

_FORM = re.compile(r"\s*([^\W\d][\w.]*)\s*(==|!=|<=|>=|=|<|>|~)\s*(.*)", re.DOTALL)
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_ABSENT = object()


@final
@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on stored calls."""

    name: str
    operator: str
    text: str

    @classmethod
    def parse(cls, text: str) -> Filter:
        """Return the condition that a text says.

        Raises:
            ValueError: it says none; the text of the error says why.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no filter; write a name, one of = != < <= > >= ~ and a value, as in n=6")
        condition = cls(found[1], "=" if found[2] == "==" else found[2], found[3].strip())
        if condition.operator == "~":
            try:
                re.compile(condition.text)
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f"{text!r}: {condition.text!r} is no regular expression: {error}") from None
        return condition

    def matches(self, call: StoredCall, arguments: Mapping[str, Any]) -> bool:
        """Tell whether a call meets the condition.

        Args:
            call: the call.
            arguments: its arguments, decoded.

        Raises:
            ValueError: the value is no time, size or number where one is needed.
        """
        if self.name.partition(".")[0] in arguments:
            return self._holds_for(_part_of(arguments, self.name.split(".")))
        known = {column: name for name, column in meta_names(arguments).items()}
        name = known.get(self.name)
        if name == AGE:
            return self._compare(time.time() - call.stored_at, self._measured(seconds_of))
        if name in ("seconds", "size"):
            return self._compare(getattr(call, name), self._measured(seconds_of if name == "seconds" else bytes_of))
        if name == "stored_at":
            return self._compare(call.stored_at, self._measured(_moment_of))
        if name == "code":
            return self._is_code(call.code)
        return False

    def applies_to(self, arguments: Iterable[str]) -> bool:
        """Tell whether a call with such arguments has what the condition is about."""
        taken = list(arguments)
        name = self.name.partition(".")[0]
        return name in taken or name in meta_names(taken).values()

    def _measured(self, read: Callable[[str], float]) -> float:
        if self.operator == "~":
            raise ValueError(f"{self}: ~ is for text; use < or >")
        try:
            return read(self.text)
        except ValueError as error:
            raise ValueError(f"{self}: {error}") from None

    def _compare(self, value: float, limit: float) -> bool:
        if self.operator in _ORDERS:
            return _ORDERS[self.operator](value, limit)
        return (value == limit) == (self.operator == "=")

    def _is_code(self, code: str) -> bool:
        if self.operator == "~":
            return re.search(self.text, code) is not None
        if self.operator not in ("=", "!="):
            raise ValueError(f"{self}: code has no order; use = with the first digits of one")
        return code.startswith(self.text.lower()) == (self.operator == "=")

    def _holds_for(self, value: Any) -> bool:
        if value is _ABSENT:
            return self.operator == "!="
        if self.operator == "~":
            return re.search(self.text, value if isinstance(value, str) else _text_of(value)) is not None
        if self.operator in _ORDERS:
            limit = _like(value, self.text)
            if not _have_order(value, limit):
                return False
            return _ORDERS[self.operator](value, limit)
        return _is(value, self.text) == (self.operator == "=")

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self.text}"


def matching(calls: Iterable[StoredCall], filters: Sequence[Filter]) -> Iterator[StoredCall]:
    """Yield those calls that meet all conditions.

    Raises:
        ValueError: a condition is about something that no call has, or its value cannot be compared.
    """
    unknown = dict.fromkeys(filters)
    names: dict[str, None] = {}
    for call in calls:
        if not filters:
            yield call
            continue
        arguments = call.arguments
        if unknown:
            names.update(dict.fromkeys(arguments))
            unknown = {each: None for each in unknown if not each.applies_to(arguments)}
        if all(each.matches(call, arguments) for each in filters):
            yield call
    if unknown and names:
        each = next(iter(unknown))
        known = [*names, *meta_names(names).values()]
        raise ValueError(f"{each}: there is no {each.name!r}; there are {', '.join(known)}")


def order_of(name: str) -> Callable[[StoredCall], Any]:
    """Return by what to sort calls where a column is named: an argument, a part of one, or one of META and `age`."""

    def order(call: StoredCall) -> Any:
        arguments = call.arguments if name not in META else {}
        known = {column: meta for meta, column in meta_names(arguments).items()}
        if name.partition(".")[0] in arguments:
            return _order(_part_of(arguments, name.split(".")))
        if known.get(name) == AGE:
            return _order(-call.stored_at)
        return _order(getattr(call, known[name]) if name in known else _ABSENT)

    return order


def _order(value: Any) -> tuple[int, Any]:
    """Return what puts numbers before text before anything else, which goes by its text; what is absent comes last."""
    if value is _ABSENT or value is None:
        return 3, ""
    if isinstance(value, (bool, int, float)):
        return (0, value) if value == value else (0, float("inf"))
    return (1, value) if isinstance(value, str) else (2, _text_of(value))


# --- values ----------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def literal(text: str) -> Any:
    """Return the value of a text: a Python literal, one of true, false, null and none, else the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def _moment_of(text: str) -> float:
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is no date; write it as 2026-11-01 or 2026-11-01T12:00") from None


def _part_of(arguments: Mapping[str, Any], path: Sequence[str]) -> Any:
    found: Any = arguments
    for name in path:
        if isinstance(found, Opaque):
            found = found.content[1] if isinstance(found.content, (tuple, list)) and len(found.content) == 2 else None
        if isinstance(found, Mapping):
            found = found.get(name, _ABSENT)
        elif isinstance(found, (list, tuple)) and name.isdigit():
            found = found[int(name)] if int(name) < len(found) else _ABSENT
        else:
            found = getattr(found, "__dict__", {}).get(name, _ABSENT)
        if found is _ABSENT:
            break
    return found


def _is(value: Any, text: str) -> bool:
    """Tell whether a value is what a text says: the same text, the same literal, or something that is shown so."""
    if isinstance(value, str):
        return value in (text, literal(text))
    said = literal(text)
    if isinstance(said, bool) or isinstance(value, bool):
        return said is value
    return bool(said == value) or (not isinstance(value, (int, float)) and _text_of(value) == text)


def _text_of(value: Any) -> str:
    if isinstance(value, Opaque):
        content = value.content
        if value.tag == "enum" and isinstance(content, str):
            return content.rpartition(".")[2]
        return str(content[0]) if value.tag == "file" and isinstance(content, list) else repr(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, (PurePath, str)) else getattr(value, "name", None) or repr(value)


def _like(value: Any, text: str) -> Any:
    """Return what a text says, as something that has an order with a value; None if it is nothing of the kind."""
    try:
        if isinstance(value, (datetime.date, datetime.time)):
            return type(value).fromisoformat(text)
        if isinstance(value, datetime.timedelta):
            return datetime.timedelta(seconds=seconds_of(text))
    except (ValueError, OverflowError):
        return None
    return literal(text)


def _have_order(value: Any, limit: Any) -> bool:
    numbers = (int, float)
    if isinstance(value, numbers) and isinstance(limit, numbers):
        return True
    if type(value) is not type(limit) or value is None:
        return False
    try:
        return bool(value < limit) or True
    except TypeError:
        return False
