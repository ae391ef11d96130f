"""Drawings: diagrams as Mermaid, as DOT and as SVG.

The layout of an SVG is a library's (extra `graph`); what is drawn needs nothing from outside.

Must not know: stores, tasks.

Next: frames.py
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Literal

from checkpoint import texts
from checkpoint.diagrams import Diagram, Standing

__all__ = ["dot", "mermaid", "svg"]

#: Standing -> fill and line of its boxes.
_COLOURS = {
    Standing.FRESH: ("#e3f4e3", "#3c8d40"),
    Standing.DUE: ("#ffe8cc", "#c76b00"),
    Standing.MAYBE: ("#fff8d6", "#a58b00"),
    Standing.GONE: ("#eeeeee", "#888888"),
    Standing.MIXED: ("#e8ecfb", "#4a5fc1"),
}
_LONGEST_LABEL = 60
_CHARACTER, _LINE, _GAP, _BETWEEN, _MARGIN = 7.2, 28, 14, 56, 16


def mermaid(diagram: Diagram) -> str:
    """Return a diagram as a Mermaid flowchart."""
    lines = ["flowchart LR"]
    lines += [
        f'    n{place}["{_for_mermaid(texts.cut(box.label, _LONGEST_LABEL))}"]:::{box.standing.name.lower()}'
        for place, box in enumerate(diagram.boxes)
    ]
    lines += [f"    n{above} --> n{below}" for above, below in diagram.arrows]
    for standing in dict.fromkeys(box.standing for box in diagram.boxes):
        fill, line = _COLOURS[standing]
        lines.append(f"    classDef {standing.name.lower()} fill:{fill},stroke:{line},color:#222")
    return "\n".join(lines) + "\n"


def _for_mermaid(text: str) -> str:
    """Return text as Mermaid takes it between quotation marks."""
    return "".join(part if part not in '"#<>&;`\\' else f"#{ord(part)};" for part in text)


def dot(diagram: Diagram) -> str:
    """Return a diagram in the language of Graphviz."""
    lines = [
        "digraph checkpoint {",
        "  rankdir=LR;",
        '  node [shape=box, style="rounded,filled", fontname="monospace"];',
    ]
    for place, box in enumerate(diagram.boxes):
        fill, line = _COLOURS[box.standing]
        label = texts.cut(box.label, _LONGEST_LABEL).replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'  n{place} [label="{label}", fillcolor="{fill}", color="{line}"];')
    lines += [f"  n{above} -> n{below};" for above, below in diagram.arrows]
    return "\n".join([*lines, "}"]) + "\n"


def svg(diagram: Diagram) -> str:
    """Return a diagram as an SVG picture of its own: no script, nothing from outside.

    Raises:
        ImportError: fast-sugiyama is not installed (extra `graph`).
    """
    labels = [texts.cut(box.label, _LONGEST_LABEL) for box in diagram.boxes]
    ranks, levels, bends = _laid_out(diagram)
    lefts, widths, right = _columns(ranks, labels)
    middles = [_MARGIN + _LINE / 2 + level * (_LINE + _GAP) for level in levels]
    lowest = max([*middles, *(_MARGIN + level * (_LINE + _GAP) for path in bends for _, level in path)], default=0)
    paths = []
    for (above, below), path in zip(diagram.arrows, bends, strict=True):
        points = [(lefts[ranks[above]] + widths[above], middles[above])]
        for rank, level in path:
            height = _MARGIN + _LINE / 2 + level * (_LINE + _GAP)
            points += [(lefts[rank], height), (lefts[rank + 1] - _BETWEEN, height)]
        points.append((lefts[ranks[below]] - 2, middles[below]))
        paths.append(f'<path d="{_curve(points)}"/>')
    boxes = [
        f"<g><title>{escape(f'{box.label}: {box.standing.value}')}</title>"
        f'<rect x="{lefts[rank]:.0f}" y="{middle - _LINE / 2:.0f}" width="{width:.0f}" height="{_LINE}" rx="5" '
        f'fill="{_COLOURS[box.standing][0]}" stroke="{_COLOURS[box.standing][1]}"/>'
        f'<text x="{lefts[rank] + 8:.0f}" y="{middle + 4:.0f}">{escape(label)}</text></g>'
        for box, label, rank, middle, width in zip(diagram.boxes, labels, ranks, middles, widths, strict=True)
    ]
    wide, high = f"{right + _MARGIN:.0f}", f"{lowest + _LINE / 2 + _MARGIN:.0f}"
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" '
        'font-family="monospace" font-size="12" fill="#222">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#777"/></marker></defs>',
        f'<rect width="{wide}" height="{high}" fill="#ffffff"/>',
        '<g fill="none" stroke="#777" marker-end="url(#tip)">', *paths, "</g>", *boxes, "</svg>", "",
    ])  # fmt: skip


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """Return a line through points that leaves and arrives horizontally."""
    first, *others = points
    parts, (x, y) = [f"M{first[0]:.0f},{first[1]:.0f}"], first
    for end_x, end_y in others:
        middle = (x + end_x) / 2
        parts.append(f"C{middle:.0f},{y:.0f} {middle:.0f},{end_y:.0f} {end_x:.0f},{end_y:.0f}")
        x, y = end_x, end_y
    return " ".join(parts)


def _columns(ranks: Sequence[int], labels: Sequence[str]) -> tuple[list[float], list[float], float]:
    """Return the left of each rank's column and one more, the width of each box, and where the last column ends."""
    widths = [texts.width_of(label) * _CHARACTER + 16 for label in labels]
    widest = [0.0] * (max(ranks, default=-1) + 1)
    for rank, width in zip(ranks, widths, strict=True):
        widest[rank] = max(widest[rank], width)
    lefts = [float(_MARGIN)]
    for width in widest:
        lefts.append(lefts[-1] + width + _BETWEEN)
    return lefts, widths, lefts[-1] - (_BETWEEN if widest else 0)


