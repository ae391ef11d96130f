"""What is told of a checkpoint, for people and for lists: its id, session, time, steps, and what its maker said.

Must not know: states, files.

Next: flows/workflow/limits.py
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, final

from checkpoint.errors import UnkeyableError, UnsavableError
from checkpoint.flows.workflow.queue import now
from checkpoint.keys import encode
from checkpoint.revival import decode

__all__ = ["CheckpointMetadata", "frozen"]


@final
@dataclass(frozen=True, slots=True)
class CheckpointMetadata:
    """What is known of a checkpoint without reading its state."""

    checkpoint_id: str
    session_id: str
    #: ISO 8601, in UTC.
    created_at: str
    steps: int
    start_node: str | None
    backend: dict[str, Any] = field(default_factory=dict)
    user_metadata: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def create(
        cls,
        session_id: str,
        steps: int,
        start_node: str | None,
        backend: Mapping[str, Any] | None = None,
        user_metadata: Mapping[Any, Any] | None = None,
    ) -> CheckpointMetadata:
        """Return the metadata of a new checkpoint, with an id that no other has."""
        checkpoint_id = f"{session_id}_{steps}_{uuid.uuid4().hex[:8]}"
        return cls(checkpoint_id, session_id, now(), steps, start_node, dict(backend or {}), dict(user_metadata or {}))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON; values of `user_metadata` that JSON would change are written with their type."""
        return {**asdict(self), "user_metadata": json.loads(encode(self.user_metadata))}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CheckpointMetadata:
        """Return what `to_dict` was called on."""
        return cls(**{**values, "user_metadata": decode(json.dumps(values["user_metadata"]))})


def frozen(metadata: Mapping[Any, Any] | None, flow: str) -> dict[Any, Any]:
    """Return a deep copy of metadata.

    Raises:
        UnsavableError: something in it has no stable text.
    """
    try:
        text = encode(dict(metadata or {}), "metadata")
    except UnkeyableError as error:
        raise UnsavableError(flow, error.where, f"{error.type_name} has no stable text") from error
    if '{"$ndarray"' in text:
        raise UnsavableError(flow, "metadata", "it has an array")
    copied: dict[Any, Any] = decode(text)
    return copied
