"""Codec: a value as one checked frame of bytes, and back.

A frame is a fixed header, a head (who the value was computed from) and a body (the value). Values are pickled by
C pickle, protocol 5; functions and classes that cannot be imported by name go through dill, and only they.
Large buffers (arrays) stay outside the pickle, aligned, so that an uncompressed frame in a file can be mapped
into memory; they come back read-only. Digests cover everything: damaged bytes raise, they never become a value.

    0  magic, version, flags      8  head size     12  body size     20  pickle digest     36  buffers digest
    52 digest of the header and the head            60  head, zeros to a multiple of 64     ..  body

Must not know: tasks, stores, files. A frame's `digest` depends on the value's bytes alone, not on compression.

Next: store/__init__.py
"""

from __future__ import annotations

import enum
import functools
import importlib
import io
import itertools
import json
import pickle
import struct
import sys
import types
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, final

import xxhash

from checkpoint.errors import DamagedEntryError, UnstorableError
from checkpoint.keys import module_name
from checkpoint.unpickling import dill_loads, loads

__all__ = [
    "Codec",
    "Frame",
    "Pickler",
    "check_codec",
    "decode",
    "digest_of",
    "encode",
    "parts_of",
    "read_head",
    "uses_pickle",
    "verify",
    "without_value",
]

_MAGIC = b"\x93CKP"
_VERSION = 1
_COMPRESSED = 1
_HEADER = struct.Struct("<4sBBxxIQ16s16s8s")
_ALIGNMENT = 64
_NO_BUFFERS = bytes(16)
_LARGE_HEAD_BYTES = 2048
_FEW_CHARACTERS = 8 * 1024
_LARGE_BODY_BYTES = 8 * 1024 * 1024
_head_text = json.JSONEncoder(separators=(",", ":")).encode

#: Buffers of at least this many bytes are kept outside the pickle, where they can be mapped.
LARGE_BUFFER_BYTES = 64 * 1024
#: The zstandard level that `compress=True` means.
DEFAULT_LEVEL = 3

_Bytes = bytes | memoryview


class Codec(Protocol):
    """What `@task(codec=...)` takes: `name` is recorded in each entry, `decode(encode(value))` equals the value."""

    @property
    def name(self) -> str: ...
    def encode(self, value: Any) -> bytes: ...
    def decode(self, data: bytes) -> Any: ...


@final
class Frame:
    """An encoded value. `parts` in order are its bytes, `digest` (16 bytes) identifies the value's own bytes."""

    __slots__ = ("digest", "parts", "size")

    def __init__(self, parts: Sequence[_Bytes], digest: bytes) -> None:
        self.parts = parts
        self.digest = digest
        self.size = sum([len(part) if isinstance(part, bytes) else part.nbytes for part in parts])


def check_codec(codec: object) -> Codec | None:
    """Return the codec that an option names; None is the standard one.

    Raises:
        TypeError, ValueError: it is neither None, "pickle", "json" nor an object with name, encode and decode.
    """
    if codec is None or codec == "pickle":
        return None
    if codec == "json":
        return JsonCodec()
    if isinstance(codec, str):
        raise ValueError(f"codec {codec!r} is unknown; use 'pickle', 'json' or an object with name, encode, decode")
    if not isinstance(getattr(codec, "name", None), str) or not all(
        callable(getattr(codec, method, None)) for method in ("encode", "decode")
    ):
        raise TypeError(f"codec must have a text `name` and methods `encode` and `decode`; {codec!r} has not")
    if codec.name in ("pickle", "json") or not 0 < len(codec.name.encode()) < 256:  # type: ignore[attr-defined]
        raise ValueError(f"codec {codec!r} needs a short name of its own")
    return codec  # type: ignore[return-value]  # checked just above


def uses_pickle(codec: Codec | None) -> bool:
    """Tell whether a codec makes pickles, which can run any code when they are loaded."""
    return codec is None or getattr(codec, "uses_pickle", False)


