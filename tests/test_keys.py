"""Keys: one text per value, one value per text, and calls bound to their parameters."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import inspect
import json
import math
import os
import pathlib
import string
import subprocess
import sys
import uuid
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from checkpoint import UnkeyableError, keys, revival
from checkpoint.fingerprint import digest
from checkpoint.keys import encode
from checkpoint.revival import Opaque, decode
from checkpoint.signatures import Signature

ROOT = Path(keys.__file__).parent.parent


class Color(enum.Enum):
    """An enumeration."""

    RED = 1
    CRIMSON = 1
    BLUE = 2


class Level(enum.IntEnum):
    """An enumeration whose members are numbers."""

    LOW = 1


@dataclasses.dataclass(frozen=True)
class Point:
    """A dataclass."""

    x: int
    y: Any = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    """A dataclass without `__dict__`."""

    x: int


Pair = namedtuple("Pair", "left right")

TZ = datetime.timezone(datetime.timedelta(hours=2))

#: Value -> its text. A changed text needs a new FORMAT, and makes every result that anybody kept unreachable.
GOLDEN: list[tuple[Any, str]] = [
    (None, "null"),
    (True, "true"),
    (False, "false"),
    (0, "0"),
    (1, "1"),
    (-7, "-7"),
    (2**63, "9223372036854775808"),
    (2**64 - 1, "18446744073709551615"),
    (2**64, '{"$int":"10000000000000000"}'),
    (-(2**64), '{"$int":"-10000000000000000"}'),
    (0.0, "0.0"),
    (-0.0, "-0.0"),
    (1.0, "1.0"),
    (0.1, "0.1"),
    (1e300, "1e+300"),
    (5e-324, "5e-324"),
    (math.nan, '{"$float":"nan"}'),
    (math.inf, '{"$float":"inf"}'),
    (-math.inf, '{"$float":"-inf"}'),
    ("", '""'),
    ("a", '"a"'),
    ('"\\\n\t', '"\\"\\\\\\n\\t"'),
    ("é", '"\\u00e9"'),
    ("\U0001f40d", '"\\ud83d\\udc0d"'),
    ("\ud83d\udc0d", '{"$text":"d83d dc0d"}'),
    ("\ud83d\udc0d\U0001f40d", '{"$text":"d83d dc0d 1f40d"}'),
    ("\udcff", '"\\udcff"'),
    ([], "[]"),
    ([1, [2, "3"]], '[1,[2,"3"]]'),
    ({}, "{}"),
    ({"b": 1, "a": [None]}, '{"a":[null],"b":1}'),
    ({1: "x"}, '{"$dict":[[1,"x"]]}'),
    ({"1": "x"}, '{"1":"x"}'),
    ({"$tuple": [1]}, '{"$dict":[["$tuple",[1]]]}'),
    ({True: 1, "a": 2}, '{"$dict":[["a",2],[true,1]]}'),
    ((), '{"$tuple":[]}'),
    ((1, 2), '{"$tuple":[1,2]}'),
    ({3, 1, 2}, '{"$set":[1,2,3]}'),
    (frozenset("ab"), '{"$frozenset":["a","b"]}'),
    (b"\x00\xff", '{"$bytes":"AP8="}'),
    (bytearray(b"a"), '{"$bytearray":"YQ=="}'),
    (1 - 2j, '{"$complex":[1.0,-2.0]}'),
    (range(1, 9, 2), '{"$range":[1,9,2]}'),
    (range(2**64), '{"$range":[0,{"$int":"10000000000000000"},1]}'),
    (OrderedDict(b=1, a=2), '{"$ordereddict":[["b",1],["a",2]]}'),
    (decimal.Decimal("1.50"), '{"$decimal":"1.50"}'),
    (fractions.Fraction(1, 3), '{"$fraction":"1/3"}'),
    (uuid.UUID(int=1), '{"$uuid":"00000000-0000-0000-0000-000000000001"}'),
    (datetime.date(2024, 2, 29), '{"$date":"2024-02-29"}'),
    (datetime.time(1, 2, 3, 4), '{"$time":["01:02:03.000004",0]}'),
    (datetime.datetime(2024, 10, 27, 2, 30, fold=1), '{"$datetime":["2024-10-27T02:30:00",1]}'),
    (datetime.datetime(2024, 1, 2, tzinfo=TZ), '{"$datetime":["2024-01-02T00:00:00+02:00",0]}'),
    (datetime.timedelta(days=-1, microseconds=5), '{"$timedelta":[-1,0,5]}'),
    (pathlib.PurePosixPath("/a/b c"), '{"$path":"/a/b c"}'),
    (pathlib.PureWindowsPath("c:\\a"), '{"$windowspath":"c:\\\\a"}'),
    (Color.CRIMSON, f'{{"$enum":["{__name__}.Color","RED"]}}'),
    (Level.LOW, f'{{"$enum":["{__name__}.Level","LOW"]}}'),
    (Point(1, (2,)), f'{{"$dataclass":["{__name__}.Point",{{"x":1,"y":{{"$tuple":[2]}}}}]}}'),
    (Slotted(1), f'{{"$dataclass":["{__name__}.Slotted",{{"x":1}}]}}'),
    (Pair(1, 2), f'{{"$namedtuple":["{__name__}.Pair",[1,2]]}}'),
    (np.float64(0.5), '{"$numpy":["<f8","000000000000e03f"]}'),
    (np.float32(0.5), '{"$numpy":["<f4","0000003f"]}'),
    (np.int64(3), '{"$numpy":["<i8",3]}'),
    (np.bool_(True), '{"$numpy":["|b1",true]}'),
    (np.str_("ab"), '{"$numpy":["<U2","ab"]}'),
    (np.datetime64("2024-01-01", "D"), '{"$numpy":["<M8[D]","0b4d000000000000"]}'),
    (np.arange(3, dtype="i4"), '{"$ndarray":["<i4",[3],"583ee361663f563f83e77f585e9f1e52"]}'),
    (np.zeros((2, 3)), '{"$ndarray":["<f8",[2,3],"505cd4e066810498e255222d4cbbadba"]}'),
]


def golden_id(case: object) -> str:
    """Name a golden case by its value, alike in every process."""
    return ascii(sorted(case) if isinstance(case, frozenset) else case)[:50]


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are equal and of equal types all the way down; nan is itself, -0.0 is not 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    if isinstance(left, decimal.Decimal):
        return str(left) == str(right)
    if isinstance(left, (datetime.datetime, datetime.time)):
        return (left.isoformat(), left.fold) == (right.isoformat(), right.fold)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, OrderedDict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, (set, frozenset)):
        return same(*(sorted(items, key=lambda item: (type(item).__name__, repr(item))) for items in (left, right)))
    if isinstance(left, dict):
        return same(*(sorted(items.items(), key=lambda pair: (type(pair[0]).__name__, repr(pair[0])))
                      for items in (left, right)))  # fmt: skip
    if dataclasses.is_dataclass(left):
        return all(same(getattr(left, f.name), getattr(right, f.name)) for f in dataclasses.fields(left))
    return bool(left == right)


numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.integers(-(2**70), 2**70)
texts = st.text(max_size=4) | st.text(st.characters(), max_size=3) | st.sampled_from(["$tuple", "$dict", "a", "1"])
zones = st.none() | st.timezones() | st.integers(-1439, 1439).map(
    lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes))
)  # fmt: skip
hashable_atoms = st.one_of(
    numbers,
    texts,
    st.binary(max_size=4),
    st.complex_numbers(),
    st.decimals().filter(lambda number: not number.is_snan()),  # has no hash
    st.fractions(),
    st.uuids(),
    st.dates(),
    st.times(),
    st.builds(lambda moment, fold: moment.replace(fold=fold), st.datetimes(), st.integers(0, 1)),
    st.timedeltas(),
    st.sampled_from([*Color, *Level, range(3), range(1, 9, 2), pathlib.PurePath("a/b"), pathlib.PureWindowsPath("a")]),
)
hashables = st.recursive(
    hashable_atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.builds(Point, st.integers(), inner),
        st.builds(Pair, inner, inner),
        st.frozensets(inner, max_size=3),
    ),
    max_leaves=5,
)
values = st.recursive(
    hashables | st.binary(max_size=3).map(bytearray),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(texts, inner, max_size=3),
        st.dictionaries(hashables, inner, max_size=3),
        st.dictionaries(texts, inner, max_size=3).map(OrderedDict),
        st.sets(hashables, max_size=3),
        st.builds(Point, st.integers(), inner),
    ),
    max_leaves=10,
)


# --- texts -----------------------------------------------------------------------------------------------


def test_the_format_of_keys_has_a_number() -> None:
    """The golden texts below belong to this number."""
    assert keys.FORMAT == 1


@pytest.mark.parametrize(("value", "text"), GOLDEN, ids=golden_id)
def test_golden_text(value: Any, text: str) -> None:
    """The text of a value never changes."""
    assert text == encode(value)


@pytest.mark.parametrize("text", [text for _, text in GOLDEN], ids=golden_id)
def test_every_text_is_json(text: str) -> None:
    """Other programs can read keys: sorted, compact ASCII JSON."""
    assert text == json.dumps(json.loads(text), separators=(",", ":"), sort_keys=True)


def test_golden_texts_are_all_different() -> None:
    """No two values of the table share a text: 1, 1.0, True, "1", (1,), [1] are six keys."""
    assert len(GOLDEN) == len({text for _, text in GOLDEN})


@given(values)
def test_a_text_gives_the_value_back(value: Any) -> None:
    """Decoding gives an equal value of the same types."""
    assert same(value, decode(encode(value)))


@given(values, values)
def test_different_values_have_different_texts(left: Any, right: Any) -> None:
    """Two values share a text exactly if they are the same."""
    assert same(left, right) == (encode(left) == encode(right))


@given(st.lists(texts, max_size=3), st.lists(texts, max_size=3))
def test_different_texts_have_different_keys(left: list[str], right: list[str]) -> None:
    """Any two lists of texts, also with halves of surrogate pairs, are kept apart."""
    assert (left == right) == (encode(left) == encode(right))


@given(st.datetimes(timezones=zones, allow_imaginary=False))
def test_moments_with_a_zone_come_back_equal(moment: datetime.datetime) -> None:
    """A time zone is kept as its offset, so the moment is the same one."""
    assert moment.isoformat() == decode(encode(moment)).isoformat()


@given(st.dictionaries(hashables, numbers, max_size=5), st.randoms())
def test_the_order_of_a_dict_does_not_matter(value: dict[Any, Any], random: Any) -> None:
    """Dicts that are equal have one text, whatever the order of insertion."""
    pairs = list(value.items())
    random.shuffle(pairs)
    assert encode(value) == encode(dict(pairs))


def test_the_order_of_an_ordered_dict_matters() -> None:
    """An OrderedDict is told from one of another order, and from a dict."""
    assert len({encode(OrderedDict(a=1, b=2)), encode(OrderedDict(b=2, a=1)), encode({"a": 1, "b": 2})}) == 3


@pytest.mark.parametrize("seed", ["1", "4242"])
def test_the_hash_seed_does_not_matter(seed: str) -> None:
    """Sets and dicts of any elements have the same text in every process."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from checkpoint.keys import encode
