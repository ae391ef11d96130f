"""Checkpoint: what was kept when a step had ended, read from the journal when it is asked for.

Must not know: workflows, how runs go on.

Next: flows/events/history.py
"""

from __future__ import annotations

from typing import Any, final

from checkpoint.errors import DamagedSnapshotError
from checkpoint.flows.events.values import RAW, ValueCodec
from checkpoint.journal import Journal, Snapshot

__all__ = ["Checkpoint", "shown_name"]


@final
class Checkpoint:
    """One saved boundary of a run: a row, whose events and state are read anew, and belong to the caller, each time.

    Two are equal if they are the same row.
    """

    def __init__(self, snapshot: Snapshot, journal: Journal, codec: ValueCodec) -> None:
        #: The row in the journal: its time, size, status and so on.
        self.snapshot = snapshot
        self._journal, self._codec = journal, codec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Checkpoint) and self.id_ == other.id_

    def __hash__(self) -> int:
        return hash(self.id_)

    def __repr__(self) -> str:
        return (
            f"Checkpoint(id_={self.id_!r}, last_completed_step={self.last_completed_step!r}, "
            f"input_event={self.input_event!r}, output_event={self.output_event!r}, ctx_state={self.ctx_state!r})"
        )

    @property
    def id_(self) -> str:
        """What identifies it in its store: the id of its run, and a number that rises within the run."""
        return f"{self.snapshot.run}.{self.snapshot.index}"

    @property
    def run_id(self) -> str:
        """The run that it belongs to."""
        return self.snapshot.run

    @property
    def last_completed_step(self) -> str | None:
        """The step that has just ended; None where a run starts."""
        return self.snapshot.step

    @property
    def status(self) -> str:
        """What was true of the run then: "running", "waiting" (for a person) or "finished"."""
        return self.snapshot.status

    @property
    def tags(self) -> tuple[str, ...]:
        """What the step has marked it with."""
        return tuple(self.snapshot.metadata.get("tags", ()))

    @property
    def unsaved(self) -> tuple[str, ...]:
        """What could not be kept: names of values and events. If there are any, no run can start here."""
        return tuple(shown_name(key) for key in self.snapshot.metadata.get("unsaved", ()))

    @property
    def is_resumable(self) -> bool:
        """Whether everything was kept."""
        return not self.unsaved

    @property
    def input_event(self) -> Any:
        """What the step took: an event, or a list of them if it takes one; None where a run starts."""
        return self._event("input")

    @property
    def output_event(self) -> Any:
        """What the step returned: an event, a list of events, or None."""
        return self._event("output")

    def _event(self, key: str) -> Any:
        return self._read([key]).get(key) if key in self.snapshot.metadata else None

    @property
    def ctx_state(self) -> dict[str, Any]:
        """The state of the run, to be read by people.

        `globals`: what the context holds; `queues`: step -> the events that it has not completed; `collected`: buffer
        -> events; `is_running`; `unsaved`.
        """
        kept = self._read(self._journal.keys(self.snapshot.id))
        queues: dict[str, list[Any]] = {}
        collected: dict[str, list[Any]] = {}
        for key, value in kept.items():
            kind, _, rest = key.partition("/")
            if kind in ("item", "collected"):
                group = queues if kind == "item" else collected
                group.setdefault(rest.split("/", 2)[2], []).append(value)
        return {
            "globals": {key.removeprefix("state/"): value for key, value in kept.items() if key.startswith("state/")},
            "queues": queues,
            "collected": collected,
            "is_running": self.last_completed_step is not None and self.status != "finished",
            "unsaved": list(self.unsaved),
        }

    def _read(self, keys: Any) -> dict[str, Any]:
        raw = self._journal.state(self.snapshot.id, keys, codec=RAW)
        found = {}
        for key, data in raw.items():
            try:
                found[key] = self._codec.decode(data)
            except Exception as error:
                raise DamagedSnapshotError(f"checkpoint {self.id_}", f"{key}: {error}", "read another one") from error
        return found


def shown_name(key: str) -> str:
    """Return what people call a part of a snapshot: the name of a value, or which event it is."""
    kind, _, rest = key.partition("/")
    return rest if kind == "state" else f"event of {rest.split('/')[-1]}" if rest else f"{kind} event"
