"""Linear flows: steps that follow each other and share a small state and large data.

The state is kept after every step: whole in the flow's file, and step by step in the journal. A run goes on after the
last step that was completed.

Next: flows/linear/handler.py
"""

from checkpoint.flows.linear.flow import CheckpointFlow
from checkpoint.flows.linear.handler import LocalStateHandler, StateHandler
from checkpoint.flows.linear.steps import LoadPolicy, Step
from checkpoint.journal import Snapshot

__all__ = ["CheckpointFlow", "LoadPolicy", "LocalStateHandler", "Snapshot", "StateHandler", "Step"]