print(encode([set(map(str, range(50))), {(i, str(i)): {i, "x"} for i in range(9)}, frozenset("hash")]))
"""
    command = [sys.executable, "-c", code, str(ROOT)]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    expected = encode([set(map(str, range(50))), {(i, str(i)): {i, "x"} for i in range(9)}, frozenset("hash")])
    assert expected == output.strip()


def test_a_key_does_not_change_what_it_is_made_of() -> None:
    """Encoding has no effect on the value."""
    value = {"b": [1, {2}], "a": OrderedDict(x=1)}
    encode(value)
    assert {"b": [1, {2}], "a": OrderedDict(x=1)} == value


# --- numpy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        np.arange(6, dtype="i8"),
        np.arange(6, dtype="u4"),
        np.arange(6, dtype="i4").reshape(2, 3),
        np.arange(6, dtype="i4").reshape(3, 2),
        np.arange(1, 7, dtype="i4"),
        np.arange(6).tolist(),
    ],
    ids=["wider", "unsigned", "2x3", "3x2", "other numbers", "a list"],
)
def test_type_shape_and_content_of_arrays_matter(other: Any) -> None:
    """Arrays share a key only if dtype, shape and numbers are equal."""
    assert encode(np.arange(6, dtype="i4")) != encode(other)


def test_byte_order_of_arrays_does_not_matter() -> None:
    """Equal numbers in either byte order are one key."""
    assert encode(np.arange(6, dtype="<i4")) == encode(np.arange(6, dtype=">i4"))


def test_byte_order_of_numpy_scalars_does_not_matter() -> None:
    """A number taken from a big-endian array is the same number."""
    assert encode(np.float64(2.5)) == encode(np.array([2.5], dtype=">f8")[0])


def test_memory_layout_of_arrays_does_not_matter() -> None:
    """Slices, transposed and Fortran arrays have the key of their contiguous copy."""
    array = np.arange(24.0).reshape(4, 6)
    views = [array[::2, ::3], array.T, np.asfortranarray(array), array[::-1]]
    assert [encode(view.copy(order="C")) for view in views] == [encode(view) for view in views]


def test_gaps_in_structured_arrays_do_not_matter() -> None:
    """The bytes between aligned fields are no part of the value."""
    aligned = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    clean, dirty = np.zeros(32, "u1"), np.full(32, 255, "u1")
    arrays = [memory.view(aligned) for memory in (clean, dirty)]
    for array in arrays:
        array["a"], array["b"] = 1, 2
    assert encode(arrays[0]) == encode(arrays[1])


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.longdouble(1), np.ones(2, "g"), np.ma.array([1]), np.array([(1, "a")], "i4,O")],
    ids=["objects", "long double", "long doubles", "masked", "objects in fields"],
)
def test_arrays_without_bytes_of_their_own_are_refused(value: Any) -> None:
    """What numpy keeps as pointers, or with bits that mean nothing, has no key."""
    with pytest.raises(UnkeyableError):
        encode(value)


def test_an_array_in_a_key_comes_back_as_its_description() -> None:
    """Arrays are kept by digest, so a key can only tell that there was one."""
    found = decode(encode({"x": np.zeros(2)}))["x"]
    assert (found.tag, found.content[:2]) == ("ndarray", ["<f8", [2]])


# --- what has no key -------------------------------------------------------------------------------------


class Text(str):
    """A text that is more than a text."""

    __slots__ = ()


@dataclasses.dataclass
class Holder:
    """A dataclass with anything in it."""

    part: Any


def endless() -> list[Any]:
    """Return a list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


