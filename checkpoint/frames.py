"""Frames: stored calls as a pandas data frame, a row per call.

pandas is imported when one is made.

Must not know: how a task is defined, terminals.

Next: options.py
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from checkpoint.errors import DamagedEntryError, DamagedEntryWarning
from checkpoint.inventory import META
from checkpoint.revisions import Revisions
from checkpoint.runs import roots_of
from checkpoint.store import Entry, Store, current_store
from checkpoint.values import load
from checkpoint.version import row_of_entry

if TYPE_CHECKING:
    import pandas

__all__ = ["frame_of", "to_frame"]

_META = tuple(name for name in META if name != "code")


def to_frame(instances: Any) -> pandas.DataFrame:
    """Return a data frame with a row for each distinct instance, in order; computes nothing.

    Columns are `task`, the arguments, the value (in a column for each field where it is a dict with text as keys, a
    dataclass or a named tuple, else in `value`), `stored_at`, `seconds` and `size`. A name that is taken gets a "_".
    What has no result in the store has a row without these.

    Args:
        instances: an instance, or lists, tuples and dicts of instances at any depth.

    Raises:
        ImportError: pandas is not installed. TypeError: something that is no instance.

    Notes:
        Reads every value.
    """
    return frame_of(roots_of(instances, "to_frame() takes"), has_task=True)


def frame_of(instances: Iterable[Any], *, has_task: bool = False, names: Iterable[str] = ()) -> pandas.DataFrame:
    """Return a data frame of task instances.

    Args:
        instances: the instances.
        has_task: whether the first column is the task's name.
        names: arguments that have a column even if there are no rows.
    """
    import pandas

    store = current_store()
    revisions: dict[str, Revisions] = {}
    rows: list[dict[tuple[int, str], Any]] = []
    arguments: dict[str, None] = dict.fromkeys([*(["task"] if has_task else []), *names])
    fields: dict[str, None] = {}
    for instance in instances:
        task = instance.task
        known = revisions.setdefault(task.name, Revisions(store, task))
        given = {**({"task": task.name} if has_task else {}), **instance.arguments}
        found = _stored(store, known, instance)
        held = {} if found is None else _fields_of(found[1])
        entry = None if found is None else found[0]
        meta = {name: getattr(entry, name, None) for name in _META}
        arguments.update(dict.fromkeys(given))
        fields.update(dict.fromkeys(held))
        rows.append({**{(0, name): each for name, each in given.items()},
                        **{(1, name): each for name, each in held.items()},
                        **{(2, name): each for name, each in meta.items()}})  # fmt: skip
    places = [*((0, name) for name in arguments), *((1, name) for name in fields or ["value"]),
              *((2, name) for name in _META)]  # fmt: skip
    frame = pandas.DataFrame(
        {name: [row.get(place) for row in rows] for place, name in zip(places, _distinct(places), strict=True)}
    )
    stored_at = _distinct(places)[-len(_META)]
    frame[stored_at] = pandas.to_datetime(frame[stored_at], unit="s", utc=True)
    return frame


def _distinct(places: Iterable[tuple[int, str]]) -> list[str]:
    """Return a name for each column that no column before it has."""
    taken: dict[str, None] = {}
    for _, name in places:
        while name in taken:
            name += "_"
        taken[name] = None
    return list(taken)


def _stored(store: Store, revisions: Revisions, instance: Any) -> tuple[Entry, Any] | None:
    """Return the entry that counts, and its value; None if there is none, or it is damaged."""
    name, key = instance.task.name, instance.key
    entries = revisions.candidates(store.lookup(name, [key]).get(key, ()))
    kept = next((entry for entry in entries if not entry.is_collected), None)
    if kept is None:
        return None
    try:
        found = load(store, instance.task, row_of_entry(key, kept))
    except DamagedEntryError as damage:
        text = f"the stored result of {instance!r} is damaged ({damage.reason}); it was set aside"
        warnings.warn(text, DamagedEntryWarning, stacklevel=4)
        return None
    return None if found is None else found[:2]


def _fields_of(value: Any) -> Mapping[str, Any]:
    """Return the columns of a value."""
    if isinstance(value, dict) and value and all(isinstance(name, str) for name in value):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    names = getattr(value, "_fields", None)
    if isinstance(value, tuple) and isinstance(names, tuple):
        return dict(zip(names, value, strict=True))
    return {"value": value}
