"""Keys: a call's arguments as canonical, typed JSON text, and back.

Plain JSON values are written as plain JSON (sorted, compact, ASCII). Values that JSON would merge with others
are objects with one member whose name starts with "$" (`(1, 2)` is `{"$tuple":[1,2]}`), and a dict that has
such names itself is written as `{"$dict":[[key, value], ...]}`; so two different values never share a text.
The text depends on nothing but the values: not on the hash seed, the Python version, the machine or a pickle.

Must not know: tasks, stores, clocks. FORMAT changes whenever any value's text changes.

Next: fingerprint/names.py
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import enum
import functools
import importlib
import inspect
import json
import math
import os.path
import re
import sys
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from json.encoder import encode_basestring_ascii as _quote
from typing import Any, final

import xxhash

from checkpoint.errors import UnkeyableError, name_of

__all__ = ["FORMAT", "Opaque", "Signature", "Unencodable", "add_fallback", "decode", "encode", "locate",
           "module_name", "register", "snapshot", "text_of"]  # fmt: skip

#: Number of the key format; golden tests pin it.
FORMAT = 1

#: Two code points that JSON would merge into one.
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")

_ADVICE = "pass plain data (numbers, text, lists, dicts, a path) or require the task that makes the value"


def module_name(module: str) -> str:
    """Return the name under which a module could be imported: a script `train.py` is `train`, not `__main__`.

    Notebooks and programs read from standard input have no such name and stay `__main__`.
    """
    if module not in ("__main__", "__mp_main__"):
        return module
    main = sys.modules.get(module)  # a worker imports its parent's script as __mp_main__
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name not in ("__main__", "__mp_main__"):
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return os.path.splitext(os.path.basename(file))[0] if file and not file.startswith("<") else "__main__"


def _class_name(cls: type) -> str:
    return f"{module_name(cls.__module__)}.{cls.__qualname__}"


class Unencodable(TypeError):
    """Raised while texts are made; `encode` turns it into an UnkeyableError that says where."""

    def __init__(self, value: Any, advice: str = _ADVICE, path: str = "") -> None:
        super().__init__(value)
        #: What has no text, what to do about it, and where it is inside of what was to be encoded.
        self.value, self.advice, self.path = value, advice, path


# --- value -> text ---------------------------------------------------------------------------------------


def _encode_float(value: float) -> str:
    return repr(value) if math.isfinite(value) else f'{{"$float":"{value!r}"}}'


_LARGE_INT = 1 << 64


def _encode_int(value: int) -> str:
    return repr(value) if -_LARGE_INT < value < _LARGE_INT else f'{{"$int":"{value:x}"}}'


def _encode_list(value: list[Any]) -> str:
    return "[" + ",".join([_encode(item) for item in value]) + "]"


def _encode_text(value: str) -> str:
    if value.isascii() or not _SURROGATE_PAIR.search(value):
        return _quote(value)
    return _tagged("text", _quote(value.encode("utf-16-be", "surrogatepass").hex(" ", 2)))


def _is_plain_name(key: object) -> bool:
    return type(key) is str and not key.startswith("$") and (key.isascii() or not _SURROGATE_PAIR.search(key))


def _encode_dict(value: dict[Any, Any]) -> str:
    if all(map(_is_plain_name, value)):
        return "{" + ",".join([_quote(key) + ":" + _encode(value[key]) for key in sorted(value)]) + "}"
    pairs = sorted(f"[{_encode(key)},{_encode(item)}]" for key, item in value.items())
    return _tagged("dict", "[" + ",".join(pairs) + "]")


def _tagged(tag: str, text: str) -> str:
    return f'{{"${tag}":{text}}}'


def _encode_set(value: set[Any] | frozenset[Any]) -> str:
    return _tagged(type(value).__name__, "[" + ",".join(sorted(_encode(item) for item in value)) + "]")


def _as_text(tag: str, text: Callable[[Any], str] = str) -> Callable[[Any], str]:
    return lambda value: _tagged(tag, _quote(text(value)))


_encoders: dict[type, Callable[[Any], str]] = {
    type(None): lambda value: "null",
    bool: lambda value: "true" if value else "false",
    int: _encode_int,
    float: _encode_float,
    str: _encode_text,
    list: _encode_list,
    dict: _encode_dict,
    tuple: lambda value: _tagged("tuple", _encode_list(value)),
    set: _encode_set,
    frozenset: _encode_set,
    bytes: _as_text("bytes", lambda value: b64encode(value).decode()),
    bytearray: _as_text("bytearray", lambda value: b64encode(value).decode()),
    complex: lambda value: _tagged("complex", _encode_list([value.real, value.imag])),
    range: lambda value: _tagged("range", _encode_list([value.start, value.stop, value.step])),
    OrderedDict: lambda value: _tagged("ordereddict", _encode_list([list(pair) for pair in value.items()])),
    datetime.datetime: lambda value: _tagged("datetime", _encode_list([value.isoformat(), value.fold])),
    datetime.date: _as_text("date", datetime.date.isoformat),
    datetime.time: lambda value: _tagged("time", _encode_list([value.isoformat(), value.fold])),
    datetime.timedelta: lambda value: _tagged(
        "timedelta", _encode_list([value.days, value.seconds, value.microseconds])
    ),
}


def _encode(value: Any) -> str:
    return _encoders.get(type(value), _encode_other)(value)


#: What makes texts of values whose type has no encoder; None where it can't either.
_fallbacks: list[Callable[[Any], str | None]] = []


def add_fallback(describe: Callable[[Any], str | None]) -> None:
    """Let a function make the texts of values that would have none."""
    _fallbacks.append(describe)


def text_of(value: Any) -> str:
    """Return the canonical text of a value, for a fallback that is made of parts.

    Raises:
        Unencodable: there is none.
    """
    return _encode(value)


#: Types of modules that only programs which use them should have to import.
_WRITTEN_AS_TEXT = {("decimal", "Decimal"): "decimal", ("fractions", "Fraction"): "fraction", ("uuid", "UUID"): "uuid"}


def _encode_other(value: Any) -> str:
    cls = type(value)
    if (tag := _WRITTEN_AS_TEXT.get((cls.__module__, cls.__qualname__))) is not None:
        return _tagged(tag, _quote(str(value)))
    if isinstance(value, enum.Enum):
        return _tagged("enum", _encode_list([_class_name(cls), value.name]))
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and isinstance(value, pathlib.PurePath):
        kind = "windowspath" if isinstance(value, pathlib.PureWindowsPath) else "path"
        return _tagged(kind, _quote(str(value)))
    if dataclasses.is_dataclass(cls):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(cls)}
        return _tagged("dataclass", f"[{_quote(_class_name(cls))},{_encode(fields)}]")
    if isinstance(value, tuple) and hasattr(cls, "_fields"):
        return _tagged("namedtuple", f"[{_quote(_class_name(cls))},{_encode_list(list(value))}]")
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return _encode_numpy_scalar(value)
    if numpy is not None and cls is numpy.ndarray:
        return _encode_numpy_array(value)
    for describe in _fallbacks:
        if (text := describe(value)) is not None:
            return text
    raise Unencodable(value)


def _has_loose_bits(dtype: Any) -> bool:
    """Tell whether a number of this type is padded with bits that mean nothing, as long doubles are."""
    base = dtype.base
    return base.char in "gG" or any(_has_loose_bits(base[name]) for name in base.names or ())


def _encode_numpy_scalar(value: Any) -> str:
    if value.dtype.hasobject or value.dtype.names or _has_loose_bits(value.dtype):
        raise Unencodable(value)
    plain = value.astype(value.dtype.newbyteorder("<")).tobytes().hex() if value.dtype.kind in "fcmM" else value.item()
    return _tagged("numpy", _encode_list([value.dtype.newbyteorder("<").str, plain]))


def _encode_numpy_array(value: Any) -> str:
    if value.dtype.hasobject or _has_loose_bits(value.dtype):
        raise Unencodable(value)
    dtype = value.dtype.newbyteorder("<")
    packed = dtype
    if dtype.names is not None:  # the bytes between fields are no part of the value
        from numpy.lib.recfunctions import repack_fields

        packed = repack_fields(dtype, recurse=True)
    digest = xxhash.xxh3_128_hexdigest(value.astype(packed, order="C").tobytes())
    described = dtype.str if dtype.names is None else repr(dtype.descr)
    return _tagged("ndarray", _encode_list([described, list(value.shape), digest]))


def encode(value: Any, where: str = "the value") -> str:
    """Return the canonical text of a value.

    Args:
        value: JSON values, tuple, set, frozenset, bytes, bytearray, complex, range, OrderedDict, Decimal,
            Fraction, UUID, date, time, datetime, timedelta, Path, Enum members, dataclasses, named tuples,
            numpy scalars and arrays (an array by dtype, shape and the digest of its bytes), task instances and parts
            of their values, files, functions and classes (see functions.py), and types given to `register`;
            nested at will. Dicts may have any of these as keys.
        where: what to call the value in an error.

    Raises:
        UnkeyableError: for anything else (also subclasses of plain types), naming the path inside the value.

    Notes:
        Pure; safe from any thread. Cost: one pass, about 1 us for a handful of plain values.
    """
    try:
        return _encode(value)
    except Unencodable:
        found = locate(value)
        raise UnkeyableError(where + found.path, type(found.value).__name__, found.advice) from None
    except RecursionError:
        raise UnkeyableError(where, type(value).__name__ + " nested this deeply", "pass a flatter value") from None


def locate(value: Any, step: str = "") -> Unencodable:
    """Return what in a value has no text, with the path that leads to it from `step` on."""
    for below, child in _children(value):
        try:
            _encode(child)
        except Unencodable:
            return locate(child, step + below)
        except RecursionError:
            continue  # the part that was complained of is another one
    try:
        _encode(value)
    except Unencodable as error:
        return Unencodable(error.value, error.advice, step + error.path)
    return Unencodable(value, path=step)


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f" (the key {key!r})", key
            yield f"[{key!r}]", item
    elif dataclasses.is_dataclass(type(value)):
        for field in dataclasses.fields(value):
            yield f".{field.name}", getattr(value, field.name)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield f"[{index}]", item
    elif isinstance(value, (set, frozenset)):
        for item in value:
            yield f" (the item {item!r})", item


#: Tags of what cannot be rebuilt from its text.
_ONE_WAY = frozenset({"numpy", "ndarray", "function", "class", "method", "partial", "module"})


def register(cls: type, tag: str, describe: Callable[[Any], Any]) -> None:
    """Let values of exactly the type `cls` be arguments of tasks.

    Args:
        cls: the type; subclasses are not included.
        tag: names the type in the key; letters, digits and dots. Values of two types with one tag can share keys.
        describe: gives for a value other encodable values that stand for it; equal exactly where the value is.

    Raises:
        TypeError, ValueError: one of them is not that, or the tag is one that this module uses.
    """
    if not isinstance(cls, type):
        raise TypeError(f"register() takes a class, not {name_of(cls)}")
    if not isinstance(tag, str):
        raise TypeError(f"register({cls.__name__}): tag must be text, not {tag!r}")
    if not callable(describe):
        raise TypeError(f"register({cls.__name__}): describe must be a function, not {describe!r}")
    if f"${tag}" in _decoders or tag in _ONE_WAY:
        raise ValueError(f"register({cls.__name__}): tag {tag!r} is taken; choose another one")
    if not tag.replace(".", "").isalnum():
        raise ValueError(f"register({cls.__name__}): tag {tag!r} must consist of letters, digits and dots")
    _encoders[cls] = lambda value: _tagged(tag, _encode(describe(value)))


# --- text -> value ---------------------------------------------------------------------------------------


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
    **{f"${tag}": functools.partial(_from_text, *place) for place, tag in _WRITTEN_AS_TEXT.items()},
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


#: Where the key of a closure's call holds what the closure captured; no parameter can have this name.
_CAPTURED = "$captured"


def with_captured(key: str, captured: str) -> str:
    """Return the key of a call of a closure: its arguments' key, and the text of what the closure captured."""
    return f'{{"{_CAPTURED}":{captured}{"," if len(key) > 2 else ""}{key[1:]}'


