"""Workflows: tasks that share a channel, follow each other, loop and run side by side, and go on where they were.

Every step boundary is kept in the journal, with what tasks have written meanwhile. A checkpoint is one that somebody
asked for; it is also written to three files.

Next: flows/workflow/errors.py
"""

from checkpoint.flows.workflow.channel import Channel, MemoryChannel
from checkpoint.flows.workflow.checkpoint_manager import CheckpointManager
from checkpoint.flows.workflow.context import ExecutionContext
from checkpoint.flows.workflow.declaring import WorkflowContext, workflow
from checkpoint.flows.workflow.engine import WorkflowEngine
from checkpoint.flows.workflow.errors import (
    ChangedWorkflowError,
    ConfigError,
    CycleLimitExceededError,
    DuplicateTaskError,
    GraphCompilationError,
    MergeConflictError,
    ParallelGroupError,
    RetryLimitExceededError,
    WorkflowCanceledError,
    WorkflowRuntimeError,
)
from checkpoint.flows.workflow.graph import ParallelGroup, SequentialTask, chain, parallel
from checkpoint.flows.workflow.handler import TaskHandler
from checkpoint.flows.workflow.limits import CycleController, RetryController
from checkpoint.flows.workflow.metadata import CheckpointMetadata
from checkpoint.flows.workflow.queue import TaskSpec
from checkpoint.flows.workflow.redis_channel import RedisChannel
from checkpoint.flows.workflow.task_context import TaskExecutionContext
from checkpoint.flows.workflow.tasks import RetryPolicy, TaskWrapper, task

__all__ = [
    "ChangedWorkflowError",
    "Channel",
    "CheckpointManager",
    "CheckpointMetadata",
    "ConfigError",
    "CycleController",
    "CycleLimitExceededError",
    "DuplicateTaskError",
    "ExecutionContext",
    "GraphCompilationError",
    "MemoryChannel",
    "MergeConflictError",
    "ParallelGroup",
    "ParallelGroupError",
    "RedisChannel",
    "RetryController",
    "RetryLimitExceededError",
    "RetryPolicy",
    "SequentialTask",
    "TaskExecutionContext",
    "TaskHandler",
    "TaskSpec",
    "TaskWrapper",
    "WorkflowCanceledError",
    "WorkflowContext",
    "WorkflowEngine",
    "WorkflowRuntimeError",
    "chain",
    "parallel",
    "task",
    "workflow",
]