#: A rank, counted from the left, and a level, counted from above; levels of boxes of a rank are one apart.
_Place = tuple[int, float]
#: For each arrow the places that it passes through.
_Bends = dict[tuple[int, int], list[_Place]]


def _laid_out(diagram: Diagram) -> tuple[list[int], list[float], list[list[_Place]]]:
    """Return the rank and the level of each box, and what each arrow passes through."""
    forward = _forward(diagram)
    count = len(diagram.boxes)
    spots, bends = _places_of(forward, count) if forward else ({}, {})
    lowest = max((level for _, level in spots.values()), default=-1.0) + 1
    for node in range(count):
        if node not in spots:
            spots[node], lowest = (0, lowest), lowest + 1
    places = [spots[node] for node in range(count)]
    return [rank for rank, _ in places], [level for _, level in places], [bends.get(at, []) for at in diagram.arrows]


def _places_of(arrows: Sequence[tuple[int, int]], count: int) -> tuple[dict[int, _Place], _Bends]:
    """Return where the boxes of arrows go.

    The library now and then puts a box beside or behind one that requires it, or two boxes over each other; another of
    its ways then does better.
    """
    found: tuple[dict[int, _Place], _Bends] = {}, {}
    for ranking, crossing in _WAYS:
        found = _tried(arrows, count, ranking, crossing)
        if _is_right(found[0], arrows):
            break
    return found


_Ranking = Literal["minimize", "up", "down", "original"]
_Crossing = Literal["barycenter", "median"]
_WAYS: tuple[tuple[_Ranking, _Crossing], ...] = (
    ("minimize", "barycenter"), ("up", "barycenter"), ("original", "barycenter"), ("down", "barycenter"),
    ("minimize", "median"), ("up", "median"), ("original", "median"), ("down", "median"),
)  # fmt: skip


def _tried(
    arrows: Sequence[tuple[int, int]], count: int, ranking: _Ranking, crossing: _Crossing
) -> tuple[dict[int, _Place], _Bends]:
    """Return the places of boxes as the library has them; its nodes from `count` on are bends of long arrows."""
    from fast_sugiyama import from_edges

    # It knows boxes by their order; numbers without gaps keep bends apart from boxes.
    numbers = {node: number for number, node in enumerate(dict.fromkeys(node for edge in arrows for node in edge))}
    nodes = list(numbers)
    layouts = from_edges(
        [(numbers[above], numbers[below]) for above, below in arrows],
        vertex_spacing=1,
        dummy_vertices=True,
        dummy_size=0.4,
        ranking_type=ranking,
        crossing_minimization=crossing,
    )
    boxes: dict[int, _Place] = {}
    bends: _Bends = {}
    lowest = 0.0
    for positions, _, _, edges in layouts:
        at = {int(node): place for node, place in positions}
        ranks = {floor: rank for rank, floor in enumerate(sorted({place[1] for place in at.values()}, reverse=True))}
        left = min(place[0] for place in at.values())
        spots = {node: (ranks[place[1]], lowest + place[0] - left) for node, place in at.items()}
        boxes.update((nodes[node], spot) for node, spot in spots.items() if node < len(nodes))
        bends.update(
            ((nodes[start], nodes[end]), passed) for (start, end), passed in _paths(edges or (), spots, len(nodes))
        )
        lowest = max(level for _, level in spots.values()) + 1
    return boxes, bends


def _is_right(boxes: Mapping[int, _Place], arrows: Iterable[tuple[int, int]]) -> bool:
    """Tell whether all arrows go to the right and no two boxes overlap."""
    by_rank: dict[int, list[float]] = {}
    for rank, level in boxes.values():
        by_rank.setdefault(rank, []).append(level)
    are_apart = all(
        below - above > 0.99 for levels in by_rank.values() for above, below in itertools.pairwise(sorted(levels))
    )
    return are_apart and all(boxes[above][0] < boxes[below][0] for above, below in arrows)


def _paths(
    edges: Iterable[tuple[int | str, int | str]], spots: Mapping[int, _Place], count: int
) -> Iterator[tuple[tuple[int, int], list[_Place]]]:
    """Yield each arrow between boxes and the places that it passes through."""
    following = {int(start): int(end) for start, end in edges if int(start) >= count}
    for start, end in edges:
        if int(start) < count:
            passed, at = [], int(end)
            while at >= count:
                passed.append(spots[at])
                at = following[at]
            yield (int(start), at), passed


def _forward(diagram: Diagram) -> list[tuple[int, int]]:
    """Return the arrows without those that would close a circle: tasks may require each other, instances can't."""
    below: dict[int, list[int]] = {}
    for above, end in diagram.arrows:
        below.setdefault(above, []).append(end)
    order: dict[int, int] = {}
    for root in range(len(diagram.boxes)):
        trail = [(root, iter(below.get(root, ())))]
        seen_here = {root}
        while trail and root not in order:
            node, remaining = trail[-1]
            following = next((end for end in remaining if end not in order and end not in seen_here), None)
            if following is None:
                trail.pop()
                order[node] = len(order)
            else:
                seen_here.add(following)
                trail.append((following, iter(below.get(following, ()))))
    return [(above, end) for above, end in diagram.arrows if order[above] > order[end]]
