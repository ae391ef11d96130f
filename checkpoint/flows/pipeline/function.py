"""Functions: what a stage has to know of the callable that it is made of.

Must not know: stages, pipelines.

Next: flows/pipeline/stage.py
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

from checkpoint.errors import name_of

__all__ = ["as_function", "code_of", "look_up", "name_from", "signature_of"]


def name_from(func: Callable[..., Any]) -> str:
    """Return a callable's own name.

    Raises:
        TypeError: it has none that tells it from others: a lambda, a partial, a method, a callable object.
    """
    is_named = isinstance(func, (types.FunctionType, types.BuiltinFunctionType, type))
    name = getattr(func, "__name__", "<lambda>")
    if not is_named or name == "<lambda>":
        raise TypeError(
            f"a stage is kept under the name of its function, and {name_of(func)} has none of its own; "
            "write Stage.wrap(name=...)"
        )
    return str(name)


def signature_of(func: Callable[..., Any]) -> inspect.Signature | None:
    """Return what a callable takes, without annotations; None where that cannot be known, as of some written in C."""
    try:
        found = inspect.signature(func)
    except ValueError:
        return None
    return inspect.Signature([parameter.replace(annotation=parameter.empty) for parameter in found.parameters.values()])


def as_function(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return a callable as a plain function."""
    if isinstance(func, types.FunctionType):
        return func

    def call(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    signature = signature_of(func)
    if signature is not None:
        call.__signature__ = signature  # type: ignore[attr-defined]  # functions take attributes
    return call


def code_of(func: Callable[..., Any]) -> list[object]:
    """Return whatever holds the code of a callable that is no plain function, and what is set in it."""
    if isinstance(func, functools.partial):
        return [func.func, list(func.args), dict(func.keywords)]
    return [func if isinstance(func, (type, types.MethodType, types.BuiltinFunctionType)) else type(func)]


def look_up(module: str | None, qualname: str) -> Any:
    """Return what a module has under a name; None if nothing."""
    try:
        found: Any = sys.modules.get(module or "") or importlib.import_module(module or "")
    except (ImportError, ValueError):
        return None
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found
