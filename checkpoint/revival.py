"""Revival: from the text of a key back to the values that it stands for.

Must not know: tasks, stores. Nothing is imported or run for a text but the module of a plain type.

Next: fingerprint/names.py
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import enum
import functools
import importlib
import json
import re
import sys
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, final

from checkpoint.keys import CAPTURED, module_name

__all__ = ["Opaque", "decode", "decode_arguments"]


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Opaque:
    """A part of a key that stands for a value which cannot be rebuilt from it (an array, say)."""

    tag: str
    content: Any

    def __repr__(self) -> str:
        match self.tag, self.content:
            case "dataclass", (str(name), dict(parts)):
                return f"{name.rpartition('.')[2]}({_named(parts)})"
            case "namedtuple", (str(name), list(parts)):
                return f"{name.rpartition('.')[2]}({', '.join(map(repr, parts))})"
            case "task", [name, str(key)]:  # a long key is there as a digest
                with contextlib.suppress(ValueError):
                    return f"{name}({_named(decode_arguments(key))})"
            case "item", [instance, *steps]:
                return repr(instance) + "".join(f"[{step!r}]" for step in steps)
            case "enum", str(name):
                return ".".join(name.split(".")[-2:])
        return f"<{self.tag} {self.content}>"


def _named(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def _known_class(name: str) -> Any:
    for parts in range(name.count("."), 0, -1):
        module, _, qualname = _split(name, parts)
        found: Any = sys.modules.get(module) or (sys.modules["__main__"] if module == module_name("__main__") else None)
        for attribute in qualname.split("."):
            found = getattr(found, "__dict__", {}).get(attribute)  # unlike getattr, this runs no code
        if isinstance(found, type):
            return found
    return None


def _split(name: str, parts: int) -> tuple[str, str, str]:
    pieces = name.split(".")
    return ".".join(pieces[:parts]), ".", ".".join(pieces[parts:])


def _decode_enum(content: Any) -> Any:
    name, member = content
    cls = _known_class(name)
    if not (isinstance(cls, type) and issubclass(cls, enum.Enum) and member in cls.__members__):
        return Opaque("enum", f"{name}.{member}")
    return cls.__members__[member]


def _decode_dataclass(content: Any) -> Any:
    class_name, fields = content[0], dict(_revive(content[1]))
    cls = _known_class(class_name)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and _has_fields(cls, fields)):
        return Opaque("dataclass", (class_name, fields))
    made = object.__new__(cls)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def _has_fields(cls: Any, values: dict[str, Any]) -> bool:
    return {field.name for field in dataclasses.fields(cls)} == set(values)


def _decode_namedtuple(content: Any) -> Any:
    name, values = content[0], list(_revive(content[1]))
    cls = _known_class(name)
    if not (isinstance(cls, type) and issubclass(cls, tuple) and len(getattr(cls, "_fields", ())) == len(values)):
        return Opaque("namedtuple", (name, values))
    return tuple.__new__(cls, values)


def _decode_fraction(content: Any) -> Any:
    """Return a fraction of its digits; an exponent, which no key has, could fill the memory."""
    if not isinstance(content, str):
        return _from_text("fractions", "Fraction", *_revive(content))
    if not re.fullmatch(r"-?[0-9]+(/[0-9]+)?", content):
        raise ValueError(content)
    return _from_text("fractions", "Fraction", content)


def _from_text(module: str, name: str, *content: Any) -> Any:
    return getattr(importlib.import_module(module), name)(*content)


_decoders: dict[str, Callable[[Any], Any]] = {
    "$dict": lambda content: {_revive(key): _revive(value) for key, value in content},
    "$float": float,
    "$int": lambda content: int(content, 16),
    "$text": lambda content: "".join(chr(int(point, 16)) for point in content.split(" ")),
    "$tuple": lambda content: tuple(_revive(content)),
    "$set": lambda content: set(_revive(content)),
    "$frozenset": lambda content: frozenset(_revive(content)),
    "$bytes": b64decode,
    "$bytearray": lambda content: bytearray(b64decode(content)),
    "$complex": lambda content: complex(*_revive(content)),
    "$range": lambda content: range(*_revive(content)),
    "$ordereddict": lambda content: OrderedDict(_revive(content)),
    "$decimal": functools.partial(_from_text, "decimal", "Decimal"),
    "$fraction": _decode_fraction,
    "$uuid": functools.partial(_from_text, "uuid", "UUID"),
    "$datetime": lambda content: datetime.datetime.fromisoformat(content[0]).replace(fold=content[1]),
    "$date": datetime.date.fromisoformat,
    "$time": lambda content: datetime.time.fromisoformat(content[0]).replace(fold=content[1]),
    "$timedelta": lambda content: datetime.timedelta(*content),
    "$path": functools.partial(_from_text, "pathlib", "PurePath"),
    "$windowspath": functools.partial(_from_text, "pathlib", "PureWindowsPath"),
    "$enum": _decode_enum,
    "$dataclass": _decode_dataclass,
    "$namedtuple": _decode_namedtuple,
}


def _revive(content: Any) -> Any:
    if isinstance(content, list):
        return [_revive(item) for item in content]
    if not isinstance(content, dict):
        return content
    if len(content) == 1:
        ((name, inner),) = content.items()
        if name.startswith("$"):
            decoder = _decoders.get(name)
            return decoder(inner) if decoder is not None else Opaque(name[1:], _revive(inner))
    return {name: _revive(inner) for name, inner in content.items()}


_UNDECODABLE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)


def decode(text: str) -> Any:
    """Return the value that a text made by `encode` stands for.

    Arrays, task instances and classes that are not loaded come back as `Opaque`; nothing is imported or run.

    Raises:
        ValueError: the text is not a key.
    """
    try:
        return _revive(json.loads(text))
    except _UNDECODABLE as error:
        raise ValueError(f"not a key: {text[:80]!r}") from error


def decode_arguments(key: str) -> dict[str, Any]:
    """Return the arguments, by parameter name, of a call's key; parts that cannot be rebuilt are `Opaque`.

    Raises:
        ValueError: the text is not the key of a call.
    """
    try:
        return {name: _revive(content) for name, content in json.loads(key).items() if name != CAPTURED}
    except _UNDECODABLE as error:
        raise ValueError(f"not the key of a call: {key[:80]!r}") from error
