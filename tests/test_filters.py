"""Filters: which stored calls a person means."""

from __future__ import annotations

import datetime
import enum
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from checkpoint import keys
from checkpoint.filters import Filter, literal, matching, order_of
from checkpoint.inventory import StoredCall, meta_names
from checkpoint.store import Entry


class Colour(enum.Enum):
    RED = 1


@dataclass
class Config:
    lr: float
    name: str


def call(
    *, age: float = 0.0, seconds: float = 1.0, size: int = 100, code: bytes = b"\x3f" * 16, **arguments: Any
) -> Any:
    """Return a stored call."""
    entry = Entry(bytes(16), bytes(16), bytes(16), code, bytes(8), seconds, time.time() - age, size)
    return StoredCall("m.f", keys.encode(arguments), (entry,))


@pytest.mark.parametrize(
    ("text", "arguments", "is_met"),
    [
        ("n=6", {"n": 6}, True),
        ("n==6", {"n": 6}, True),
        ("n=6", {"n": 6.0}, True),
        ("n=6", {"n": "6"}, True),
        ("n=1", {"n": True}, False),
        ("n=true", {"n": True}, True),
        ("n=True", {"n": True}, True),
        ("n=none", {"n": None}, True),
        ("n!=6", {"n": 5}, True),
        ("n!=6", {"n": 6}, False),
        ("n>0.1", {"n": 0.2}, True),
        ("n>0.1", {"n": 0.1}, False),
        ("n>=0.1", {"n": 0.1}, True),
        ("n<3", {"n": 2}, True),
        ("n<=3", {"n": 4}, False),
        ("n>3", {"n": "text"}, False),
        ("n>3", {"n": None}, False),
        ("n>3", {"n": [4]}, False),
        ("n>a", {"n": "b"}, True),
        ("n=a b", {"n": "a b"}, True),
        ("n='a'", {"n": "a"}, True),
        ("n=[1,2]", {"n": [1, 2]}, True),
        ("n=(1,2)", {"n": (1, 2)}, True),
        ("n=[1,2]", {"n": (1, 2)}, False),
        ("n={'a': 1}", {"n": {"a": 1}}, True),
        ("n~^run-[0-9]$", {"n": "run-3"}, True),
        ("n~^run-[0-9]$", {"n": "run-33"}, False),
        ("n~csv$", {"n": Path("a/b.csv")}, True),
        ("n=a/b.csv", {"n": Path("a/b.csv")}, True),
        ("n=RED", {"n": Colour.RED}, True),
        ("n=2026-11-01", {"n": datetime.date(2026, 11, 1)}, True),
        ("n>2026-11-01", {"n": datetime.date(2026, 11, 2)}, True),
        ("n>tomorrow", {"n": datetime.date(2026, 11, 2)}, False),
        ("n>1h", {"n": datetime.timedelta(hours=2)}, True),
        ("n.lr<0.5", {"n": {"lr": 0.1}}, True),
        ("n.lr<0.5", {"n": Config(0.1, "x")}, True),
        ("n.1=5", {"n": [4, 5]}, True),
        ("n.7=5", {"n": [4, 5]}, False),
        ("n.none=5", {"n": {"lr": 0.1}}, False),
        ("n.none!=5", {"n": {"lr": 0.1}}, True),
        ("ñ=é", {"ñ": "é"}, True),
    ],
)
def test_a_condition_on_an_argument(text: str, arguments: dict[str, Any], is_met: bool) -> None:
    """Numbers compare with numbers, text with text; what can't be compared doesn't match."""
    assert is_met == bool(list(matching([call(**arguments)], [Filter.parse(text)])))


@pytest.mark.parametrize(
    ("text", "is_met"),
    [
        ("age>30d", True),
        ("age<30d", False),
        ("seconds>1min", True),
        ("seconds=90", True),
        ("size>=2KiB", True),
        ("size<2000", False),
        ("stored_at<2100-01-01", True),
        ("stored_at<2001-01-01T12:00", False),
        ("code=3f3f3f", True),
        ("code!=3f3f3f", False),
        ("code~^3f", True),
    ],
)
def test_a_condition_on_what_is_known_of_the_result(text: str, is_met: bool) -> None:
    """Age, time, size and code have their own units."""
    stored = call(age=40 * 86400.0, seconds=90.0, size=2048, n=1)
    assert is_met == bool(list(matching([stored], [Filter.parse(text)])))


def test_an_argument_comes_before_what_is_known_of_the_result() -> None:
    """The other one is then called `size_`."""
    stored = call(size=2048, **{"seconds": "x"})
    named = StoredCall("m.f", keys.encode({"size": 3}), stored.entries)
    assert [named] == list(matching([named], [Filter.parse("size=3"), Filter.parse("size_=2048")]))
    expected = {"stored_at": "stored_at", "seconds": "seconds", "size": "size__", "code": "code", "age": "age_"}
    assert expected == meta_names(["size", "size_", "age"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("n", "'n' is no filter; write a name, one of = != < <= > >= ~ and a value, as in n=6"),
        ("=3", "'=3' is no filter; "),
        ("n~(", "'n~(': '(' is no regular expression: "),
        ("m=3", "m=3: there is no 'm'; there are n, stored_at, seconds, size, code, age"),
        ("age>soon", "age>soon: 'soon' is no time; write a number with ms, s, min, h, d, w or y, as in 30d"),
        ("size>big", "size>big: 'big' is no size; "),
        ("stored_at>x", "stored_at>x: 'x' is no date; write it as 2026-11-01 or 2026-11-01T12:00"),
        ("size~3", "size~3: ~ is for text; use < or >"),
        ("code>3", "code>3: code has no order; use = with the first digits of one"),
    ],
)
def test_a_condition_that_cannot_be(text: str, problem: str) -> None:
    """The error says what to write."""
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}"):
        list(matching([call(n=1)], [Filter.parse(text)]))


def test_a_condition_on_what_only_some_calls_have() -> None:
    """An argument that came later is none of the older calls', and no error."""
    old, new = call(n=1), call(n=1, m=2)
    assert [new] == list(matching([old, new], [Filter.parse("m=2")]))


def test_order_of_mixed_values() -> None:
    """Numbers come before text, text before the rest, what is absent last."""
    calls = [call(n="b"), call(n=[1]), call(n=2), call(n=None), call(m=1), call(n=1.5), call(n=float("nan"))]
    ordered = sorted(calls, key=order_of("n"))
    assert [1.5, 2] == [each.arguments["n"] for each in ordered[:2]]
    assert ["b", [1]] == [each.arguments["n"] for each in ordered[3:5]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1e3", 1000.0),
        ("true", True),
        ("None", None),
        ("a b", "a b"),
        ("[1", "[1"),
        ("__import__('os')", "__import__('os')"),
        ("{[]}", "{[]}"),
        ("{{}: 1}", "{{}: 1}"),
    ],
)
def test_a_literal(text: str, value: object) -> None:
    """What is no Python literal is text; nothing is evaluated."""
    assert (value, type(value)) == (literal(text), type(literal(text)))


@pytest.mark.parametrize("pattern", ["(", "(" * 5000, "a{99999999999999999999}", "(?:" * 3000 + ")" * 3000])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    """What can't be made a regular expression is a ValueError that says so, however it fails. [T5]"""
    with pytest.raises(ValueError, match="is no regular expression"):
        Filter.parse(f"name~{pattern}")


def test_a_time_that_no_argument_can_have_matches_nothing() -> None:
    """A limit beyond what a timedelta holds is none."""
    assert not Filter.parse("span<1e300s").matches(call(), {"span": datetime.timedelta(1)})
