"""Keys: a call's arguments as canonical, typed JSON text.

Plain JSON values are written as plain JSON (sorted, compact, ASCII). Values that JSON would merge with others
are objects with one member whose name starts with "$" (`(1, 2)` is `{"$tuple":[1,2]}`), and a dict that has
such names itself is written as `{"$dict":[[key, value], ...]}`; so two different values never share a text.
The text depends on nothing but the values: not on the hash seed, the Python version, the machine or a pickle.

Must not know: tasks, stores, clocks. FORMAT changes whenever any value's text changes.

Next: signatures.py
"""

from __future__ import annotations

import enum
import math
import os.path
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from json.encoder import encode_basestring_ascii as _quote
from typing import Any

import xxhash

from checkpoint.errors import UnkeyableError, name_of

__all__ = ["CAPTURED", "FORMAT", "IMMUTABLE", "LARGE_INT", "Unencodable", "add_fallback", "are_immutable", "encode",
           "locate", "module_name", "register", "snapshot", "text_of", "with_captured"]  # fmt: skip

#: Number of the key format; golden tests pin it.
FORMAT = 1

#: Two code points that JSON would merge into one.
_SURROGATE_PAIR = "[\ud800-\udbff][\udc00-\udfff]"

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


#: Whole numbers up to here are written as they are.
LARGE_INT = 1 << 64


def _encode_int(value: int) -> str:
    return repr(value) if -LARGE_INT < value < LARGE_INT else f'{{"$int":"{value:x}"}}'


def _encode_list(value: list[Any]) -> str:
    return "[" + ",".join([_encode(item) for item in value]) + "]"


def _encode_text(value: str) -> str:
    if value.isascii() or not re.search(_SURROGATE_PAIR, value):
        return _quote(value)
    return _tagged("text", _quote(" ".join(f"{ord(character):04x}" for character in value)))


def _is_plain_name(key: object) -> bool:
    return type(key) is str and not key.startswith("$") and (key.isascii() or not re.search(_SURROGATE_PAIR, key))


def _encode_dict(value: dict[Any, Any]) -> str:
    if all(map(_is_plain_name, value)):
        return "{" + ",".join([_quote(key) + ":" + _encode(value[key]) for key in sorted(value)]) + "}"
    pairs = sorted(f"[{_encode(key)},{_encode(item)}]" for key, item in value.items())
    return _tagged("dict", "[" + ",".join(pairs) + "]")


def _tagged(tag: str, text: str) -> str:
    return f'{{"${tag}":{text}}}'


def _encode_set(value: set[Any] | frozenset[Any]) -> str:
    return _tagged(type(value).__name__, "[" + ",".join(sorted(_encode(item) for item in value)) + "]")


def _base64(value: bytes | bytearray) -> str:
    import binascii

    return binascii.b2a_base64(value, newline=False).decode()


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
    bytes: _as_text("bytes", _base64),
    bytearray: _as_text("bytearray", _base64),
    complex: lambda value: _tagged("complex", _encode_list([value.real, value.imag])),
    range: lambda value: _tagged("range", _encode_list([value.start, value.stop, value.step])),
    OrderedDict: lambda value: _tagged("ordereddict", _encode_list([list(pair) for pair in value.items()])),
}


def _with_fold(tag: str) -> Callable[[Any], str]:
    return lambda value: _tagged(tag, _encode_list([value.isoformat(), value.fold]))


#: Numbers of more bits are not written as decimals, which Python refuses and which takes long.
_DECIMAL_BITS = 14_000


def _encode_fraction(value: Any) -> str:
    parts = [value.numerator, value.denominator]
    is_short = max(part.bit_length() for part in parts) <= _DECIMAL_BITS
    return _tagged("fraction", _quote(str(value)) if is_short else _encode_list(parts))


#: Module -> class -> encoder, for modules that only programs which use them should have to import.
_elsewhere: dict[str, dict[str, Callable[[Any], str]]] = {
    "datetime": {
        "datetime": _with_fold("datetime"),
        "date": _as_text("date", lambda value: value.isoformat()),
        "time": _with_fold("time"),
        "timedelta": lambda value: _tagged("timedelta", _encode_list([value.days, value.seconds, value.microseconds])),
    },
    "decimal": {"Decimal": _as_text("decimal")},
    "fractions": {"Fraction": _encode_fraction},
    "uuid": {"UUID": _as_text("uuid")},
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


def _encode_other(value: Any) -> str:
    cls = type(value)
    if (encoder := _elsewhere.get(cls.__module__, {}).get(cls.__qualname__)) is not None:
        return encoder(value)
    if isinstance(value, enum.Enum):
        return _tagged("enum", _encode_list([_class_name(cls), value.name]))
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and isinstance(value, pathlib.PurePath):
        kind = "windowspath" if isinstance(value, pathlib.PureWindowsPath) else "path"
        return _tagged(kind, _quote(str(value)))
    if hasattr(cls, "__dataclass_fields__"):
        import dataclasses

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
    elif hasattr(type(value), "__dataclass_fields__"):
        import dataclasses

        for field in dataclasses.fields(value):
            yield f".{field.name}", getattr(value, field.name)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield f"[{index}]", item
    elif isinstance(value, (set, frozenset)):
        for item in value:
            yield f" (the item {item!r})", item


#: Tags that this module, files and functions write, and `register` doesn't give away.
_TAKEN = frozenset([
    "bytearray", "bytes", "class", "complex", "dataclass", "date", "datetime", "decimal", "dict", "enum", "float",
    "fraction", "frozenset", "function", "int", "method", "module", "namedtuple", "ndarray", "numpy", "ordereddict",
    "partial", "path", "range", "set", "text", "time", "timedelta", "tuple", "uuid", "windowspath",
])  # fmt: skip


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
    if tag in _TAKEN:
        raise ValueError(f"register({cls.__name__}): tag {tag!r} is taken; choose another one")
    if not tag.replace(".", "").isalnum():
        raise ValueError(f"register({cls.__name__}): tag {tag!r} must consist of letters, digits and dots")
    _encoders[cls] = lambda value: _tagged(tag, _encode(describe(value)))


#: Where the key of a closure's call holds what the closure captured; no parameter can have this name.
CAPTURED = "$captured"


def with_captured(key: str, captured: str) -> str:
    """Return the key of a call of a closure: its arguments' key, and the text of what the closure captured."""
    return f'{{"{CAPTURED}":{captured}{"," if len(key) > 2 else ""}{key[1:]}'


# --- snapshots -------------------------------------------------------------------------------------------

#: Types of values that cannot change.
IMMUTABLE = {type(None), bool, int, float, str, bytes, complex, range}


def are_immutable(values: Iterable[Any]) -> bool:
    """Tell quickly whether values certainly cannot change; False means "perhaps"."""
    return IMMUTABLE.issuperset(map(type, values))


def snapshot(value: Any) -> Any:
    """Return a copy that later changes of the value don't reach. Costs one pass; immutable values are shared."""
    cls = type(value)
    if cls in IMMUTABLE:
        return value
    if cls is list:
        return [snapshot(item) for item in value]
    if cls is tuple:
        return tuple([snapshot(item) for item in value])
    if cls is dict:
        return {key: snapshot(item) for key, item in value.items()}
    import copy

    return copy.deepcopy(value)
