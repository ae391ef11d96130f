"""A simulated cluster: the real engine and plan on workers that exist only in a virtual time, with a seed.

Workers finish in any order, are slow, die with what they run, run a call twice, and go on with what they were told to
stop. Nothing is computed and nothing stored; what came of each call is counted.
"""

from __future__ import annotations

import contextlib
import heapq
import queue
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any
from unittest import mock

import xxhash

from checkpoint import ExecutorTraits
from checkpoint.choice import Options
from checkpoint.engine import Run
from checkpoint.graph import Instance, Runner
from checkpoint.job import Job, Kind, Report
from checkpoint.outcome import Outcome
from checkpoint.store import Epoch
from checkpoint.version import basis_of, edition_of, generation_of


class Died(Exception):
    """A worker is gone."""


@dataclass
class Weather:
    """How a cluster behaves: probabilities for each batch, and what a call takes."""

    workers: int = 4
    loss: float = 0.0
    twice: float = 0.0
    slow: float = 0.0
    seconds: float = 0.05


class VirtualQueue:
    """What the engine waits on: waiting lets virtual time pass."""

    def __init__(self, pass_time: Callable[[], bool]) -> None:
        self._items: list[Any] = []
        self._pass_time = pass_time

    def put(self, item: Any) -> None:
        self._items.append(item)

    def get(self, timeout: float | None = None) -> Any:
        while not self._items:
            if not self._pass_time():
                raise AssertionError("the engine waits and nothing runs")
        return self._items.pop(0)

    def empty(self) -> bool:
        return not self._items

    def get_nowait(self) -> Any:
        if not self._items:
            raise queue.Empty
        return self._items.pop(0)


class SimulatedWorkers:
    """Workers of an engine, in virtual time."""

    is_in_this_thread = False
    largest_batch = 256
    takes_chains = False

    def __init__(self, weather: Weather, seed: int) -> None:
        self.traits = ExecutorTraits(loss="neighbours")
        self.count = self.ahead = weather.workers
        self.weather, self.random = weather, random.Random(seed)
        self.now = 0.0
        self.calls: Counter[Instance] = Counter()
        self.lost: Counter[Instance] = Counter()
        self.most_at_once = self.submissions = self.ready_too_early = 0
        self.done: set[Instance] = set()
        self._events: list[tuple[float, float, int, Future[Any], Sequence[Job], bool]] = []
        self._is_stopped = False

    def submit(self, batch: int, jobs: Sequence[Job], tasks: Sequence[Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self.submissions += 1
        weather, chance = self.weather, self.random
        took = weather.seconds * len(jobs) * (chance.random() + 0.5) * (20 if chance.random() < weather.slow else 1)
        dies = chance.random() < weather.loss
        event = (self.now + took, chance.random(), batch, future, jobs, dies)
        heapq.heappush(self._events, event)
        self.most_at_once = max(self.most_at_once, len(self._events))
        return future

    def pass_time(self) -> bool:
        """Let the next batch end; False if none runs."""
        if not self._events:
            return False
        self.now, _, _, future, jobs, dies = heapq.heappop(self._events)
        times = 2 if self.random.random() < self.weather.twice else 1
        if dies:
            reached = self.random.randrange(len(jobs)) + 1
            self.lost.update(job.instance for job in jobs)
            self.calls.update(job.instance for job in jobs[:reached])
            future.set_exception(Died("a worker"))
            return True
        reports = []
        for job in jobs:
            self.calls[job.instance] += times
            reports.append(self._report(job))
            self.done.add(job.instance)
        future.set_result(reports)
        return True

    def _report(self, job: Job) -> Report:
        runner: Runner = job.runner or job.instance.evaluate()
        upstream = runner.upstream()
        self.ready_too_early += any(above not in self.done for above in upstream)
        basis = basis_of([xxhash.xxh3_128_digest(f"{above.task.name}{above.key}".encode()) for above in upstream])
        edition = edition_of(job.instance.task.fingerprint, basis)
        digest = xxhash.xxh3_128_digest(job.instance.key.encode())
        generation = generation_of(Epoch(0, 0), ())
        return Report(Kind.COMPUTED, generation, digest, self.weather.seconds, 100, "simulated", edition)

    def receive(self, batch: int, result: Any) -> list[Report]:
        found: list[Report] = result
        return found

    def forget(self, batch: int) -> None:
        pass

    def stop(self) -> None:
        self._is_stopped = True

    def begun(self) -> None:
        return None

    def rebuild(self) -> bool:
        return False

    def waiting(self) -> Any:
        return contextlib.nullcontext()

    def close(self, *, kill: bool = False) -> None:
        pass


def simulated(roots: Sequence[Instance], store: Any, workers: SimulatedWorkers, **options: Any) -> Outcome:
    """Run instances on simulated workers; all that doesn't depend on failures unless told otherwise."""
    run = Run(roots, store, Options(executor="threads", **{"stops_on_error": False, **options}))
    completions = mock.patch("checkpoint.computing.queue.SimpleQueue", return_value=VirtualQueue(workers.pass_time))
    with completions, mock.patch("checkpoint.computing.open_workers", return_value=workers):
        return run.execute()


def layers(make: Callable[..., Instance], widths: Sequence[int], seed: int) -> Iterator[Instance]:
    """Yield the last layer of a random graph: each instance requires up to three of the layer before."""
    chance = random.Random(seed)
    before: list[Instance] = []
    for depth, width in enumerate(widths):
        before = [make(depth * 1_000_000 + i, chance.sample(before, min(3, len(before)))) for i in range(width)]
    yield from before
