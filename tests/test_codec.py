"""Codec: a value comes back equal, or its bytes are refused; never another value."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import enum
import mmap
import pickle
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from checkpoint import DamagedEntryError, UnstorableError, codec
from checkpoint.codec import Frame, check_codec, decode, encode, read_head, verify
from checkpoint.store import Entry, Epoch, Write, store_at

ROOT = Path(codec.__file__).parent.parent


def bytes_of(frame: Frame) -> bytes:
    """Return a frame in one piece."""
    return b"".join(frame.parts)


def round_trip(value: Any, **options: Any) -> Any:
    """Return what comes back of a value."""
    return decode(bytes_of(encode(value, "f()", **options)))[0]


class Color(enum.Enum):
    """An enumeration."""

    RED = 1


@dataclasses.dataclass
class Box:
    """A class that can be imported."""

    content: Any


# --- round trips -----------------------------------------------------------------------------------------

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
        st.builds(Box, inner),
    ),
    max_leaves=12,
)
levels = st.sampled_from([None, None, 1, 3])


@given(plain_values, levels)
def test_a_value_comes_back_equal(value: Any, level: int | None) -> None:
    """Plain data survives with and without compression."""
    assert value == round_trip(value, level=level)


@pytest.mark.parametrize(
    "value",
    [Color.RED, {1, 2}, range(3), datetime.date(2024, 1, 2), len, Box, collections.OrderedDict(a=1), type(None),
     np.float32(2.5), Path("a/b"), slice(1, 2), ..., dict.fromkeys, Exception("x").args, int | str, list[int]],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_python_offers_comes_back(value: Any) -> None:
    """Members, functions, classes and the builtin types of values survive."""
    assert value == round_trip(value)


@pytest.mark.parametrize("value", [None, True, 1, 1.0, "1", b"1", (), [], {}], ids=repr)
def test_the_type_of_a_value_is_kept(value: Any) -> None:
    """Equal values of different types stay what they are."""
    assert type(value) is type(round_trip(value))


def test_parts_that_are_one_object_stay_one() -> None:
    """A value that holds one list twice, or itself, comes back in that shape."""
    inner: list[Any] = []
    value = [inner, inner]
    value.append(value)
    copy = round_trip(value)
    assert (copy[0] is copy[1], copy[2] is copy) == (True, True)


# --- digests ---------------------------------------------------------------------------------------------


@given(plain_values, st.sampled_from([1, 3, 19]))
def test_the_digest_does_not_depend_on_compression(value: Any, level: int) -> None:
    """The same bytes, compressed or not, are the same version of a result. [41]"""
    assert encode(value, "f()").digest == encode(value, "f()", level=level).digest


@given(plain_values)
def test_decoding_gives_the_digest(value: Any) -> None:
    """A reader learns which version it read."""
    frame = encode(value, "f()")
    assert frame.digest == decode(bytes_of(frame))[1]


def test_the_digest_covers_arrays() -> None:
    """Two arrays that differ in one number have different digests."""
    left, right = np.zeros(50_000), np.zeros(50_000)
    right[-1] = 1
    assert encode(left, "f()").digest != encode(right, "f()").digest


def test_the_digest_does_not_cover_the_head() -> None:
    """What a value was computed from is not part of the value."""
    assert encode(1, "f()").digest == encode(1, "f()", head=[["m.f", "{}"]]).digest


def test_the_size_is_that_of_all_parts() -> None:
    """A frame knows how many bytes it has."""
    frame = encode([b"x" * 100_000, np.zeros(50_000)], "f()", head=[["m.f", "{}"]])
    assert len(bytes_of(frame)) == frame.size


def test_compression_makes_regular_data_small() -> None:
    """A compressed frame is a fraction of the plain one. [40]"""
    value = list(range(1000)) * 20
    assert encode(value, "f()", level=3).size < encode(value, "f()").size / 10


# --- heads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [None, [], [["m.f", '{"n":1}']], [["m.f", "ü" * 5000]], {"a": 1}],
                         ids=["none", "empty", "one", "large", "object"])  # fmt: skip
@pytest.mark.parametrize("level", [None, 3])
def test_a_head_is_read_without_the_value(head: Any, level: int | None) -> None:
    """The head comes back whole, though the value cannot be decoded; an empty one is none."""
    frame = bytes_of(encode(Box(1), "f()", head=head, level=level))
    assert (head or None) == read_head(frame)


@pytest.mark.parametrize("change", [lambda frame: frame[:40], lambda frame: b"", lambda frame: frame + b"x"])
def test_a_damaged_head_is_refused(change: Callable[[bytes], bytes]) -> None:
    """A head is read from a whole frame only."""
    with pytest.raises(DamagedEntryError):
        read_head(change(bytes_of(encode(1, "f()", head=["a"]))))


# --- arrays ----------------------------------------------------------------------------------------------

ARRAY = np.arange(40_000, dtype="f8").reshape(200, 200)


def test_a_large_array_is_not_copied_into_the_pickle() -> None:
    """One part of the frame is the array's own memory."""
    frame = encode({"weights": ARRAY}, "f()")
    assert any(isinstance(part, memoryview) and np.shares_memory(np.frombuffer(part), ARRAY) for part in frame.parts)