def decode_arguments(key: str) -> dict[str, Any]:
    """Return the arguments, by parameter name, of a call's key; parts that cannot be rebuilt are `Opaque`.

    Raises:
        ValueError: the text is not the key of a call.
    """
    try:
        return {name: _revive(content) for name, content in json.loads(key).items() if name != _CAPTURED}
    except _UNDECODABLE as error:
        raise ValueError(f"not the key of a call: {key[:80]!r}") from error


# --- snapshots -------------------------------------------------------------------------------------------

_IMMUTABLE = {type(None), bool, int, float, str, bytes, complex, range}


def are_immutable(values: Iterable[Any]) -> bool:
    """Tell quickly whether values certainly cannot change; False means "perhaps"."""
    return _IMMUTABLE.issuperset(map(type, values))


def snapshot(value: Any) -> Any:
    """Return a copy that later changes of the value don't reach. Costs one pass; immutable values are shared."""
    cls = type(value)
    if cls in _IMMUTABLE:
        return value
    if cls is list:
        return [snapshot(item) for item in value]
    if cls is tuple:
        return tuple([snapshot(item) for item in value])
    if cls is dict:
        return {key: snapshot(item) for key, item in value.items()}
    return copy.deepcopy(value)


# --- calls -----------------------------------------------------------------------------------------------