@final
class JsonCodec:
    """Plain JSON, for results that other programs read. Refuses what JSON would change."""

    name = "json"

    def encode(self, value: Any) -> bytes:
        """Return UTF-8 JSON; raise TypeError where reading it back would give another value."""
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        if not _is_json(value):
            raise TypeError("JSON would change it (a tuple becomes a list, a number as dict key becomes text)")
        return text.encode()

    def decode(self, data: bytes) -> Any:
        """Return the value of UTF-8 JSON."""
        return json.loads(data)


def _is_json(value: Any) -> bool:
    if type(value) is list:
        return all(map(_is_json, value))
    if type(value) is dict:
        return all(type(name) is str for name in value) and all(map(_is_json, value.values()))
    return type(value) in (type(None), bool, int, float, str)


# --- encoding --------------------------------------------------------------------------------------------


def encode(
    value: Any, call: object, *, codec: Codec | None = None, level: int | None = None, head: Any = None
) -> Frame:
    """Return the frame of a value.

    Args:
        value: anything that pickle, dill or the given codec can turn into bytes.
        call: the call whose result it is; errors show it.
        codec: None for pickle.
        level: zstandard level, or None for no compression.
        head: a JSON list or object, or its text, kept beside the value, readable without decoding it; taken after the
            value was encoded, and left out if it is empty.

    Raises:
        UnstorableError: naming the call and the place inside the value.
        MemoryError: there is too little memory for the bytes.

    Notes:
        Buffers of uncompressed values are not copied: the frame must be written before the value changes.
    """
    if codec is None and level is None and _is_small(value):
        return _small_frame(pickle.dumps(value, 5), _head_bytes(head))
    buffers: list[memoryview] = []
    try:
        stream = _streamed(value, buffers) if codec is None else [bytes(memoryview(codec.encode(value)))]
    except MemoryError:
        raise
    except Exception as error:
        where, reason = _locate(value, error) if codec is None else ("", str(error))
        raise UnstorableError(str(call), where, reason) from error
    name = b"pickle" if codec is None else codec.name.encode()
    sizes = [buffer.nbytes for buffer in buffers]
    stream_size = sum(map(len, stream))
    table = _table(len(name), len(sizes)).pack(len(name), name, len(sizes), stream_size, *sizes)
    lead = [table + stream[0]] if stream_size < LARGE_BUFFER_BYTES else [table, *stream]
    lead_digest, buffers_digest = _digest_of(lead), _digest_of(buffers)
    body: list[_Bytes] = [*lead]
    position = len(table) + stream_size
    for buffer in buffers:
        gap = bytes(-position % _ALIGNMENT)
        body += [gap, buffer]
        position += len(gap) + buffer.nbytes
    if level is not None:
        body = _compressed(body, position, level)
        position = sum(map(len, body))
    head_bytes = _head_bytes(head)
    fields = (_MAGIC, _VERSION, _COMPRESSED if level is not None else 0, len(head_bytes), position)
    return _framed(fields, lead_digest, buffers_digest, head_bytes, body)


def _is_small(value: Any) -> bool:
    """Tell whether a value certainly has a small pickle without buffers."""
    kind = type(value)
    return kind in ATOMS and (kind not in (str, bytes) or len(value) < _FEW_CHARACTERS)


def _small_frame(stream: bytes, head: bytes) -> Frame:
    """Return what `encode` makes of a small pickle without buffers, in a third of the time."""
    lead = _PICKLE_TABLE.pack(6, b"pickle", 0, len(stream)) + stream
    digest = xxhash.xxh3_128_digest(lead)
    header = _HEADER.pack(_MAGIC, _VERSION, 0, len(head), len(lead), digest, _NO_BUFFERS, b"")[:-8]
    header += xxhash.xxh3_64_digest(header + head)
    return Frame([b"".join((header, head, bytes(-(len(header) + len(head)) % _ALIGNMENT), lead))], digest)


def _head_bytes(head: Any) -> bytes:
    if not head:
        return b""
    text: str = head if isinstance(head, str) else _head_text(head)
    encoded = text.encode()
    return encoded if len(encoded) <= _LARGE_HEAD_BYTES else zlib.compress(encoded, 1)


