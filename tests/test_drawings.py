"""Diagrams and drawings: what requires what, as Mermaid, DOT and SVG."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ElementTree

import pytest
from programs import choose, square, total

from checkpoint.diagrams import Box, Diagram, Standing, by_task, diagram_of, lineage_diagram
from checkpoint.drawings import dot, mermaid, svg
from checkpoint.inventory import calls
from checkpoint.store import current_store

SVG = "{http://www.w3.org/2000/svg}"


def diagram(count: int, arrows: list[tuple[int, int]], label: str = "f") -> Diagram:
    """Return a diagram of boxes with numbers."""
    return Diagram(tuple(Box(f"{label}({n})", label, Standing.FRESH) for n in range(count)), tuple(arrows))


def test_the_graph_of_instances_says_what_would_be_computed() -> None:
    """Nothing is run; each requirement is an arrow."""
    choose(3, 2).run(executor="serial")
    choose(2, 2).clear()
    found = diagram_of(choose(3, 2), {})
    labels = [box.label for box in found.boxes]
    assert {
        "choose(n=2, k=2)": Standing.DUE,
        "choose(n=3, k=2)": Standing.MAYBE,
        "choose(n=2, k=1)": Standing.FRESH,
        "choose(n=1, k=0)": Standing.FRESH,
        "choose(n=1, k=1)": Standing.FRESH,
    } == {box.label: box.standing for box in found.boxes}
    assert ("choose(n=2, k=2)", "choose(n=3, k=2)") in [(labels[a], labels[b]) for a, b in found.arrows]
    assert 4 == len(found.arrows)


def test_stored_calls_say_what_they_were_computed_from() -> None:
    """The store alone is asked; what is gone is told as gone."""
    choose(3, 2).run(executor="serial")
    choose(2, 2).clear()
    (call,) = [each for each in calls(current_store(), choose.name) if each.arguments == {"n": 3, "k": 2}]
    found = lineage_diagram(current_store(), [call])
    standings = {box.label: box.standing for box in found.boxes}
    assert Standing.FRESH is standings["programs.choose(k=1, n=1)"]
    assert Standing.GONE is standings["programs.choose(k=2, n=2)"]
    assert (5, 4) == (len(found.boxes), len(found.arrows))


def test_by_task_has_a_box_for_each_task() -> None:
    """Arrows within a task are left out, arrows between tasks are drawn once."""
    found = by_task(diagram_of(total([square(1), square(2), total([square(3)])]), {}))
    assert [(f"{square.name} (3)", Standing.DUE), (f"{total.name} (2)", Standing.MAYBE)] == [
        (box.label, box.standing) for box in found.boxes
    ]
    assert ((0, 1),) == found.arrows
    square(1).run(executor="serial")
    assert Standing.MIXED is by_task(diagram_of([square(1), square(2)], {})).boxes[0].standing


def test_mermaid_names_every_box_and_arrow() -> None:
    """Characters with a meaning of their own are escaped."""
    text = mermaid(Diagram((Box('f("<a>;#")', "f", Standing.DUE), Box("g()", "g", Standing.GONE)), ((0, 1),)))
    assert text.splitlines()[:4] == [
        "flowchart LR",
        '    n0["f(#34;#60;a#62;#59;#35;#34;)"]:::due',
        '    n1["g()"]:::gone',
        "    n0 --> n1",
    ]
    assert 2 == text.count("classDef")


def test_dot_names_every_box_and_arrow() -> None:
    """Quotation marks and backslashes are escaped."""
    text = dot(Diagram((Box('f("\\\\")', "f", Standing.DUE), Box("g()", "g", Standing.GONE)), ((0, 1),)))
    assert '  n0 [label="f(\\"\\\\\\\\\\")", ' in text
    assert "  n0 -> n1;\n}" in text


@pytest.mark.parametrize(
    "drawn",
    [
        diagram(0, []),
        diagram(1, []),
        diagram(3, [(0, 1), (1, 2), (0, 2)]),
        diagram(4, [(0, 1), (2, 3)]),
        diagram(3, [(0, 1), (1, 2), (2, 0)]),
        diagram(2, [(0, 1), (1, 0)]),
        diagram(5, [(n, n + 1) for n in range(4)], "<b>日本&"),
    ],
    ids=["none", "one", "a long arrow", "two parts", "a circle", "a pair", "odd text"],
)
def test_an_svg_has_a_box_for_each_and_an_arrow_for_each(drawn: Diagram) -> None:
    """It is well-formed, takes nothing from outside, and no two boxes overlap."""
    root = ElementTree.fromstring(svg(drawn))
    boxes = [
        {name: float(rect.attrib[name]) for name in ("x", "y", "width", "height")}
        for rect in root.findall(f"{SVG}g/{SVG}rect")
    ]
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert [box.label for box in drawn.boxes] == texts
    assert len(drawn.arrows) == len(root.findall(f"{SVG}g/{SVG}path"))
    assert [] == [name for each in root.iter() for name in each.attrib if name.endswith("href")]
    for place, one in enumerate(boxes):
        for other in boxes[:place]:
            assert (
                one["x"] + one["width"] <= other["x"]
                or other["x"] + other["width"] <= one["x"]
                or abs(one["y"] - other["y"]) >= one["height"]
            )
        assert one["x"] + one["width"] <= float(root.attrib["width"])
        assert one["y"] + one["height"] <= float(root.attrib["height"])


def test_arrows_go_from_left_to_right() -> None:
    """What is required stands before what requires it, in random graphs, too."""
    for seed in range(20):
        chance = random.Random(seed)
        pairs = [sorted(chance.sample(range(30), 2)) for _ in range(40)]
        arrows = list(dict.fromkeys((a, b) for a, b in pairs))
        root = ElementTree.fromstring(svg(diagram(30, arrows)))
        lefts = [float(each.attrib["x"]) for each in root.iter(f"{SVG}text")]
        assert all(lefts[a] < lefts[b] for a, b in arrows)
        ends = [re.findall(r"-?\d+", each.attrib["d"]) for each in root.findall(f"{SVG}g/{SVG}path")]
        assert [lefts[b] - 10 for _, b in arrows] == [float(numbers[-2]) for numbers in ends]
