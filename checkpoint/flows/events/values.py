"""Values: events and what a context holds, as typed JSON that comes back equal in value and type.

JSON's own values are written as they are; others are objects with one member whose name starts with "$". Models and
dataclasses are named by their class, which is looked up, never rebuilt; pickles are written and read only if the
caller opted in, so that reading runs nothing that the store says.

Must not know: journals, workflows.

Next: flows/events/step.py
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import importlib
import itertools
import json
import pathlib
import sys
import uuid
import zoneinfo
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from typing import Any, final

from pydantic import BaseModel

from checkpoint import keys, revival
from checkpoint.codec import Frame, encode
from checkpoint.flows.events.event import Event
from checkpoint.journal.values import frame_of, value_of

__all__ = ["FORMAT", "RAW", "Unsaved", "ValueCodec", "class_of", "framed", "is_unsaved", "name_of_class"]

#: Number of the format, as the name of the codec of its frames.
FORMAT = "events-1"

_PLAIN = (type(None), bool, int, float, str)
_KEYED = (datetime.date, datetime.timedelta, decimal.Decimal, uuid.UUID, complex)
_TIMES = (datetime.datetime, datetime.time)
_LONG_BITS = 4096
_PATHS = {type(pathlib.Path()): "Path", pathlib.PurePosixPath: "PurePosixPath",
          pathlib.PureWindowsPath: "PureWindowsPath"}  # fmt: skip
_GROUPS: dict[type, str] = {tuple: "$tuple", set: "$set", frozenset: "$frozenset"}


@final
class _Raw:
    """Takes a value's bytes for the value, so that the journal neither encodes nor decodes."""

    name = FORMAT
    #: Nothing that another codec wrote is read: no pickle.
    is_exclusive = True

    def encode(self, value: bytes) -> bytes:
        return value

    def decode(self, data: bytes) -> bytes:
        return data


#: The journal's codec for what `ValueCodec` has encoded.
RAW = _Raw()


def framed(data: bytes) -> Frame:
    """Return the journal's frame of an encoded value."""
    return encode(data, "value", codec=RAW)


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Unsaved:
    """Stands in the journal for a value that could not be encoded."""

    type_name: str
    reason: str


def is_unsaved(data: bytes) -> bool:
    """Tell whether encoded bytes stand for a value that could not be encoded."""
    return data.startswith(b'{"$unsaved"')


def name_of_class(cls: type) -> str:
    """Return what identifies a class in every process: its module and qualified name."""
    return f"{keys.module_name(cls.__module__)}:{cls.__qualname__}"


def class_of(name: str, known: Iterable[type] = ()) -> type:
    """Return the class of that name: a known one, an event class that is defined somewhere, or one to be imported.

    Raises:
        LookupError: there is none.
    """
    for cls in itertools.chain(known, _subclasses(Event)):
        if name_of_class(cls) == name:
            return cls
    module, _, qualname = name.partition(":")
    for place in ("__main__", "__mp_main__", module):
        if keys.module_name(place) != module:
            continue
        try:
            found: Any = sys.modules.get(place) or importlib.import_module(place)
            for part in qualname.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError):
            continue
        if isinstance(found, type):
            return found
    raise LookupError(f"class {qualname} of module {module} no longer exists; define or import it first")


def _subclasses(cls: type) -> Iterator[type]:
    """Yield a class and those below it; of several with one name the newest comes first."""
    children: list[type] = cls.__subclasses__()
    for child in reversed(children):
        yield from _subclasses(child)
    yield cls


