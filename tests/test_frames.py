"""Frames and HTML: what a notebook shows of calls and runs."""

from __future__ import annotations

import math
from collections import namedtuple
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas
import pytest
from programs import choose, fail, square

import checkpoint
from checkpoint import DamagedEntryWarning, memo, run, run_report, to_frame


@dataclass
class Score:
    loss: float
    alpha: float


Point = namedtuple("Point", "x y")


@memo
def fit(alpha: float, name: str = "a") -> Score:
    return Score(alpha * 2, -alpha)


@memo
def parts(n: int) -> dict[str, Any]:
    return {"n": n * 10, "list": [n]} if n else {}


@memo
def point(size: int) -> Any:
    return Point(size, size + 1)


@memo
def long(x: int) -> bytes:
    return bytes(100_000)


def test_a_task_as_a_frame_has_its_values() -> None:
    """A column per argument, the value, and when and how long; a row per kept call."""
    run([square(i) for i in range(3)], executor="serial")
    frame = square.to_frame()
    assert ["x", "value", "stored_at", "seconds", "size"] == list(frame.columns)
    assert [[0, 1, 2], [0, 1, 4]] == [list(frame["x"]), list(frame["value"])]
    assert isinstance(frame["stored_at"].dtype, pandas.DatetimeTZDtype)
    assert all(frame["seconds"] >= 0)


def test_fields_of_a_value_have_columns_of_their_own() -> None:
    """Dataclasses, dicts and named tuples are spread; a name that is taken gets an underscore."""
    run([fit(0.5), parts(2), parts(0), point(3)], executor="serial")
    frames = [fit.to_frame(), parts.to_frame(), point.to_frame()]
    assert ["alpha", "name", "loss", "alpha_", "stored_at", "seconds", "size"] == list(frames[0].columns)
    assert [0.5, "a", 1.0, -0.5] == list(frames[0].iloc[0][:4])
    assert ["n", "value", "n_", "list", "stored_at", "seconds", "size"] == list(frames[1].columns)
    assert ({}, [2]) == (frames[1]["value"][0], frames[1]["list"][1])
    assert ["size", "x", "y", "stored_at", "seconds", "size_"] == list(point.to_frame().columns)
    assert [3, 3, 4] == list(frames[2].iloc[0][:3])


def test_a_task_without_results_is_a_frame_without_rows() -> None:
    """It has the columns all the same."""
    frame = fit.to_frame()
    assert (0, ["alpha", "name", "value", "stored_at", "seconds", "size"]) == (len(frame), list(frame.columns))


def test_instances_as_a_frame() -> None:
    """A row for each, in order, once; what has no result has a row without a value, and nothing is computed."""
    run([square(2), choose(3, 2)], executor="serial")
    frame = to_frame({"a": [square(2), choose(3, 2)], "b": (square(9), square(2))})
    assert ["task", "x", "n", "k", "value", "stored_at", "seconds", "size"] == list(frame.columns)
    assert [square.name, choose.name, square.name] == list(frame["task"])
    assert [4.0, 3.0] == list(frame["value"])[:2]
    assert math.isnan(frame["value"][2])
    assert pandas.isna(frame["stored_at"][2])
    assert not square(9).is_cached()


def test_a_collected_value_has_no_row() -> None:
    """As there is no result in the store; asked for by name it has a row without one."""
    run([square(1), square(2)], executor="serial")
    checkpoint.collect(tasks=[square.name], keep=[square(1)], apply=True)
    assert [1] == list(square.to_frame()["x"])
    assert [1.0, True] == [to_frame([square(1), square(2)])["value"][0], pandas.isna(to_frame([square(2)])["value"][0])]


def test_what_is_no_instance_has_no_frame() -> None:
    """The error says so."""
    with pytest.raises(TypeError, match=r"to_frame\(\) takes task instances"):
        to_frame([1])


def test_a_damaged_value_is_told_and_left_out(store: Path) -> None:
    """Its row has the arguments only."""
    long(1).run(executor="serial")
    (file,) = store.rglob("*.val")
    file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.warns(DamagedEntryWarning, match="is damaged"):
        frame = long.to_frame()
    assert (1, True) == (len(frame), pandas.isna(frame["stored_at"][0]))


# --- HTML ------------------------------------------------------------------------------------------------


class _Texts(HTMLParser):
    """Collects texts and tags; every tag must be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def shown(thing: Any) -> list[str]:
    """Return the texts of what a notebook shows."""
    parser = _Texts()
    parser.feed(thing._repr_html_())
    parser.close()
    assert [] == parser.open
    assert {"div", "code", "b", "table", "thead", "tbody", "tr", "th", "td"} >= parser.tags
    return parser.texts


def test_an_instance_shows_its_arguments_and_whether_it_is_stored() -> None:
    """No value is read."""
    assert ["square(x=2)", "x", "2", "result", "none in the store"] == shown(square(2))
    square(2).run(executor="serial")
    assert shown(square(2))[4].startswith("stored ")


def test_a_task_shows_its_signature_and_what_is_stored() -> None:
    """The name under which results are kept is told, too."""
    run([square(2), square(3)], executor="serial")
    title, *facts = shown(square)
    assert ("square(x: 'int') -> 'int'", ["task", square.name, "stored"]) == (title, facts[:3])
    assert facts[3].startswith("2 calls, ")


def test_a_forecast_shows_its_counts_and_reasons() -> None:
    """Some of many are shown."""
    few, many = shown(choose(2, 1).plan()), shown(checkpoint.forecast([square(n) for n in range(50)]))
    assert few[0].startswith("2 to compute, 1 to compute after these, ")
    assert ["to compute", "because", "choose(n=1, k=0)", "no entry"] == few[1:5]
    assert ["choose(n=2, k=1)", "upstream to be computed"] == few[-2:]
    assert "and 30 more" in many


def test_a_report_shows_counts_by_task_and_failures() -> None:
    """All text is escaped."""
    report = run_report([square(1), fail("<b>&")], executor="serial", on_error="continue")
    texts = shown(report)
    assert texts[0].startswith("1 computed, 0 fresh in ")
    assert [square.name, "1", "0", "0", "0"] == texts[8:13]
    assert ["fail(name='<b>&')", "KeyError: '<b>&'"] == texts[-2:]


def test_a_store_that_cannot_be_read_is_no_error_in_a_notebook(store: Path) -> None:
    """What is known without it is shown."""
    square(1).run(executor="serial")
    checkpoint.store.current_store().close()
    (store / "checkpoint" / square.name / "cache.db").write_bytes(b"this is no database" * 100)
    assert (["square(x=1)", "x", "1"], ["task", square.name]) == (shown(square(1)), shown(square)[1:])
