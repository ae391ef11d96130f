"""Bars: a run's progress on a bar of tqdm.

Next: observe/spans.py
"""

from __future__ import annotations

from typing import Any, final

from checkpoint.events import Event, EventKind, Observer, RunBegun, RunEnded

__all__ = ["Bar"]

_GOES_ON = (EventKind.STARTED, EventKind.RETRIED, EventKind.REQUEUED, EventKind.PARKED)


@final
class Bar(Observer):
    """An observer that moves a bar of tqdm; needs the package tqdm.

    Args:
        options: what `tqdm.tqdm` takes, such as `desc="study"` or `file=`.
    """

    def __init__(self, **options: Any) -> None:
        from tqdm.auto import tqdm

        self._new_bar, self._options = tqdm, options
        self._bar: Any = None

    def begin(self, run: RunBegun) -> None:
        """Open the bar."""
        self._bar = self._new_bar(**{"total": len(run.instances), "unit": "instance", **self._options})

    def notify(self, event: Event) -> None:
        """Move the bar, if an instance is done with."""
        if event.kind not in _GOES_ON:
            self._bar.update()

    def end(self, ended: RunEnded) -> None:
        """Show what came of it and leave the bar there."""
        counts = ended.counts.values()
        self._bar.set_postfix(
            computed=sum(count.computed for count in counts),
            hit=sum(count.hit for count in counts),
            failed=sum(count.failed for count in counts),
        )
        self._bar.close()
