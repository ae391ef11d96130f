"""Remote: what a worker that somebody else started is asked before it computes, and how it answers.

It may have another Python, another version of this package, or another disk. It says so instead of computing; where it
has no way to the store, inputs and results travel with the batch in a `Parcel`.

Must not know: graphs, plans, which executor carries it.

Next: traits.py
"""

from __future__ import annotations

import pickle
import socket
import sys
from typing import Any, NamedTuple

from checkpoint import wire
from checkpoint.job import Report
from checkpoint.store import Store
from checkpoint.store.parcel import Parcel

__all__ = ["Facts", "Place", "compute", "compute_parcel", "difference", "facts_of_here", "place_of", "stop"]

_PLACE = "place:"
_found: set[tuple[bytes, str]] = set()


class Facts(NamedTuple):
    """What must be the same in a worker."""

    python: str
    checkpoint: str
    #: Only told, never compared.
    host: str = ""


class Place(NamedTuple):
    """How a worker recognises the store of the process that asks."""

    #: The store, pickled.
    store: bytes
    #: A task that has a place there, and the text that was left with it.
    task: str
    mark: str


def facts_of_here() -> Facts:
    """Return the facts of this process."""
    version: str = sys.modules["checkpoint"].__version__
    return Facts(f"{sys.version_info[0]}.{sys.version_info[1]}", version, socket.gethostname())


def difference(asking: Facts, here: Facts) -> str:
    """Return in words what a worker has that the asking process has not; "" if they fit together."""
    if asking[:2] == here[:2]:
        return ""
    return (
        f"a worker on {here.host} has Python {here.python} with checkpoint {here.checkpoint}, this process Python "
        f"{asking.python} with checkpoint {asking.checkpoint}; start workers with the same versions"
    )


def place_of(store: Store, task: str) -> Place:
    """Leave a mark with a task in a store, the same one each time, and return how to find it."""
    marks = store.records(task, _PLACE)
    if not marks:
        import secrets

        store.record(task, _PLACE, secrets.token_hex(8))
        marks = store.records(task, _PLACE)
    return Place(pickle.dumps(store, 5), task, marks[_PLACE].text)


def _is_here(place: Place) -> bool:
    """Tell whether this process has the store that was meant; found once, it is taken for granted."""
    if (place.store, place.mark) in _found:
        return True
    try:
        marks = pickle.loads(place.store).records(place.task, _PLACE)
    except Exception:
        return False
    if _PLACE not in marks or marks[_PLACE].text != place.mark:
        return False
    _found.add((place.store, place.mark))
    return True


def compute(asking: tuple[str, ...], place: Place | tuple[bytes, str, str] | None, payload: bytes) -> tuple[Any, ...]:
    """Compute a batch; the one function that is submitted to an executor whose workers can open the store.

    Args:
        asking: the `Facts` of the process that asks.
        place: where its store is; None if there is no doubt.
        payload: what `wire.serve` takes.

    Returns:
        ("reports", fields of each `Report`), or ("differs", text), or ("away",) if the store is not here.
    """
    here = facts_of_here()
    if text := difference(Facts(*asking), here):
        return "differs", text
    if place is not None and not _is_here(Place(*place)):
        return ("away",)
    return "reports", _placed(wire.serve(payload), asking, here)


def compute_parcel(asking: tuple[str, ...], parcel: bytes, payload: bytes) -> tuple[Any, ...]:
    """Compute a batch whose inputs came along.

    Returns:
        ("parcel", fields of each `Report`, what `Parcel.unpack` takes), or ("differs", text).
    """
    here = facts_of_here()
    if text := difference(Facts(*asking), here):
        return "differs", text
    store: Parcel = pickle.loads(parcel)
    reports = wire.serve(payload, store)
    return "parcel", _placed(reports, asking, here), store.sealed()


def stop(run: str) -> None:
    """Let no job of a run begin any more in this process."""
    wire.stopped_runs.add(run)


def _placed(reports: list[tuple[Any, ...]], asking: tuple[str, ...], here: Facts) -> list[tuple[Any, ...]]:
    """Add the host to where each was computed, if that is another one."""
    if here.host == asking[2]:
        return reports
    return [
        tuple(report._replace(place=f"{report.place} on {here.host}") if report.place else report)
        for report in (Report(*fields) for fields in reports)
    ]
