"""Choice: how a run was told to go about it.

Must not know: how any executor works. Cheap to import: a run that computes nothing has no executor.

Next: outcome.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, final

if TYPE_CHECKING:
    from checkpoint.events import Observer
    from checkpoint.traits import ExecutorTraits, Submits

__all__ = ["Options", "check_executor"]

_NONE: Mapping[str, int] = MappingProxyType({})

_NAMES = ("serial", "threads", "processes", "async")


@final
class Options(NamedTuple):
    """How to run; the meaning of each is told at `checkpoint.run`."""

    executor: Submits | str | None = None
    max_workers: int | None = None
    stops_on_error: bool = True
    pools: Mapping[str, int] = _NONE
    limits: Mapping[str, int] = _NONE
    traits: ExecutorTraits | None = None
    observers: Sequence[Observer] = ()
    is_forced: bool = False


def check_executor(executor: object, max_workers: object) -> None:
    """Refuse what `run` can't take as executor and max_workers.

    Raises:
        TypeError, ValueError: saying what would be right.
    """
    if max_workers is not None:
        if isinstance(max_workers, bool) or not isinstance(max_workers, int):
            raise TypeError(f"max_workers must be a whole number, not {max_workers!r}")
        if max_workers < 1:
            raise ValueError(f"max_workers must be at least 1, not {max_workers}")
    if executor is None or (isinstance(executor, str) and executor in _NAMES):
        return
    from checkpoint import engines

    if isinstance(executor, str):
        if not engines.serves(executor):
            known = ", ".join((*_NAMES, *engines.NAMES))
            raise ValueError(f"executor {executor!r} is unknown; use one of {known}, an address or an Executor")
    elif isinstance(executor, type):
        raise TypeError(f"executor must be an instance: {executor.__name__}(), not the class {executor.__name__}")
    elif not callable(getattr(executor, "submit", None)) and not engines.serves(executor):
        raise TypeError(
            f"executor must be None, one of {', '.join((*_NAMES, *engines.NAMES))} or have a method `submit` like "
            f"concurrent.futures.Executor; {executor!r} has not"
        )