def _framed(
    fields: tuple[Any, ...], lead_digest: bytes, buffers_digest: bytes, head: bytes, body: Sequence[_Bytes]
) -> Frame:
    header = _HEADER.pack(*fields, lead_digest, buffers_digest, bytes(8))[:-8]
    header += xxhash.xxh3_64_digest(header + head)
    padding = bytes(-(len(header) + len(head)) % _ALIGNMENT)
    return Frame(_merged([header, head, padding, *body]), _combine(lead_digest, buffers_digest))


def _merged(parts: Sequence[_Bytes]) -> list[_Bytes]:
    """Return parts with small neighbours joined: each is written by a call of its own."""
    if sum(map(len, parts)) <= LARGE_BUFFER_BYTES:
        return [b"".join(parts)]
    merged: list[_Bytes] = []
    for is_large, found in itertools.groupby(parts, lambda part: len(part) > LARGE_BUFFER_BYTES):
        group = list(found)
        merged += group if is_large else [b"".join(group)]
    return merged


def _compressed(parts: Sequence[_Bytes], size: int, level: int) -> list[_Bytes]:
    import zstandard

    threads = -1 if size >= _LARGE_BODY_BYTES else 0  # as many as there are processors
    compressor = zstandard.ZstdCompressor(level=level, threads=threads).compressobj(size=size)
    return [*map(compressor.compress, parts), compressor.flush()]


@functools.lru_cache(maxsize=64)
def _table(name_size: int, count: int) -> struct.Struct:
    return struct.Struct(f"<B{name_size}sIQ{count}Q")


_PICKLE_TABLE = _table(len(b"pickle"), 0)


def _digest_of(buffers: Sequence[_Bytes]) -> bytes:
    if not buffers:
        return _NO_BUFFERS
    if len(buffers) == 1:
        return xxhash.xxh3_128_digest(buffers[0])
    hasher = xxhash.xxh3_128()
    for buffer in buffers:
        hasher.update(buffer)
    return hasher.digest()


def _combine(lead_digest: bytes, buffers_digest: bytes) -> bytes:
    if buffers_digest == _NO_BUFFERS:
        return lead_digest
    return xxhash.xxh3_128_digest(lead_digest + buffers_digest)


def _streamed(value: Any, buffers: list[memoryview]) -> list[bytes]:
    """Return a pickle in parts: large bytes are not copied, which would take as long as compressing them."""
    if type(value) is bytes and LARGE_BUFFER_BYTES <= len(value) < 2**32:
        return [b"\x80\x05B" + len(value).to_bytes(4, "little"), value, b"\x94."]
    return [_dump(value, buffers)]


#: Types of values that nobody can change.
ATOMS = {type(None), bool, int, float, str, bytes}


def _dump(value: Any, buffers: list[memoryview]) -> bytes:
    if type(value) in ATOMS:
        return pickle.dumps(value, 5)

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < LARGE_BUFFER_BYTES:
            return True
        buffers.append(raw)
        return False

    file = io.BytesIO()
    Pickler(file, 5, buffer_callback=keep_inside).dump(value)
    return file.getvalue()


class Pickler(pickle.Pickler):
    """C pickle that hands functions and classes which can't be imported by name to dill."""

    def reducer_override(self, obj: Any) -> Any:
        """Return how to pickle an object, NotImplemented for the ordinary way."""
        if isinstance(obj, type):
            return _reduce_class(obj)
        if isinstance(obj, types.FunctionType) and not _is_importable(obj):
            return _restore_function, (dump_by_value(obj),)
        return NotImplemented


def _reduce_class(cls: type) -> Any:
    if cls.__module__ in _MOVED:
        return _imported, (_MOVED[cls.__module__], cls.__qualname__)
    if _is_importable(cls):
        return NotImplemented
    place = module_name(cls.__module__), cls.__qualname__
    if issubclass(cls, enum.Enum):
        return _restore_enum, (
            *place,
            cls.__bases__,
            tuple((name, item.value) for name, item in cls.__members__.items()),
        )
    return _restore_class, (*place, _class_bytes(cls))


