"""Arguments: texts such as `n=6` as the arguments of a function, typed by its signature.

An annotation says what a text means; without one it is a Python literal, or the text itself.

Must not know: tasks, stores, terminals.

Next: bundles.py
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import fractions
import inspect
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Union, get_args, get_origin

from checkpoint.amounts import seconds_of
from checkpoint.filters import literal

__all__ = ["arguments_of", "value_of"]

_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
#: Made from their text; what raises for another one.
_FROM_TEXT: dict[Any, Callable[[str], Any]] = {
    pathlib.Path: pathlib.Path,
    pathlib.PurePath: pathlib.PurePath,
    decimal.Decimal: decimal.Decimal,
    fractions.Fraction: fractions.Fraction,
    uuid.UUID: uuid.UUID,
    complex: complex,
    datetime.date: datetime.date.fromisoformat,
    datetime.datetime: datetime.datetime.fromisoformat,
    datetime.time: datetime.time.fromisoformat,
    datetime.timedelta: lambda text: datetime.timedelta(seconds=seconds_of(text)),
}
#: What an annotation of a container takes, and makes of it.
_CONTAINERS: dict[Any, type] = {
    list: list,
    collections.abc.Sequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.abc.Set: frozenset,
    dict: dict,
    collections.abc.Mapping: dict,
}


def arguments_of(function: Callable[..., Any], texts: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the named arguments that texts say.

    Args:
        function: whose parameters they are for.
        texts: each `name=value`, or a value for the next parameter.

    Raises:
        ValueError: one of them is for no parameter, or is not what the annotation wants; the text says which.
    """
    signature = inspect.signature(function)
    hints = _hints_of(function)
    positional = [each for each in signature.parameters.values() if each.kind is not each.KEYWORD_ONLY]
    variadic = next((each for each in signature.parameters.values() if each.kind is each.VAR_KEYWORD), None)
    args: list[Any] = []
    named: dict[str, Any] = {}
    for text in texts:
        name, sign, rest = text.partition("=")
        parameter = signature.parameters.get(name) if sign else None
        if sign and name.isidentifier():
            parameter = parameter if parameter is not None else variadic
            if parameter is None:
                raise ValueError(f"{text!r}: there is no parameter {name!r}; there are {', '.join(hints) or 'none'}")
            if name in named:
                raise ValueError(f"{text!r}: {name} is given twice")
            found = value_of(rest, hints[parameter.name], name)
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise ValueError(f"{text!r}: {name} has no name in a call; give its value alone")
            named[name] = found
            continue
        place = min(len(args), len(positional) - 1)
        if place < 0 or (place < len(args) and positional[place].kind is not inspect.Parameter.VAR_POSITIONAL):
            raise ValueError(f"{text!r}: there are only {len(positional)} parameters that can be given without a name")
        args.append(value_of(text, hints[positional[place].name], positional[place].name))
    return args, named


def _hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotation of each parameter; Any where there is none, or where it cannot be evaluated."""
    try:
        found = typing.get_type_hints(function)
    except Exception:  # a name that only type checkers know
        found = {}
    return {name: found.get(name, Any) for name in inspect.signature(function).parameters}


def value_of(text: str, annotation: Any, where: str) -> Any:
    """Return what a text means where an annotation stands.

    Args:
        text: the text.
        annotation: a type, or a form of `typing`; what is unknown here is taken for Any.
        where: how an error names the place.

    Raises:
        ValueError: the text is nothing of the kind.
    """
    try:
        return _read(text, annotation)
    except (ValueError, ArithmeticError, TypeError) as error:
        reason = f": {error}" if str(error) and annotation not in (int, float, bool) else ""
        raise ValueError(f"{where}={text}: this is no {_named(annotation)}{reason}") from None


def _read(text: str, annotation: Any) -> Any:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return _read_union(text, get_args(annotation))
    if origin is typing.Annotated:
        return _read(text, get_args(annotation)[0])
    if origin is typing.Literal:
        return _one_of({str(each): each for each in get_args(annotation)}, text)
    if annotation is str:
        return text
    if annotation is bool:
        return _read_bool(text)
    if annotation in (int, float):
        return annotation(text)
    if annotation in (None, type(None)):
        if text.lower() not in ("none", "null", ""):
            raise ValueError("write none")
        return None
    if annotation in _FROM_TEXT:
        return _FROM_TEXT[annotation](text)
    if (origin or annotation) in _CONTAINERS:
        return _fitted(literal(text), annotation)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _one_of(dict(annotation.__members__), text)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return _fitted(literal(text), annotation)
    if isinstance(annotation, type) and hasattr(annotation, "__fspath__"):
        return annotation(text)
    return literal(text)


def _read_bool(text: str) -> bool:
    if text.lower() in (*_YES, *_NO):
        return text.lower() in _YES
    raise ValueError("write true or false")


def _one_of(known: dict[str, Any], text: str) -> Any:
    if text in known:
        return known[text]
    raise ValueError(f"there are {', '.join(known)}")


def _read_union(text: str, members: Sequence[Any]) -> Any:
    """Return what the first member that fits makes of a text; one that takes any text comes last."""
    for member in sorted(members, key=lambda each: (each is str or each is Any, each is not type(None))):
        try:
            return _read(text, member)
        except (ValueError, ArithmeticError, TypeError):
            continue
    raise ValueError("")


def _fitted(value: Any, annotation: Any) -> Any:
    """Return a literal as what an annotation wants: the container, its parts, a dataclass of a dict.

    Raises:
        ValueError, TypeError: it is nothing of the kind.
    """
    origin = get_origin(annotation) or annotation
    parts = get_args(annotation)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        if not isinstance(value, dict):
            raise ValueError("write a dict of its fields")
        hints = typing.get_type_hints(annotation)
        return annotation(**{name: _fitted(part, hints.get(name, Any)) for name, part in value.items()})
    if origin in _CONTAINERS:
        kind = _CONTAINERS[origin]
        if isinstance(value, (str, bytes)) or isinstance(value, dict) != (kind is dict):
            raise ValueError(f"write a literal such as {_EXAMPLES[kind]}")
        if kind is dict:
            of_key, of_value = parts or (Any, Any)
            return {_fitted(key, of_key): _fitted(part, of_value) for key, part in value.items()}
        items = list(value)
        if kind is tuple and parts and parts[-1] is not Ellipsis:
            if len(parts) != len(items):
                raise ValueError(f"it has {len(items)} parts, not {len(parts)}")
            return tuple(_fitted(item, part) for item, part in zip(items, parts, strict=True))
        return kind(_fitted(item, parts[0] if parts else Any) for item in items)
    if annotation in (int, float) and isinstance(value, (int, float)) and not isinstance(value, bool):
        if annotation is int and value != int(value):
            raise ValueError(f"{value!r} is no int")
        return annotation(value)
    return _read(value, annotation) if isinstance(value, str) else _checked(value, annotation)


_EXAMPLES: dict[type, str] = {list: "[1,2]", tuple: "(1,2)", set: "{1,2}", frozenset: "{1,2}", dict: "{'a':1}"}


def _checked(value: Any, annotation: Any) -> Any:
    if annotation in (str, bool, int, float) and not isinstance(value, annotation):
        raise ValueError(f"{value!r} is no {annotation.__name__}")
    return value


def _named(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