def deep(levels: int) -> list[Any]:
    """Return a list in a list in a list ..."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "path", "type_name"),
    [
        (object(), "", "object"),
        (Text("a"), "", "Text"),
        ([1, object()], "[1]", "object"),
        ({"a": ({"b": [object()]},)}, "['a'][0]['b'][0]", "object"),
        (Holder([object()]), ".part[0]", "object"),
        (Pair(1, object()), "[1]", "object"),
        ({Text("a"): 1}, " (the key 'a')", "Text"),
        ({"b": deep(5000), "a": object()}, "['a']", "object"),
        (OrderedDict(a=[object()]), "['a'][0]", "object"),
        (MappingProxyType({}), "", "mappingproxy"),
    ],
    ids=lambda case: ascii(case)[:30] if isinstance(case, str) else "",
)
def test_what_has_no_key_is_named_by_its_path(value: Any, path: str, type_name: str) -> None:
    """The error says where inside the argument the unkeyable part is, and what it is."""
    with pytest.raises(UnkeyableError) as caught:
        encode(value, "x")
    assert (f"x{path}", type_name) == (caught.value.where, caught.value.type_name)


@pytest.mark.parametrize("value", [deep(10**5), endless()], ids=["deep", "endless"])
def test_values_without_bottom_are_refused(value: Any) -> None:
    """Deep nesting is an UnkeyableError, never a RecursionError."""
    with pytest.raises(UnkeyableError, match=r"list nested this deeply .*; pass a flatter value"):
        encode(value)


# --- reading texts ---------------------------------------------------------------------------------------


def reads_or_refuses(text: str) -> bool:
    """Tell whether `decode` does one of the two things that it may; anything else raises here."""
    loaded = set(sys.modules)
    try:
        decode(text)
    except ValueError:
        pass
    return set() == {name for name in set(sys.modules) - loaded if not name.startswith(("encodings", "hypothesis"))}


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever the text is, `decode` returns a value or raises ValueError, and imports nothing."""
    assert reads_or_refuses(text)