#: Where classes are found under every Python that may read what this one writes.
_MOVED = {"pathlib._local": "pathlib"}


def _imported(module: str, qualname: str) -> Any:
    return _look_up(importlib.import_module(module), qualname)


def _is_importable(obj: Any) -> bool:
    if obj.__module__ in ("__main__", "__mp_main__"):
        return False
    return _look_up(sys.modules.get(obj.__module__), obj.__qualname__) is obj


def _look_up(module: Any, qualname: str) -> Any:
    found = module
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def dump_by_value(thing: Any) -> bytes:
    """Return dill bytes of functions, classes and what they use, for a process that cannot import them.

    Raises:
        whatever dill raises where it can't.
    """
    file = io.BytesIO()
    _dill_pickler()(file, protocol=5, recurse=True).dump(thing)
    return file.getvalue()


@functools.cache
def _dill_pickler() -> Any:
    import dill

    class ByValuePickler(dill.Pickler):  # type: ignore[misc]  # dill has no types
        def reducer_override(self, obj: Any) -> Any:
            is_special = isinstance(obj, type) and (obj.__module__ in _MOVED or issubclass(obj, enum.Enum))
            return _reduce_class(obj) if is_special else NotImplemented

    return ByValuePickler


_class_cache: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()


def _class_bytes(cls: type) -> bytes:
    if cls not in _class_cache:
        _class_cache[cls] = dump_by_value(cls)
    return _class_cache[cls]


def _restore_function(data: bytes) -> Any:
    return dill_loads(data)


def _defined_class(module: str, qualname: str) -> Any:
    for name in ("__main__", module):
        if module_name(name) == module and isinstance(found := _look_up(sys.modules.get(name), qualname), type):
            return found
    return None


def _restore_class(module: str, qualname: str, data: bytes) -> Any:
    """Return the class of that name where the running program has it, so `isinstance` holds; else a rebuilt one."""
    found = _defined_class(module, qualname)
    return found if found is not None else _rebuilt_class(data)


_rebuilt_class = functools.lru_cache(maxsize=256)(_restore_function)


def _restore_enum(module: str, qualname: str, bases: tuple[Any, ...], members: tuple[tuple[str, Any], ...]) -> Any:
    """Do the same for an enum class, which dill cannot rebuild; its members come back, its methods don't."""
    found = _defined_class(module, qualname)
    return found if found is not None else _rebuilt_enum(module, qualname, bases, members)


@functools.lru_cache(maxsize=256)
def _rebuilt_enum(module: str, qualname: str, bases: tuple[Any, ...], members: tuple[tuple[str, Any], ...]) -> Any:
    *mixins, base = bases
    name = qualname.rpartition(".")[2]
    return base(name, members, module=module, qualname=qualname, type=mixins[0] if mixins else None)


def _locate(value: Any, error: Exception) -> tuple[str, str]:
    """Find the innermost part of a value that cannot be pickled, and why."""
    where, seen, is_found = "", {id(value)}, False
    while not is_found and not isinstance(error, RecursionError):
        is_found = True
        for step, child in _children(value):
            try:
                if id(child) not in seen:
                    _dump(child, [])
            except Exception as inner:
                seen.add(id(child))
                where, value, error, is_found = where + step, child, inner, False
                break
    return where, str(error) or type(error).__name__


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif not isinstance(value, type):
        yield from ((f".{name}", item) for name, item in getattr(value, "__dict__", {}).items())


# --- decoding --------------------------------------------------------------------------------------------


