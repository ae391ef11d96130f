"""Previews: stored values as short texts, without the user's modules."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from programs import square
from projects import write

import checkpoint
from checkpoint import File, memo, task_directory
from checkpoint.inventory import calls
from checkpoint.previews import preview
from checkpoint.store import current_store

OWN = """
import enum
from collections import namedtuple
from dataclasses import dataclass


@dataclass
class Plain:
    a: int
    b: list


class Slotted:
    __slots__ = ("a",)

    def __init__(self):
        self.a = 1


class Listed(list):
    pass


class Named(dict):
    pass


class Kind(enum.Enum):
    ONE = 1


class Nested:
    class Inner:
        pass


Pair = namedtuple("Pair", "x y")


def function():
    pass


made = {
    "dataclass": lambda: Plain(1, [2]),
    "slots": Slotted,
    "list": lambda: Listed([1, 2]),
    "dict": lambda: Named(a=1),
    "enum": lambda: Kind.ONE,
    "inner": Nested.Inner,
    "tuple": lambda: Pair(1, 2),
    "class": lambda: [Plain],
    "function": lambda: function,
    "keys": lambda: {Kind.ONE: {Pair(1, 2)}},
}
"""


@memo
def own(what: str) -> object:
    import mine  # type: ignore[import-not-found]

    return mine.made[what]()


@memo(compress=True)
def array(size: int) -> object:
    return numpy.zeros((size, 3))


@memo(codec="json")
def as_json(x: int) -> list[int]:
    return [x]


class Reversed:
    name = "reversed"

    def encode(self, value: Any) -> bytes:
        return str(value).encode()[::-1]

    def decode(self, data: bytes) -> Any:
        return data[::-1].decode()


@memo(codec=Reversed())
def backwards(x: int) -> str:
    return str(x)


@memo
def by_value(x: int) -> Callable[[], int]:
    return lambda: x


@memo
def a_file(x: int) -> File:
    path = task_directory() / "a.txt"
    path.write_text("x")
    return File(path)


def shown(task: Any, width: int = 200) -> str:
    """Return the preview of a task's only call."""
    (call,) = calls(current_store(), task.name)
    return preview(current_store(), task.name, call.row, width)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("dataclass", "mine.Plain(a=1, b=[2])"),
        ("slots", "mine.Slotted(a=1)"),
        ("list", "mine.Listed([1, 2])"),
        ("dict", "mine.Named({'a': 1})"),
        ("enum", "mine.Kind(1)"),
        ("inner", "mine.Nested.Inner()"),
        ("tuple", "mine.Pair(1, 2)"),
        ("class", "[<class 'mine.Plain'>]"),
        ("function", "<class 'mine.function'>"),
        ("keys", "{mine.Kind(1): {mine.Pair(1, 2)}}"),
    ],
)
def test_something_stands_in_for_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, text: str
) -> None:
    """It shows what the value holds, whatever it is; the module is not imported."""
    write(tmp_path, {"mine.py": OWN})
    monkeypatch.syspath_prepend(tmp_path)
    own(what).run(executor="serial")
    del sys.modules["mine"]
    assert text == shown(own)
    assert "mine" not in sys.modules


def test_values_of_installed_packages_are_themselves() -> None:
    """An array is told by its shape."""
    array(100).run(executor="serial")
    assert "<ndarray 100 x 3 float64>" == shown(array)


def test_values_of_other_codecs() -> None:
    """JSON is read; of a codec of the user's the size is told."""
    as_json(3).run(executor="serial")
    backwards(123).run(executor="serial")
    assert ("[3]", "<3 bytes, written by the codec 'reversed'>") == (shown(as_json), shown(backwards))


def test_a_function_that_was_kept_by_value_is_not_rebuilt() -> None:
    """Its size is told."""
    by_value(3).run(executor="serial")
    assert shown(by_value).startswith("<function, ")


def test_a_file_is_told_by_its_path() -> None:
    """It is where the runner has put it."""
    path = a_file(1).run(executor="serial").path
    assert f"File({str(path)!r})" == shown(a_file, 500)


def test_a_text_is_cut_to_the_width() -> None:
    """What is long ends in dots."""
    square(10**100).run(executor="serial")
    assert (40, "...") == (len(shown(square, 40)), shown(square, 40)[18:21])


def test_a_pickle_is_not_read_where_none_is_allowed(store: Path) -> None:
    """JSON is."""
    square(3).run(executor="serial")
    as_json(3).run(executor="serial")
    with checkpoint.open_store(store, allow_pickle=False):
        assert ("<a pickle, which this store doesn't allow>", "[3]") == (shown(square), shown(as_json))


def test_what_is_gone_is_told() -> None:
    """There is no such row."""
    assert "<no longer kept>" == preview(current_store(), square.name, '{"x":1}#0', 80)
