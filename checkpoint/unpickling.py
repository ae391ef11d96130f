"""Unpickling: from a pickle to what it holds, in any thread.

A pickle names the module in which a class is. Where that is part of a package that another thread is just importing,
each may wait for the other: Python notices, and one of them fails though nothing is wrong with the pickle. So packages
are imported before what is in them, as everybody does it.

Must not know: what a pickle is for.

Next: codec.py
"""

from __future__ import annotations

import functools
import importlib
import io
import itertools
import pickle
import threading
from collections.abc import Iterable
from typing import Any

__all__ = ["Unpickler", "dill_loads", "loads"]


def loads(data: bytes | memoryview, buffers: Iterable[Any] = ()) -> Any:
    """Do what `pickle.loads` does."""
    if threading.active_count() == 1:
        return pickle.loads(data, buffers=buffers)
    return Unpickler(io.BytesIO(data), buffers=buffers).load()


def dill_loads(data: bytes) -> Any:
    """Do what `dill.loads` does."""
    return _dill_unpickler()(io.BytesIO(data)).load()


class Unpickler(pickle.Unpickler):
    """Imports packages before the modules in them."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names."""
        _import_packages_of(module)
        return super().find_class(module, name)


@functools.cache
def _dill_unpickler() -> Any:
    import dill

    class DillUnpickler(dill.Unpickler):  # type: ignore[misc]  # dill has no types
        def find_class(self, module: str, name: str) -> Any:
            _import_packages_of(module)
            return super().find_class(module, name)

    return DillUnpickler


def _import_packages_of(module: str) -> None:
    for package in itertools.accumulate(module.split(".")[:-1], "{}.{}".format):
        importlib.import_module(package)