@final
class _Header:
    __slots__ = ("body", "buffers_digest", "head", "is_compressed", "lead_digest")

    def __init__(self, frame: memoryview, *, is_whole: bool = True) -> None:
        if len(frame) < _HEADER.size:
            raise DamagedEntryError(f"only {len(frame)} bytes are left")
        magic, version, flags, head_size, body_size, self.lead_digest, self.buffers_digest, check = _HEADER.unpack_from(
            frame
        )
        if magic != _MAGIC or version != _VERSION or flags & ~_COMPRESSED:
            raise DamagedEntryError("it does not start like an entry of this version of checkpoint")
        start = _HEADER.size + head_size
        self.head = frame[_HEADER.size : start]
        signed = xxhash.xxh3_64(frame[: _HEADER.size - 8])
        signed.update(self.head)
        if signed.digest() != check:
            raise DamagedEntryError("its header does not match its digest")
        start += -start % _ALIGNMENT
        if is_whole and len(frame) != start + body_size:
            raise DamagedEntryError(f"it has {len(frame)} bytes instead of {start + body_size}")
        self.body = frame[start:]
        self.is_compressed = bool(flags & _COMPRESSED)


def read_head(frame: _Bytes) -> Any:
    """Return the head of a frame (None if it has none) without reading the value.

    Raises:
        DamagedEntryError: the header or the head is not what was written.
    """
    head = _Header(memoryview(frame)).head
    if not len(head):
        return None
    try:
        return json.loads(bytes(head) if bytes(head[:1]) in b"[{" else zlib.decompress(head))
    except (ValueError, zlib.error, RecursionError) as error:
        raise DamagedEntryError(f"its head cannot be read ({error})") from error


def value_start(frame: _Bytes) -> int:
    """Return how many bytes of a frame come before its value; its first 64 bytes tell. Without a value it ends there.

    Raises:
        DamagedEntryError: there are too few of them.
    """
    if len(frame) < _HEADER.size:
        raise DamagedEntryError(f"only {len(frame)} bytes are left")
    end: int = _HEADER.size + _HEADER.unpack_from(frame)[3]
    return end + -end % _ALIGNMENT


def without_value(frame: _Bytes) -> Frame:
    """Return a frame without its value: the head is still there, and the value's digest; decoding it is an error.

    Args:
        frame: its bytes; those before its value suffice.

    Raises:
        DamagedEntryError: the header or the head is not what was written.
    """
    header = _Header(memoryview(frame), is_whole=False)
    flags = _COMPRESSED if header.is_compressed else 0
    fields = (_MAGIC, _VERSION, flags, len(header.head), 0)
    return _framed(fields, header.lead_digest, header.buffers_digest, bytes(header.head), [])


def digest_of(frame: _Bytes) -> bytes:
    """Return the digest of a frame's value as its header tells it; the value isn't read.

    Raises:
        DamagedEntryError: the header or the head is not what was written.
    """
    header = _Header(memoryview(frame))
    return _combine(header.lead_digest, header.buffers_digest)


def decode(
    frame: _Bytes, *, codec: Codec | None = None, is_mapped: bool = False, allows_pickle: bool = True
) -> tuple[Any, bytes]:
    """Return the value of a frame and its digest.

    Args:
        frame: the bytes of the whole frame; large buffers of the value refer to them, and are as writable as they.
        codec: the task's own codec, used where the frame names it.
        is_mapped: the frame is a map of a file: its large buffers are not read here, so they are not verified
            (their length is), and opening costs the same for any size.
        allows_pickle: whether a pickle may be loaded, which can run any code.

    Raises:
        DamagedEntryError: the bytes are not what was written, or cannot be decoded.
        MemoryError: there is too little memory for the value.
        PermissionError: it is a pickle, and none may be loaded.
    """
    name, stream, buffers, digest = _checked(frame, is_mapped)
    if not allows_pickle and (name == "pickle" or (codec is not None and codec.name == name and uses_pickle(codec))):
        raise PermissionError("it is a pickle, and pickles are not allowed here")
    return _load(name, stream, buffers, codec), digest


def verify(frame: _Bytes) -> bytes:
    """Return the digest of a frame's value after comparing all its bytes with their digests; decodes nothing.

    Raises:
        DamagedEntryError: the bytes are not what was written.
    """
    return _checked(frame, is_mapped=False)[3]


