"""Plan and engine on simulated clusters: whatever workers do, all is computed, in order, and within limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.simulation import SimulatedWorkers, Weather, layers, simulated
from checkpoint import TaskLostError, memo
from checkpoint.store import current_store

WEATHERS = {
    "calm": Weather(),
    "many": Weather(workers=500),
    "slow": Weather(slow=0.1),
    "twice": Weather(twice=0.2),
    "loss": Weather(loss=0.02),
    "storm": Weather(workers=50, loss=0.02, twice=0.1, slow=0.1),
}


@memo(version=1)
def cell(number: int, parts: list[int]) -> int:
    return number + sum(parts)


@memo(version=1, max_concurrency=2)
def narrow(number: int) -> int:
    return number


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weather", WEATHERS.values(), ids=WEATHERS)
def test_every_instance_is_computed_in_order(weather: Weather, seed: int) -> None:
    """Each instance is computed after all it requires, and again only where a worker died or an engine repeats it."""
    make: Callable[..., Any] = cell
    roots = list(layers(make, [30, 40, 40, 20], seed))
    workers = SimulatedWorkers(weather, seed)
    outcome = simulated(roots, current_store(), workers)
    (count,) = outcome.counts.values()
    lost_for_good = set(outcome.failures) | set(outcome.skipped)
    assert all(isinstance(error, TaskLostError) for error in outcome.failures.values())
    assert weather.loss > 0 or not lost_for_good
    assert workers.done.isdisjoint(lost_for_good)
    assert count.computed == len(workers.done)
    assert 0 == workers.ready_too_early
    assert workers.most_at_once <= 2 * weather.workers
    allowed = 2 if weather.twice else 1
    assert [] == [call for call, times in workers.calls.items() if times > allowed + workers.lost[call]]


def test_a_seed_gives_the_same_run_again() -> None:
    """A simulation depends on its seed alone, so that what it finds can be looked at."""
    make: Callable[..., Any] = cell
    found = []
    for _ in range(2):
        workers = SimulatedWorkers(WEATHERS["storm"], 7)
        outcome = simulated(list(layers(make, [20, 20, 20], 7)), current_store(), workers)
        found.append((workers.now, workers.submissions, workers.calls, [each.kind for each in outcome.happenings]))
    assert found[0] == found[1]


def test_limits_hold_whatever_workers_do() -> None:
    """No more instances of a limited task run at once than it allows, also when workers die."""
    workers = SimulatedWorkers(WEATHERS["storm"], 3)
    simulated([narrow(i) for i in range(60)], current_store(), workers)
    assert workers.most_at_once == 2