TAGS = ["$dict", "$float", "$int", "$text", "$tuple", "$set", "$frozenset", "$bytes", "$bytearray", "$complex",
        "$range", "$ordereddict",
        "$decimal", "$fraction", "$uuid", "$datetime", "$date", "$time", "$timedelta", "$path",
        "$windowspath", "$enum", "$dataclass", "$namedtuple", "$numpy", "$ndarray", "$task", "$unknown"]  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=5)
    | st.sampled_from(["builtins.list", "os.system", f"{__name__}.Color", f"{__name__}.Point", "RED", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*TAGS, "a"]), inner, max_size=2),
    max_leaves=8,
)  # fmt: skip


@given(st.sampled_from(TAGS), json_values)
def test_any_tag_with_any_content_is_read_or_refused(tag: str, content: Any) -> None:
    """Well-formed JSON that no value has as its text does no harm."""
    assert reads_or_refuses(json.dumps({tag: content}))


@given(st.sampled_from([text for _, text in GOLDEN]), st.integers(0, 40), st.sampled_from(string.printable))
def test_a_changed_text_is_read_or_refused(text: str, position: int, character: str) -> None:
    """A key with one other character is read or refused."""
    assume(position < len(text))
    assert reads_or_refuses(text[:position] + character + text[position + 1 :])


@given(st.text(st.sampled_from("\ud83d\udc0d\U0001f40dx"), max_size=6))
def test_halves_of_a_character_are_not_the_character(text: str) -> None:
    """Texts of which one has in two halves what the other has in one piece have two keys, and come back."""
    assert text == decode(encode(text))