@pytest.mark.parametrize("level", [None, 1])
@pytest.mark.parametrize(
    "array",
    [ARRAY, np.asfortranarray(ARRAY), ARRAY[::2, 1:], np.zeros(0), np.array(3), np.array(["a", "bc"] * 50_000),
     np.zeros(9000, "i4,f8"), np.array([None, {}])],
    ids=["large", "fortran", "strided", "empty", "0-d", "text", "fields", "objects"],
)  # fmt: skip
def test_an_array_comes_back_equal(array: np.ndarray[Any, Any], level: int | None) -> None:
    """Numbers, shape and dtype survive."""
    copy = round_trip(array, level=level)
    assert (array.dtype, array.shape, True) == (copy.dtype, copy.shape, bool((array == copy).all()))


def test_a_large_array_comes_back_read_only() -> None:
    """What is shared with the store cannot be written to by accident."""
    assert not round_trip(ARRAY).flags.writeable


@pytest.mark.parametrize("count", [1, 2, 3])
def test_arrays_are_aligned(count: int) -> None:
    """Each large array begins at a multiple of 64 bytes of the frame."""
    frame = encode([ARRAY, ARRAY.tobytes(), ARRAY[: 100 + count].copy()][:count], "f()")
    starts, position = [], 0
    for part in frame.parts:
        if isinstance(part, memoryview):
            starts.append(position % 64)
        position += len(part) if isinstance(part, bytes) else part.nbytes
    assert {0} == set(starts)


def stored(value: Any, folder: Path, **options: Any) -> tuple[memoryview, bool]:
    """Write a value to a store; return the frame that the store gives, and whether it is a map of a file."""
    store = store_at(folder)
    frame = encode(value, "f()", **options)
    entry = Entry(bytes(16), frame.digest, bytes(16), bytes(16), bytes(8), 0.0, 0.0, frame.size)
    store.write("m.f", [Write("{}", "{}", Epoch(0, 0), entry, frame)])
    found = store.read("m.f", "{}")
    assert found is not None
    return found[1], found[2]


def base_of(array: Any) -> Any:
    """Return the object at whose memory an array looks."""
    base = array
    while not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else base.base
        if base is None:
            return None
    return base


def test_a_large_array_in_a_store_is_a_map_of_its_file(tmp_path: Path) -> None:
    """Loading an uncompressed array reads nothing: it is a view of the file."""
    frame, is_mapped = stored([ARRAY], tmp_path / "mapped")
    ((copy,), _) = decode(frame, is_mapped=is_mapped)
    assert (
        isinstance(base_of(copy), mmap.mmap),
        bool((copy == ARRAY).all()),
        copy.flags.writeable,
    ) == (True, True, False)
    store_at(tmp_path / "mapped").close()


def test_a_mapped_array_is_aligned_in_memory(tmp_path: Path) -> None:
    """Vector instructions find mapped arrays where they like them."""
    frame, is_mapped = stored(ARRAY, tmp_path / "aligned")
    copy = decode(frame, is_mapped=is_mapped)[0]
    assert copy.ctypes.data % 64 == 0
    store_at(tmp_path / "aligned").close()


def test_a_compressed_array_in_a_store_is_verified(tmp_path: Path) -> None:
    """A compressed array is read whole, and comes back equal."""
    frame, is_mapped = stored(ARRAY, tmp_path / "packed", level=1)
    assert (decode(frame, is_mapped=is_mapped)[0] == ARRAY).all()
    store_at(tmp_path / "packed").close()


# --- functions and classes without a name to import ------------------------------------------------------


def test_a_lambda_comes_back() -> None:
    """Functions that have no name to import survive."""
    assert round_trip(lambda x: 2 * x)(21) == 42


def test_a_closure_comes_back_with_what_it_captured() -> None:
    """Captured values survive, arrays too."""
    factor = np.arange(3)

    def scaled(x: int) -> Any:
        return factor * x

    assert round_trip({"f": scaled})["f"](2).tolist() == [0, 2, 4]


