"""Event-driven workflows: steps that take events and return events, each completion of which is kept.

A run goes on after a kill where it was; a new one starts from any checkpoint. Needs pydantic: the extra `events`.

Next: flows/events/errors.py
"""

from checkpoint.flows.events.checkpoints import Checkpoint
from checkpoint.flows.events.context import Context
from checkpoint.flows.events.errors import (
    WorkflowCancelledByUser,
    WorkflowRuntimeError,
    WorkflowStepDoesNotExistError,
    WorkflowTimeoutError,
    WorkflowValidationError,
)
from checkpoint.flows.events.event import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from checkpoint.flows.events.handler import WorkflowHandler
from checkpoint.flows.events.history import CheckpointDifference, RunRecord
from checkpoint.flows.events.retry import ConstantDelayRetryPolicy, RetryPolicy
from checkpoint.flows.events.step import step
from checkpoint.flows.events.workflow import Workflow

__all__ = [
    "Checkpoint",
    "CheckpointDifference",
    "ConstantDelayRetryPolicy",
    "Context",
    "Event",
    "HumanResponseEvent",
    "InputRequiredEvent",
    "RetryPolicy",
    "RunRecord",
    "StartEvent",
    "StopEvent",
    "Workflow",
    "WorkflowCancelledByUser",
    "WorkflowHandler",
    "WorkflowRuntimeError",
    "WorkflowStepDoesNotExistError",
    "WorkflowTimeoutError",
    "WorkflowValidationError",
    "step",
]