def test_long_fractions_have_keys() -> None:
    """A fraction of more digits than Python turns into text has a key like any other number, and comes back."""
    value = fractions.Fraction(10**5000 + 1, 3)
    assert value == decode(encode(value))


@pytest.mark.parametrize("text", ['{"$fraction":"1e999999999"}', '{"$fraction":"1/0"}', '{"$fraction":" 1"}'])
def test_a_fraction_fills_no_memory(text: str) -> None:
    """Digits and a slash are a fraction, and nothing else that Python would take for one."""
    with pytest.raises(ValueError, match="not a key"):
        decode(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f'{{"$dataclass":["{__name__}.Point",{{"x":1}}]}}', "Point(x=1)"),
        (f'{{"$dataclass":["{__name__}.Point",{{"x":1,"y":2,"z":3}}]}}', "Point(x=1, y=2, z=3)"),
        (f'{{"$enum":["{__name__}.Color","GONE"]}}', "Color.GONE"),
        ('{"$task":5}', "<task 5>"),
        ('{"$task":["m.f","{"]}', "<task ['m.f', '{']>"),
        ('{"$item":[]}', "<item []>"),
        ('{"$partial":null}', "<partial None>"),
    ],
)
def test_what_a_class_no_longer_has_is_described(text: str, told: str) -> None:
    """A dataclass whose fields, or an enumeration whose members are others now stays a description, which is shown."""
    assert ("Opaque", told) == (type(decode(text)).__name__, repr(decode(text)))


@pytest.mark.parametrize("text", ["", "{", "[1,]", '{"$int":"x"}', '{"$tuple":3}', "[" * 10**5, '{"$set":[[1]]}'])
def test_a_text_that_is_no_key_is_a_value_error(text: str) -> None:
    """The error shows how the text begins."""
    with pytest.raises(ValueError, match="not a key"):
        decode(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"$namedtuple":["subprocess.Popen",["false"]]}',
        '{"$namedtuple":["builtins.tuple",[1]]}',
        '{"$enum":["builtins.list","x"]}',
        '{"$dataclass":["builtins.object",{}]}',
        '{"$dataclass":["no.such.Class",{"x":1}]}',
        '{"$enum":["test.support.Unloaded","A"]}',
    ],
)
def test_a_key_calls_and_imports_no_class(text: str) -> None:
    """Only classes that are loaded and of the right kind are made; any other stays a description."""
    assert isinstance(decode(text), Opaque)


def test_an_opaque_part_shows_what_it_stands_for() -> None:
    """The description of a value that cannot be rebuilt can be read."""
    texts = {
        '{"$task":["m.f","{\\"n\\":[1,{\\"$tuple\\":[2]}]}"]}': "m.f(n=[1, (2,)])",
        '{"$task":["m.f","0123456789abcdef"]}': "<task ['m.f', '0123456789abcdef']>",
        '{"$enum":["m.Colour","RED"]}': "Colour.RED",
        '{"$dataclass":["m.Config",{"lr":0.5,"name":"x"}]}': "Config(lr=0.5, name='x')",
        '{"$namedtuple":["m.Point",[1,2]]}': "Point(1, 2)",
        '{"$ndarray":["<f8",[3],"00"]}': "<ndarray ['<f8', [3], '00']>",
    }
    assert list(texts.values()) == [repr(decode(key)) for key in texts]


# --- types of one's own ----------------------------------------------------------------------------------


class Registered:
    """A type that has no key until it is registered."""

    def __init__(self, number: int) -> None:
        self.number = number

    def convert(self, to: object = object(), seen: list[int] = []) -> None:  # noqa: B006
        """Take defaults that have no key, or that change."""


def test_a_registered_type_has_a_key() -> None:
    """`register` says what stands for a value."""
    keys.register(Registered, "lab.registered", lambda value: (value.number,))
    assert encode([Registered(3)]) == '[{"$lab.registered":{"$tuple":[3]}}]'


@pytest.mark.parametrize("tag", ["", "a b", "$x", 'a"b', "tuple", "ndarray"])
def test_a_tag_is_a_plain_word_of_its_own(tag: str) -> None:
    """A tag that would break keys, or means something else, is refused."""
    with pytest.raises(ValueError, match="tag"):
        keys.register(Registered, tag, str)


# --- functions and classes -------------------------------------------------------------------------------


def double(x: int, *, by: int = 2) -> int:
    """Be found by name."""
    return x * by


@functools.lru_cache
def remembered(x: int) -> int:
    return x


