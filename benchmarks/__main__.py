"""Command line: `python -m benchmarks [NAME ...]` and options; see `--help`."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import plots
from benchmarks.measure import Figure

_FOLDER = Path(__file__).parent
_BASELINE = _FOLDER / "baseline.json"
#: How far a ratio may move, as a factor, before --check says so; for figures that --accept sees first.
_TOLERANCE = 1.6
#: Takes minutes, and is only run if asked for.
_PEERS = "peers"
_COLUMNS = ("what", "value", "spread", "reference", "ratio", "goal")


def names() -> list[str]:
    """Return the names of all benchmarks: `bench_<name>.py`."""
    return sorted(path.stem.removeprefix("bench_") for path in _FOLDER.glob("bench_*.py"))


def figures_of(name: str, *, quick: bool) -> Iterator[Figure]:
    """Run one benchmark."""
    measured: Callable[[bool], Iterator[Figure]] = importlib.import_module(f"benchmarks.bench_{name}").figures
    return measured(quick)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks and print their figures; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(names())}")
    if options.list:
        print("\n".join(names()))
        return 0
    measured: dict[str, list[Figure]] = {}
    chosen = options.names or [name for name in names() if options.peers or name != _PEERS]
    for name in chosen:
        measured[name] = list(figures_of(name, quick=options.quick))
        _show(name, measured[name])
    figures = [figure for each in measured.values() for figure in each]
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(figure) for figure in figures], indent=2) + "\n")
    if options.plot:
        print("\n".join(map(str, plots.draw(measured, options.plot))))
    if options.accept:
        _accept(figures)
    return _check(figures) if options.check else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what checkpoint costs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these; see --list")
    parser.add_argument("--peers", action="store_true", help="measure other libraries, too, as far as installed")
    parser.add_argument("--list", action="store_true", help="print the names of the benchmarks and stop")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds: a trial, not a measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw the figures into a folder; needs matplotlib")
    parser.add_argument("--check", action="store_true", help="compare ratios with baseline.json; exit code 1 if moved")
    parser.add_argument("--accept", action="store_true", help="write the measured ratios to baseline.json")
    return parser


# --- showing ---------------------------------------------------------------------------------------------


def _show(title: str, figures: Iterable[Figure]) -> None:
    rows = [_row(figure) for figure in figures]
    console = Console()
    if console.is_terminal:
        table = Table(title=title, title_justify="left")
        for column in _COLUMNS:
            table.add_column(column, justify="left" if column in ("what", "reference") else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    else:
        widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
        print(title)
        for row in (_COLUMNS, *rows):
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        sys.stdout.flush()


def _row(figure: Figure) -> tuple[str, ...]:
    goal = ""
    if figure.goal is not None:
        goal = f"{figure.goal.most:g}{'x' if figure.goal.is_ratio else ' ' + figure.unit}"
        goal += " met" if figure.goal.is_met(figure) else " missed"
    return (
        figure.name,
        f"{figure.value:.3g} {figure.unit}" if figure.value < 1000 else f"{figure.value:,.0f} {figure.unit}",
        f"{figure.spread:.0%}",
        figure.reference,
        f"{figure.ratio:.3g}x",
        goal,
    )


# --- the baseline ----------------------------------------------------------------------------------------


def _baseline() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = json.loads(_BASELINE.read_text()) if _BASELINE.exists() else {}
    return found


def _check(figures: Iterable[Figure]) -> int:
    baseline = _baseline()
    known = [figure for figure in figures if figure.name in baseline]
    moved = [line for figure in known if (line := _movement(figure, **baseline[figure.name]))]
    print("\n".join([*moved, f"{len(known)} ratios compared with {_BASELINE.name}, {len(moved)} moved"]))
    return 1 if moved else 0


def _movement(figure: Figure, ratio: float, tolerance: float) -> str:
    factor = figure.ratio / ratio
    if 1 / tolerance <= factor <= tolerance:
        return ""
    return (
        f"{figure.name}: {figure.ratio:.3g}x of {figure.reference} is {'worse' if factor > 1 else 'better'} "
        f"than {ratio:.3g}x by more than the tolerated factor of {tolerance:g}"
    )


def _accept(figures: Iterable[Figure]) -> None:
    baseline = _baseline()
    for figure in figures:
        tolerance = baseline.get(figure.name, {}).get("tolerance", _TOLERANCE)
        baseline[figure.name] = {"ratio": float(f"{figure.ratio:.3g}"), "tolerance": tolerance}
    _BASELINE.write_text(json.dumps(baseline, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(main())
