"""Scripts: a whole warm program beside the same program that has its result written down."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench_programs import program
from benchmarks.measure import Figure, compare


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with interpreter, reading the arguments, and nothing else; processor time."""
    size = 20 if quick else 100
    for title, kind, count in (("one task", "chain", 0), (f"choose({size}, {size // 2})", "choose", size)):
        with (
            program("ours.serial", kind, count, "warm") as ours,
            program("plain.written_down", kind, count, "warm") as base,
        ):
            yield from compare(
                {f"warm script, {title}": ours}, ("result written down", base), "ms", rounds=2 if quick else 7
            )