@final
class ValueCodec:
    """Turns values into typed JSON and back.

    Args:
        pickle: also take what JSON can't hold, as a pickle, and read such values.
    """

    def __init__(self, pickle: bool = False) -> None:
        self.pickle = pickle
        #: Classes that are meant where there are others of the same name.
        self.known: tuple[type, ...] = ()

    def encode(self, value: Any) -> bytes:
        """Return a value's bytes; raise TypeError naming the place in it that can't be written."""
        return json.dumps(self._written(value, ""), separators=(",", ":")).encode()

    def decode(self, data: bytes) -> Any:
        """Return the value of bytes; raise LookupError or TypeError where its classes or its form are unknown."""
        return self._read(json.loads(data))

    def _written(self, value: Any, where: str) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return {"$key": keys.encode(value)} if kind is int and value.bit_length() > _LONG_BITS else value
        if kind is list:
            return [self._written(item, f"{where}[{index}]") for index, item in enumerate(value)]
        if kind is dict:
            return self._written_dict(value, where)
        if kind in _GROUPS:
            return {_GROUPS[kind]: [self._written(item, where) for item in value]}
        if kind in (bytes, bytearray):
            return {f"${kind.__name__}": b64encode(value).decode()}
        if isinstance(value, BaseModel):
            return {"$model": [name_of_class(kind), self._written(_state_of(value), where)]}
        if isinstance(value, Unsaved):
            return {"$unsaved": [value.type_name, value.reason]}
        if kind in _KEYED or (kind in _TIMES and type(value.tzinfo) in (type(None), datetime.timezone)):
            return {"$key": keys.encode(value)}
        if kind in _TIMES and isinstance(value.tzinfo, zoneinfo.ZoneInfo) and value.tzinfo.key:
            return {"$zoned": [keys.encode(value.replace(tzinfo=None)), value.tzinfo.key]}
        if isinstance(value, pathlib.PurePath) and kind in _PATHS:
            return {"$path": [_PATHS[kind], str(value)]}
        if isinstance(value, enum.Enum) and value.name in type(value).__members__:
            return {"$enum": [name_of_class(kind), value.name]}
        if dataclasses.is_dataclass(value) and "__reduce__" not in vars(kind):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return {"$dataclass": [name_of_class(kind), self._written(fields, where)]}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return {"$namedtuple": [name_of_class(kind), self._written(list(value), where)]}
        return self._pickled(value, where)

    def _written_dict(self, value: dict[Any, Any], where: str) -> Any:
        if all(type(name) is str and not name.startswith("$") for name in value):
            return {name: self._written(item, f"{where}[{name!r}]") for name, item in value.items()}
        return {"$dict": [[self._written(name, where), self._written(item, f"{where}[{name!r}]")]
                          for name, item in value.items()]}  # fmt: skip

    def _pickled(self, value: Any, where: str) -> Any:
        if not self.pickle:
            place = f" at {where}" if where else ""
            raise TypeError(
                f"{type(value).__name__}{place} is no plain value; Context(..., pickle=True) would pickle it"
            )
        return {"$pickle": b64encode(b"".join(frame_of(value, "value").parts)).decode()}

    def _read(self, value: Any) -> Any:
        if type(value) is list:
            return [self._read(item) for item in value]
        if type(value) is not dict:
            return value
        if len(value) == 1:
            ((name, content),) = value.items()
            if name.startswith("$"):
                return self._read_tagged(name, content)
        return {name: self._read(item) for name, item in value.items()}

    def _read_tagged(self, tag: str, content: Any) -> Any:
        if tag == "$pickle":
            if not self.pickle:
                raise TypeError("it is a pickle; use a context made with pickle=True if you trust the store")
            return value_of(memoryview(bytearray(b64decode(content))))[0]
        if tag == "$dict":
            return {self._read(name): self._read(item) for name, item in content}
        if tag in _READERS:
            return _READERS[tag](self._read(content))
        if tag in _CLASS_READERS:
            name, inner = self._read(content)
            return _CLASS_READERS[tag](class_of(name, self.known), inner)
        raise TypeError(f"it has a part of the unknown kind {tag}")


def _state_of(model: BaseModel) -> dict[str, Any]:
    state = model.__getstate__()
    return {
        "fields": state["__dict__"],
        "extra": state["__pydantic_extra__"],
        "set": sorted(state["__pydantic_fields_set__"]),
        "private": {name: value for name, value in (state["__pydantic_private__"] or {}).items()},
    }


def _model(cls: type, state: Any) -> BaseModel:
    if not issubclass(cls, BaseModel):
        raise TypeError(f"{cls.__qualname__} is no longer a model")
    missing = [field for field, info in cls.model_fields.items() if info.is_required() and field not in state["fields"]]
    if missing:
        raise TypeError(f"{cls.__qualname__} now needs {', '.join(missing)}, which it was kept without")
    model = cls.__new__(cls)
    defaults = {
        field: info.get_default(call_default_factory=True, validated_data={})
        for field, info in cls.model_fields.items()
        if field not in state["fields"]
    }
    private: Any = state["private"] or (None if not cls.__private_attributes__ else {})
    model.__setstate__({
        "__dict__": {**state["fields"], **defaults},
        "__pydantic_extra__": state["extra"],
        "__pydantic_fields_set__": set(state["set"]),
        "__pydantic_private__": private,
    })  # fmt: skip
    return model


def _dataclass(cls: type, fields: Any) -> Any:
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls.__qualname__} is no longer a dataclass")
    value = object.__new__(cls)
    for field, item in fields.items():
        object.__setattr__(value, field, item)
    return value


def _namedtuple(cls: type, items: Any) -> Any:
    if not (issubclass(cls, tuple) and hasattr(cls, "_fields")):
        raise TypeError(f"{cls.__qualname__} is no longer a named tuple")
    return tuple.__new__(cls, items)


def _zoned(content: Any) -> Any:
    text, zone = content
    return revival.decode(text).replace(tzinfo=zoneinfo.ZoneInfo(zone))


def _enum(cls: type, member: Any) -> Any:
    if not issubclass(cls, enum.Enum):
        raise TypeError(f"{cls.__qualname__} is no longer an enum")
    return cls[member]


_READERS: dict[str, Callable[[Any], Any]] = {
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$bytes": b64decode,
    "$bytearray": lambda text: bytearray(b64decode(text)),
    "$key": revival.decode,
    "$zoned": _zoned,
    "$path": lambda content: getattr(pathlib, content[0])(content[1]),
    "$unsaved": lambda content: Unsaved(*content),
}
_CLASS_READERS: dict[str, Callable[[type, Any], Any]] = {
    "$enum": _enum,
    "$model": _model,
    "$dataclass": _dataclass,
    "$namedtuple": _namedtuple,
}
