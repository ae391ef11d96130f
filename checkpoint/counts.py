"""Counts: what a run did with the instances of each task.

Next: happenings.py
"""

from __future__ import annotations

from types import SimpleNamespace

__all__ = ["TaskCount"]


class TaskCount(SimpleNamespace):
    """What a run did with the instances of one task."""

    computed: int
    hit: int
    failed: int
    skipped: int
    #: How many of the hits were computed elsewhere since the run began.
    found: int
    #: Sum of the runners' times, and of the bytes stored.
    seconds: float
    size: int

    def __init__(self) -> None:
        super().__init__(computed=0, hit=0, failed=0, skipped=0, found=0, seconds=0.0, size=0)
