"""Reports: what a run did, for programs and notebooks.

Must not know: how a run goes about it.

Next: forecasts.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, final

from checkpoint import texts
from checkpoint.counts import TaskCount
from checkpoint.events import Event
from checkpoint.markup import card, table
from checkpoint.runs import perform

__all__ = ["RunReport", "run_report"]

T = TypeVar("T")

#: How many failures a notebook shows.
_SHOWN_FAILURES = 20


@final
@dataclass(frozen=True, slots=True)
class RunReport(Generic[T]):
    """What a run did.

    `value` gives the values in the shape that was asked for, or raises what the run failed with.
    """

    #: Task name -> computed, hit, failed, skipped, found, seconds (sum of the runners'), size (bytes stored).
    counts: Mapping[str, TaskCount]
    #: Wall-clock time of the run.
    seconds: float
    #: Instance -> its exception, in the order they happened.
    failures: Mapping[Any, BaseException]
    #: Instances that were not computed because something they require failed.
    skipped: tuple[Any, ...]
    #: What happened, in order; hits are only counted.
    events: tuple[Event, ...] = field(repr=False)
    _values: Any = field(repr=False)
    _error: BaseException | None = field(repr=False)

    @property
    def value(self) -> T:
        """The values, in the shape of the instances.

        Raises:
            the task's exception, or with `on_error="continue"` an ExceptionGroup of all.
        """
        if self._error is not None:
            raise self._error
        value: T = self._values
        return value

    @property
    def computed(self) -> int:
        """How many instances were computed."""
        return sum(count.computed for count in self.counts.values())

    @property
    def hit(self) -> int:
        """How many instances were in the store and fresh."""
        return sum(count.hit for count in self.counts.values())

    @property
    def found(self) -> int:
        """How many of the hits were computed elsewhere since the run began: by another run, as a rule."""
        return sum(count.found for count in self.counts.values())

    @property
    def failed(self) -> int:
        """How many instances failed, timed out or were lost."""
        return sum(count.failed for count in self.counts.values())

    @property
    def size(self) -> int:
        """How many bytes were stored."""
        return sum(count.size for count in self.counts.values())

    def _repr_html_(self) -> str:
        rows = [
            [
                name,
                *(f"{number:,}" for number in (count.computed, count.hit, count.failed, count.skipped)),
                texts.duration(count.seconds),
                texts.size(count.size),
            ]
            for name, count in self.counts.items()
        ]
        header = ("task", "computed", "fresh", "failed", "skipped", "took", "stored")
        failures = [(repr(call), f"{type(error).__name__}: {error}") for call, error in self.failures.items()]
        title = f"{self.computed:,} computed, {self.hit:,} fresh in {texts.duration(self.seconds)}"
        told = [table(("failed", "with"), failures[:_SHOWN_FAILURES])] if failures else []
        return card(title, {}, table(header, rows, right=range(1, 7)), *told)


def run_report(instances: Any, options: Mapping[str, Any]) -> RunReport[Any]:
    """Run instances in any nesting of lists, tuples and dicts; see `checkpoint.run`."""
    outcome, values, error = perform(instances, options)
    return RunReport(
        outcome.counts,
        outcome.seconds,
        outcome.failures,
        tuple(outcome.skipped),
        outcome.events(),
        values,
        error,
    )