@final
class Signature:
    """A function's parameters: from a call to its values, from values to a key, and back to a call.

    `values` are in the order of the parameters, defaults filled in; `*args` is one tuple, `**kwargs` one dict.
    """

    __slots__ = ("_added", "_defaults", "_is_simple", "_order", "_parameters", "_signature", "call_name", "names")

    def __init__(self, function: Callable[..., Any], call_name: str, added: Mapping[str, Any] | None = None) -> None:
        """Take a function's signature apart.

        Args:
            function: whose calls are bound.
            call_name: how errors name it.
            added: parameters that older keys don't have, and the values that stand for calls of that time: a
                parameter that has this value is left out of the key.

        Raises:
            ValueError: there is no such parameter; UnkeyableError: one of the values cannot be part of a key.
        """
        self._signature = inspect.signature(function)
        self._parameters = list(self._signature.parameters.values())
        #: How errors name the function.
        self.call_name = call_name
        #: The parameters' names in order.
        self.names = tuple(self._signature.parameters)
        self._is_simple = all(p.kind is p.POSITIONAL_OR_KEYWORD for p in self._parameters)
        self._defaults = tuple(p.default for p in self._parameters if p.default is not p.empty)
        self._added = {f"{_quote(name)}:{encode(value)}" for name, value in (added or {}).items()}
        for name in added or ():
            if name not in self.names:
                raise ValueError(f"option defaults_added of task {call_name}: there is no parameter {name!r}")
        self._order = [(f"{_quote(name)}:", self.names.index(name)) for name in sorted(self.names)]

    def __str__(self) -> str:
        return str(self._signature)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Return the values of a call.

        Raises:
            TypeError: the call does not fit the parameters; names the function.
        """
        open_count = len(self.names) - len(args)
        if self._is_simple and not kwargs and 0 <= open_count <= len(self._defaults):
            return args + self._defaults[len(self._defaults) - open_count :] if open_count else args
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.call_name}{self._signature}: {error}") from None
        bound.apply_defaults()
        missing = [name for name in self.names if name not in bound.arguments]
        if missing:  # CPython 3.13.0 lets a positional-only parameter pass that was given by name
            raise TypeError(f"{self.call_name}{self._signature}: missing a required argument: {missing[0]!r}")
        return tuple([bound.arguments[name] for name in self.names])

    def key(self, values: tuple[Any, ...]) -> str:
        """Return the key of the values: a JSON object with the parameters' names, sorted.

        Raises:
            UnkeyableError: naming the function, the parameter and the path inside the argument.
        """
        try:
            find = _encoders.get
            texts = [name + find(type(values[index]), _encode_other)(values[index]) for name, index in self._order]
            if self._added:
                texts = [text for text in texts if text not in self._added]
            return "{" + ",".join(texts) + "}"
        except (Unencodable, RecursionError):
            for name, value in zip(self.names, values, strict=True):
                encode(value, f"argument {name!r} of {self.call_name}(): {name}")
            raise

    def call(self, function: Callable[..., Any], values: tuple[Any, ...]) -> Any:
        """Call the function with values as `bind` returns them."""
        if self._is_simple:
            return function(*values)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter, value in zip(self._parameters, values, strict=True):
            if parameter.kind is parameter.VAR_POSITIONAL:
                args.extend(value)
            elif parameter.kind is parameter.VAR_KEYWORD:
                kwargs.update(value)
            elif parameter.kind is parameter.KEYWORD_ONLY:
                kwargs[parameter.name] = value
            else:
                args.append(value)
        return function(*args, **kwargs)
