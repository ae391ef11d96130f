"""What `fuzz.py` can try: for each target, good inputs, and a check that says what came of any input.

A check returns a word for its count; where something happened that must not, it raises.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import datetime
import decimal
import enum
import fractions
import io
import json
import shutil
import struct
import typing
import uuid
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any

import fuzz_typed
import numpy as np
import xxhash
from fuzz_guard import Guard

from checkpoint import BundleError, DamagedEntryError, memo, open_store, task_directory
from checkpoint.bundles import export_bundle, import_bundle
from checkpoint.codec import (
    check_codec,
    decode,
    digest_of,
    encode,
    parts_of,
    read_head,
    value_start,
    verify,
    without_value,
)
from checkpoint.inventory import calls
from checkpoint.journal.values import frame_of, value_of
from checkpoint.keys import encode as key_of
from checkpoint.revival import Opaque, decode_arguments
from checkpoint.revival import decode as value_of_key
from checkpoint.store import Entry
from checkpoint.store.disk import DiskStore
from checkpoint.store.shared.names import Clears, EntryName
from checkpoint.store.tag import pack, unpack

Check = Callable[[bytes], str]


def prepared(target: str, folder: Path) -> tuple[Check, list[bytes]]:
    """Return the check of a target, and good inputs.

    Args:
        target: its name.
        folder: everything that changes has to be in its subfolder `work`.
    """
    guard = Guard(folder / "work")
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        codecs.lookup(encoding)  # JSON may be in any of them; they are imported when one is met
    if target == "typed":
        return fuzz_typed.prepared(guard)
    made = {"keys": keys, "frames": frames, "bundles": bundles}[target]
    return made(guard)


# --- keys ------------------------------------------------------------------------------------------------


class Color(enum.Enum):
    """An enumeration."""

    RED = 1


@dataclasses.dataclass(frozen=True)
class Point:
    """A dataclass."""

    x: Any
    y: Any = None


class Pair(typing.NamedTuple):
    """A named tuple."""

    left: Any
    right: Any


VALUES: list[Any] = [
    None, True, 0, -1, 2**70, 0.5, 1e300, float("nan"), float("-inf"), "", "ü\x00", "\ud83d\ude00", "\ud800",
    [], [[1], {}], {"a": {"b": [None]}}, {1: 2, (3,): "x"}, {"$a": 1}, (), (1, (2,)), {1, 2}, frozenset([("a", 1)]),
    b"", b"\x00\xff", bytearray(b"abc"), 1 + 2j, complex("nan"), range(3), range(0, 2**80, 7), OrderedDict(b=1, a=[2]),
    decimal.Decimal("1.50"), decimal.Decimal("NaN"), fractions.Fraction(-1, 3), uuid.UUID(int=5),
    datetime.datetime(2026, 11, 1, 2, fold=1, tzinfo=datetime.UTC), datetime.date(1, 1, 1),
    datetime.time(1, 2, 3, 4), datetime.timedelta(-1, 5), Path("a/../b"), PureWindowsPath("c:\\x"),
    Color.RED, Point(1, [2]), Pair(1, {"a"}), np.float32(1.5), np.arange(3), np.datetime64("2026-11-01"),
]  # fmt: skip


def keys(guard: Guard) -> tuple[Check, list[bytes]]:
    """Any text as a key: it is read or refused; what is read has a key, and that is read as the same."""
    corpus = [key_of(value) for value in VALUES] + [key_of({"n": value, "m": 1}) for value in VALUES]
    corpus += [key_of(Color), '{"$task":["m.f","{\\"n\\":1}"]}', '{"$item":[{"$task":["m.f","{}"]},0]}', "[1,", "{}"]

    def check(data: bytes) -> str:
        try:
            text = data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        with guard.on(runs_code=False):
            with contextlib.suppress(ValueError):
                repr(decode_arguments(text))
            try:
                value = value_of_key(text)
            except ValueError:
                return "refused"
            repr(value)
        again = key_of(value)
        assert again == key_of(value_of_key(again)), (text, again)
        return "read" if text == again else "read, another spelling"

    for value in VALUES:
        text = key_of(value)
        assert isinstance(value_of_key(text), Opaque) or text == key_of(value_of_key(text)), text
    return check, [text.encode("utf-8", "surrogatepass") for text in corpus]


# --- frames ----------------------------------------------------------------------------------------------

_ENTRY = Entry(bytes(16), b"d" * 16, bytes(16), b"f" * 16, bytes(8), 0.5, 1.7e9, 300)


def frames(guard: Guard) -> tuple[Check, list[bytes]]:
    """Any bytes as a frame, a tag or the name of an object.

    The first byte says how the others are meant: as they are; as head and body of a frame, whose digests are made to
    fit; as a tag; as a name.
    """
    json_codec = check_codec("json")
    values: list[Any] = [None, [1, {"a": 2.5}], "x" * 3000, {"ü": [True, None]}, np.arange(5)]
    known = {repr(value) for value in values}
    heads: list[Any] = [None, [["m.f", '{"n":1}']], {"upstream": [["m.f", "{}#1", "ab"]], "files": []}]
    made: list[bytes] = []
    for value in values:
        for codec in (None, json_codec) if not isinstance(value, np.ndarray) else (None,):
            for level, head in zip((None, 3, None), heads, strict=True):
                made.append(b"".join(encode(value, "f()", codec=codec, level=level, head=head).parts))
    made.append(b"".join(frame_of(lambda: 1, "it").parts))
    corpus = [b"\0" + frame for frame in made]
    for frame in made:
        flags, head_size = frame[5], struct.unpack_from("<I", frame, 8)[0]
        corpus.append(bytes([1, flags, head_size]) + frame[60 : 60 + head_size] + frame[value_start(frame) :])
    corpus.append(b"\2" + pack("{}#1", _ENTRY))
    name = EntryName("ab/cd", "#1", Clears([]).epoch("ab/cd"), 1, _ENTRY, "{}")
    corpus.append(b"\3" + name.text("m.f", None, 180).encode())

    def check(data: bytes) -> str:
        kind, rest = data[:1], data[1:]
        with guard.on(runs_code=False):
            if kind == b"\2":
                return "tag" if unpack("{}#1", rest) else "no tag"
            if kind == b"\3":
                text = rest.decode("latin-1")
                Clears([text]).current([text])
                return "name" if EntryName.parse(text) else "no name"
            frame = _sealed(rest) if kind == b"\1" else rest
            for use in (read_head, verify, digest_of, without_value, value_start, parts_of, _read_as_journal):
                with contextlib.suppress(DamagedEntryError, PermissionError):
                    use(frame)
            try:
                value, _ = decode(frame, allows_pickle=False)
            except PermissionError:
                return "a pickle, refused"
            except DamagedEntryError:
                return "damaged"
        assert kind == b"\1" or repr(value) in known, value
        return "read"

    return check, corpus


def _read_as_journal(frame: bytes) -> None:
    value_of(frame, allows_pickle=False)


def _sealed(data: bytes) -> bytes:
    """Return flags, size of the head, head and body as a frame whose digests fit, as far as it has any."""
    flags, head_size = (*data[:2], 0, 0)[:2]
    head, body = data[2 : 2 + head_size], data[2 + head_size :]
    inner = body
    if flags & 1:
        import zstandard

        with contextlib.suppress(zstandard.ZstdError, MemoryError):
            inner = zstandard.ZstdDecompressor().decompress(body, max_output_size=1 << 16)
    lead_size, sizes = len(inner), ()
    with contextlib.suppress(struct.error, DamagedEntryError):
        (name_size,) = struct.unpack_from("<B", inner)
        _, count, stream_size = struct.unpack_from(f"<{name_size}sIQ", inner, 1)
        sizes = struct.unpack_from(f"<{count}Q", inner, 13 + name_size) if count < 64 else ()
        lead_size = min(13 + name_size + 8 * count + stream_size, len(inner))
    hasher, position = xxhash.xxh3_128(), lead_size
    for size in sizes:
        position += -position % 64
        hasher.update(inner[position : position + size])
        position += size
    buffers = hasher.digest() if sizes else bytes(16)
    header = struct.pack("<4sBBxxIQ16s16s", b"\x93CKP", 1, flags, len(head), len(body),
                         xxhash.xxh3_128_digest(inner[:lead_size]), buffers)  # fmt: skip
    header += xxhash.xxh3_64_digest(header + head)
    return header + head + bytes(-(len(header) + len(head)) % 64) + body


# --- bundles ---------------------------------------------------------------------------------------------


@memo(codec="json")
def plain(x: int) -> list[int]:
    (task_directory() / "note.txt").write_text("n" * x)
    return [x]


@memo(codec="json")
def total(parts: list[list[int]]) -> int:
    return sum(map(sum, parts))


#: After so many imports the store is made anew.
_IMPORTS = 50


def bundles(guard: Guard) -> tuple[Check, list[bytes]]:
    """Any bytes as a bundle, or as the index of one whose other parts are good."""
    total([plain(1), plain(2)]).run(executor="serial")
    file = Path("good.zip")
    with open_store(Path("cache")) as opened:
        found = [call for name in opened.store.tasks() for call in calls(opened.store, name)]
        export_bundle(opened.store, found, file)
        opened.store.close()
    with zipfile.ZipFile(file) as bundle:
        parts = {name: bundle.read(name) for name in bundle.namelist()}
    index = parts.pop("bundle.json")
    one = json.loads(index)
    few = json.dumps({**one, "entries": one["entries"][:1], "records": {}}).encode()
    corpus = [b"\0" + file.read_bytes(), b"\1" + index, b"\1" + few]
    corpus += [corpus[2].replace(b"note.txt", name) for name in (b"../note", b"/x", b"a/b", b"c:x", b"..\\\\x", b".")]
    imported = 0

    def check(data: bytes) -> str:
        nonlocal imported
        path = Path("any.zip")
        if data[:1] == b"\1":
            _write_bundle(path, data[1:], parts)
        else:
            path.write_bytes(data[1:])
        store = DiskStore(str(Path("other").absolute()))
        try:
            with guard.on(runs_code=True):
                import_bundle(store, path)
                imported += 1
        except BundleError:
            return "refused"
        finally:
            store.close()
            if imported >= _IMPORTS:
                shutil.rmtree("other")
                imported = 0
        return "imported"

    return check, corpus


def _write_bundle(path: Path, index: bytes, parts: dict[str, bytes]) -> None:
    """Write a bundle with any index; files that it names are there, and are what it says they are."""
    files: dict[str, bytes] = {}
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        told = json.loads(index)
        for number, entry in enumerate(told["entries"]):
            for name in list(entry["files"]):
                content = parts.get(f"files/{number}/note.txt", b"n")
                files[f"files/{number}/{name}"] = content
                entry["files"][name] = xxhash.xxh3_128_hexdigest(content)
        index = json.dumps(told).encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as bundle:
        for name, content in {"bundle.json": index, **parts, **files}.items():
            with contextlib.suppress(ValueError, UnicodeError):
                bundle.writestr(name, content)
    path.write_bytes(made.getvalue())
