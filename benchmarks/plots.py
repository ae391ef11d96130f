"""Plots: figures as pictures, one for each benchmark: ratios as bars, costs by size as lines.

matplotlib is imported when one is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure

_COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#718096")
_SIZE = re.compile(r"\d{1,3}(?:,\d{3})+|\d{2,}")


def draw(measured: Mapping[str, Sequence[Figure]], folder: Path) -> list[Path]:
    """Draw the figures of each benchmark into a folder; return the files."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "checkpoint"  # the same figures give the same file
    folder.mkdir(parents=True, exist_ok=True)
    files = [_bars(figures, folder / f"{name}.svg") for name, figures in measured.items() if figures]
    lines = _by_size(figure for figures in measured.values() for figure in figures)
    return [*files, _lines(lines, folder / "by-size.svg")] if lines else files


def _bars(figures: Sequence[Figure], file: Path) -> Path:
    """Draw ratios on a logarithmic scale, with the reference at 1 and a mark at each goal."""
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(figsize=(8, 0.6 + 0.34 * len(figures)), layout="constrained")
    places = range(len(figures), 0, -1)
    for place, figure in zip(places, figures, strict=True):
        is_missed = figure.goal is not None and not figure.goal.is_met(figure)
        axes.barh(place, figure.ratio - 1, left=1, height=0.6, color=_COLOURS[1] if is_missed else _COLOURS[0])
        label = f" {figure.ratio:.3g}x "
        axes.text(figure.ratio, place, label, va="center", ha="left" if figure.ratio >= 1 else "right", fontsize=8)
        if figure.goal is not None and figure.goal.is_ratio:
            axes.plot([figure.goal.most] * 2, [place - 0.4, place + 0.4], color="black", linewidth=1.5)
    axes.set_yticks(list(places), [f"{figure.name}\n({figure.reference})" for figure in figures], fontsize=7)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:.2g}")
    axes.margins(x=0.2)
    axes.axvline(1, color="#4a5568", linewidth=0.8)
    axes.set_xlabel("times the reference; less is better; black: a goal; orange: missed", fontsize=7)
    return _saved(drawing, file)


def _by_size(figures: Iterable[Figure]) -> dict[str, list[tuple[int, Figure]]]:
    """Return the figures whose names differ in one number alone, where there are three sizes of them."""
    groups: dict[str, list[tuple[int, Figure]]] = {}
    for figure in figures:
        found = _SIZE.findall(figure.name)
        if len(found) == 1:
            groups.setdefault(_SIZE.sub("N", figure.name), []).append((int(found[0].replace(",", "")), figure))
    return {name: sorted(group, key=lambda each: each[0]) for name, group in groups.items() if len(group) > 2}


def _lines(groups: Mapping[str, Sequence[tuple[int, Figure]]], file: Path) -> Path:
    """Draw cost by size, each of its own unit, both on logarithmic scales."""
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    for number, (name, group) in enumerate(groups.items()):
        label = f"{name} ({group[0][1].unit})"
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot([size for size, _ in group], [figure.value for _, figure in group], "o-", color=colour, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("N")
    axes.set_ylabel("cost of one")
    axes.legend(fontsize=7)
    return _saved(drawing, file)


def _saved(drawing: Any, file: Path) -> Path:
    from matplotlib import pyplot

    drawing.savefig(file, metadata={"Date": None})
    pyplot.close(drawing)
    return file
