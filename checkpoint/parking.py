"""Parking: instances that another run is computing, and when to look at them again.

One is left when nobody holds its claim any more. It is also left, to be computed without a claim, when its holder
may wait for this run, or for something long: when a claim is held in this very thread; when its result was only
waiting to be committed and still isn't; and, for a run inside of a runner, when its holder waits itself. So two that
wait for each other go on, at the cost of computing something twice.

Must not know: plans, executors.

Next: verdicts.py
"""

from __future__ import annotations

import time
from typing import NamedTuple, final

from checkpoint.store import Claims, Standing, Store, claim_name

__all__ = ["Parking"]

_SHORTEST_SECONDS = 0.002
#: How long to wait for what may not go on by itself.
_PATIENCE_SECONDS = 4.0
#: Looking takes at most about this part of the time.
_SHARE = 0.1


class _Parked(NamedTuple):
    name: int
    since: float


@final
class Parking:
    """The parked nodes of a run. Not thread-safe: one thread drives the run."""

    def __init__(self, store: Store, *, is_inside_runner: bool) -> None:
        self._store = store
        self._is_inside_runner = is_inside_runner
        self._parked: dict[int, _Parked] = {}
        self._claims: Claims | None = None
        self._pause = _SHORTEST_SECONDS
        self._due = 0.0

    def __len__(self) -> int:
        return len(self._parked)

    def add(self, node: int, task: str, row: str) -> None:
        """Park a node whose row another run has claimed."""
        now = time.monotonic()
        if not self._parked:
            self._pause, self._due = _SHORTEST_SECONDS, now + _SHORTEST_SECONDS
        self._parked[node] = _Parked(claim_name(task, row), now)

    def seconds_left(self) -> float | None:
        """Return how long there is nothing to look at; None if nothing is parked."""
        return max(0.0, self._due - time.monotonic()) if self._parked else None

    def leaving(self) -> dict[int, bool]:
        """Return the nodes that need not wait any longer, and whether each may be claimed."""
        began = time.monotonic()
        if not self._parked or began < self._due:
            return {}
        if self._claims is None:
            self._claims = self._store.claims()
        found = {}
        standings = self._claims.standings({parked.name for parked in self._parked.values()})
        for node, (name, since) in self._parked.items():
            standing = standings[name]
            if standing is Standing.FREE:
                found[node] = True
            elif self._is_in_vain(standing, began - since):
                found[node] = False
        for node in found:
            del self._parked[node]
        self._pause = _SHORTEST_SECONDS if found else min(1.5 * self._pause, self._claims.longest_pause)
        now = time.monotonic()
        self._due = now + max(self._pause, (now - began) / _SHARE)
        return found

    def _is_in_vain(self, standing: Standing, seconds: float) -> bool:
        """Tell whether who waits for a claim may wait for ever."""
        if standing is Standing.OWN:
            return True
        may_depend = standing is Standing.GATHERED or (standing is Standing.WAITING and self._is_inside_runner)
        return may_depend and seconds > _PATIENCE_SECONDS

    def clear(self) -> None:
        """Forget all nodes."""
        self._parked.clear()
        if self._claims is not None:
            self._claims.close()
            self._claims = None
