"""Job: what a worker is given to compute, and what it reports.

What comes back is small and plain: never a result and, between processes, never a user's exception as such, so
neither can break or hang an executor.

Must not know: stores, who computes.

Next: inputs.py
"""

from __future__ import annotations

import enum
import io
import os
import pickle
import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from checkpoint import codec
from checkpoint.errors import TaskFailedError
from checkpoint.graph import Instance, Runner
from checkpoint.unpickling import loads

__all__ = ["Failure", "Job", "Kind", "Report"]


class Kind(enum.IntEnum):
    """How a batch's instance ended."""

    COMPUTED = 0
    FAILED = 1
    TIMED_OUT = 2
    INTERRUPTED = 3
    #: Inputs are not in the store, or damaged.
    LACKS = 4
    #: It was cleared while it was computed, so the result was not kept.
    SUPERSEDED = 5
    #: A task is not known in this process.
    UNKNOWN = 6
    #: Another run is computing it.
    BUSY = 7
    #: Another run has computed it meanwhile.
    FOUND = 8


class Failure(NamedTuple):
    """An exception in plain parts. `exception` is the object itself, its pickle, or None where it has none."""

    type_name: str
    message: str
    traceback_text: str
    exception: BaseException | bytes | None

    @classmethod
    def of(cls, error: BaseException, *, is_local: bool) -> Self:
        """Take an exception apart; only one that stays in this process is kept as it is."""
        text = "".join(traceback.format_exception(type(error), error, _users_part(error)))
        kept = error if is_local else _pickled(error)
        return cls(type(error).__qualname__, _safe_text(error), text, kept)

    def restore(self) -> BaseException:
        """Return the original exception, or a TaskFailedError in its place."""
        exception = self.exception
        if isinstance(exception, bytes):
            try:
                exception = loads(exception)
            except Exception:
                exception = None
        if isinstance(exception, Exception):
            return exception
        return TaskFailedError(self.type_name, self.message, self.traceback_text)


class Report(NamedTuple):
    """What is reported of one instance. `place` is host-local: "process 123"."""

    kind: Kind
    generation: bytes = b""
    digest: bytes = b""
    seconds: float = 0.0
    size: int = 0
    place: str = ""
    #: Which of its key's entries the result became.
    edition: str = ""
    failure: Failure | None = None
    #: (task name, key, reason or "") of each missing input; the unknown task's token for UNKNOWN.
    lacking: tuple[tuple[str, str, str], ...] = ()
    #: When the runner began, in seconds since 1970 by the clock of its host; 0 if it didn't.
    began: float = 0.0

    @property
    def has_begun(self) -> bool:
        """Whether the job was begun at all."""
        return self.kind != Kind.INTERRUPTED or self.failure is not None


class Job(NamedTuple):
    """One instance to be computed, with its runner where that is at hand."""

    instance: Instance
    #: Address of each stored instance whose value it takes -> edition of that, but for earlier jobs of the batch.
    editions: Mapping[bytes, str]
    runner: Runner | None = None
    #: Hash of the versions of what it requires; None if that is known only after earlier jobs of the batch.
    basis: bytes | None = b""
    #: What `Store.changes` said before it was found missing.
    changes: int | None = None
    #: Whether it is left alone while another run computes it, and not computed if there is a result by now.
    is_claimed: bool = True
    is_looked_for: bool = True
    #: How long it is expected to take; None if nothing is known of that.
    seconds: float | None = None


def _pickled(error: BaseException) -> bytes | None:
    """Return the pickle of an exception that comes back as itself; None for any other."""
    try:
        file = io.BytesIO()
        codec.Pickler(file, 5).dump(error)
        copy = pickle.loads(file.getvalue())
        is_same = type(copy).__name__ == type(error).__name__ and str(copy) == str(error)
        return file.getvalue() if is_same else None
    except Exception:
        return None


def _users_part(error: BaseException) -> Any:
    """Return the traceback without the frames of this package at its top."""
    trace = error.__traceback__
    package = os.path.dirname(__file__)
    while trace is not None and trace.tb_next and trace.tb_frame.f_code.co_filename.startswith(package):
        trace = trace.tb_next
    return trace


def _safe_text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its text cannot be made)"
