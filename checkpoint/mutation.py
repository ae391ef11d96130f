"""Mutation: a watch over the values that a runner is given.

Next: job.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from checkpoint import codec
from checkpoint.errors import MutatedInputError, UnstorableError
from checkpoint.graph import Instance

__all__ = ["Watch"]


@final
class Watch:
    """Knows what values were before a runner got them. Cost: encodes each twice."""

    def __init__(self, instance: Instance, values: Mapping[Instance, Any]) -> None:
        self._instance = instance
        self._values = values
        self._before = self._digests()

    def _digests(self) -> list[bytes | None]:
        return [_digest(value) for value in self._values.values()]

    def check(self) -> None:
        """See that the values are what they were.

        Raises:
            MutatedInputError: one of them is not.
        """
        for given, before, now in zip(self._values, self._before, self._digests(), strict=True):
            if before != now:
                raise MutatedInputError(repr(self._instance), f"the value of {given!r}")


def _digest(value: Any) -> bytes | None:
    try:
        return codec.encode(value, "a value").digest
    except UnstorableError:  # it came out of an instance that is not stored
        return None
