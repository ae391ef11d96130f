"""Parts: state and data of a linear flow as the parts of a snapshot, and back.

A part is a value with a text that names it: `state["x"]`, `data["rows"]`.

Must not know: handlers, the journal.

Next: flows/linear/flow.py
"""

from __future__ import annotations

from typing import Any

from checkpoint.errors import DamagedSnapshotError, UnkeyableError, UnsavableError
from checkpoint.flows.linear.steps import Data, State
from checkpoint.keys import encode
from checkpoint.revival import decode

__all__ = ["ADVICE", "INDEX", "index_of", "parts_of", "split_parts"]

#: The key of the state that belongs to the flow: how many steps are complete, 0 when all are.
INDEX = "checkpoint_index"
ADVICE = "repair it through the handler, or start from a snapshot of history()"


def parts_of(state: State, data: Data, flow: str) -> dict[str, object]:
    """Return the parts of state and data, in order."""
    return {
        _name(kind, key, flow): value
        for kind, content in (("state", state), ("data", data))
        for key, value in content.items()
    }


def _name(kind: str, key: object, flow: str) -> str:
    try:
        return f"{kind}[{encode(key)}]"
    except UnkeyableError as error:
        raise UnsavableError(flow, f"{kind}[{key!r}]", "only plain values can be its keys") from error


def split_parts(parts: dict[str, Any]) -> tuple[State, Data]:
    """Return state and data of the parts of a snapshot."""
    state: State = {}
    data: Data = {}
    for text, value in parts.items():
        kind, _, key = text.partition("[")
        (state if kind == "state" else data)[decode(key[:-1])] = value
    return state, data


def index_of(state: State, flow: str) -> int:
    """Return how many steps a state says are complete.

    Raises:
        DamagedSnapshotError: it says something else.
    """
    index = state.get(INDEX, 0)
    if type(index) is not int or index < 0:
        reason = f"its {INDEX} is {index!r} and no number of completed steps"
        raise DamagedSnapshotError(f"the saved state of flow {flow}", reason, ADVICE)
    return index
