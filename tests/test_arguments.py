"""Arguments: texts as the arguments of a function, typed by its signature."""

from __future__ import annotations

import datetime
import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from checkpoint import File
from checkpoint.arguments import arguments_of, value_of


class Colour(enum.Enum):
    RED = 1


@dataclass
class Config:
    lr: float
    sizes: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "6", 6),
        (int, "-1_000", -1000),
        (float, "6", 6.0),
        (float, "1e-3", 0.001),
        (str, "6", "6"),
        (str, "none", "none"),
        (str, "", ""),
        (str, "a=b", "a=b"),
        (bool, "yes", True),
        (bool, "0", False),
        (complex, "1+2j", 1 + 2j),
        (Path, "a/b", Path("a/b")),
        (Decimal, "1.10", Decimal("1.10")),
        (datetime.date, "2026-11-01", datetime.date(2026, 11, 1)),
        (datetime.datetime, "2026-11-01T12:00", datetime.datetime(2026, 11, 1, 12)),
        (datetime.timedelta, "2h", datetime.timedelta(hours=2)),
        (Colour, "RED", Colour.RED),
        (Literal["a", 3], "3", 3),
        (int | None, "none", None),
        (int | None, "3", 3),
        (int | str, "x3", "x3"),
        (str | int, "3", 3),
        (None | float, "3", 3.0),
        (Annotated[int, "whole"], "3", 3),
        (list[int], "[1, 2]", [1, 2]),
        (list[float], "1,2", [1.0, 2.0]),
        (Sequence[Path], "['a']", [Path("a")]),
        (list, "[1,'a']", [1, "a"]),
        (tuple[int, str], "(1,'a')", (1, "a")),
        (tuple[int, ...], "(1,2)", (1, 2)),
        (set[int], "{1,2}", {1, 2}),
        (dict[str, float], "{'a': 1}", {"a": 1.0}),
        (Config, "{'lr': 1, 'sizes': [2]}", Config(1.0, (2,))),
        (Any, "3", 3),
        (Any, "text", "text"),
        (Any, "true", True),
        (Callable[[], int], "3", 3),
    ],
)
def test_a_text_is_what_the_annotation_says(annotation: Any, text: str, value: object) -> None:
    """The value has the type that was wanted."""
    found = value_of(text, annotation, "x")
    assert (value, type(value)) == (found, type(found))


def test_a_file_is_one() -> None:
    """A class that is a path is made of the text."""
    assert File("a.csv") == value_of("a.csv", File, "x")


@pytest.mark.parametrize(
    ("annotation", "text", "problem"),
    [
        (int, "1.5", "x=1.5: this is no int"),
        (int, "", "x=: this is no int"),
        (bool, "maybe", "x=maybe: this is no bool"),
        (Colour, "BLUE", "x=BLUE: this is no Colour: there are RED"),
        (Literal["a", "b"], "c", "x=c: this is no typing.Literal['a', 'b']: there are a, b"),
        (list[int], "3", "x=3: this is no list[int]"),
        (list[int], "['a']", "x=['a']: this is no list[int]"),
        (list[int], "[1.5]", "x=[1.5]: this is no list[int]: 1.5 is no int"),
        (tuple[int, int], "(1,)", "x=(1,): this is no tuple[int, int]: it has 1 parts, not 2"),
        (dict[str, int], "[1]", "x=[1]: this is no dict[str, int]: write a literal such as {'a':1}"),
        (int | None, "x", "x=x: this is no int | None"),
        (datetime.date, "soon", "x=soon: this is no date"),
        (Config, "{'nope': 1}", "x={'nope': 1}: this is no Config"),
    ],
)
def test_a_text_that_is_none_of_the_kind(annotation: Any, text: str, problem: str) -> None:
    """The error names the parameter and what it takes."""
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}"):
        value_of(text, annotation, "x")


def fit(n: int, rate: float = 0.1, *, name: str = "", tags: list[str] | None = None) -> None: ...


def test_names_and_places() -> None:
    """Values without a name are for the first parameters."""
    assert ([3, 0.5], {"name": "x", "tags": ["a"]}) == arguments_of(fit, ["3", "0.5", "name=x", "tags=['a']"])


def test_the_rest_of_a_variadic_function() -> None:
    """`*args` and `**kwargs` take what is left."""

    def f(first: int, *rest: float, **named: int) -> None: ...

    assert ([1, 2.0, 3.0], {"a": 4}) == arguments_of(f, ["1", "2", "3", "a=4"])


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (["m=3"], "'m=3': there is no parameter 'm'; there are n, rate, name, tags"),
        (["n=3", "n=4"], "'n=4': n is given twice"),
        (["1", "2", "3"], "'3': there are only 2 parameters that can be given without a name"),
        (["n=x"], "n=x: this is no int"),
    ],
)
def test_texts_that_are_for_no_parameter(texts: list[str], problem: str) -> None:
    """The error says what there is."""
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}"):
        arguments_of(fit, texts)
