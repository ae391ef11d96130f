"""Never compute the same thing twice, never lose what was computed.

Start at `task`, `requires` and `memo`; `run` computes. The last line of each file's docstring names the file that is
best read next; errors.py is the first.
"""

from checkpoint.care import Collected, Collection, Problem, ProblemKind, Verification, collect, verify
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
from checkpoint.executors import ExecutorTraits
from checkpoint.files import File
from checkpoint.forecasts import Forecast
from checkpoint.frames import to_frame
from checkpoint.keys import register
from checkpoint.lineage import Lineage
from checkpoint.reasons import Cue, Reason
from checkpoint.runs import RunReport
from checkpoint.store import open_store
from checkpoint.tasks import CachedCall, Task, TaskInstance, forecast, run, run_async, run_report
from checkpoint.worker import task_directory

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
