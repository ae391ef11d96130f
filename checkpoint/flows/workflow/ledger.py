"""What a session has done to the world, so that it is not done again: `once`, `each`, and keys for other services.

Records are never rewound: a session that goes back to an older checkpoint still knows what it has done since. A fork
is another session: it knows what had been done when its snapshot was made.

What is promised: after a record was made, never again. A kill between the effect and its record does it twice, unless
the service that is called recognises the idempotency key.

Must not know: channels, how tasks run.

Next: flows/workflow/metadata.py
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from checkpoint.flows.workflow.cells import cell_of, value_in
from checkpoint.keys import encode

__all__ = ["Effects"]

R = TypeVar("R")
T = TypeVar("T")


class Effects(ABC):
    """What a task's context offers for effects on the world."""

    session_id: str
    task_id: str

    @abstractmethod
    def recalled(self, key: str) -> bytes | None:
        """Return what was recorded at a key by this task in this session."""

    @abstractmethod
    def record(self, key: str, cell: bytes) -> None:
        """Record what a key has led to; it is on the disk when this returns."""

    def once(self, key: Any, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """Call a function unless this task has done so under this key before, in this session; return its result.

        Args:
            key: any plain value, such as an id or a tuple of ids.

        Raises:
            UnkeyableError: the key has no stable text.
            UnsavableError: the result can't be kept; the function was called, and will be again.

        Notes:
            A function that raised is called again. So is one whose program was killed before its result was on the
            disk: pass `idempotency_key(key)` to services that take one.
        """
        name = f"once:{encode(key, 'the key of once()')}"
        known = self.recalled(name)
        if known is None:
            result = function(*args, **kwargs)
            known = cell_of(result, f"result of once({key!r}) in task {self.task_id}", self.session_id)
            self.record(name, known)
        result_copy: R = value_in(known)
        return result_copy

    def each(self, items: Iterable[T], key: Callable[[T], Any] | None = None) -> Iterator[T]:
        """Yield the items that this task hasn't done yet, in this session.

        An item is done when the next one is asked for, or the loop has come to its end. One whose body fails, is left
        by `break`, or is killed comes again.

        Args:
            key: returns what identifies an item, the same in every run; None is the item itself.
        """
        for item in items:
            name = f"each:{encode(item if key is None else key(item), 'the key of each()')}"
            if self.recalled(name) is None:
                yield item
                self.record(name, b"done")

    def idempotency_key(self, *parts: Any) -> str:
        """Return 32 hex digits that are the same for the same session, task and parts, in every run."""
        text = encode([self.session_id, self.task_id, *parts], "the parts of idempotency_key()")
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
