"""Revival: from the text of a key back to the values that it stands for.

Must not know: tasks, stores. Nothing is imported or run for a text but the module of a plain type.

Next: fingerprint/names.py
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import importlib
import json
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
        if self.tag in ("dataclass", "namedtuple"):
            name, parts = self.content
            named = parts.items() if isinstance(parts, dict) else (("", part) for part in parts)
            told = ", ".join(f"{label}={part!r}" if label else repr(part) for label, part in named)
            return f"{name.rpartition('.')[2]}({told})"
        if self.tag == "task" and self.content[1].startswith("{"):  # a long key is there as a digest
            given = decode_arguments(self.content[1])
            return f"{self.content[0]}({', '.join(f'{name}={value!r}' for name, value in given.items())})"
        if self.tag == "item":
            return repr(self.content[0]) + "".join(f"[{index!r}]" for index in self.content[1:])
        if self.tag == "enum":
            return ".".join(self.content.split(".")[-2:])
        return f"<{self.tag} {self.content}>"


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
    cls = _known_class(content[0])
    if not (isinstance(cls, type) and issubclass(cls, enum.Enum)):
        return Opaque("enum", f"{content[0]}.{content[1]}")
    return cls.__members__[content[1]]


def _decode_dataclass(content: Any) -> Any:
    cls, fields = _known_class(content[0]), _revive(content[1])
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        return Opaque("dataclass", (content[0], fields))
    made = object.__new__(cls)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def _decode_namedtuple(content: Any) -> Any:
    cls, values = _known_class(content[0]), _revive(content[1])
    if not (isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")):
        return Opaque("namedtuple", (content[0], values))
    return tuple.__new__(cls, values)


def _from_text(module: str, name: str, content: Any) -> Any:
    return getattr(importlib.import_module(module), name)(content)


_decoders: dict[str, Callable[[Any], Any]] = {
    "$dict": lambda content: {_revive(key): _revive(value) for key, value in content},
    "$float": float,
    "$int": lambda content: int(content, 16),
    "$text": lambda content: bytes.fromhex(content).decode("utf-16-be", "surrogatepass"),
    "$tuple": lambda content: tuple(_revive(content)),
    "$set": lambda content: set(_revive(content)),
    "$frozenset": lambda content: frozenset(_revive(content)),
    "$bytes": b64decode,
    "$bytearray": lambda content: bytearray(b64decode(content)),
    "$complex": lambda content: complex(*_revive(content)),
    "$range": lambda content: range(*content),
    "$ordereddict": lambda content: OrderedDict(_revive(content)),
    "$decimal": functools.partial(_from_text, "decimal", "Decimal"),
    "$fraction": functools.partial(_from_text, "fractions", "Fraction"),
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
