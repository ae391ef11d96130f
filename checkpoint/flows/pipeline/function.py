"""Functions: what a stage has to know of the callable that it is made of.

Must not know: stages, pipelines.

Next: flows/pipeline/drawing.py
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

from checkpoint.errors import UnkeyableError, name_of
from checkpoint.keys import encode, module_name

__all__ = ["as_function", "full_name", "look_up", "name_from", "signature_of"]


def name_from(func: Callable[..., Any]) -> str:
    """Return a callable's own name.

    Raises:
        TypeError: it has none that tells it from others: a lambda, a partial, a method, a callable object.
    """
    owner = getattr(func, "__self__", None)
    name = getattr(func, "__name__", None) if owner is None or isinstance(owner, types.ModuleType) else None
    if not isinstance(name, str) or name == "<lambda>" or not hasattr(func, "__module__"):
        raise TypeError(
            f"a stage is kept under the name of its function, and {name_of(func)} has none of its own; "
            "write Stage.wrap(name=...)"
        )
    return name


def full_name(func: Callable[..., Any]) -> str:
    """Return module and name, as the module could be imported."""
    return f"{module_name(func.__module__ or 'builtins')}.{func.__qualname__}"


def signature_of(func: Callable[..., Any]) -> inspect.Signature | None:
    """Return what a callable takes, without annotations; None where that cannot be known, as of some written in C."""
    try:
        found = inspect.signature(func)
    except ValueError:
        return None
    return inspect.Signature([parameter.replace(annotation=parameter.empty) for parameter in found.parameters.values()])


def as_function(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return a callable as a plain function all of whose parameters can be part of a key."""
    signature = signature_of(func)
    parameters = [] if signature is None else list(signature.parameters.values())
    keyable = [parameter for parameter in parameters if _is_keyable(parameter.default)]
    if isinstance(func, types.FunctionType) and len(keyable) == len(parameters):
        return func

    def call(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    if signature is not None:
        call.__signature__ = signature.replace(parameters=keyable)  # type: ignore[attr-defined]  # functions take it
    return call


def _is_keyable(default: object) -> bool:
    """Tell whether a parameter's default can be part of a key; one that cannot is a part of the code."""
    if default is inspect.Parameter.empty:
        return True
    try:
        encode(default)
    except UnkeyableError:
        return False
    return True


def look_up(module: str | None, qualname: str) -> Any:
    """Return what a module has under a name; None if nothing."""
    try:
        found: Any = sys.modules.get(module or "") or importlib.import_module(module or "")
    except (ImportError, ValueError):
        return None
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found
