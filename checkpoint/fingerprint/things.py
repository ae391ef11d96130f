"""Things: what can be told of objects without running any code of theirs.

Must not know: where names are looked up, what is followed.

Next: fingerprint/places.py
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

from checkpoint.fingerprint.modules import OWN, top_level
from checkpoint.fingerprint.names import Name

__all__ = [
    "cells_of",
    "innermost",
    "is_small",
    "members_of",
    "methods_of",
    "names_in",
    "shown",
    "task_name",
    "text_or_empty",
    "wrapped",
]

#: Values up to this many bytes are described by themselves, longer ones by the statement that makes them.
_SMALL = 1024

#: What every class says, and what says nothing of what it does.
_SAID_OF_ALL = frozenset({"__doc__", "__firstlineno__", "__module__", "__qualname__"})

_ATOMS = (type(None), bool, int, float, complex, str, bytes)


def task_name(value: object) -> str | None:
    """Return the name of a task of this package; None for anything else."""
    kind = type(value)
    if top_level(text_or_empty(getattr(kind, "__module__", ""))) != OWN:
        return None
    inside: dict[str, Any] = getattr(value, "__dict__", {})
    return inside["name"] if "name" in inside and "__wrapped__" in inside else None


def is_small(value: object) -> bool:
    """Tell whether a value is immutable, plain, and at most about 1 KB."""
    work: list[Any] = [value]
    size = 0
    for item in work:
        if type(item) in (tuple, frozenset):
            work.extend(item)
        elif type(item) not in _ATOMS:
            return False
        size += _size(item)
        if size > _SMALL:
            return False
    return True


def _size(value: Any) -> int:
    if type(value) is int:
        return 8 + value.bit_length() // 8
    return 8 + (len(value) if type(value) in (str, bytes) else 0)


def shown(value: Any) -> str:
    """Return the same as repr, but for the order of sets."""
    if type(value) is frozenset:
        return f"frozenset({{{', '.join(sorted(map(shown, value)))}}})"
    if type(value) is tuple:
        return f"({''.join(f'{shown(item)}, ' for item in value).rstrip()})"
    return repr(value)


def wrapped(value: Any) -> Any:
    """Return what `functools.wraps` says that a value wraps; None if it says nothing."""
    try:
        return object.__getattribute__(value, "__dict__").get("__wrapped__")
    except Exception:
        return None


def innermost(value: Any) -> list[Any]:
    """Return a value and all that it wraps, from the outside in."""
    layers = [value]
    while (inner := wrapped(layers[-1])) is not None and not any(inner is layer for layer in layers):
        layers.append(inner)
    return layers


def registered(function: types.FunctionType) -> list[tuple[str, Any]]:
    """Return the functions that `functools.singledispatch` calls for a type each, with labels."""
    registry = vars(function).get("registry")
    if type(registry) is not types.MappingProxyType:
        return []
    return [(f"for {kind.__qualname__}", implementation) for kind, implementation in registry.items()]


def text_or_empty(value: object) -> str:
    """Return a text, and "" for anything else."""
    return str(value) if issubclass(type(value), str) else ""


def cells_of(function: types.FunctionType) -> dict[str, Any]:
    """Return what a closure has captured."""
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    return found


def methods_of(cls: type) -> Iterator[types.FunctionType]:
    """Yield the functions that stand in the text of a class."""
    for value in vars(cls).values():
        inner: Any = getattr(value, "fget", None) if type(value) is property else value
        inner = inner.__func__ if type(inner) in (staticmethod, classmethod) else inner
        inner = [layer for layer in innermost(inner) if type(layer) is types.FunctionType][-1:]
        yield from (item for item in inner if item.__qualname__.startswith(f"{cls.__qualname__}."))


def members_of(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield what a class without source says: its functions, plain values, and the names of its fields."""
    for name, value in vars(cls).items():
        inner = value.__func__ if type(value) in (staticmethod, classmethod) else value
        inner = inner.fget if type(inner) is property else inner
        if type(inner) is types.FunctionType or (is_small(inner) and name not in _SAID_OF_ALL):
            yield name, inner
    yield "fields", tuple(vars(cls).get("__annotations__", ()))


def names_in(code: types.CodeType) -> tuple[Name, ...]:
    """Return the names in code without source; some are only attributes."""
    codes = [code]
    for item in codes:
        codes.extend(constant for constant in item.co_consts if isinstance(constant, types.CodeType))
    names = [name for item in codes for name in (*item.co_names, *item.co_freevars)]
    return tuple(Name((name,), ()) for name in dict.fromkeys(names))