def test_an_instance_of_a_local_class_comes_back() -> None:
    """Classes that have no name to import survive with their instances."""

    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

        def double(self) -> int:
            return 2 * self.x

    assert round_trip([Local(3)])[0].double() == 6


def test_instances_of_one_local_class_stay_of_one_class() -> None:
    """Values that are loaded one after the other have the same class."""

    class Local:
        pass

    assert type(round_trip(Local())) is type(round_trip(Local()))


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from checkpoint.codec import decode, encode

class Model:
    def __init__(self, x):
        self.x = x
    def predict(self):
        return self.x + 1

def helper(x):
    return x * 10

if __name__ == "__main__":
    if sys.argv[1] == "write":
        open("frame", "wb").write(b"".join(encode([Model(1), helper], "f()").parts))
    model, function = decode(open("frame", "rb").read())[0]
    print(isinstance(model, Model), model.predict(), function(2))
"""
READER = """
import sys
sys.path.insert(0, {root!r})
from checkpoint.codec import decode
model, function = decode(open("frame", "rb").read())[0]
print(type(model).__name__, model.predict(), function(2))
"""


def run_script(name: str, text: str, *arguments: str) -> str:
    """Run a program in the current folder; return what it prints."""
    Path(name).write_text(text.format(root=str(ROOT)))
    command = [sys.executable, name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_classes_of_a_script_are_its_own_after_loading() -> None:
    """A value that a script wrote is an instance of the script's class when it runs again."""
    run_script("train.py", SCRIPT, "write")
    assert run_script("train.py", SCRIPT, "read") == "True 2 20\n"


def test_classes_of_a_script_can_be_loaded_elsewhere() -> None:
    """Another program, which can't import the class, gets a rebuilt one."""
    run_script("train.py", SCRIPT, "write")
    assert run_script("other.py", READER) == "Model 2 20\n"


def test_data_never_goes_through_dill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only functions and classes that can't be imported pay for dill."""

    def refuse(thing: Any) -> bytes:
        raise AssertionError("dill was used")

    monkeypatch.setattr(codec, "dump_by_value", refuse)
    value = {"numbers": list(range(100_000)), "box": [Box(i) for i in range(100)]}
    assert value == round_trip(value)


# --- damage ----------------------------------------------------------------------------------------------

DAMAGED_VALUES = [("text", [1, {"a": (2.5, None)}]), ("array", [np.arange(4), "x"])]
DAMAGE_CASES = [
    pytest.param(value, level, head, id=f"{name}-{'packed' if level else 'plain'}-{'head' if head else 'bare'}")
    for name, value in DAMAGED_VALUES
    for level in (None, 3)
    for head in (None, [["m.f", '{"n":1}']])
]


def decodes_to(frame: bytes, value: Any) -> bool:
    """Tell whether a frame gives the value or is refused; any other exception is passed on."""
    with contextlib.suppress(DamagedEntryError):
        return repr(value) == repr(decode(frame)[0])
    return True


@pytest.mark.parametrize(("value", "level", "head"), DAMAGE_CASES)
def test_a_changed_byte_never_gives_another_value(value: Any, level: int | None, head: Any) -> None:
    """Whichever byte is changed, in one bit or in all: the frame is refused, or gives the value. [43]"""
    frame = bytes_of(encode(value, "f()", level=level, head=head))
    wrong = []
    for position in range(len(frame)):
        for change in (1, 16, 128, 255):
            changed = bytearray(frame)
            changed[position] ^= change
            if not decodes_to(bytes(changed), value):
                wrong.append((position, change))
    assert wrong == []


@pytest.mark.parametrize(("value", "level", "head"), DAMAGE_CASES)
def test_a_shorter_frame_is_refused(value: Any, level: int | None, head: Any) -> None:
    """A frame that was cut at any place, or goes on after its end, is refused. [43]"""
    frame = bytes_of(encode(value, "f()", level=level, head=head))
    refused = 0
    for changed in [*(frame[:length] for length in range(len(frame))), frame + b"\0", b"\0" + frame, bytes(len(frame))]:
        with contextlib.suppress(DamagedEntryError):
            decode(changed)
            continue
        refused += 1
    assert len(frame) + 3 == refused


@pytest.mark.parametrize(("value", "level", "head"), DAMAGE_CASES)
def test_a_changed_byte_never_gives_another_head(value: Any, level: int | None, head: Any) -> None:
    """A head is that which was written, or it is refused."""
    frame = bytes_of(encode(value, "f()", level=level, head=head))
    wrong = []
    for position in range(len(frame)):
        changed = bytearray(frame)
        changed[position] ^= 255
        with contextlib.suppress(DamagedEntryError):
            if head != read_head(bytes(changed)):
                wrong.append(position)
    assert wrong == []


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    """Bytes that were never a frame are refused, whatever they are."""
    with pytest.raises(DamagedEntryError):
        decode(data)


