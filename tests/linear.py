"""Whether what several processes saw of one row could have happened one after the other (linearisability).

A history is a list of operations with the times at which each was called and had returned. It is fine if they can be
put into an order that respects those times and in which each has the outcome that it would have in a row that is used
by nobody else. The search tries what was called before anything pending had returned, and never the same state twice.

Source: Wing and Gong, Testing and verifying concurrent objects, 1993; Lowe, Testing for linearizability, 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple


class Operation(NamedTuple):
    """What was done to a row: epochs, write, read, clear, clear_task or quarantine."""

    kind: str
    #: What was written, and for which epoch.
    value: Any
    epoch: tuple[int, int]
    #: What came back.
    outcome: Any
    called: int
    returned: int


class State(NamedTuple):
    """A row: its value (None for none) and the epochs of its task and key."""

    value: Any = None
    epoch: tuple[int, int] = (0, 0)


def after(state: State, operation: Operation) -> State | None:
    """Return the state after an operation; None if it would have had another outcome."""
    kind, value, epoch, outcome, _, _ = operation
    task_epoch, key_epoch = state.epoch
    if kind == "clear":
        return State(None, (task_epoch, key_epoch + 1))
    if kind == "clear_task":
        return State(None, (task_epoch + 1, 0))
    if kind == "quarantine":
        return State(None, state.epoch)
    if kind == "write":
        is_kept = epoch == state.epoch
        return None if outcome != is_kept else State(value, state.epoch) if is_kept else state
    seen = state.value if kind == "read" else state.epoch
    return state if outcome == seen else None


def order_of(history: Sequence[Operation]) -> list[Operation] | None:
    """Return an order in which a history could have happened; None if there is none."""
    operations = sorted(history, key=lambda operation: operation.called)
    everything = (1 << len(operations)) - 1
    seen = {(0, State())}
    path: list[tuple[int, State, Iterator[int]]] = [(0, State(), _possible(operations, 0))]
    order: list[Operation] = []
    while path:
        done, state, possible = path[-1]
        if done == everything:
            return order
        for index in possible:
            following = after(state, operations[index])
            reached = done | 1 << index
            if following is not None and (reached, following) not in seen:
                seen.add((reached, following))
                path.append((reached, following, _possible(operations, reached)))
                order.append(operations[index])
                break
        else:
            path.pop()
            order[-1:] = []
    return None


def _possible(operations: Sequence[Operation], done: int) -> Iterator[int]:
    """Yield what may come next: pending operations that were called before any of them had returned."""
    first_return = None
    for index, operation in enumerate(operations):
        if done >> index & 1:
            continue
        if first_return is not None and operation.called > first_return:
            return
        first_return = operation.returned if first_return is None else min(first_return, operation.returned)
        yield index
