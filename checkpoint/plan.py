"""Plan: which instances are fresh, ready, running or settled, and what may start next.

A pure state machine over a graph: told what happened, it says what can happen. An instance is decided when the
last of its upstream is settled: fresh if its entry's basis is the hash of their versions, else ready to compute.

    WAITING -> FRESH                                       its entry holds
    WAITING -> READY -> RUNNING -> COMPUTED                it had to be computed
                        RUNNING -> READY | WAITING         again, or again after an upstream value that is gone
                        RUNNING -> FAILED;  WAITING -> BLOCKED below a failure
                        RUNNING -> PARKED -> READY         another run is computing it; once that is over
                        RUNNING -> FRESH                   another run has computed it
    FRESH, COMPUTED -> READY | WAITING                     its value turned out to be gone, or is known to be

Must not know: clocks, stores, executors, values. Any other move raises.

Next: collector.py
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import final

from checkpoint.graph import Graph
from checkpoint.store import Entry, Epoch
from checkpoint.version import NO_BASIS, basis_of, edition_of, generation_of, unstored_digest_of, version_of

__all__ = ["Plan", "State"]

_FIRST_EPOCH = Epoch(0, 0)


class State(enum.Enum):
    """Where an instance stands."""

    WAITING = "waiting"
    FRESH = "fresh"
    READY = "ready"
    RUNNING = "running"
    PARKED = "parked"
    COMPUTED = "computed"
    FAILED = "failed"
    BLOCKED = "blocked"


@final
class Plan:
    """The state of one run. Not thread-safe: one thread drives it."""

    def __init__(
        self,
        graph: Graph,
        candidates: Sequence[Sequence[Entry]],
        epochs: Mapping[int, Epoch],
        capacities: Mapping[str, int],
        limits_of: Callable[[int], tuple[str, ...]],
    ) -> None:
        """Start a plan.

        Args:
            graph: what can be reached.
            candidates: node -> entries that may be used if they are fresh, the best first.
            epochs: epochs of the nodes that aren't stored; a missing one was never cleared.
            capacities: limit -> how many that count against it may run at once.
            limits_of: node -> the limits it counts against.
        """
        count = len(graph)
        self.states = [State.WAITING] * count
        #: Node -> version, once it is settled.
        self.versions: list[bytes | None] = [None] * count
        self._graph = graph
        #: Node -> the entry that is used, once it is fresh.
        self.served: list[Entry | None] = [None] * count
        self._editions: dict[int, str] = {}
        self._candidates = list(candidates)
        self._epochs = epochs
        self._free = dict(capacities)
        self._limits_of = limits_of
        self._open_upstream = [0] * count
        self._dependents: dict[int, list[int]] = {}
        self._ready: dict[tuple[str, ...], list[int]] = {}
        #: How many are ready / running.
        self.ready_count = self.running_count = 0
        for node in range(count):
            self._decide(node)

    def _wait(self, node: int, upstream: Sequence[int]) -> None:
        self._open_upstream[node] += len(upstream)
        for above in upstream:
            self._dependents.setdefault(above, []).append(node)

    def _upstream_versions(self, node: int) -> Sequence[bytes]:
        versions = self.versions
        return [version for above in self._graph.upstream[node] if (version := versions[above]) is not None]

    def _decide(self, node: int) -> bool:
        """Settle a node whose upstream is settled if its entry holds, else make it ready."""
        above = self._graph.upstream[node]
        upstream = self._upstream_versions(node) if above else ()
        if len(upstream) < len(above):
            self._wait(node, [each for each in above if self.versions[each] is None])
            return False
        basis = basis_of(upstream) if above else NO_BASIS
        instance = self._graph.instances[node]
        task = instance.task
        if task.is_stored:
            for entry in self._candidates[node]:
                if entry.basis == basis or entry is instance.pinned:
                    break
            else:
                self._require(node)
                return False
            self.served[node] = entry
            generation, digest = entry.generation, entry.digest
        else:
            generation = generation_of(self._epochs.get(node, _FIRST_EPOCH), upstream)
            digest = unstored_digest_of(instance, basis)
        self.versions[node] = version_of(task.name, instance.key, generation, digest)
        self.states[node] = State.FRESH
        return True

    def _require(self, node: int) -> None:
        """Make a node ready once those values that it takes and that were collected are computed again."""
        pending = [node]
        while pending:
            needed = pending.pop()
            if not self._graph.upstream[needed]:
                self._make_ready(needed)
                continue
            served = [(above, self.served[above]) for above in self._graph.upstream[needed]]
            collected = [above for above, entry in served if entry is not None and entry.is_collected]
            if not collected:
                self._make_ready(needed)
                continue
            self.states[needed] = State.WAITING
            for above in collected:
                self._forget(above)
            self._wait(needed, collected)
            pending.extend(collected)

    def _forget(self, node: int) -> None:
        self.versions[node] = None
        self.served[node] = None
        self._candidates[node] = ()

    def _make_ready(self, node: int) -> None:
        self.states[node] = State.READY
        self.ready_count += 1
        heapq.heappush(self._ready.setdefault(self._limits_of(node), []), node)

    def _leave(self, node: int, state: State) -> None:
        """Take a node out of RUNNING."""
        if self.states[node] is not State.RUNNING:
            raise ValueError(f"node {node} is {self.states[node].value}, not running")
        for limit in self._limits_of(node):
            self._free[limit] += 1
        self.running_count -= 1
        self.states[node] = state

    # --- what can happen ---

    def _first(self) -> tuple[int, tuple[str, ...]] | None:
        """Return the node that may start next, and its limits."""
        return min(
            (
                (queue[0], limits)
                for limits, queue in self._ready.items()
                if queue and all(self._free[limit] > 0 for limit in limits)
            ),
            default=None,
        )

    def resize(self, limit: str, size: int) -> None:
        """Let another number of those that count against a limit run at once. Only while nothing runs."""
        if self.running_count:
            raise ValueError(f"{self.running_count} nodes are running")
        if limit in self._free:
            self._free[limit] = size

    def held(self) -> dict[str, int]:
        """Return each limit that is used up -> how many are ready and wait for it; for the first of several."""
        found: dict[str, int] = {}
        for limits, queue in self._ready.items():
            full = next((limit for limit in limits if self._free[limit] == 0), None)
            if full is not None and queue:
                found[full] = found.get(full, 0) + len(queue)
        return found

    def upcoming(self) -> int | None:
        """Return the node that `take` would give first."""
        found = self._first()
        return found[0] if found is not None else None

    def take(self, most: int, cost_of: Callable[[int], float], budget: float, *, is_deep: bool = True) -> list[int]:
        """Return nodes to run now, one after the other by one worker, and mark them running.

        The lowest come first, whatever order they became ready in: one, and more while their costs fit the budget,
        `most` at the most. A node with a limit comes alone. If `is_deep`, nodes follow that wait for nothing but
        these and can only be computed, so that a chain needs no way back between its links.
        """
        found = self._first()
        if found is None:
            return []
        limits = found[1]
        queue = self._ready[limits]
        taken = [heapq.heappop(queue)]
        cost = cost_of(taken[0])
        while queue and not limits and len(taken) < most and (cost := cost + cost_of(queue[0])) <= budget:
            taken.append(heapq.heappop(queue))
        self.ready_count -= len(taken)
        if is_deep and not limits and not queue:
            self._follow(taken, most, cost_of, budget - cost)
        for node in taken:
            self.states[node] = State.RUNNING
            for limit in limits:
                self._free[limit] -= 1
        self.running_count += len(taken)
        return taken

    def _follow(self, taken: list[int], most: int, cost_of: Callable[[int], float], budget: float) -> None:
        """Add waiting nodes whose upstream is settled or taken, in an order in which they can be computed."""
        lacking: dict[int, int] = {}
        for node in taken:  # which grows
            for below in self._dependents.get(node, ()):
                lacking[below] = lacking.get(below, self._open_upstream[below]) - 1
                if lacking[below] == 0 and self._is_certain(below):
                    budget -= cost_of(below)
                    if budget < 0 or len(taken) >= most:
                        return
                    taken.append(below)

    def _is_certain(self, node: int) -> bool:
        """Tell whether a waiting node will be computed whatever its upstream turns out to be, and has no limits."""
        is_open = self.states[node] is State.WAITING and not self._candidates[node]
        return is_open and self._graph.instances[node].task.is_stored and not self._limits_of(node)

    def is_waiting(self, node: int) -> bool:
        """Tell whether some of a node's upstream isn't settled."""
        return self._open_upstream[node] > 0

    # --- what happened ---

    def edition(self, node: int) -> str:
        """Return which of its key's entries has the value of a settled node."""
        entry = self.served[node]
        return edition_of(entry.fingerprint, entry.basis) if entry is not None else self._editions[node]

    def editions_above(self, node: int) -> dict[bytes, str]:
        """Return the editions of what a node reads: its upstream, and that of those which are not stored."""
        if not self._graph.upstream[node]:
            return {}
        found: dict[bytes, str] = {}
        seen = set(self._graph.upstream[node])
        pending = list(seen)
        while pending:
            above = pending.pop()
            version = self.versions[above]
            if not self._graph.instances[above].task.is_stored:
                new = set(self._graph.upstream[above]) - seen
                pending.extend(new)
                seen |= new
            elif version is not None:
                found[version[:16]] = self.edition(above)
        return found

    def computed(self, node: int, generation: bytes, digest: bytes, edition: str) -> list[int]:
        """Settle a running node; return the nodes below that turned out fresh."""
        return self._settle(node, State.COMPUTED, generation, digest, edition)

    def found(self, node: int, generation: bytes, digest: bytes, edition: str) -> list[int]:
        """Settle a running node that has an entry by now; return the nodes below that turned out fresh."""
        return self._settle(node, State.FRESH, generation, digest, edition)

    def _settle(self, node: int, state: State, generation: bytes, digest: bytes, edition: str) -> list[int]:
        self._leave(node, state)
        self._editions[node] = edition
        instance = self._graph.instances[node]
        self.versions[node] = version_of(instance.task.name, instance.key, generation, digest)
        fresh: list[int] = []
        settled = [node]
        while settled:
            for below in self._dependents.pop(settled.pop(), ()):
                self._open_upstream[below] -= 1
                if self._open_upstream[below] == 0 and self.states[below] is State.WAITING and self._decide(below):
                    fresh.append(below)
                    settled.append(below)
        return fresh

    def basis(self, node: int) -> bytes:
        """Return the hash of the versions that a node is computed from, whose upstream is settled."""
        return basis_of(self._upstream_versions(node)) if self._graph.upstream[node] else NO_BASIS

    def park(self, node: int) -> None:
        """Put a running node aside."""
        self._leave(node, State.PARKED)

    def unpark(self, node: int) -> None:
        """Make a parked node ready once more."""
        if self.states[node] is not State.PARKED:
            raise ValueError(f"node {node} is {self.states[node].value}, not parked")
        self._make_ready(node)

    def again(self, node: int) -> None:
        """Put a running node back: ready once more, or waiting for what was taken along with it."""
        self._leave(node, State.WAITING)
        if not self._open_upstream[node]:
            self._make_ready(node)

    def lacks(self, node: int, upstream: Sequence[int]) -> None:
        """Put a running node back until upstream nodes, whose values are gone, are computed again."""
        self._leave(node, State.WAITING)
        for above in upstream:
            self.gone(above)
            if self.states[above] in (State.FAILED, State.BLOCKED):
                self.states[node] = State.BLOCKED
        self._wait(node, upstream)

    def gone(self, node: int) -> None:
        """Note that the value of a settled node is not in the store."""
        if self.states[node] in (State.FRESH, State.COMPUTED):
            self._forget(node)
            self._require(node)

    def failed(self, node: int) -> list[int]:
        """Give up a running node; return everything below it, which is blocked now."""
        self._leave(node, State.FAILED)
        blocked: list[int] = []
        spreading = [node]
        while spreading:
            for below in self._dependents.get(spreading.pop(), ()):
                if self.states[below] is State.WAITING:
                    self.states[below] = State.BLOCKED
                    blocked.append(below)
                    spreading.append(below)
        return blocked