def parts_of(frame: _Bytes, *, is_mapped: bool = False) -> tuple[str, memoryview, list[memoryview]]:
    """Return the codec's name, the pickle and the large buffers of a frame; decodes nothing.

    Raises:
        DamagedEntryError: the bytes are not what was written.
    """
    name, stream, buffers, _ = _checked(frame, is_mapped)
    return name, stream, buffers


def _checked(frame: _Bytes, is_mapped: bool) -> tuple[str, memoryview, list[memoryview], bytes]:
    """Return the codec's name, the pickle, the large buffers and the digest of what a frame holds."""
    header = _Header(memoryview(frame))
    body = header.body
    if header.is_compressed:
        body = memoryview(_decompress(body))
    try:
        name, stream_start, lead_size, sizes = _read_table(body)
    except struct.error:
        raise DamagedEntryError("its table of contents cannot be read") from None
    if xxhash.xxh3_128_digest(body[:lead_size]) != header.lead_digest:
        raise DamagedEntryError("its bytes do not match their digest")
    buffers: list[memoryview] = []
    position = lead_size
    for size in sizes:
        position += -position % _ALIGNMENT
        buffers.append(body[position : position + size])
        position += size
    is_read_lazily = is_mapped and not header.is_compressed
    if position != len(body) or not (is_read_lazily or _digest_of(buffers) == header.buffers_digest):
        raise DamagedEntryError("its arrays do not match their digest")
    return name, body[stream_start:lead_size], buffers, _combine(header.lead_digest, header.buffers_digest)


def _read_table(body: memoryview) -> tuple[str, int, int, tuple[int, ...]]:
    (name_size,) = struct.unpack_from("<B", body)
    name, count, stream_size = struct.unpack_from(f"<{name_size}sIQ", body, 1)
    sizes_start = 1 + name_size + 12
    stream_start = sizes_start + 8 * count
    if stream_start + stream_size > len(body):
        raise DamagedEntryError("its table of contents is longer than it")
    sizes = struct.unpack_from(f"<{count}Q", body, sizes_start)
    return name.decode("utf-8", "replace"), stream_start, stream_start + stream_size, sizes


#: A zstandard block holds at most 128 KiB and takes at least 4 bytes.
_LARGEST_RATIO = 32 * 1024


def _decompress(body: memoryview) -> bytes:
    import zstandard

    size = -1
    try:
        size = zstandard.frame_content_size(body)
        if not 0 <= size <= _LARGEST_RATIO * len(body):
            raise DamagedEntryError(f"{len(body)} compressed bytes cannot be {size} bytes")
        return zstandard.ZstdDecompressor().decompress(body)
    except zstandard.ZstdError as error:
        raise DamagedEntryError(f"it cannot be decompressed ({error})") from error
    except MemoryError as error:
        if _decompressed_size(body) == size:
            raise  # nothing is wrong with it, there only is too little memory
        raise DamagedEntryError(f"it does not have the {size} bytes that it tells of") from error


def _decompressed_size(body: memoryview) -> int:
    """Count what compressed bytes give, without keeping it; -1 where they are damaged."""
    import zstandard

    try:
        return sum(map(len, zstandard.ZstdDecompressor().read_to_iter(body)))
    except zstandard.ZstdError:
        return -1


def _load(name: str, stream: memoryview, buffers: Sequence[memoryview], codec: Codec | None) -> Any:
    read: Callable[[bytes], Any]
    try:
        if codec is not None and codec.name == name:
            read = codec.decode
        elif getattr(codec, "is_exclusive", False):
            raise LookupError(f"it was written by the codec {name!r}, which is not read here")
        elif name == "pickle":
            return loads(stream, buffers)
        elif name == JsonCodec.name:
            read = JsonCodec().decode
        else:
            raise LookupError(f"it was written by the codec {name!r}, which the task no longer has")
        return read(bytes(stream))
    except MemoryError:
        raise  # the bytes are what was written, so another time they can be decoded
    except Exception as error:
        raise DamagedEntryError(f"it cannot be decoded ({type(error).__name__}: {error})") from error
