"""Never compute the same thing twice, never lose what was computed.

Start at `task`, `requires` and `memo`; `run` computes. The last line of each file's docstring names the file that is
best read next; errors.py is the first.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from checkpoint import collector

with collector.paused():  # what is imported stays
    from checkpoint.decorators import memo, requires, task
    from checkpoint.errors import (
        BundleError,
        BusyFlowError,
        ChangedFlowError,
        CheckpointError,
        CodeChangedWarning,
        CycleError,
        DamagedEntryError,
        DamagedEntryWarning,
        DamagedSnapshotError,
        FileChangedError,
        FlowWarning,
        FunctionChangedError,
        MutatedInputError,
        NotCachedError,
        StoreError,
        TaskFailedError,
        TaskLostError,
        TaskTimeoutError,
        UnkeyableError,
        UnknownSnapshotError,
        UnknownTaskError,
        UnsavableError,
        UnseenCodeWarning,
        UnstorableError,
    )
    from checkpoint.keys import register
    from checkpoint.tasks import CachedCall, Task, TaskInstance, forecast, run, run_async, run_report

if TYPE_CHECKING:
    from checkpoint.care import Collected, Collection, Problem, ProblemKind, Verification, collect, verify
    from checkpoint.files import File
    from checkpoint.forecasts import Forecast
    from checkpoint.frames import to_frame
    from checkpoint.inside import task_directory
    from checkpoint.lineage import Lineage
    from checkpoint.reasons import Cue, Reason
    from checkpoint.reports import RunReport
    from checkpoint.store import open_store
    from checkpoint.traits import ExecutorTraits

__version__ = "0.1.0"

__all__ = [
    "BundleError",
    "BusyFlowError",
    "CachedCall",
    "ChangedFlowError",
    "CheckpointError",
    "CodeChangedWarning",
    "Collected",
    "Collection",
    "Cue",
    "CycleError",
    "DamagedEntryError",
    "DamagedEntryWarning",
    "DamagedSnapshotError",
    "ExecutorTraits",
    "File",
    "FileChangedError",
    "FlowWarning",
    "Forecast",
    "FunctionChangedError",
    "Lineage",
    "MutatedInputError",
    "NotCachedError",
    "Problem",
    "ProblemKind",
    "Reason",
    "RunReport",
    "StoreError",
    "Task",
    "TaskFailedError",
    "TaskInstance",
    "TaskLostError",
    "TaskTimeoutError",
    "UnkeyableError",
    "UnknownSnapshotError",
    "UnknownTaskError",
    "UnsavableError",
    "UnseenCodeWarning",
    "UnstorableError",
    "Verification",
    "collect",
    "forecast",
    "memo",
    "open_store",
    "register",
    "requires",
    "run",
    "run_async",
    "run_report",
    "task",
    "task_directory",
    "to_frame",
    "verify",
]

#: Public names of files that are only needed to run; they are imported with the first use of the name.
_PLACES = {
    "Collected": "care",
    "Collection": "care",
    "Cue": "reasons",
    "ExecutorTraits": "traits",
    "File": "files",
    "Forecast": "forecasts",
    "Lineage": "lineage",
    "Problem": "care",
    "ProblemKind": "care",
    "Reason": "reasons",
    "RunReport": "reports",
    "Verification": "care",
    "collect": "care",
    "open_store": "store",
    "task_directory": "inside",
    "to_frame": "frames",
    "verify": "care",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    return value
