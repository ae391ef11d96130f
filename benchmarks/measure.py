"""Measuring: passes of a subject and its reference, taken in turns, and what comes of them.

A pass does the work once, in a size of its own choice, and returns the cost of one operation. The machine may slow
down and speed up as it likes: a ratio is taken within each round, and the median of the rounds is shown.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: Does the work once; returns seconds (or bytes) per operation.
Pass = Callable[[], float]

#: Unit -> how many of it a second (or a byte) has.
_PER_BASE = {"us": 1e6, "ms": 1e3, "s": 1.0, "KB": 1e-3}


@dataclass(frozen=True, slots=True)
class Goal:
    """The most that a figure should be: of its value, in its unit, or of its ratio."""

    most: float
    is_ratio: bool = False

    def is_met(self, figure: Figure) -> bool:
        """Tell whether a figure is within the goal."""
        return (figure.ratio if self.is_ratio else figure.value) <= self.most


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured quantity. `ratio` is value / value of the reference; `spread` is relative to the median."""

    name: str
    unit: str
    value: float
    #: Half of the distance between the quartiles of the rounds' ratios, divided by their median.
    spread: float
    reference: str
    ratio: float
    goal: Goal | None = None


def per_call(call: Callable[[], object], count: int) -> Pass:
    """Return a pass that makes `count` calls."""
    return per_item(lambda items: [call() for _ in items], range(count))


def per_item(work: Callable[[Any], object], items: Iterable[Any]) -> Pass:
    """Return a pass that works on a whole collection at once; its cost is per item."""
    collected = list(items)

    def timed() -> float:
        gc.collect()
        began = time.perf_counter()
        work(collected)
        return (time.perf_counter() - began) / len(collected)

    return timed


def compare(
    subjects: Mapping[str, Pass],
    reference: tuple[str, Pass],
    unit: str,
    *,
    rounds: int = 7,
    goals: Mapping[str, Goal] | None = None,
) -> Iterator[Figure]:
    """Yield a figure for each subject, all of them measured in turns with one reference.

    Args:
        subjects: name -> pass.
        reference: name and pass of what they are compared with.
        unit: what a figure's value is shown in.
        rounds: how often each is measured, after one round that isn't counted if there are several.
        goals: name of a subject -> its goal.
    """
    reference_name, reference_pass = reference
    taken: dict[str, list[float]] = {name: [] for name in subjects}
    ratios: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(rounds + (rounds > 1)):
        base = reference_pass()
        for name, subject in subjects.items():
            cost = subject()
            if number or rounds == 1:
                taken[name].append(cost)
                ratios[name].append(cost / base)
    for name in subjects:
        yield Figure(
            name,
            unit,
            statistics.median(taken[name]) * _PER_BASE[unit],
            _spread(ratios[name]),
            reference_name,
            statistics.median(ratios[name]),
            (goals or {}).get(name),
        )


def _spread(ratios: list[float]) -> float:
    if len(ratios) == 1:
        return 0.0
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return (high - low) / 2 / middle