def adds(amount: Any) -> Callable[[int], int]:
    """Return a closure."""
    return lambda x: x + amount


def scaled() -> list[Callable[[int], int]]:
    """Return functions of one text with different defaults."""
    return [lambda x, k=k: x * k for k in (1, 2)]


def recursive() -> Callable[[int], int]:
    """Return a function that captures itself."""

    def factorial(n: int) -> int:
        return n * factorial(n - 1) if n else 1

    return factorial


def counting(module: Any, *others: Any) -> type:
    """Return a class whose method captured something."""

    class Counting:
        def root(self) -> Any:
            return module, others

        def again(self) -> Any:
            return Counting()

    return Counting


CALLABLES: dict[str, Callable[[], Any]] = {
    "function": lambda: double,
    "lambda": lambda: lambda x: x,
    "another lambda": lambda: lambda y: y,
    "closure over 1": lambda: adds(1),
    "closure over 2": lambda: adds(2),
    "closure over 2.0": lambda: adds(2.0),
    "closure over a list": lambda: adds([1, double]),
    "closure over a closure": lambda: adds(adds(1)),
    "closure over another closure": lambda: adds(adds(2)),
    "closure over a module": lambda: adds(math),
    "default 1": lambda: scaled()[0],
    "default 2": lambda: scaled()[1],
    "captures itself": recursive,
    "remembered": lambda: remembered,
    "builtin": lambda: len,
    "module's builtin": lambda: math.sqrt,
    "method of a builtin class": lambda: str.upper,
    "class method of a builtin class": lambda: dict.fromkeys,
    "method of a text": lambda: ", ".join,
    "method of another text": lambda: "; ".join,
    "function of a package": lambda: np.linalg.norm,
    "ufunc": lambda: np.sin,
    "partial": lambda: functools.partial(double, by=3),
    "other partial": lambda: functools.partial(double, by=4),
    "partial of a positional": lambda: functools.partial(double, 4),
    "partial of a closure": lambda: functools.partial(adds(1)),
    "class": lambda: Holder,
    "builtin class": lambda: int,
    "enum": lambda: Color,
    "local class": lambda: counting(math),
    "local class with more": lambda: counting(math, 1),
    "bound method": lambda: Pair(1, 2).index,
    "method of a dataclass": lambda: Holder([1]).__repr__,
    "method of another dataclass": lambda: Holder([2]).__repr__,
    "class method": lambda: Pair._make,
    "many": lambda: {"f": [double, adds(1)]},
}


def test_functions_and_classes_have_keys() -> None:
    """Two of one kind have one key; different ones, and different captured values and defaults, have their own."""
    texts = {name: (encode(make()), encode(make())) for name, make in CALLABLES.items()}
    assert [name for name, (one, other) in texts.items() if one != other] == []
    assert len(texts) == len({one for one, _ in texts.values()})


def test_a_function_is_its_name_and_fingerprint() -> None:
    """A key is readable: the name, and what the code is."""
    assert encode(double) == f'{{"$function":["test_keys.double","{digest(double)}",{{"by=":2}}]}}'
    assert encode(math.sqrt) == '{"$function":["math.sqrt"]}'
    assert decode(encode([len])) == [Opaque("function", ["builtins.len"])]


def test_a_package_counts_by_its_version() -> None:
    """What is found in an installed package by name has the version of the package in its key."""
    assert encode(np.sin) == f'{{"$function":["numpy.sin","numpy {np.__version__}"]}}'


