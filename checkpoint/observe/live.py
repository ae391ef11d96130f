"""Live: what a run that goes on tells of itself in a file beside the records, for whoever looks on from elsewhere.

The file is there from the run's first second to its end, is replaced as a whole, and has a lock of the operating system
on it that ends with the process: one without a lock is of a run that was killed. Its size is bounded: of many attempts
it has the longest.

Must not know: who looks on.

Next: observe/pulse.py
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, final

from checkpoint.engine import Run
from checkpoint.happenings import Happening
from checkpoint.observe.archive import KEPT, folder_of, stem_of
from checkpoint.observe.labels import label_of
from checkpoint.observe.record import text_of, timeline
from checkpoint.store import Store

__all__ = ["LiveFile", "LiveRun", "live_run", "live_runs"]

_FORMAT = 1
_SUFFIX = ".live"
#: So many attempts are kept, of which the shorter half goes when there are more.
_MOST_BARS = 2000
_MOST_RUNNING = 100
_MOST_FAILURES = 20

logger = logging.getLogger("checkpoint")


@final
@dataclass(frozen=True, slots=True)
class LiveRun:
    """How a run stands, or stood when it was killed.

    Attributes:
        name: under which its record is found once it is over.
        is_alive: whether its process is.
        told: when this was written, in seconds since 1970.
        began, host, process, program: when and where it began, and the script.
        workers: how many instances can run at once.
        tasks: a row each: name, total, computed, hit, failed, skipped, seconds.
        held: limit -> how many wait for it.
        running: a row each: call, task by its index, when in the run, place, seconds it took before or None.
        lanes, bars: the rows of a timeline; start, seconds, lane, kind, task by its index and call of each attempt.
        failures: call, what happened, text of the exception.
        failed: how many failed.
    """

    name: str
    is_alive: bool
    told: float
    began: float
    host: str
    process: int
    program: str
    workers: int
    tasks: list[list[Any]]
    held: dict[str, int]
    running: list[list[Any]]
    lanes: list[str]
    bars: list[list[Any]]
    failures: list[list[str]]
    failed: int

    @classmethod
    def from_json(cls, name: str, text: bytes, *, is_alive: bool, told: float) -> Self:
        """Return what a file says.

        Raises:
            ValueError: it says nothing, or is of another version.
        """
        said = json.loads(text)
        if not isinstance(said, dict) or said.pop("format", None) != _FORMAT:
            raise ValueError("it tells of no run, or is of another version")
        try:
            return cls(name=name, is_alive=is_alive, told=told, **said)
        except TypeError as error:
            raise ValueError(f"it tells of no run: {error}") from error

    @property
    def total(self) -> int:
        """How many instances there are."""
        return sum(row[1] for row in self.tasks)

    @property
    def settled(self) -> int:
        """How many are done with, well or not."""
        return sum(sum(row[2:6]) for row in self.tasks)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {**asdict(self), "total": self.total, "settled": self.settled}


@final
class LiveFile:
    """The file of one run; there is none before the first `write`. Call `close` when the run has its record."""

    def __init__(self, run: Run) -> None:
        self._run = run
        folder = folder_of(run.store)
        self._path = folder / f"{stem_of(run.began_at)}{_SUFFIX}" if folder is not None else None
        self._lock: int | None = None
        self._owner = os.getpid()
        self._written = b""
        self._seen = 0
        self._attempts: list[Happening] = []
        self._indices: dict[str, int] = {}
        self._totals: list[int] = []

    def write(self, held: dict[str, int]) -> None:
        """Write how the run stands; nothing for a store that is no folder, or where nothing can be written.

        Args:
            held: limit -> how many wait for it.
        """
        if self._path is None:
            return
        try:
            self._replace(self._path, self._text(held))
        except OSError as error:  # a full disk is no reason to end a run
            logger.debug("what the run does could not be told: %s", error)

    def close(self) -> None:
        """Remove the file."""
        if self._lock is not None and self._path is not None and os.getpid() == self._owner:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._lock)
            self._lock = None

    def _replace(self, path: Path, text: bytes) -> None:
        """Put a text in place of the last one; the lock is on the new file before that has the name."""
        if text == self._written:
            return
        if self._lock is None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_old(path.parent)
        temporary = path.with_suffix(".part")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(text)
            os.replace(temporary, path)
        except BaseException:
            os.close(descriptor)
            raise
        if self._lock is not None:
            os.close(self._lock)
        self._lock, self._written = descriptor, text

    def _text(self, held: dict[str, int]) -> bytes:
        run, outcome = self._run, self._run.outcome
        tasks = self._tasks()
        self._take_attempts()
        lanes, bars = timeline(self._attempts)
        failures = dict(outcome.failures)
        said = {
            "format": _FORMAT,
            "began": run.began_at,
            "host": platform.node(),
            "process": self._owner,
            "program": os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] not in ("", "-c") else "",
            "workers": run.worker_count,
            "tasks": tasks,
            "held": held,
            "running": self._running(),
            "lanes": lanes,
            "bars": [
                [bar.start, bar.seconds, bar.lane, bar.kind, self._task_of(bar.node), self._call(bar.node)]
                for bar in bars
            ],
            "failures": [
                [label_of(instance.task.name, instance.key), type(error).__name__, text_of(error)]
                for instance, error in list(failures.items())[:_MOST_FAILURES]
            ],
            "failed": len(failures),
        }
        return json.dumps(said, separators=(",", ":")).encode()

    def _take_attempts(self) -> None:
        happenings = self._run.outcome.happenings
        new, self._seen = happenings[self._seen :], len(happenings)
        self._attempts += [event for event in new if event.start is not None]
        if len(self._attempts) > _MOST_BARS:
            self._attempts.sort(key=lambda event: event.seconds, reverse=True)
            del self._attempts[_MOST_BARS // 2 :]

    def _tasks(self) -> list[list[Any]]:
        if not self._totals:
            self._indices = {name: index for index, name in enumerate(self._run.outcome.counts)}
            self._totals = [0] * len(self._indices)
            for instance in self._run.surveyed.graph.instances:
                self._totals[self._indices[instance.task.name]] += 1
        return [
            [name, total, count.computed, count.hit, count.failed, count.skipped, round(count.seconds, 3)]
            for total, (name, count) in zip(self._totals, self._run.outcome.counts.items(), strict=True)
        ]

    def _running(self) -> list[list[Any]]:
        offset = time.monotonic() - (time.time() - self._run.began_at)
        ended: dict[str, float] = {}  # a worker process may have got its next batch before it was done with the last
        for event in self._attempts:
            ended[event.place] = max(ended.get(event.place, 0.0), (event.start or 0.0) + event.seconds)
        found = []
        computing = self._run.computing
        for node, submitted, place in computing.running()[:_MOST_RUNNING] if computing is not None else ():
            entries = self._run.surveyed.entries[node]
            before = max(entries, key=lambda entry: entry.stored_at).seconds if entries else None
            since = round(max(submitted - offset, ended.get(place, 0.0)), 2)
            found.append([self._call(node), self._task_of(node), since, place, before])
        return sorted(found, key=lambda row: row[2])

    def _task_of(self, node: int) -> int:
        return self._indices[self._run.surveyed.graph.instances[node].task.name]

    def _call(self, node: int) -> str:
        instance = self._run.surveyed.graph.instances[node]
        return label_of(instance.task.name, instance.key)


# --- looking on ------------------------------------------------------------------------------------------


def live_runs(store: Store) -> list[LiveRun]:
    """Return the runs that go on in a store, and the last ones that were killed; those that began last come first."""
    folder = folder_of(store)
    files = sorted(folder.glob(f"*{_SUFFIX}"), reverse=True) if folder is not None and os.path.isdir(folder) else []
    return [found for found in map(_read, files) if found is not None]


def live_run(store: Store, name: str) -> LiveRun | None:
    """Return the run of a name; None if it is over, or never was."""
    return next((found for found in live_runs(store) if found.name == name), None)


def _read(path: Path) -> LiveRun | None:
    """Return what a file tells; None if it is gone, or damaged."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            is_alive = _is_locked(descriptor)
            with open(descriptor, "rb", closefd=False) as file:
                text, told = file.read(), os.fstat(descriptor).st_mtime
            if not is_alive and not os.path.samestat(os.fstat(descriptor), os.stat(path)):
                continue  # it was replaced meanwhile: the lock of the new one counts
            return LiveRun.from_json(path.name.removesuffix(_SUFFIX), text, is_alive=is_alive, told=told)
        except (OSError, ValueError) as error:
            logger.debug("%s is left out: %s", path, error)
            return None
        finally:
            os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _remove_old(folder: Path) -> None:
    """Remove what killed runs have left, but for the newest of them."""
    for path in sorted(folder.glob(f"*{_SUFFIX}"), reverse=True)[KEPT:]:
        found = _read(path)
        if found is None or not found.is_alive:
            for left in (path, path.with_suffix(".part")):
                left.unlink(missing_ok=True)
