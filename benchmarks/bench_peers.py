"""Peers: the same program with other libraries, as many as are installed (`--peers` runs this one, too)."""

from __future__ import annotations

import importlib.metadata
import logging
import subprocess
from collections.abc import Iterator

from benchmarks.bench_programs import program
from benchmarks.measure import Figure, Goal, compare
from benchmarks.programs.libraries import LIBRARIES, Peer

_SLOWEST_SECONDS = 3.0
#: Longer than that no library is waited for.
_MOST_SECONDS = 30.0
#: How much faster than the fastest peer that keeps results and looks at each of them again.
_GOAL = 5.0


def figures(quick: bool) -> Iterator[Figure]:
    """Compare the fastest way of using each library with checkpoint in this thread: Pascal's rule, cold and warm."""
    size = 20 if quick else 100
    failed: set[str] = set()
    for phase in "cold", "warm":
        best: Figure | None = None
        for title, peer in LIBRARIES.items():
            if not _is_installed(peer) or title in failed or (phase == "warm" and peer.looks_at == "nothing"):
                continue
            figure = _measured(title, peer, size, phase, quick)
            if figure is None:
                failed.add(title)
                continue
            yield figure
            if peer.looks_at == "all" and (best is None or figure.ratio < best.ratio):
                best = figure
        if best is not None:
            name = f"{phase} choose {size}, beside the fastest that looks at all"
            goal = Goal(1 / _GOAL, is_ratio=True)
            yield Figure(name, "ms", best.value / best.ratio, best.spread, best.name, 1 / best.ratio, goal)


def _is_installed(peer: Peer) -> bool:
    try:
        return bool(importlib.metadata.version(peer.package))
    except importlib.metadata.PackageNotFoundError:
        return False


def _measured(title: str, peer: Peer, size: int, phase: str, quick: bool) -> Figure | None:
    name = f"{phase} choose {size}, {title} (looks at {peer.looks_at})"
    try:
        with (
            program("ours.serial", "choose", size, phase) as ours,
            program(f"libraries.{peer.function}", "choose", size, phase, most_seconds=_MOST_SECONDS) as theirs,
        ):
            first = theirs()
            is_slow = first > _SLOWEST_SECONDS
            subject = {name: (lambda: first) if is_slow else theirs}
            (figure,) = compare(subject, ("checkpoint", ours), "ms", rounds=1 if is_slow or quick else 3)
    except subprocess.SubprocessError as error:
        logging.getLogger("benchmarks").warning("%s: %s", name, error)
        return None
    return figure