@pytest.mark.parametrize(
    ("value", "path", "type_name"),
    [
        (adds(object()), " (captured 'amount')", "object"),
        ([adds({"a": [object()]})], "[0] (captured 'amount')['a'][0]", "object"),
        (adds(adds(object())), " (captured 'amount') (captured 'amount')", "object"),
        (lambda x=Text("a"): x, " (default of 'x')", "Text"),  # noqa: B008
        (functools.partial(double, object()), ".args[0]", "object"),
        (functools.partial(adds(object())), ".func (captured 'amount')", "object"),
        (functools.partial(double, by=object()), ".keywords['by']", "object"),
        (Registered.__init__.__get__(object()), ".__self__", "object"),
        (counting(object()), " (captured 'module')", "object"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_what_a_function_captured_without_a_key_is_named(value: Any, path: str, type_name: str) -> None:
    """The error says which captured variable it is."""
    with pytest.raises(UnkeyableError) as caught:
        encode(value, "f")
    assert (f"f{path}", type_name) == (caught.value.where, caught.value.type_name)


def test_a_default_that_only_marks_a_missing_value_is_no_obstacle() -> None:
    """The text of a function that is found by name says what its defaults are."""
    assert encode(Registered.convert).startswith('{"$function":["test_keys.Registered.convert",')


# --- snapshots -------------------------------------------------------------------------------------------


@given(values)
def test_a_snapshot_is_the_same_value(value: Any) -> None:
    """A copy has the key of the original."""
    assert encode(value) == encode(keys.snapshot(value))


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ([1], lambda value: value.append(2)),
        ({"a": [1]}, lambda value: value["a"].append(2)),
        (([1],), lambda value: value[0].append(2)),
        ({1}, lambda value: value.add(2)),
        (bytearray(b"a"), lambda value: value.extend(b"b")),
        (OrderedDict(a=[1]), lambda value: value["a"].append(2)),
        (Holder([1]), lambda value: value.part.append(2)),
        (Pair([1], 2), lambda value: value.left.append(2)),
        (np.zeros(2), lambda value: value.fill(1)),
    ],
    ids=lambda case: type(case).__name__,
)
def test_a_snapshot_is_out_of_reach(value: Any, change: Callable[[Any], None]) -> None:
    """What is done to the original later doesn't change the copy. [28]"""
    before = encode(value)
    copy = keys.snapshot(value)
    change(value)
    assert (before, True) == (encode(copy), before != encode(value))


@pytest.mark.parametrize("value", [1, "a", None, 2.5, b"x", range(3)])
def test_what_cannot_change_is_shared(value: Any) -> None:
    """A snapshot of an immutable value costs nothing."""
    assert keys.are_immutable([value])
    assert value is keys.snapshot(value)


# --- calls -----------------------------------------------------------------------------------------------


def simple(a, b, c=3):  # type: ignore[no-untyped-def]
    """Take plain parameters."""


def optional(a=1, b=2, *, c=3, d):  # type: ignore[no-untyped-def]
    """Take keyword-only parameters."""


def variadic(a, *rest, b=2, **others):  # type: ignore[no-untyped-def]
    """Take everything."""


def positional(a, b=2, /, c=3, **others):  # type: ignore[no-untyped-def]
    """Take positional-only parameters."""


def nothing():  # type: ignore[no-untyped-def]
    """Take nothing."""


FUNCTIONS = [simple, optional, variadic, positional, nothing]
each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
calls = st.tuples(
    st.lists(st.integers(), max_size=4), st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), st.integers())
)


@st.composite
def fitting_calls(draw: Callable[[Any], Any], function: Callable[..., Any]) -> tuple[list[int], dict[str, int]]:
    """Draw a call that fits a function: how it is spelled, what is left to defaults, and small values."""
    args: list[int] = []
    kwargs: dict[str, int] = {}
    is_positional = True
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            args += draw(st.lists(st.integers(0, 2), max_size=2)) if is_positional else []
        elif parameter.kind is parameter.VAR_KEYWORD:
            kwargs.update(draw(st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 2))))
        elif parameter.default is not parameter.empty and draw(st.booleans()):
            is_positional = False
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            args.append(draw(st.integers(0, 2)))
        else:
            is_positional = is_positional and parameter.kind is not parameter.KEYWORD_ONLY and draw(st.booleans())
            value = draw(st.integers(0, 3))
            if is_positional:
                args.append(value)
            else:
                kwargs[parameter.name] = value
    return args, kwargs


def bound_by_inspect(function: Callable[..., Any], call: tuple[Any, Any]) -> dict[str, Any] | None:
    """Return what Python's own binding makes of a call; None where it refuses."""
    try:
        bound = inspect.signature(function).bind(*call[0], **call[1])
    except TypeError:
        return None
    bound.apply_defaults()
    is_whole = len(bound.arguments) == len(bound.signature.parameters)  # CPython 3.13.0 lets more pass than a call does
    return dict(bound.arguments) if is_whole else None


@each_function
@given(call=calls)
def test_binding_is_that_of_python(function: Callable[..., Any], call: tuple[Any, Any]) -> None:
    """Calls give the values that `inspect` gives, and are refused where it refuses."""
    signature = Signature(function, "m.f")
    try:
        bound = dict(zip(signature.names, signature.bind(tuple(call[0]), call[1]), strict=True))
    except TypeError:
        bound = None
    assert bound_by_inspect(function, call) == bound


@each_function
@given(data=st.data())
def test_calling_with_bound_values_is_the_call(function: Callable[..., Any], data: st.DataObject) -> None:
    """A function called with bound values gets what the caller gave, defaults filled in."""
    args, kwargs = data.draw(fitting_calls(function))
    signature = Signature(function, "m.f")
    again = signature.call(
        lambda *args, **kwargs: bound_by_inspect(function, (args, kwargs)), signature.bind(tuple(args), kwargs)
    )
    assert bound_by_inspect(function, (args, kwargs)) == again