def forged(flags: int, head: bytes, table: bytes, rest: bytes) -> bytes:
    """Return bytes whose digests fit, whatever they hold."""
    body = table + rest
    if flags & 1:
        body = zstandard.ZstdCompressor().compress(body)
    fields = (b"\x93CKP", 1, flags, len(head), len(body))
    lead = xxhash.xxh3_128_digest(table + rest)
    header = struct.pack("<4sBBxxIQ16s16s", *fields, lead, bytes(16))
    header += xxhash.xxh3_64_digest(header + head)
    return header + head + bytes(-(len(header) + len(head)) % 64) + body


numbers = st.one_of(st.integers(0, 9), st.sampled_from([2**16, 2**31, 2**32 - 1]), st.integers(0, 2**32 - 1))
tables = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda name, count, size: struct.pack(f"<B{len(name)}sIQ", len(name), name, count, size),
        st.sampled_from([b"json", b"own", b"\xff", b""]),
        numbers,
        numbers,
    ),
)
heads = st.one_of(st.binary(max_size=40), st.sampled_from([b"[" * 5000, b'{"a":', zlib.compress(b"[")]))


@given(st.sampled_from([0, 1, 2, 255]), heads, tables, st.binary(max_size=100))
def test_a_forged_frame_is_read_or_refused(flags: int, head: bytes, table: bytes, rest: bytes) -> None:
    """Even where all digests fit, what cannot be read is a DamagedEntryError and nothing else."""
    frame = forged(flags, head, table, rest)
    for use in (decode, read_head, verify):
        with contextlib.suppress(DamagedEntryError):
            use(frame)


def test_a_damaged_frame_costs_no_memory() -> None:
    """However its sizes are changed, refusing a frame takes little more memory than it has bytes."""
    frame = bytes_of(encode("x" * 50_000, "f()", level=3, head={"upstream": []}))
    tracemalloc.start()
    try:
        for position in range(len(frame)):
            for change in (1, 16, 128, 255):
                changed = bytearray(frame)
                changed[position] ^= change
                decodes_to(bytes(changed), "x" * 50_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_a_changed_array_is_refused() -> None:
    """Damage in the buffer of a large array is noticed."""
    frame = bytearray(bytes_of(encode(ARRAY, "f()")))
    frame[-100] ^= 1
    with pytest.raises(DamagedEntryError, match="arrays do not match their digest"):
        decode(bytes(frame))


def test_a_class_that_is_gone_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value whose class was renamed cannot be decoded, and says so."""
    frame = bytes_of(encode(Box(1), "f()"))
    monkeypatch.delattr(sys.modules[__name__], "Box")
    with pytest.raises(DamagedEntryError, match=r"cannot be decoded .*Box"):
        decode(frame)


# --- values that cannot be stored ------------------------------------------------------------------------


class Holder:
    """An object with anything in it."""

    def __init__(self, content: Any) -> None:
        self.content = content


@pytest.mark.parametrize(
    ("value", "where", "reason"),
    [
        ((n for n in range(3)), "", "generator"),
        ({"a": [1, (n for n in range(3))]}, "['a'][1]", "generator"),
        (Holder({"file": threading.Lock()}), ".content['file']", "lock"),
        ([Holder([threading.Lock()])], "[0].content[0]", "lock"),
        ({"key": (1, sys._getframe())}, "['key'][1]", "frame"),
    ],
    ids=["generator", "generator inside", "lock inside", "lock deeper", "frame"],
)
def test_what_cannot_be_stored_is_named_by_its_path(value: Any, where: str, reason: str) -> None:
    """The error says which part of the result it is, and why it can't be stored."""
    with pytest.raises(UnstorableError) as caught:
        encode(value, "load(path='a')")
    assert ("load(path='a')", where, True) == (caught.value.call, caught.value.where, reason in caught.value.reason)


def test_an_open_file_is_named_by_its_path(tmp_path: Path) -> None:
    """An open file in an attribute is found."""
    with open(tmp_path / "file", "w") as file, pytest.raises(UnstorableError) as caught:
        encode(Holder(file), "f()")
    assert (caught.value.where, "TextIOWrapper" in caught.value.reason) == (".content", True)


def test_a_value_that_fails_while_it_is_pickled_is_unstorable() -> None:
    """Whatever the value's own code raises, the error is ours."""

    class Odd:
        def __reduce__(self) -> Any:
            raise ZeroDivisionError("never")

    with pytest.raises(UnstorableError, match="never"):
        encode([Odd()], "f()")


def test_what_cannot_be_stored_is_found_in_a_circle() -> None:
    """An object that refers to itself is searched once."""
    holder = Holder(None)
    holder.content = [holder, threading.Lock()]
    with pytest.raises(UnstorableError) as caught:
        encode(holder, "f()")
    assert caught.value.where == ".content[1]"


def test_a_value_without_bottom_is_unstorable() -> None:
    """Too deep a nesting is an error of ours."""
    value: list[Any] = []
    for _ in range(10**5):
        value = [value]
    with pytest.raises(UnstorableError):
        encode(value, "f()")


# --- other codecs ----------------------------------------------------------------------------------------


class Upper:
    """A codec of a user's own."""

    name = "upper"

    def encode(self, value: Any) -> bytes:
        """Return shouted text."""
        return str(value).upper().encode()

    def decode(self, data: bytes) -> Any:
        """Return it as it is."""
        return data.decode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, levels)
