"""Policy: what changed code means, and what is checked. It belongs to a run, and travels to its workers.

Must not know: tasks, stores, how a change is found.

Next: unpickling.py
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

from checkpoint.environment import variables

__all__ = ["POLICIES", "Policy", "current_policy", "policy_in_force"]

#: What to do with a result whose task's code has changed since: use it and warn, compute again, use it silently.
POLICIES = ("warn", "rerun", "ignore")


class Policy(NamedTuple):
    """What a run and the environment say about changed code; a task's own setting lies between them."""

    of_run: str | None
    of_environment: str | None
    #: Whether runners are watched for changing the values that they are given.
    checks_mutation: bool = False

    def resolve(self, of_task: str | None) -> str:
        """Return the policy for a task: the run's, else the task's own, else the environment's, else "warn"."""
        return self.of_run or of_task or self.of_environment or "warn"


_policy: ContextVar[Policy | None] = ContextVar("checkpoint_policy", default=None)


def current_policy() -> Policy:
    """Return the policy in force here.

    Raises:
        ValueError: $CP_ON_CHANGE is none of the policies.
    """
    policy = _policy.get()
    if policy is not None:
        return policy
    return _of_environment(*variables("CP_ON_CHANGE", "CP_CHECK_MUTATION"))


@functools.cache
def _of_environment(setting: str | None, mutation: str | None) -> Policy:
    if setting is not None and setting not in POLICIES:
        raise ValueError(f"CP_ON_CHANGE must be one of {', '.join(POLICIES)}, not {setting!r}")
    return Policy(None, setting, mutation not in (None, "0"))


@contextlib.contextmanager
def policy_in_force(policy: Policy) -> Iterator[None]:
    """Set the policy for a block, in this thread or asyncio task."""
    token = _policy.set(policy)
    try:
        yield
    finally:
        _policy.reset(token)