@each_function
@given(data=st.data())
def test_calls_share_a_key_exactly_if_they_bind_alike(function: Callable[..., Any], data: st.DataObject) -> None:
    """The spelling of a call doesn't matter: positional, by keyword, default given or not."""
    calls = [data.draw(fitting_calls(function)) for _ in range(2)]
    bound = [bound_by_inspect(function, call) for call in calls]
    signature = Signature(function, "m.f")
    left, right = [signature.bind_with_key(tuple(args), kwargs)[1] for args, kwargs in calls]
    assert (bound[0] == bound[1]) == (left == right)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((1, 2), {}), ((1,), {"b": 2}), ((), {"b": 2, "a": 1}), ((1, 2, 3), {}), ((1, 2), {"c": 3})],
)
def test_every_spelling_of_a_call_has_one_key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """The key of a call is a JSON object of its parameters, sorted."""
    signature = Signature(simple, "m.simple")
    assert signature.bind_with_key(args, kwargs)[1] == '{"a":1,"b":2,"c":3}'


def test_one_and_its_lookalikes_are_four_keys() -> None:
    """1, 1.0, True and "1" are different arguments. [22]"""
    assert len({encode(value) for value in (1, 1.0, True, "1")}) == 4


def test_tuples_and_lists_are_two_keys() -> None:
    """(1, 2) and [1, 2] are different arguments. [23]"""
    assert encode((1, 2)) != encode([1, 2])


def test_numbers_and_texts_as_dict_keys_are_two_keys() -> None:
    """{1: "x"} and {"1": "x"} are different arguments. [24]"""
    assert encode({1: "x"}) != encode({"1": "x"})


def test_nan_is_one_argument() -> None:
    """NaN and the infinities are arguments like any other: each has one text. [25]"""
    assert [encode(float("nan")), True] == [encode(-float("nan")), encode(math.inf) != encode(-math.inf)]


def test_nested_json_is_written_as_json() -> None:
    """Plain JSON arguments encode as plain JSON. [26]"""
    value = {"a": {"b": [1, 2.5, None, True, "ü"]}}
    assert json.dumps(value, separators=(",", ":")) == encode(value)


def test_an_unkeyable_argument_is_named() -> None:
    """The error names function, parameter and path. [27]"""
    signature = Signature(variadic, "lab.fit")
    with pytest.raises(UnkeyableError) as caught:
        signature.bind_with_key((1, 2, [object()]), {})
    assert caught.value.where == "argument 'rest' of lab.fit(): rest[1][0]"


def test_a_call_that_does_not_fit_names_the_function() -> None:
    """The error shows the function with its parameters."""
    with pytest.raises(TypeError, match=r"m\.simple\(a, b, c=3\): missing a required argument: 'b'"):
        Signature(simple, "m.simple").bind((1,), {})


@pytest.mark.parametrize("module", ["json", "checkpoint.keys", "a.b"])
def test_a_module_keeps_its_name(module: str) -> None:
    """Only the main program is called by another name."""
    assert module == keys.module_name(module)


def test_a_script_goes_by_the_name_under_which_it_can_be_imported(tmp_path: Path) -> None:
    """Classes of a script have the same keys when it runs and when it is imported. [29]"""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, enum\nsys.path.insert(0, sys.argv[1])\n"
        "from checkpoint.keys import encode\nfrom checkpoint.revival import decode\n"
        "class Mode(enum.Enum):\n    FAST = 1\n"
        "print(encode(Mode.FAST), decode(encode(Mode.FAST)) is Mode.FAST)\n"
    )
    command = [sys.executable, str(script), str(ROOT)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert output == '{"$enum":["train.Mode","FAST"]} True\n'


def test_names_of_parameters_may_be_any() -> None:
    """A key has the names of the parameters as JSON writes them, sorted, whatever letters they have. [29]"""

    def paint(größe: int, type: int, limit: int) -> None: ...

    signature = Signature(paint, "paint")
    key = signature.bind_with_key((1,), {"limit": 2**70, "type": True})[1]
    assert '{"gr\\u00f6\\u00dfe":1,"limit":{"$int":"400000000000000000"},"type":true}' == key


def test_a_tag_that_keys_use_is_not_given_away() -> None:
    """Each tag that can be decoded is refused by `register`. [29]"""
    for tag in revival._decoders:
        with pytest.raises(ValueError, match="is taken"):
            keys.register(Signature, tag.removeprefix("$"), str)