def test_json_values_come_back_through_json(value: Any, level: int | None) -> None:
    """The codec "json" keeps what JSON has."""
    assert value == round_trip(value, codec=check_codec("json"), level=level)


def test_json_can_be_read_by_other_programs() -> None:
    """The value's bytes are plain UTF-8 JSON."""
    assert '{"ü": [1, null]}'.encode() in bytes_of(encode({"ü": [1, None]}, "f()", codec=check_codec("json")))


class Number(enum.IntEnum):
    """Numbers with names, which JSON would lose."""

    ONE = 1


@pytest.mark.parametrize(
    "value",
    [(1, 2), {"a": (1,)}, {1: "a"}, {"a": {True: 1}}, float("nan"), [float("inf")], {1}, b"a", Number.ONE,
     [np.float64(1)], collections.OrderedDict(a=1), object(), "\ud800"],
    ids=lambda value: "object()" if type(value) is object else ascii(value),
)  # fmt: skip
def test_json_refuses_what_it_would_change(value: Any) -> None:
    """Tuples, numbers as keys, NaN, members, and what JSON doesn't have, are an error."""
    with pytest.raises(UnstorableError):
        encode(value, "f()", codec=check_codec("json"))


def test_a_codec_of_ones_own_is_used() -> None:
    """An object with name, encode and decode decides what is stored."""
    frame = bytes_of(encode("abc", "f()", codec=check_codec(Upper())))
    assert decode(frame, codec=check_codec(Upper()))[0] == "ABC"


def test_a_codec_that_is_gone_is_named() -> None:
    """Without the codec that wrote it, a value cannot be read, and the error says which one it was."""
    with pytest.raises(DamagedEntryError, match="codec 'upper'"):
        decode(bytes_of(encode("abc", "f()", codec=Upper())))


def test_values_of_the_standard_codec_are_read_whatever_the_task_says() -> None:
    """A task that changes to a codec of its own still reads its old results."""
    assert decode(bytes_of(encode([1], "f()")), codec=Upper())[0] == [1]


class Broken(Upper):
    """A codec that gives no bytes."""

    def encode(self, value: Any) -> Any:
        """Return a text."""
        return "text"


def test_a_codec_that_gives_no_bytes_is_an_error_of_its_task() -> None:
    """The error names the call, not the inside of this package."""
    with pytest.raises(UnstorableError, match=r"f\(\).*bytes"):
        encode(1, "f()", codec=Broken())


@pytest.mark.parametrize(
    ("option", "kind"), [("yaml", ValueError), (3, TypeError), (object(), TypeError), (Upper, None), (Upper(), None)]
)
def test_a_codec_is_checked(option: Any, kind: type[Exception] | None) -> None:
    """What is no codec is refused when the task is made."""
    with pytest.raises(kind, match="codec") if kind else contextlib.nullcontext():
        check_codec(option)


@pytest.mark.parametrize("name", ["pickle", "json", "", "x" * 300])
def test_a_codec_has_a_name_of_its_own(name: str) -> None:
    """A name that means another codec, or is none, is refused."""
    made = type("Named", (Upper,), {"name": name})()
    with pytest.raises(ValueError, match="name of its own"):
        check_codec(made)


def test_frames_are_written_with_a_pinned_protocol() -> None:
    """Every supported Python reads what any other wrote: pickle protocol 5."""
    assert pickle.dumps([1], 5) in bytes_of(encode([1], "f()"))
