"""Engines: clusters that are no `concurrent.futures.Executor`, by name, by address or as the engine's own object.

None is imported before it is asked for.

Next: engines/dask.py
"""

from __future__ import annotations

import sys
from typing import TypeGuard

from checkpoint.traits import Connection

__all__ = ["NAMES", "connect", "serves"]

NAMES = ("dask", "ray")
_RAY = "ray://"
#: Dask's name of a protocol -> what an address of it begins with.
_DASK = ("tcp://", "tls://", "ucx://", "ws://", "wss://", "inproc://")


def serves(executor: object) -> TypeGuard[object]:
    """Tell whether `connect` takes this: "dask", "ray", an address, a Client or cluster of Dask."""
    if isinstance(executor, str):
        return executor in NAMES or executor.startswith((*_DASK, _RAY))
    if "distributed" not in sys.modules:
        return False
    from checkpoint.engines.dask import is_of_dask

    return is_of_dask(executor)


def connect(executor: object, max_workers: int | None) -> Connection:
    """Reach an engine, or start one on this computer for as long as a run takes.

    Raises:
        ImportError: its package is not installed; OSError: nobody answers at the address.
        TaskLostError: its workers don't fit this process.
    """
    if isinstance(executor, str) and executor.startswith("ray"):
        from checkpoint.engines.ray import connect_ray

        return connect_ray(None if executor == "ray" else executor, max_workers)
    from checkpoint.engines.dask import connect_dask

    return connect_dask(executor, max_workers)
