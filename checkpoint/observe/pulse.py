"""Pulse: when a run tells how it stands: never in its first second, then at most twice a second.

The thread of the run does it between other things; only where runners keep that thread busy does another one, as a
process pool may fork while this goes on. To start and end that takes as long as to compute and keep something small, so
a run of nothing but tasks that took a moment the last time does without.

Must not know: what is told.

Next: observe/leaving.py
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, final

from checkpoint.engine import Run

if TYPE_CHECKING:  # what short runs don't need is imported where it is used
    from checkpoint.observe.live import LiveFile

__all__ = ["told_live"]

_FIRST_SECONDS = 1.0
_SECONDS = 0.5
#: Where telling takes long, the pause is so many times longer.
_SHARE = 50
_MOMENT_SECONDS = 0.01

#: Names of tasks of which this process has computed some, the last time in less than a moment each.
_quick: set[str] = set()


@contextlib.contextmanager
def told_live(run: Run) -> Iterator[None]:
    """Let others see in this block how a run stands."""
    pulse = _Pulse(run)
    run.pulse = pulse.beat
    try:
        yield
    finally:
        run.pulse = None
        pulse.stop()


@final
class _Pulse:
    def __init__(self, run: Run) -> None:
        self._run = run
        self._due = time.monotonic() + _FIRST_SECONDS
        self._file: LiveFile | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def beat(self) -> None:
        """Tell how the run stands, if it is time to."""
        computing = self._run.computing
        if self._thread is not None or computing is None:
            return
        if computing.keeps_its_thread and not self._run.outcome.counts.keys() <= _quick:
            self._thread = threading.Thread(target=self._keep_telling, name="checkpoint-live", daemon=True)
            self._thread.start()
        elif time.monotonic() >= self._due:
            self._tell(computing.held())

    def stop(self) -> None:
        """Take back what was told, as the run is over."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if self._file is not None:
            self._file.close()
        for name, count in self._run.outcome.counts.items():
            if count.computed:
                is_quick = count.seconds < _MOMENT_SECONDS * count.computed
                (_quick.add if is_quick else _quick.discard)(name)

    def _keep_telling(self) -> None:
        while not self._over.wait(max(0.0, self._due - time.monotonic())):
            self._tell({})

    def _tell(self, held: dict[str, int]) -> None:
        from checkpoint.observe.live import LiveFile

        began = time.monotonic()
        if self._file is None:
            self._file = LiveFile(self._run)
        self._file.write(held)
        now = time.monotonic()
        self._due = now + max(_SECONDS, _SHARE * (now - began))
