"""Retry policies: whether and when a step that failed is tried again.

Must not know: steps, workflows.

Next: flows/events/values.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

from checkpoint.checks import number, whole

__all__ = ["ConstantDelayRetryPolicy", "RetryPolicy"]


class RetryPolicy(Protocol):
    """What `@step(retry_policy=...)` takes."""

    def next(self, elapsed_time: float, attempts: int, error: Exception) -> float | None:
        """Return how many seconds to wait before the next attempt, or None to give up.

        Args:
            elapsed_time: seconds since the first attempt began, without the time between processes.
            attempts: how many retries there have been; 0 after the first failure.
            error: what the step raised.
        """
        ...


@final
@dataclass(frozen=True, slots=True)
class ConstantDelayRetryPolicy:
    """Try again up to `maximum_attempts` times, `delay` seconds apart."""

    maximum_attempts: int = 3
    delay: float = 5

    def __post_init__(self) -> None:
        whole(self.maximum_attempts, "maximum_attempts of ConstantDelayRetryPolicy", 0)
        number(self.delay, "delay of ConstantDelayRetryPolicy")

    def next(self, elapsed_time: float, attempts: int, error: Exception) -> float | None:
        """Return the delay, or None after the last attempt."""
        return self.delay if attempts < self.maximum_attempts else None
