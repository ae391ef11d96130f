"""Never compute the same thing twice, never lose what was computed.

Start at `task`, `requires` and `memo`; `run` computes. The code is best read in the order errors, keys, fingerprint,
policy, codec, store, graph, version, plan, survey, process, worker, wire, executors, events, engine, runs, options,
tasks, decorators; then the flows.
"""

from checkpoint.decorators import memo, requires, task
from checkpoint.errors import (
    CheckpointError,
    CodeChangedWarning,
    CycleError,
    DamagedEntryError,
    DamagedEntryWarning,
    NotCachedError,
    StoreError,
    TaskFailedError,
    TaskLostError,
    TaskTimeoutError,
    UnkeyableError,
    UnknownTaskError,
    UnstorableError,
)
from checkpoint.executors import ExecutorTraits
from checkpoint.keys import register
from checkpoint.runs import Forecast, RunReport
from checkpoint.store import open_store
from checkpoint.tasks import CachedCall, Task, TaskInstance, run, run_async, run_report
from checkpoint.worker import task_directory

__version__ = "0.1.0"

__all__ = [
    "CachedCall",
    "CheckpointError",
    "CodeChangedWarning",
    "CycleError",
    "DamagedEntryError",
    "DamagedEntryWarning",
    "ExecutorTraits",
    "Forecast",
    "NotCachedError",
    "RunReport",
    "StoreError",
    "Task",
    "TaskFailedError",
    "TaskInstance",
    "TaskLostError",
    "TaskTimeoutError",
    "UnkeyableError",
    "UnknownTaskError",
    "UnstorableError",
    "memo",
    "open_store",
    "register",
    "requires",
    "run",
    "run_async",
    "run_report",
    "task",
    "task_directory",
]
